"""The plan of a run: its models, its stages in order, and the digest that each stage's artefact has.

A stage's digest holds what its weights depend on and nothing else: not the method's name, not options of other
stages, not targets, paths, workers or devices. So stages are shared between runs wherever they are the same.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn

from gkdbench.data.stream import seed_of
from gkdbench.engine.stage import Pair, Side, Stage
from gkdbench.errors import GkdbenchError
from gkdbench.models.encoder import Encoder
from gkdbench.models.segmentor import Segmentor
from gkdbench.models.weights import LoadReport, load_model
from gkdbench.run.digests import DataDigests, model_identity
from gkdbench.run.method_code import load_factory
from gkdbench.spec.catalogue import ModelSource
from gkdbench.spec.digest import digest
from gkdbench.spec.recipe import STAGE_NAMES, StageRecipe
from gkdbench.spec.selection import RunSpec
from gkdbench.spec.versions import DECODER, ENGINE


@dataclass(frozen=True)
class PlannedStage:
    """One stage of a run with what identifies its result."""

    stage: Stage
    recipe: StageRecipe
    digest: str
    parent: str | None
    """Digest of the stage whose encoder this one starts from; None: the initial weights."""
    head_parent: str | None
    """Digest of the stage whose head this one starts from; None: a fresh head."""


@dataclass(frozen=True)
class RunPlan:
    """All stages of a run."""

    pair: Pair
    stages: tuple[PlannedStage, ...]

    @property
    def trains_teacher(self) -> bool:
        """Whether the run makes the shared teacher instead of a student."""
        return self.stages[0].stage.model == "teacher"

    @property
    def notes(self) -> list[str]:
        """What the stages have to say."""
        return [note for planned in self.stages for note in planned.stage.notes]


def build_encoder(source: ModelSource, size: tuple[int, int], seed: int) -> tuple[Encoder, LoadReport | None]:
    """Build an encoder at its native size, load its weights, then fit it to a size.

    Random weights are drawn under a fork seeded by (seed, "encoder").
    """
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed_of(seed, "encoder"))
        encoder = Encoder(source.entry)
    report = load_model(encoder.model, source)
    encoder.resize(size)
    return encoder, report


def build_pair(spec: RunSpec) -> Pair:
    """Describe both models of a run at the sizes of its stages."""
    sizes = {"proxy": spec.preset.proxy.size, "source": spec.preset.task.size}
    student = _side(spec, spec.student, sizes)
    teacher = _side(spec, spec.teacher, sizes)
    benchmark = spec.benchmark
    return Pair(student, teacher, benchmark.task, len(benchmark.classes), benchmark.ignore)


def _side(spec: RunSpec, source: ModelSource, sizes: Mapping[str, tuple[int, int]]) -> Side:
    grids = {}
    with torch.random.fork_rng(devices=[]):
        encoder = Encoder(source.entry)
    for role, size in sizes.items():
        encoder.resize(size)
        grids[role] = encoder.grid
    segmentor = Segmentor(encoder, spec.benchmark.decoder, len(spec.benchmark.classes))
    segmentor.add_head(0)
    assert segmentor.head is not None
    return Side(
        width=encoder.width,
        depth=encoder.depth,
        heads=encoder.heads,
        grids=grids,
        tap_widths=encoder.block_widths,
        pixel_dim=segmentor.head.pixel_dim,
        has_cls=encoder.has_cls,
        has_qkv=encoder.has_qkv,
        can_mask=encoder.can_mask,
        can_drop=encoder.can_drop,
        has_head=True,
    )


def make_stages(spec: RunSpec, pair: Pair) -> list[Stage]:
    """Call the method's factory, once per stage, each time under that stage's own seed.

    So a stage's adaptors start the same whatever stages stand before it.
    """
    factory = load_factory(spec.method)

    def call(seed: int) -> list[Stage]:
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            stages = factory(pair, **spec.options)
        _check_stages(spec, stages)
        return list(stages)

    names = [stage.name for stage in call(seed_of(spec.seed, "names"))]
    return [call(seed_of(spec.seed, name))[index] for index, name in enumerate(names)]


def _check_stages(spec: RunSpec, stages: Any) -> None:
    where = f"method {spec.method.name!r}"
    if not isinstance(stages, list | tuple) or not stages:
        raise GkdbenchError(f"{where} returned no list of stages")
    for stage in stages:
        if not isinstance(stage, Stage):
            raise GkdbenchError(f"{where} returned a {type(stage).__name__}, not a Stage")
        if stage.name not in STAGE_NAMES:
            raise GkdbenchError(
                f"{where}: stage name {stage.name!r} is none of {', '.join(STAGE_NAMES)}"
            )
        if stage.data not in ("source", "proxy"):
            raise GkdbenchError(f"{where}: stage {stage.name!r} draws from {stage.data!r}")
    names = [stage.name for stage in stages]
    if len(set(names)) < len(names):
        raise GkdbenchError(f"{where}: two stages share a name ({', '.join(names)})")
    if len({stage.model for stage in stages}) > 1:
        raise GkdbenchError(f"{where}: stages train both the teacher and the student")


def plan_run(spec: RunSpec, data: DataDigests, teacher_head: str | None) -> RunPlan:
    """Lay out a run's stages. `teacher_head` is the digest of the shared teacher's last stage."""
    pair = build_pair(spec)
    stages = make_stages(spec, pair)
    planned: list[PlannedStage] = []
    parent: str | None = None
    head_parent: str | None = None
    for stage in stages:
        recipe = spec.preset.stage(stage.name)
        keeps_head = stage.uses_head() and "head" not in stage.fresh
        own = PlannedStage(
            stage=stage,
            recipe=recipe,
            digest=_stage_digest(spec, stage, recipe, data, parent, head_parent if keeps_head else None, teacher_head),
            parent=parent,
            head_parent=head_parent if keeps_head else None,
        )
        planned.append(own)
        parent = own.digest
        head_parent = own.digest if stage.uses_head() else head_parent
    return RunPlan(pair, tuple(planned))


def _stage_digest(
    spec: RunSpec,
    stage: Stage,
    recipe: StageRecipe,
    data: DataDigests,
    parent: str | None,
    head_parent: str | None,
    teacher_head: str | None,
) -> str:
    trained = spec.teacher if stage.model == "teacher" else spec.student
    content: dict[str, Any] = {
        "engine": ENGINE,
        "code": spec.method.code_digest,
        "stage": stage_identity(stage),
        "recipe": {
            key: value
            for key, value in recipe.model_dump(mode="json").items()
            # the micro-batch changes no result unless the loss mixes samples
            if key != "micro_batch" or stage.mixes_batch
        },
        "data": data.training(stage.data),
        "start": parent or model_identity(trained),
        "seed": spec.seed,
    }
    if stage.teacher is not None:
        content["teacher"] = model_identity(spec.teacher)
        if stage.teacher == "full":
            content["teacher_head"] = teacher_head
    if stage.uses_head():
        content["head"] = [DECODER, spec.benchmark.decoder, len(spec.benchmark.classes), head_parent]
        content["ignore"] = spec.benchmark.ignore
        # a CNN's tokens are laid out on the student's grid, so the head depends on it
        content["grid"] = spec.preset.task.size if stage.model == "student" else _grids(spec)
    return digest(content)


def _grids(spec: RunSpec) -> Any:
    if spec.teacher.entry.patch is not None:
        return None
    return [spec.student.entry.timm, spec.student.entry.arguments, spec.preset.task.size]


def stage_identity(stage: Stage) -> dict[str, Any]:
    """Return a stage's public attributes and the names and shapes of its parameters and buffers."""
    skipped = {"training", "notes", "dump_patches", "call_super_init", "T_destination"}
    public: dict[str, Any] = {}
    for key in dir(type(stage)) + list(vars(stage)):
        if key.startswith("_") or key in skipped or key in stage._modules:
            continue
        value = getattr(stage, key)
        if not callable(value) and not isinstance(value, torch.Tensor | nn.Module):
            public[key] = _plain(value)
    tensors = {name: list(tensor.shape) for name, tensor in stage.state_dict(keep_vars=True).items()}
    modules = {name: repr(module) for name, module in stage.named_children()}
    return {"class": type(stage).__qualname__, "public": public, "tensors": tensors, "modules": modules}


def _plain(value: Any) -> Any:
    """Reduce an attribute to what a digest can hold."""
    if value is None or isinstance(value, str | int | float | bool):
        return value
    if isinstance(value, frozenset | set):
        return sorted(str(item) for item in value)
    if isinstance(value, tuple | list):
        return [_plain(item) for item in value]
    if isinstance(value, dict):
        return {str(key): _plain(item) for key, item in value.items()}
    return repr(value)
