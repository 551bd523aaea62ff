"""The one training loop. It knows data, optimiser, freezing, checkpoints and logs, and no method."""

import json
import random
import resource
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from lightning_fabric import Fabric
from torch import Tensor

from gkdbench.data.seeds import seed_of
from gkdbench.data.stream import Batch, Samples, Share, batches
from gkdbench.engine.checkpoint import Checkpoint, Progress
from gkdbench.engine.guard import Guard
from gkdbench.engine.interruption import StopFlag
from gkdbench.engine.optimiser import build_optimiser, set_rates
from gkdbench.engine.passes import LiveStep, Moment, StageModule
from gkdbench.engine.ranks import any_rank, over_ranks
from gkdbench.errors import DataError, GkdbenchError, Interrupted
from gkdbench.spec.recipe import StageRecipe

LOG_EVERY = 10


Meter = Callable[[int, int, str], None]
"""Shows a person how many steps of how many are done."""


@dataclass(frozen=True)
class Outcome:
    """What a trained stage reports."""

    steps: int
    images: int
    wall_s: float
    peak_gib: float
    losses: dict[str, float]
    first_losses: dict[str, float]
    student_passes: int
    teacher_passes: int


@dataclass
class Training:
    """Everything one stage's training needs."""

    module: StageModule
    samples: Mapping[str, Samples]
    """One stream per name the stage draws from."""
    recipe: StageRecipe
    seed: int
    fabric: Fabric
    checkpoint: Checkpoint
    log: Path
    stop: StopFlag
    meter: Meter
    audit: Callable[[Mapping[str, float]], None] = lambda terms: None
    """Told every weighted term of step 0."""
    workers: int = 0
    guarded: bool = True
    """Whether weights are looked at before they are saved; whoever trains to watch the method sees to that."""

    def share(self) -> Share:
        """Return how the global batch is split over devices and micro-batches."""
        world = self.fabric.world_size
        size = self.recipe.micro_batch or max(self.recipe.batch // world, 1)
        if self.recipe.batch % (size * world):
            raise GkdbenchError(
                f"stage {self.module.stage.name!r}: a batch of {self.recipe.batch} cannot be shared "
                f"by {world} devices in micro-batches of {size}"
            )
        return Share(self.recipe.batch, size, self.fabric.global_rank, world)


def train(training: Training) -> Outcome:
    """Train a stage to its last step, from its checkpoint where there is one.

    Raises Interrupted after saving when a signal came, GkdbenchError on a loss or a weight that is not finite, and
    where what the stage does not train was changed; what was saved before stays.
    """
    fabric, recipe = training.fabric, training.recipe
    optimiser = build_optimiser(training.module, recipe)
    wrapped, wrapped_optimiser = fabric.setup(training.module, optimiser)
    progress = _resumed(training, optimiser)
    guard = Guard(training.module) if training.guarded else None
    log = _Log(training.log, progress, fabric)
    share = training.share()
    stream = _streams(training, share, progress.step)
    began, spent = time.monotonic(), progress.wall_s
    if fabric.device.type == "cuda":
        torch.cuda.reset_peak_memory_stats(fabric.device)
    while progress.step < recipe.steps:
        set_rates(optimiser, recipe, progress.step)
        terms, last = _accumulate(training, wrapped, stream, share, progress.step)
        _check_finite(terms, training, progress.step)
        if progress.step == 0:
            training.audit(terms)
        _clip(training, wrapped, wrapped_optimiser)
        training.module.stage.after_backward(last)
        wrapped_optimiser.step()
        optimiser.zero_grad(set_to_none=True)
        progress.step += 1
        progress.wall_s = spent + time.monotonic() - began
        _count(progress, training.module, fabric)
        log.add(terms, optimiser.param_groups[-1]["lr"])
        shown = " ".join(f"{name} {value:.3f}" for name, value in terms.items())
        training.meter(progress.step, recipe.steps, shown)
        stopping = any_rank(fabric, bool(training.stop))
        last_step = progress.step == recipe.steps
        if last_step or stopping or any_rank(fabric, fabric.is_global_zero and training.checkpoint.due()):
            if guard is not None:
                _check(guard, progress.step, fabric)
            if fabric.is_global_zero and not last_step:
                training.checkpoint.save(training.module.state_dict(), optimiser.state_dict(), progress)
        if stopping and not last_step:
            log.close()
            raise Interrupted(
                f"stopped by {training.stop.signal or 'another rank'} at step {progress.step} of "
                f"{recipe.steps} of stage {training.module.stage.name!r}; state saved, the same "
                "command continues"
            )
    log.close()
    return Outcome(
        steps=recipe.steps,
        images=recipe.steps * recipe.batch,
        wall_s=progress.wall_s,
        peak_gib=_peak_gib(fabric.device),
        losses=log.final(),
        first_losses=progress.first,
        student_passes=progress.student_passes,
        teacher_passes=progress.teacher_passes,
    )


def _streams(training: Training, share: Share, start: int) -> Iterator[Batch]:
    """Yield micro-batches of the main stream, the others in their `extra`."""
    names = training.module.stage.streams()
    steps, workers = training.recipe.steps, training.workers
    sources = [batches(training.samples[name], share, start, steps, workers) for name in names]
    for main, *others in zip(*sources, strict=True):
        for other in others:
            other.variant = None  # features computed beforehand are those of the main stream
        main.extra = dict(zip(names[1:], others, strict=True))
        yield main


def _accumulate(
    training: Training, wrapped: Any, stream: Iterator[Batch], share: Share, index: int
) -> tuple[dict[str, float], LiveStep]:
    """Run forward and backward over this process's micro-batches; return mean terms and the last step."""
    fabric, stage = training.fabric, training.module.stage
    moment = Moment(training.seed, stage.name, index, training.recipe.steps, training.recipe.batch)
    sums: dict[str, Tensor] = {}
    batch = None
    for turn in range(share.turns):
        batch = next(stream).to(fabric.device)
        # by the number of the micro-batch in the global batch, so that two ranks draw what one process would
        number = turn * share.world + share.rank
        _seed_globals("globals", training.seed, stage.name, index, number, 0)
        with fabric.no_backward_sync(wrapped, enabled=turn < share.turns - 1):
            terms = wrapped(batch, moment)
            total = torch.stack(list(terms.values())).sum()
            fabric.backward(total / share.turns)
        for name, value in terms.items():
            sums[name] = sums.get(name, torch.zeros((), device=value.device)) + value.detach()
    assert batch is not None
    values = over_ranks(fabric, torch.stack(list(sums.values())) / share.turns, "mean")
    return dict(zip(sums, values.tolist(), strict=True)), LiveStep(training.module, batch, moment)


def _seed_globals(*parts: int | str) -> None:
    """Re-seed the global generators, for libraries that draw from them; nothing of them is stored."""
    seed = seed_of(*parts)
    torch.manual_seed(seed)
    np.random.seed(seed % 2**32)
    random.seed(seed)


def _check_finite(terms: dict[str, float], training: Training, step: int) -> None:
    bad = [name for name, value in terms.items() if not np.isfinite(value)]
    if bad:
        size = training.recipe.batch
        dataset = training.samples[training.module.stage.streams()[0]].dataset
        raise GkdbenchError(
            f"stage {training.module.stage.name!r}, step {step}: loss term {bad[0]!r} is "
            f"{terms[bad[0]]}; the batch holds samples {step * size} to {step * size + size - 1} of "
            f"the shuffled stream over {len(dataset)} images; lower the learning rate of this stage"
        )


def _check(guard: Guard, step: int, fabric: Fabric) -> None:
    """Look at the weights before they are saved or exported; a fault of one rank ends all."""
    fault = guard.fault(step)
    if any_rank(fabric, fault is not None):
        raise fault or GkdbenchError(f"another rank found its weights wrong after step {step}; see its message")


def _clip(training: Training, wrapped: Any, optimiser: Any) -> None:
    stage, fabric = training.module.stage, training.fabric
    if stage.clip_adaptor is not None and any(p.grad is not None for p in stage.parameters()):
        torch.nn.utils.clip_grad_norm_(stage.parameters(), stage.clip_adaptor)
    if training.recipe.clip is not None:
        fabric.clip_gradients(wrapped, optimiser, max_norm=training.recipe.clip, error_if_nonfinite=False)


def _count(progress: Progress, module: StageModule, fabric: Fabric) -> None:
    """Move the module's pass counter to the progress, summed over ranks: they may differ (masked rows)."""
    passes = module.passes
    student, teacher = passes.student, passes.teacher
    passes.student = passes.teacher = 0
    if fabric.world_size > 1:
        counted = torch.tensor([student, teacher], dtype=torch.float64, device=fabric.device)
        student, teacher = (int(value) for value in over_ranks(fabric, counted, "sum").tolist())
    progress.student_passes += student
    progress.teacher_passes += teacher


def _resumed(training: Training, optimiser: torch.optim.Optimizer) -> Progress:
    saved = training.checkpoint.load()
    if saved is None:
        return Progress()
    module, optimiser_state, progress = saved
    try:
        training.module.load_state_dict(module)
        optimiser.load_state_dict(optimiser_state)
    except (RuntimeError, ValueError, KeyError, TypeError, AttributeError) as error:
        said = str(error).splitlines()[0][:120]
        raise DataError(
            f"{training.checkpoint.path}: not a checkpoint of this stage ({said}); delete it to train it from its start"
        ) from error
    return progress


def _peak_gib(device: torch.device) -> float:
    """Peak memory in GiB: of the stage on a GPU, of the process since its start on a CPU."""
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated(device) / 2**30
    unit = 2**30 if sys.platform == "darwin" else 2**20  # bytes there, KiB elsewhere
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / unit


def _means(values: Mapping[str, list[float]]) -> dict[str, float]:
    return {name: sum(each) / len(each) for name, each in values.items()}


class _Log:
    """JSON lines of every loss term, the mean over each LOG_EVERY steps; cut back to the checkpoint at start."""

    def __init__(self, path: Path, progress: Progress, fabric: Fabric) -> None:
        self._progress, self._active = progress, fabric.is_global_zero
        self._tail: list[dict[str, float]] = []
        self._began = time.monotonic()
        if self._active:
            lines = path.read_text().splitlines()[: progress.log_lines] if path.exists() else []
            self._tail = [json.loads(line)["terms"] for line in lines[-5:]]
            path.write_text("".join(line + "\n" for line in lines))
            self._stream = path.open("a")

    def add(self, terms: dict[str, float], rate: float) -> None:
        """Note one step; write a line when the window is full."""
        progress = self._progress
        if progress.step == 1:
            progress.first = dict(terms)
        for name, value in terms.items():
            progress.window.setdefault(name, []).append(value)
        if progress.step % LOG_EVERY:
            return
        means = _means(progress.window)
        progress.window = {}
        progress.log_lines += 1
        self._tail = [*self._tail, means][-5:]
        if self._active:
            self._stream.write(json.dumps({"step": progress.step, "terms": means, "lr": rate}) + "\n")
            self._stream.flush()

    def final(self) -> dict[str, float]:
        """Return each term's mean over the last 50 steps, or what there is of them."""
        if not self._tail:
            return _means(self._progress.window)
        found: dict[str, list[float]] = {}
        for means in self._tail:
            for name, value in means.items():
                found.setdefault(name, []).append(value)
        return _means(found)

    def close(self) -> None:
        """Close the file."""
        if self._active:
            self._stream.close()


