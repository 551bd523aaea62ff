"""Two processes with half of the batch each against one process: the same gradients and the same training.

Many methods go through one pair of processes, since starting them takes longer than most methods do.
"""

import logging
import multiprocessing
import pickle
import warnings
from collections.abc import Iterator, Sequence
from datetime import timedelta
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import torch
import torch.distributed as group
from lightning_fabric import Fabric
from lightning_fabric.strategies.ddp import DDPStrategy

from gkdbench.conformance.case import Case, disagreement, has_batch_norm, quiet_machine
from gkdbench.conformance.checks import TOLERANCE, told
from gkdbench.conformance.report import Row
from gkdbench.conformance.subject import Method, Subject, find_subject, method_line
from gkdbench.conformance.toys import BATCH, PAIRS, SEED, facts
from gkdbench.engine.ranks import leave_group
from gkdbench.errors import Unsupported

STEPS = 6
LOSS_TOLERANCE = 1e-4
PATIENCE = timedelta(seconds=120)

if multiprocessing.current_process().name != "MainProcess":  # one of the two: its greetings tell nobody anything
    logging.getLogger("lightning_fabric").setLevel(logging.WARNING)
    warnings.filterwarnings("ignore", message=".*broadcast_buffers.*")


def rank_rows(methods: Sequence[Method | Subject]) -> list[list[Row]]:
    """Compare two processes with one for every stage of some methods; return each method's rows, in their order.

    A method is checked on the first toy pair that it serves. Start it from a program that may be imported anew
    (under `if __name__ == "__main__"`): the processes are spawned.
    """
    subjects = [one if isinstance(one, Subject) else find_subject(one) for one in methods]
    with quiet_machine(), TemporaryDirectory(prefix="gkdbench-") as name:
        folders = [Path(name, str(number)) for number, _ in enumerate(subjects)]
        jobs = [
            (subject.method, dict(subject.options), folder)
            for subject, folder in zip(subjects, folders, strict=True)
            if _can_be_sent(subject.method)
        ]
        for _, _, folder in jobs:
            folder.mkdir()
        ended = _launch(jobs)
        fabric = Fabric(accelerator="cpu", devices=1)
        return [list(_rows(*pair, fabric, ended)) for pair in zip(subjects, folders, strict=True)]


def _can_be_sent(method: Method) -> bool:
    try:
        return bool(pickle.dumps(method))
    except (pickle.PicklingError, AttributeError, TypeError):
        return False


def _cases(subject: Subject, fabric: Fabric) -> Iterator[Case]:
    """Yield the stages of a method on the first pair that it serves."""
    for pair in PAIRS:
        try:
            stages = subject.stages(facts(pair), SEED)
        except Unsupported:
            continue
        except (Exception, SystemExit):  # a stranger's code may fail in any way; the other checks say how
            return
        for index, _ in enumerate(stages):
            yield Case(subject, pair, index, fabric)
        return


def _launch(jobs: list[tuple[Method, dict[str, Any], Path]]) -> str:
    """Put all jobs through two processes; say what ended these before their time."""
    strategy = DDPStrategy(
        find_unused_parameters=True, broadcast_buffers=False, process_group_backend="gloo", timeout=PATIENCE,
        start_method="spawn",
    )  # fmt: skip
    try:
        if jobs:
            Fabric(accelerator="cpu", devices=2, strategy=strategy).launch(partial(_rank, jobs=jobs))
    except Exception as error:  # what ends a process comes back as any of several errors
        return (str(error).strip() or type(error).__name__).splitlines()[-1][:200]
    return "no result"


def _rank(fabric: Fabric, jobs: list[tuple[Method, dict[str, Any], Path]]) -> None:
    """Work as one of two processes; the first one writes results down, and each what went wrong.

    Each stage has a group of its own: the one who fails leaves it, so that the other does not wait for him.
    """
    for method, options, folder in jobs:
        subject = find_subject(method, options)
        for case in _cases(subject, fabric):
            file = folder / f"{case.index}.pt"
            leave_group(wait=False)
            store = f"file://{folder}/{case.index}.group"
            group.init_process_group("gloo", store, timeout=PATIENCE, world_size=2, rank=fabric.global_rank)
            try:
                if has_batch_norm(case.module()):
                    continue
                with quiet_machine():
                    trained = case.train(steps=STEPS, micro_batch=BATCH // 2, ignored="none")
                if fabric.is_global_zero:
                    torch.save((trained.gradients, trained.outcome.losses), file)
            except (Exception, SystemExit) as error:  # a stranger's code may fail in any way; the parent process tells
                if not file.exists():  # else the other has gone, and that is all that is wrong here
                    torch.save((told(error), subject.raised_at(error)), file)
    leave_group(wait=False)


def _rows(subject: Subject, folder: Path, fabric: Fabric, ended: str) -> Iterator[Row]:
    if not folder.exists():
        detail = "the factory has no name in a module that another process can import"
        yield Row("ranks", "", "skipped", detail)
        return
    for case in _cases(subject, fabric):
        row = partial(Row, "ranks", case.pair.name, stage=case.stage.name)
        if has_batch_norm(case.module()):
            yield row("skipped", "exempt: BatchNorm sees the images of one process alone")
            continue
        file = folder / f"{case.index}.pt"
        found: tuple[Any, Any] = torch.load(file, weights_only=True) if file.exists() else (ended, "")
        first, second = found
        try:
            if isinstance(first, str):
                yield row("failed", f"in two processes: {first}", second or method_line(case.stage))
            else:
                equal, detail = _comparison(case, first, second)
                yield row("passed", detail) if equal else row("failed", detail, method_line(case.stage))
        except (Exception, SystemExit) as error:  # a stranger's code may fail in any way; each is a verdict on it
            yield row("failed", told(error), subject.raised_at(error) or method_line(case.stage))


def _comparison(case: Case, gradients: dict[str, torch.Tensor], losses: dict[str, float]) -> tuple[bool, str]:
    """Whether two processes equal one, and with which micro-batches, or how they differ."""
    tried = []
    for said, micro_batch in ((f"two micro-batches of {BATCH // 2}", BATCH // 2), (f"one batch of {BATCH}", BATCH)):
        one = case.train(steps=STEPS, micro_batch=micro_batch, ignored="none")
        apart, whose = disagreement(one.gradients, gradients)
        terms = [
            f"term {name!r} after {STEPS} steps {value:.6g} and {losses.get(name)}"
            for name, value in one.outcome.losses.items()
            if not abs(losses.get(name, float("nan")) - value) <= LOSS_TOLERANCE * max(abs(value), 1e-3)
        ]
        if apart <= TOLERANCE and not terms:
            return True, f"two processes equal one with {said}"
        tried.append(f"{said}: {terms[0] if terms else f'gradient of {whose} apart by {apart:.1e} of the largest'}")
    return False, f"two processes of {BATCH // 2} images equal one process in no way ({'; '.join(tried)})"
