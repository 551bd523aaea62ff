"""Training a planned stage, or taking its finished artefact from the store."""

import time
from collections.abc import Mapping
from contextlib import ExitStack
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any, BinaryIO

import torch
from safetensors.torch import save
from torch import Tensor, nn

from gkdbench.data.dataset import open_split
from gkdbench.data.seeds import seed_of
from gkdbench.data.stream import Samples
from gkdbench.engine.checkpoint import Checkpoint
from gkdbench.engine.frozen_features import compute, worth_it
from gkdbench.engine.loop import Outcome, Training, train
from gkdbench.engine.passes import StageModule
from gkdbench.errors import DataError
from gkdbench.models.build import build_encoder, grid_at
from gkdbench.models.network import Network
from gkdbench.models.weights import read_into
from gkdbench.runs import scales
from gkdbench.runs.files import need_space, remove_temporaries, write_atomically
from gkdbench.runs.plan import PlannedStage
from gkdbench.runs.store import CHECKPOINT, ENCODER, HEAD, LOG, Artefact
from gkdbench.runs.tasks import network_of
from gkdbench.runs.workshop import Workshop
from gkdbench.spec.recipe import Sight
from gkdbench.spec.selection import RunSpec


def initial_network(spec: RunSpec, model: str, sight: Sight, seed: int) -> Network:
    """Build the teacher or student of a run with its initial encoder and no head."""
    source = spec.teacher if model == "teacher" else spec.student
    encoder = build_encoder(source, sight, seed_of(seed, "encoder"))
    network = network_of(spec.benchmark, encoder)
    fit(network, spec, model, sight)
    return network


def fit(network: Network, spec: RunSpec, model: str, sight: Sight) -> None:
    """Fit a network to how it shall see images; a CNN teacher's tokens lie on the grid that the student then has."""
    network.encoder.resize(sight.size, sight.patch)
    if model == "teacher" and not network.encoder.is_transformer:
        network.fixed_grid = grid_at(spec.student, sight)


def fit_for_judging(network: Network, spec: RunSpec, model: str, patch: int | None) -> None:
    """Fit a trained network to the benchmark's window or whole image, padded to whole patches of a size."""
    size = network.encoder.whole(spec.benchmark.inference.seen, patch)
    fit(network, spec, model, Sight(size, patch))


def restore(
    network: Network, spec: RunSpec, model: str, encoder: Artefact | None, head: Artefact | None
) -> None:
    """Put finished stages' weights into a network, which then sees images as they did.

    A head is built where `head` brings one; `fit` brings the whole to another size.
    """
    if encoder is not None:
        encoder.check(head=False)
        fit(network, spec, model, encoder.sight)
        read_into(network.encoder, encoder.encoder)
    if head is not None and head.head is not None:
        head.check(head=True)
        fit(network, spec, model, head.sight)
        network.add_head(0)
        assert network.head is not None
        read_into(network.head, head.head)


class StageRunner:
    """Gives finished artefacts of one run's stages, training what is not there."""

    def __init__(self, spec: RunSpec, shop: Workshop) -> None:
        self.spec, self.shop = spec, shop

    def ensure(self, planned: PlannedStage, teacher: Artefact | None) -> tuple[Artefact, bool]:
        """Return a stage's artefact and whether it was there already."""
        shop = self.shop
        title = f"{self.spec.method.name}: stage {planned.stage.name}"
        anew = shop.fresh and planned.digest not in shop.trained
        found = None if anew else self._finished(planned)
        if found is None:
            with ExitStack() as held:
                if shop.fabric.is_global_zero:
                    waiting = f"another run is training stage {planned.digest[:8]}; waiting for it"
                    held.enter_context(
                        shop.store.locked(planned.digest, lambda: shop.display.say(waiting), shop.stop.check)
                    )
                    if anew:
                        shop.store.discard_unfinished(planned.digest)
                shop.fabric.barrier()
                # another run may have finished it meanwhile
                found = None if anew else self._finished(planned, tell=True)
                if found is None:
                    if shop.fabric.is_global_zero:
                        remove_temporaries(shop.store.unfinished(planned.digest), alone=True)
                    shop.display.begin(title)
                    trained = self._train(planned, teacher)
                    shop.trained.add(planned.digest)
                    return trained, False
        shop.display.say(f"{title}: cached ({planned.digest[:8]})")
        return found, True

    def _finished(self, planned: PlannedStage, *, tell: bool = False) -> Artefact | None:
        """Return a stage's artefact from the store; None where there is none or it is damaged, which is told."""
        try:
            return self.shop.store.artefact(planned.digest, head=planned.stage.uses_head())
        except DataError as error:
            if tell:
                self.shop.display.say(f"warning: {error}; it is trained again")
            return None

    def _train(self, planned: PlannedStage, teacher: Artefact | None) -> Artefact:
        shop, stage, spec = self.shop, planned.stage, self.spec
        folder = shop.store.unfinished(planned.digest)
        student = self._student(planned)
        # weights, gradients' two moments and the export, old and new checkpoint side by side
        need_space(folder, 8 * (_bytes(student) + _bytes(stage)) + 2**20)
        frozen = self._teacher(planned, teacher)
        if shop.fabric.device.type == "cpu":
            student.use_plain_attention()
            if frozen is not None:
                frozen.use_plain_attention()
        module = StageModule(
            stage,
            student,
            None if frozen is None else frozen.to(shop.fabric.device),
            precision=planned.recipe.precision,
            ignore=spec.benchmark.ignore,
        )
        samples = self._samples(planned)
        before_s = self._look_up_frozen(module, samples[stage.streams()[0]], planned)
        outcome = train(
            Training(
                module=module,
                samples=samples,
                recipe=planned.recipe,
                seed=spec.seed,
                fabric=shop.fabric,
                checkpoint=Checkpoint(folder / CHECKPOINT, write_atomically, shop.display.say, shop.checkpoint_s),
                log=folder / LOG,
                stop=shop.stop,
                meter=shop.display.progress,
                audit=lambda terms: self._audit(stage.name, terms),
                workers=shop.workers,
            )
        )
        if shop.fabric.is_global_zero:
            self._export(folder, student)
            outcome = replace(outcome, wall_s=outcome.wall_s + before_s)
            shop.store.finish(planned.digest, _facts(planned, outcome))
        shop.fabric.barrier()
        finished = shop.store.artefact(planned.digest, head=stage.uses_head())
        assert finished is not None
        return finished

    def _audit(self, stage: str, terms: Mapping[str, float]) -> None:
        """Say what each term is worth at step 0, before hours are spent on one that is not."""
        if self.shop.fabric.is_global_zero:
            self.shop.display.say(scales.shown(stage, terms))
            for warning in scales.warnings(stage, terms):
                self.shop.display.say(f"warning: {warning}")

    def _look_up_frozen(self, module: StageModule, samples: Samples, planned: PlannedStage) -> float:
        """Compute a frozen encoder's features beforehand where that saves passes; return the seconds spent."""
        began = time.monotonic()
        student, recipe, device = module.student, planned.recipe, self.shop.fabric.device
        if not worth_it(planned.stage, student, samples, recipe):
            return 0.0
        module.lookup = compute(
            student,
            samples,
            device=device,
            precision=recipe.precision,
            stop=self.shop.stop,
            meter=self.shop.display.progress,
        )
        module.train()
        return time.monotonic() - began

    def _student(self, planned: PlannedStage) -> Network:
        """The model this stage trains, with what earlier stages left in it."""
        store, stage = self.shop.store, planned.stage
        network = initial_network(self.spec, stage.model, planned.recipe.sight, self.spec.seed)
        parent = store.artefact(planned.parent) if planned.parent else None
        head = store.artefact(planned.head_parent, head=True) if planned.head_parent else None
        restore(network, self.spec, stage.model, parent, head if stage.uses_head() else None)
        fit(network, self.spec, stage.model, planned.recipe.sight)
        if stage.uses_head() and network.head is None:
            network.add_head(seed_of(self.spec.seed, "head"))
        return network

    def _teacher(self, planned: PlannedStage, artefact: Artefact | None) -> Network | None:
        if planned.stage.teacher is None:
            return None
        sight = planned.recipe.sight
        network = initial_network(self.spec, "teacher", sight, self.spec.teacher_seed)
        if planned.stage.teacher == "full":
            assert artefact is not None
            restore(network, self.spec, "teacher", artefact, artefact)
            fit(network, self.spec, "teacher", sight)
        return network

    def _samples(self, planned: PlannedStage) -> dict[str, Samples]:
        return {name: self._stream(planned, name) for name in planned.stage.streams()}

    def _stream(self, planned: PlannedStage, name: str) -> Samples:
        spec, benchmark, stage = self.spec, self.spec.benchmark, planned.stage
        # labels of the source are read only where the task is learnt
        labelled = (stage.task or stage.labels) and name == "source"
        split = benchmark.proxy if name == "proxy" else benchmark.source.train
        dataset = open_split(
            split,
            benchmark,
            spec.source.folder,
            self.shop.place,
            limit=spec.preset.limits.get(name),  # type: ignore[call-overload]
            labelled=labelled,
            progress=self.shop.display.progress,
        )
        return Samples(
            dataset,
            batch=planned.recipe.batch,
            size=planned.recipe.size,
            augmentation=planned.recipe.augmentation,
            ignore=benchmark.ignore,
            seed=seed_of(spec.seed, name, "data"),  # of the stage's name free: methods see the same batches
            labelled=labelled,
            repeats=planned.recipe.repeats,
        )

    def _export(self, folder: Path, student: Network) -> None:
        """Write encoder and head as safetensors: all that is ever exported."""
        parts: Mapping[str, nn.Module | None] = {ENCODER: student.encoder, HEAD: student.head}
        for name, part in parts.items():
            if part is not None:
                write_atomically(folder / name, partial(_put, content=save(_plain_tensors(part))))


def _put(stream: BinaryIO, content: bytes) -> None:
    stream.write(content)


def _plain_tensors(part: nn.Module) -> dict[str, Tensor]:
    return {name: value.detach().cpu().contiguous() for name, value in part.state_dict().items()}


def _bytes(module: nn.Module) -> int:
    return sum(tensor.numel() * tensor.element_size() for tensor in module.state_dict().values())


def _facts(planned: PlannedStage, outcome: Outcome) -> dict[str, Any]:
    """What the artefact says of itself; runs that reuse it report these figures."""
    return {
        "digest": planned.digest,
        "parent": planned.parent,
        "stage": planned.stage.name,
        "data": list(planned.stage.streams()),
        "size": list(planned.recipe.size),
        "patch": planned.recipe.patch,
        "model": planned.stage.model,
        "notes": list(planned.stage.notes),
        "torch": torch.__version__,
        **vars(outcome),
    }
