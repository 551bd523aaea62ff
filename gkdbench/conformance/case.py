"""One stage of a method on one toy pair, and what checks do with it: a step by hand, a real training."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import torch
from lightning_fabric import Fabric
from torch import Tensor, nn

from gkdbench.conformance.subject import Subject
from gkdbench.conformance.toys import BATCH, SEED, ToyPair, first_batches, recipe, samples
from gkdbench.conformance.watch import fingerprint
from gkdbench.contract import Pair, Stage
from gkdbench.data.stream import Batch
from gkdbench.engine.checkpoint import Checkpoint
from gkdbench.engine.interruption import StopFlag
from gkdbench.engine.loop import Outcome, Training, train
from gkdbench.engine.passes import LiveStep, Moment, StageModule
from gkdbench.errors import Interrupted
from gkdbench.run.files import write_atomically

STEPS = 3


@dataclass(frozen=True)
class Trained:
    """A stage after a short real training."""

    module: StageModule
    before: dict[str, Any]
    """What `guarded` said before the first step."""
    after: dict[str, Any]
    """What it said after the last one."""
    outcome: Outcome

    @cached_property
    def result(self) -> tuple[dict[str, float], dict[str, float], dict[str, bytes]]:
        """Losses of the first step, mean losses and the bytes of everything a checkpoint holds."""
        state = {name: fingerprint(tensor) for name, tensor in self.module.state_dict().items()}
        return self.outcome.first_losses, self.outcome.losses, state


class AlreadySaid(Exception):
    """Another check has reported that the stage cannot be trained."""


class Case:
    """One stage of a method on one toy pair; everything it gives is made afresh and comes out the same."""

    def __init__(self, subject: Subject, pair: ToyPair, facts: Pair, index: int, fabric: Fabric) -> None:
        self.subject, self.pair, self.facts, self.index, self.fabric = subject, pair, facts, index, fabric
        self._trained: Trained | None = None
        self._untrainable = False

    def module(self, precision: str = "32-true") -> StageModule:
        """Return the stage with its student and teacher."""
        return self.pair.module(self.subject.stage(self.facts, SEED, self.index, self.stage.name), precision)

    @cached_property
    def stage(self) -> Stage:
        """The stage, to be looked at only."""
        return self.subject.stages(self.facts, SEED)[self.index]

    def batch(self, ignored: str = "some", batch: int = BATCH) -> Batch:
        """Return the first batch of the stage's streams."""
        return first_batches(self.pair, self.stage, ignored, batch)[0]

    def moment(self, batch: int = BATCH) -> Moment:
        """Return the first moment of the stage."""
        return Moment(SEED, self.stage.name, 0, STEPS, batch)

    def training(self, module: StageModule, folder: Path, **changes: Any) -> Training:
        """Return a real training in a folder; changes: steps, micro_batch, ignored, stop, meter."""
        steps, micro_batch = changes.get("steps", STEPS), changes.get("micro_batch")
        return Training(
            module=module,
            samples=samples(self.pair, module.stage, changes.get("ignored", "some")),
            recipe=recipe(self.pair, module.stage, steps=steps, micro_batch=micro_batch),
            seed=SEED,
            fabric=self.fabric,
            checkpoint=Checkpoint(folder / "checkpoint.pt", write_atomically, lambda _: None, 1e9),
            log=folder / "log.jsonl",
            stop=changes.get("stop", StopFlag()),
            meter=changes.get("meter", lambda done, total, text: None),
            guarded=False,  # the checks name the line that wrote
        )

    def train(self, stop_at: int | None = None) -> Trained:
        """Train a few steps; with `stop_at`, stop there, and go on with everything made anew."""
        with TemporaryDirectory(prefix="gkdbench-") as name:
            if stop_at is not None:
                self._interrupted(Path(name), stop_at)
            module = self.module()
            before = guarded(module)
            outcome = train(self.training(module, Path(name)))
            return Trained(module, before, guarded(module), outcome)

    def _interrupted(self, folder: Path, stop_at: int) -> None:
        stop = StopFlag()

        def meter(done: int, total: int, text: str) -> None:
            if done == stop_at:
                stop.signal = "the check"

        try:
            train(self.training(self.module(), folder, stop=stop, meter=meter))
        except Interrupted:
            return
        raise RuntimeError("the training did not stop where it was asked to")

    @property
    def trained(self) -> Trained:
        """The stage after a training without interruption; AlreadySaid where that failed before."""
        if self._untrainable:
            raise AlreadySaid
        if self._trained is None:
            self._untrainable = True
            self._trained = self.train()
            self._untrainable = False
        return self._trained


@contextmanager
def as_the_loop_does(module: StageModule) -> Iterator[None]:
    """Switch autocast off around loss code, as the module's own forward does."""
    device = next(module.student.parameters()).device
    with torch.autocast(device.type, enabled=False):
        yield


def own_terms(module: StageModule, step: LiveStep) -> Any:
    """Return what the stage's loss returns, whatever it is."""
    with as_the_loop_does(module):
        return module.stage.loss(step)


def task_term(module: StageModule, step: LiveStep) -> dict[str, Tensor]:
    """Return the task loss that the loop adds; empty where the stage has none."""
    if not module.stage.task:
        return {}
    with as_the_loop_does(module):
        return {"task": module._task_loss(step)}


def states(part: nn.Module) -> Iterator[tuple[str, Tensor]]:
    """Yield all parameters and buffers of a module, those not in its state_dict too."""
    yield from part.named_parameters()
    yield from part.named_buffers()


def guarded(module: StageModule) -> dict[str, Any]:
    """Return all that no stage may change, by a name for people."""
    found: dict[str, Any] = {}
    for part in ("encoder", "head"):
        model = getattr(module.student, part)
        if model is not None and part not in module.stage.trains:
            found[f"the frozen {part}"] = {name: fingerprint(tensor) for name, tensor in states(model)}
    if module.teacher is not None:
        model = module.teacher
        found["the teacher's weights"] = {name: fingerprint(tensor) for name, tensor in states(model)}
        found["the teacher's mode"] = any(part.training for part in model.modules())
        found["the teacher's requires_grad"] = any(p.requires_grad for p in model.parameters())
        found["the teacher's place outside the stage"] = inside(module)
    return found


def inside(module: StageModule) -> bool:
    """Whether a tensor of the teacher is among what the checkpoint of a stage holds, or what its optimiser moves."""
    if module.teacher is None:
        return False
    outside = {tensor.data_ptr() for _, tensor in states(module.teacher) if tensor.numel()}
    held = [*(tensor for _, tensor in states(module)), *module.state_dict().values()]
    return any(tensor.data_ptr() in outside for tensor in held if tensor.numel())


def gradients(
    module: StageModule, pieces: list[Batch], moment: Moment, each: Callable[[int], None] = lambda turn: None
) -> dict[str, Tensor]:
    """Return the gradients of one optimiser step over micro-batches, by parameter; {} where nothing requires one."""
    for turn, piece in enumerate(pieces):
        each(turn)
        total = torch.stack(list(module(piece, moment).values())).sum()
        torch.autograd.backward(total / len(pieces))
    return {name: p.grad for name, p in module.named_parameters() if p.grad is not None}


def disagreement(first: dict[str, Tensor], second: dict[str, Tensor]) -> tuple[float, str]:
    """Return the largest difference of two sets of gradients, relative to the largest of them, and whose it is."""
    largest = max((float(g.abs().max()) for g in (*first.values(), *second.values()) if g.numel()), default=0.0)
    worst, whose = 0.0, ""
    for name in first.keys() | second.keys():
        one, other = first.get(name), second.get(name)
        difference = float(((one if one is not None else 0) - (other if other is not None else 0)).abs().max())  # type: ignore[union-attr]
        if difference > worst:
            worst, whose = difference, name
    return (worst / largest if largest else 0.0), whose
