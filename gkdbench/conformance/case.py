"""One stage of a method on one toy pair, and what checks do with it: a step by hand, a real training."""

import pickle
import random
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import torch
from lightning_fabric import Fabric
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from gkdbench.conformance.subject import Subject
from gkdbench.conformance.toys import BATCH, SEED, ToyPair, facts
from gkdbench.contract import Stage
from gkdbench.data.stream import Batch
from gkdbench.engine.checkpoint import Checkpoint
from gkdbench.engine.interruption import StopFlag
from gkdbench.engine.loop import Outcome, Training, train
from gkdbench.engine.passes import LiveStep, Moment, StageModule
from gkdbench.engine.view import LazyView
from gkdbench.errors import Interrupted
from gkdbench.runs.files import write_atomically

STEPS = 3


@dataclass(frozen=True)
class Trained:
    """A stage after a short real training."""

    module: StageModule
    outcome: Outcome
    gradients: dict[str, Tensor]
    """Of the first step, by parameter."""


class RecordedStep(LiveStep):
    """A step that notes which passes were asked of it."""

    def __init__(self, module: StageModule, batch: Batch, moment: Moment) -> None:
        super().__init__(module, batch, moment)
        self.asked: list[tuple[str, tuple[Any, ...], Mapping[str, Any], LazyView]] = []
        self.extra: dict[str, RecordedStep] = {
            name: RecordedStep(module, other, moment) for name, other in batch.extra.items()
        }

    def student(self, *arguments: Any, **named: Any) -> LazyView:
        """Return the student's pass."""
        return self._noted("student", arguments, named, super().student(*arguments, **named))

    def teacher(self, *arguments: Any, **named: Any) -> LazyView:
        """Return the teacher's pass."""
        return self._noted("teacher", arguments, named, super().teacher(*arguments, **named))

    def _noted(self, model: str, arguments: tuple[Any, ...], named: Mapping[str, Any], view: LazyView) -> LazyView:
        self.asked.append((model, arguments, named, view))
        return view


@dataclass
class Case:
    """One stage of a method on one toy pair; everything it gives is made afresh and comes out the same."""

    subject: Subject
    pair: ToyPair
    index: int
    fabric: Fabric

    @cached_property
    def stage(self) -> Stage:
        """The stage, to be looked at only."""
        return self.subject.stages(facts(self.pair), SEED)[self.index]

    def module(self) -> StageModule:
        """Return the stage with its student and teacher."""
        return self.pair.module(self.subject.stages(facts(self.pair), SEED)[self.index])

    def step(self, module: StageModule, ignored: str = "some", batch: int = BATCH) -> RecordedStep:
        """Return the first step of the stage."""
        moment = Moment(SEED, self.stage.name, 0, STEPS, batch)
        return RecordedStep(module, self.pair.batch(self.stage, ignored, batch), moment)

    def train(
        self, *, steps: int = STEPS, micro_batch: int = BATCH, ignored: str = "some", stop_at: int | None = None
    ) -> Trained:
        """Train a few steps; with `stop_at`, stop there, and go on with everything made anew."""
        with TemporaryDirectory(prefix="gkdbench-") as name:
            checkpoint = Checkpoint(Path(name, "checkpoint.pt"), write_atomically, lambda _: None, 1e9)
            stop = StopFlag()
            gradients: dict[str, Tensor] = {}

            def meter(done: int, total: int, text: str) -> None:
                stop.signal = "the check" if done == stop_at else None

            def training(module: StageModule) -> Training:
                def audit(_terms: Mapping[str, float]) -> None:
                    found = {name: p.grad.clone() for name, p in module.named_parameters() if p.grad is not None}
                    gradients.update(found)

                recipe = self.pair.recipe(self.stage, steps, micro_batch)
                samples = self.pair.samples(self.stage, ignored)
                log = Path(name, "log.jsonl")
                return Training(module, samples, recipe, SEED, self.fabric, checkpoint, log, stop, meter, audit)

            if stop_at is not None:
                with suppress(Interrupted):
                    train(training(self.module()))
            module = self.module()
            return Trained(module, train(training(module)), gradients)

    @cached_property
    def trained(self) -> Trained:
        """The stage after a training without interruption."""
        return self.train()


def own_terms(module: StageModule, step: LiveStep) -> Any:
    """Return what the stage's loss returns, whatever it is; without autocast, as the loop calls it."""
    with torch.autocast("cpu", enabled=False):
        return module.stage.loss(step)


def task_term(module: StageModule, step: LiveStep) -> dict[str, Tensor]:
    """Return the task loss that the loop adds; empty where the stage has none."""
    if not module.stage.task:
        return {}
    with torch.autocast("cpu", enabled=False):
        return {"task": module._task_loss(step)}


def has_batch_norm(module: nn.Module) -> bool:
    """Whether a module holds a BatchNorm layer that is in training mode."""
    return any(isinstance(part, _BatchNorm) and part.training for part in module.modules())


def disagreement(first: dict[str, Tensor], second: dict[str, Tensor]) -> tuple[float, str]:
    """Return the largest difference of two sets of gradients, relative to the largest of them, and whose it is."""
    zero = torch.zeros(())
    largest = max((float(g.abs().max()) for g in (*first.values(), *second.values())), default=0.0)
    names = sorted(first.keys() | second.keys())
    apart = {name: float((first.get(name, zero) - second.get(name, zero)).abs().max()) for name in names}
    whose = max(apart, key=apart.__getitem__, default="")
    return (apart[whose] / largest if largest else 0.0), whose


def generators() -> dict[str, Any]:
    """Return the states of the global generators by name."""
    torch_state = torch.get_rng_state().numpy().tobytes()
    return {"torch": torch_state, "numpy": pickle.dumps(np.random.get_state()), "random": random.getstate()}


@contextmanager
def quiet_machine() -> Iterator[None]:
    """One thread, so that sums come out the same, and global generators that are put back afterwards."""
    threads, numpy_state, python_state = torch.get_num_threads(), np.random.get_state(), random.getstate()
    torch.set_num_threads(1)
    try:
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(SEED)
            np.random.seed(SEED)
            random.seed(SEED)
            yield
    finally:
        torch.set_num_threads(threads)
        np.random.set_state(numpy_state)
        random.setstate(python_state)
