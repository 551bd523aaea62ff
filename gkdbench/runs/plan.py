"""The plan of a run: its models, its stages in order, and the digest that each stage's artefact has."""

import contextlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch

from gkdbench.contract import Pair, Side, Stage
from gkdbench.data.dataset import DataPlace
from gkdbench.data.seeds import seed_of
from gkdbench.errors import DataError, GkdbenchError, Unsupported, UsageError
from gkdbench.identity.run import DataDigests, Known, run_digest
from gkdbench.identity.stage import stage_digest
from gkdbench.models.encoder import Encoder
from gkdbench.models.network import Network
from gkdbench.runs.method_code import contained, load_factory
from gkdbench.runs.tasks import network_of
from gkdbench.spec.augmentation import kind_of, kinds_that_move
from gkdbench.spec.catalogue import ModelSource
from gkdbench.spec.methods import find_method
from gkdbench.spec.recipe import STAGE_NAMES, Sight, StageRecipe
from gkdbench.spec.selection import RunSpec


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

    spec: RunSpec
    pair: Pair
    stages: tuple[PlannedStage, ...]
    teacher: "RunPlan | None" = None
    """The run that makes the shared teacher; None: this one."""


class Planner:
    """Plans each run of a command once: ahead of all, to find what cannot be done, or when its turn has come."""

    def __init__(self, place: DataPlace, digests: Known) -> None:
        self._place, self._digests = place, digests
        self._ahead: dict[str, RunPlan | BaseException] = {}
        self._teachers: dict[str, RunPlan] = {}

    def data(self, spec: RunSpec) -> DataDigests:
        """Return the digests of a run's splits."""
        return DataDigests(spec, self._place, self._digests)

    def look_ahead(self, spec: RunSpec) -> BaseException | None:
        """Plan a run that will be asked for; return what keeps it from being done."""
        try:
            self._ahead[run_digest(spec, self.data(spec))] = self.plan(spec)
        except (Exception, SystemExit) as error:
            self._ahead[run_digest(spec, self.data(spec))] = error
            return error
        return None

    def plan(self, spec: RunSpec) -> RunPlan:
        """Lay out a run and the shared teacher's, or hand out what was laid out ahead; raise what keeps it from it."""
        ahead = self._ahead.pop(run_digest(spec, self.data(spec)), None)
        if isinstance(ahead, BaseException):
            raise ahead
        if ahead is not None:
            return ahead
        other = teacher_of(spec)
        if (spec.method.code_digest, spec.method.function) == (other.method.code_digest, other.method.function):
            return plan_run(spec, self.data(spec), None)
        key = run_digest(other, self.data(other))
        if key not in self._teachers:
            self._teachers[key] = plan_run(other, self.data(other), None)
        teacher = self._teachers[key]
        return replace(plan_run(spec, self.data(spec), teacher.stages[-1].digest), teacher=teacher)


def teacher_of(spec: RunSpec) -> RunSpec:
    """Return the run that makes this run's shared teacher."""
    method = find_method(spec.teacher_method, f"setting {spec.setting!r}, teacher_method")
    return replace(spec, method=method, options=method.parse_options({}, "teacher"), seed=spec.teacher_seed)


def build_pair(spec: RunSpec) -> Pair:
    """Describe both models of a run at the sizes of its stages."""
    sights = {"proxy": spec.preset.proxy.sight, "source": spec.preset.task.sight}
    _check_sight(spec, "task", sights["source"])
    student = _side(spec, spec.student, sights)
    teacher = _side(spec, spec.teacher, sights)
    benchmark = spec.benchmark
    return Pair(student, teacher, benchmark.task, len(benchmark.classes), benchmark.ignore)


class _Grids(dict[str, tuple[int, int]]):
    """Token grids by data role; one that the recipe's images cannot have is an error when it is asked for."""

    def __missing__(self, role: str) -> tuple[int, int]:
        raise DataError(f"stage {role}: the pair has no token grid on its images; change the recipe's size or patch")


def _check_sight(spec: RunSpec, stage: str, sight: Sight, smallest: int = 1) -> None:
    """Raise DataError, with both sides' grids, where one model of the pair cannot see a stage's images.

    smallest: tokens that a side of a transformer's grid must have.
    """
    grids, fault = [], None
    for role, source in (("teacher", spec.teacher), ("student", spec.student)):
        with torch.random.fork_rng(devices=[]), torch.device("meta"):
            encoder = Encoder(source.entry)
            try:
                encoder.resize(sight.size, sight.patch)
                grids.append(f"{role} {source.name} has a grid of {encoder.grid[0]}x{encoder.grid[1]}")
                if encoder.is_transformer and min(encoder.grid) < smallest:
                    decoder = spec.benchmark.decoder.name
                    short = f"decoder {decoder!r} needs {smallest} tokens a side; change the recipe's size"
                    fault = fault or UsageError(short)
            except UsageError as error:
                fault = fault or error
                grids.append(f"{role} {source.name} can have none")
    if fault is not None:
        height, width = sight.size
        raise DataError(
            f"pair {spec.pair!r} on the {height}x{width} images of recipe {stage!r}: {', '.join(grids)}; {fault}"
        )


def _side(spec: RunSpec, source: ModelSource, sights: Mapping[str, Sight]) -> Side:
    grids = _Grids()
    # nothing but shapes is asked for, so nothing is allocated
    with torch.random.fork_rng(devices=[]), torch.device("meta"):
        encoder = Encoder(source.entry)
        for role, sight in sights.items():
            with contextlib.suppress(UsageError):  # told where a stage needs it
                encoder.resize(sight.size, sight.patch)
                grids[role] = encoder.grid
        network = network_of(spec.benchmark, encoder)
        network.add_head(0)
    return describe(network, grids)


def describe(network: Network, grids: Mapping[str, tuple[int, int]]) -> Side:
    """Return the facts about a network with a head; `grids` is its token grid per data role."""
    encoder, head = network.encoder, network.head
    assert head is not None
    return Side(
        width=encoder.width,
        depth=encoder.depth,
        heads=encoder.heads,
        grids=grids,
        tap_widths=encoder.block_widths,
        pixel_dim=head.pixel_dim,
        has_cls=encoder.has_cls,
        has_qkv=encoder.has_qkv,
        can_mask=encoder.can_mask,
        can_drop=encoder.can_drop,
        has_head=head.pixel_dim > 0,
        pyramid_dim=head.pyramid_dim,
    )


def make_stages(spec: RunSpec, pair: Pair) -> list[Stage]:
    """Call the method's factory, once per stage, each time under that stage's own seed.

    So what a stage starts from depends on its own name and seed, and on what the factory draws before it.
    """
    return call_factory(load_factory(spec.method), pair, spec.options, spec.seed, f"method {spec.method.name!r}")


def call_factory(
    factory: Callable[..., Any], pair: Pair, options: Mapping[str, Any], seed: int, where: str
) -> list[Stage]:
    """Call a factory once per stage; see make_stages. `where` names the method in errors."""

    def call(seed: int) -> list[Stage]:
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            with contained(where):
                stages = factory(pair, **options)
        check_stages(stages, where)
        return list(stages)

    names = [stage.name for stage in call(seed_of(seed, "names"))]
    return [call(seed_of(seed, name))[index] for index, name in enumerate(names)]


def check_stages(stages: Any, where: str) -> None:
    """Raise GkdbenchError where a factory's answer is no list of stages as the contract has them."""
    if not isinstance(stages, list | tuple) or not stages:
        raise GkdbenchError(f"{where} returned no list of stages")
    for stage in stages:
        if not isinstance(stage, Stage):
            raise GkdbenchError(f"{where} returned a {type(stage).__name__}, not a Stage")
        fault = stage_fault(stage)
        if fault is not None:
            raise GkdbenchError(f"{where}: {fault[1]}")
    names = [stage.name for stage in stages]
    if len(set(names)) < len(names):
        raise GkdbenchError(f"{where}: two stages share a name ({', '.join(names)})")
    if len({stage.model for stage in stages}) > 1:
        raise GkdbenchError(f"{where}: stages train both the teacher and the student")


def check_head(stages: Sequence[Stage], where: str) -> None:
    """Raise GkdbenchError where the stages leave no trained head: there would be nothing to judge."""
    if not stages[-1].uses_head() or not any("head" in stage.trains for stage in stages):
        raise GkdbenchError(
            f"{where}: its last stage {stages[-1].name!r} leaves no trained head, so there is nothing to judge; end "
            "with a stage that has a task"
        )


def stage_fault(stage: Stage) -> tuple[str, str] | None:
    """Return which attribute of a stage has no legal value and what is wrong with it; None where all have."""
    if stage.name not in STAGE_NAMES:
        return "name", f"stage name {stage.name!r} is none of {', '.join(STAGE_NAMES)}"
    stage_named = f"stage {stage.name!r}"
    streams = stage.streams()
    if not streams or len(set(streams)) < len(streams) or not set(streams) <= {"source", "proxy"}:
        return "data", f"{stage_named} draws from {stage.data!r}, not source or proxy"
    for attribute, value in (("trains", stage.trains), ("fresh", stage.fresh)):
        if not isinstance(value, frozenset | set) or not value <= {"encoder", "head"}:
            return attribute, f"{stage_named}: {attribute} = {value!r} is no set of 'encoder' and 'head'"
    if stage.teacher not in (None, "encoder", "full"):
        return "teacher", f"{stage_named}: teacher = {stage.teacher!r} is none of None, 'encoder', 'full'"
    if stage.model not in ("student", "teacher"):
        return "model", f"{stage_named}: model = {stage.model!r} is neither 'student' nor 'teacher'"
    return None


def plan_run(spec: RunSpec, data: DataDigests, teacher_head: str | None) -> RunPlan:
    """Lay out a run's stages. `teacher_head` is the digest of the shared teacher's last stage."""
    pair = build_pair(spec)
    stages = _stages(spec, pair)
    check_head(stages, f"method {spec.method.name!r}")
    planned: list[PlannedStage] = []
    parent: str | None = None
    head_parent: str | None = None
    for stage in stages:
        recipe = spec.preset.stage(stage.name)
        _check_views(spec, stage, recipe)
        smallest = spec.benchmark.decoder.smallest_grid if stage.uses_head() else 1
        _check_sight(spec, stage.name, recipe.sight, smallest)
        keeps_head = stage.uses_head() and "head" not in stage.fresh
        own_head = head_parent if keeps_head else None
        own = PlannedStage(
            stage=stage,
            recipe=recipe,
            digest=stage_digest(spec, pair, stage, recipe, data, parent, own_head, teacher_head),
            parent=parent,
            head_parent=own_head,
        )
        planned.append(own)
        parent = own.digest
        head_parent = own.digest if stage.uses_head() else head_parent
    return RunPlan(spec, pair, tuple(planned))


def _stages(spec: RunSpec, pair: Pair) -> list[Stage]:
    """Make a run's stages; Unsupported says what the task has to do with it, which methods do not know."""
    try:
        return make_stages(spec, pair)
    except Unsupported as error:
        if pair.teacher.has_head or not _served_with_heads(spec, pair):
            raise
        decoder = spec.benchmark.decoder
        raise Unsupported(
            f"{error} (decoder {decoder.name!r} of {decoder.task} gives methods no class scores or features of every "
            "pixel)"
        ) from error


def _served_with_heads(spec: RunSpec, pair: Pair) -> bool:
    """Whether the method would serve the pair if its heads scored every pixel."""
    teacher, student = (replace(side, has_head=True, pixel_dim=1) for side in (pair.teacher, pair.student))
    try:
        make_stages(spec, replace(pair, teacher=teacher, student=student))
    except Unsupported:
        return False
    return True


def _check_views(spec: RunSpec, stage: Stage, recipe: StageRecipe) -> None:
    """Raise UsageError where a stage reads labels that its augmentation would not move with the image."""
    labelled = (stage.task or stage.labels) and "source" in stage.streams()
    task = spec.benchmark.task
    if labelled and recipe.augmentation.moves_labels_of != task:
        raise UsageError(
            f"preset {spec.preset_name!r} of benchmark {spec.benchmark.name!r}: key '{stage.name}.augmentation.kind' "
            f"is {kind_of(recipe.augmentation)}, which moves no labels of {task}, and {spec.method.name} reads labels "
            f"in this stage; {' and '.join(kinds_that_move(task))} do move them"
        )
