"""Two processes with half of the batch each against one process: the same gradients and the same training.

Many methods go through one pair of processes, since starting them takes longer than most methods do.
"""

import json
import logging
import multiprocessing
import os
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import torch
from lightning_fabric import Fabric
from lightning_fabric.strategies.ddp import DDPStrategy
from torch import Tensor

from gkdbench.conformance.case import Case, disagreement
from gkdbench.conformance.checks import TOLERANCE, has_batch_norm
from gkdbench.conformance.report import Row
from gkdbench.conformance.subject import Address, Method, Subject, find_subject, method_line, raised_at
from gkdbench.conformance.toys import BATCH, PAIRS, SEED
from gkdbench.conformance.watch import generators_kept
from gkdbench.data.stream import Share, batches
from gkdbench.engine.loop import train
from gkdbench.engine.optimiser import build_optimiser
from gkdbench.engine.ranks import leave_group
from gkdbench.errors import GkdbenchError, Unsupported

STEPS = 20
LOSS_TOLERANCE = 1e-4
PATIENCE = timedelta(seconds=120)
NAME = "ranks"

if multiprocessing.current_process().name != "MainProcess":  # one of the two: its greetings tell nobody anything
    logging.getLogger("lightning_fabric").setLevel(logging.WARNING)
    warnings.filterwarnings("ignore", message=".*broadcast_buffers.*")


@dataclass(frozen=True)
class Job:
    """One stage of one method, as another process can make it."""

    method: int
    """Number of the method among those asked for."""
    address: Address
    options: dict[str, Any]
    pair: str
    index: int

    @property
    def file(self) -> str:
        """Name of the files with its result."""
        return f"{self.method}-{self.index}"

    def case(self, fabric: Fabric) -> Case:
        """Make the stage."""
        subject = find_subject(self.address.factory(), self.options)
        pair = next(pair for pair in PAIRS if pair.name == self.pair)
        return Case(subject, pair, pair.facts(), self.index, fabric)


@dataclass(frozen=True)
class Measured:
    """Gradients of the first step, and mean losses of a training."""

    gradients: dict[str, Tensor]
    losses: dict[str, float]


def rank_rows(methods: Sequence[Method | Subject]) -> list[list[Row]]:
    """Compare two processes with one for every stage of some methods; return each method's rows, in their order.

    A method is checked on the first toy pair that it serves. Start it from a program that may be imported anew
    (under `if __name__ == "__main__"`): the processes are spawned.
    """
    subjects = [one if isinstance(one, Subject) else find_subject(one) for one in methods]
    rows: list[list[Row]] = [[] for _ in subjects]
    jobs: list[Job] = []
    cases: dict[str, Case] = {}
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        with generators_kept(SEED), TemporaryDirectory(prefix="gkdbench-") as name:
            fabric = Fabric(accelerator="cpu", devices=1)
            for number, subject in enumerate(subjects):
                for case in _cases(subject, fabric, rows[number]):
                    assert subject.address is not None
                    job = Job(number, subject.address, dict(subject.options), case.pair.name, case.index)
                    jobs.append(job)
                    cases[job.file] = case
            _launch(jobs, Path(name))
            for job in jobs:
                case = cases[job.file]
                rows[job.method].append(_verdict(case, job, Path(name)))
    finally:
        torch.set_num_threads(threads)
    return rows


def _cases(subject: Subject, fabric: Fabric, rows: list[Row]) -> Iterator[Case]:
    """Yield the stages that two processes can be tried on; rows say why others are not."""
    if subject.address is None:
        rows.append(Row(NAME, "", "skipped", "the factory has no name in a module that another process can import"))
        return
    for pair in PAIRS:
        try:
            stages = subject.stages(pair.facts(), SEED)
        except Unsupported:
            continue
        except (Exception, SystemExit) as error:  # a stranger's code may fail in any way; the other checks say more
            detail = f"the factory raised {type(error).__name__}: {error}"
            rows.append(Row(NAME, pair.name, "failed", detail, raised_at(subject, error)))
            return
        for index, stage in enumerate(stages):
            case = Case(subject, pair, pair.facts(), index, fabric)
            module = case.module()
            if has_batch_norm(module):
                detail = "exempt: BatchNorm sees the images of one process alone"
                rows.append(Row(NAME, pair.name, "skipped", detail, "", stage.name))
            else:
                yield case
        return
    rows.append(Row(NAME, "", "skipped", "no toy pair is served"))


def _measure(case: Case, folder: Path, micro_batch: int) -> Measured:
    """Compute gradients and losses with micro-batches of a size; alike in one process and in two."""
    fabric = case.fabric
    folder.mkdir(parents=True, exist_ok=True)
    job = case.training(case.module(), folder, steps=STEPS, micro_batch=micro_batch, ignored="none")
    module = case.module()
    wrapped, _ = fabric.setup(module, build_optimiser(module, job.recipe))
    share = Share(BATCH, micro_batch, fabric.global_rank, fabric.world_size)
    streams = {name: list(batches(stream, share, 0, 1, 0)) for name, stream in job.samples.items()}
    main, *others = streams
    for turn in range(share.turns):
        piece = streams[main][turn]
        piece.extra = {name: streams[name][turn] for name in others}
        with fabric.no_backward_sync(wrapped, enabled=turn < share.turns - 1):
            terms = wrapped(piece, case.moment())
            fabric.backward(torch.stack(list(terms.values())).sum() / share.turns)
    found = {name: p.grad for name, p in module.named_parameters() if p.grad is not None}
    return Measured(found, train(job).losses)


def _rank(fabric: Fabric, jobs: list[Job], folder: Path) -> None:
    """Work as one of two processes; the first one writes the results down."""
    torch.set_num_threads(1)
    for job in jobs:
        error_file = folder / f"{job.file}.error"
        case = None
        try:
            case = job.case(fabric)
            with generators_kept(SEED):
                measured = _measure(case, folder / f"two-{job.file}-{fabric.global_rank}", BATCH // fabric.world_size)
        except (Exception, SystemExit) as error:  # a stranger's code may fail in any way; the parent process tells
            told = {"error": f"{type(error).__name__}: {' '.join(str(error).split())[:300]}", "where": ""}
            if case is not None:
                told["where"] = raised_at(case.subject, error)
            # an error of this rank's own, not the other's that has gone
            if not error_file.exists():
                error_file.write_text(json.dumps(told))
            raise
        if fabric.is_global_zero:
            part = folder / f"{job.file}.part"
            torch.save({"gradients": measured.gradients, "losses": measured.losses}, part)
            part.rename(folder / f"{job.file}.pt")
        fabric.barrier()
    leave_group()


def _launch(jobs: list[Job], folder: Path) -> None:
    """Put all jobs through two processes; where a method ends them, start anew with what is left."""
    left = list(jobs)
    while left:
        strategy = DDPStrategy(
            find_unused_parameters=True, broadcast_buffers=False, process_group_backend="gloo", timeout=PATIENCE,
            start_method="spawn",
        )  # fmt: skip
        fabric = Fabric(accelerator="cpu", devices=2, strategy=strategy)
        ended = None
        try:
            with _silent_reducer():
                fabric.launch(partial(_rank, jobs=left, folder=folder))
        except Exception as error:  # what ends a process comes back as any of several errors
            ended = (str(error).strip() or type(error).__name__).splitlines()[-1][:200]
        left = [job for job in left if not (folder / f"{job.file}.pt").exists()]
        if left and ended is not None:
            culprit = folder / f"{left[0].file}.error"
            if not culprit.exists():
                culprit.write_text(json.dumps({"error": f"the processes ended: {ended}", "where": ""}))
            left = left[1:]
        elif left:
            raise GkdbenchError("two processes ended without results and without an error")


@contextmanager
def _silent_reducer() -> Iterator[None]:
    """Start processes in which DDP does not warn that it looked for unused parameters in vain."""
    name = "TORCH_CPP_LOG_LEVEL"
    before = os.environ.get(name)
    os.environ[name] = "ERROR"
    try:
        yield
    finally:
        if before is None:
            del os.environ[name]
        else:
            os.environ[name] = before


def _verdict(case: Case, job: Job, folder: Path) -> Row:
    stage = case.stage
    failed = folder / f"{job.file}.error"
    if failed.exists():
        told = json.loads(failed.read_text())
        where = told["where"] or method_line(stage)
        return Row(NAME, case.pair.name, "failed", f"in two processes: {told['error']}", where, stage.name)
    saved = torch.load(folder / f"{job.file}.pt", weights_only=True)
    two = Measured(saved["gradients"], saved["losses"])
    tried = []
    ways = {f"two micro-batches of {BATCH // 2}": BATCH // 2, f"one batch of {BATCH}": BATCH}
    for said, micro_batch in ways.items():
        try:
            one = _measure(case, folder / f"one-{job.file}-{micro_batch}", micro_batch)
        except (Exception, SystemExit) as error:  # a stranger's code may fail in any way; each is a verdict on it
            where = raised_at(case.subject, error) or method_line(stage)
            return Row(NAME, case.pair.name, "failed", f"{type(error).__name__}: {error}", where, stage.name)
        apart = _apart(one, two)
        if not apart:
            return Row(NAME, case.pair.name, "passed", f"two processes equal one with {said}", "", stage.name)
        tried.append(f"{said}: {apart}")
    detail = f"two processes of {BATCH // 2} images equal one process in no way ({'; '.join(tried)})"
    return Row(NAME, case.pair.name, "failed", detail, method_line(stage), stage.name)


def _apart(one: Measured, two: Measured) -> str:
    """Say how two measurements differ; empty where they agree."""
    relative, whose = disagreement(one.gradients, two.gradients)
    if relative > TOLERANCE:
        return f"gradient of {whose} apart by {relative:.1e} of the largest"
    for name, value in one.losses.items():
        other = two.losses.get(name, float("nan"))
        if not abs(other - value) <= LOSS_TOLERANCE * max(abs(value), 1e-3):
            return f"term {name!r} after {STEPS} steps {value:.6g} and {other:.6g}"
    return ""
