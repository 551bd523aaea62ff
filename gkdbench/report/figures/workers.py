"""Drawing in several processes: figures share nothing, and each takes a tenth of a second per form."""

import gc
import multiprocessing
import os
import sys
import threading
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from multiprocessing.connection import Connection
from textwrap import shorten
from typing import Any

from gkdbench.report.figures.drawing import Drawing, figure_style

MOST_WORKERS = 4
_LONGEST_REASON = 200


@dataclass(frozen=True)
class Job:
    """A figure to be drawn."""

    name: str
    """What a reader knows it by."""
    make: Callable[[], Drawing | None]


@dataclass(frozen=True)
class Fault:
    """A figure that could not be drawn."""

    line: str
    """Which one, and why."""


Outcome = Drawing | Fault | None


def draw(jobs: Sequence[Job], workers: int | None = None) -> list[Outcome]:
    """Return what each job draws, in their order, whoever draws it; None where it has nothing to draw.

    A figure that fails is a Fault and costs no other. `workers` is the number of processes, this one included; by
    default as many as are worth it here.
    """
    count = min(len(jobs), _workers() if workers is None else workers)
    with figure_style(), _collection_paused():
        done = _shared(jobs, count) if count > 1 else {}
        # What a helper took and did not bring back, since it was killed, is drawn here.
        return [done[index] if index in done else _outcome(job) for index, job in enumerate(jobs)]


def _outcome(job: Job) -> Outcome:
    try:
        return job.make()
    except Exception as error:  # records are foreign: no figure may cost the page
        reason = shorten(f"{type(error).__name__}: {error}", _LONGEST_REASON, placeholder=" …")
        return Fault(f"figure {job.name}: cannot be drawn ({reason})")


@contextmanager
def _collection_paused() -> Iterator[None]:
    """Keep the garbage collector from walking all records again and again while figures come and go."""
    running = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if running:
            gc.enable()


def _workers() -> int:
    """Return how many processes may draw: forking a process that has threads can lock it up."""
    if not sys.platform.startswith("linux") or "torch" in sys.modules or threading.active_count() > 1:
        return 1
    return min(len(os.sched_getaffinity(0)), MOST_WORKERS)


def _shared(jobs: Sequence[Job], count: int) -> dict[int, Outcome]:
    """Draw with forked processes that take the next job each; return what was drawn, by the job's place."""
    context = multiprocessing.get_context("fork")
    try:
        following = context.Value("i", 0)
    except OSError:
        return {}  # no shared memory here
    ends, helpers = [], []
    for _ in range(count - 1):
        mine, theirs = context.Pipe(duplex=False)
        helper = context.Process(target=_help, args=(jobs, following, theirs), daemon=True)
        try:
            with warnings.catch_warnings():
                # Native threads that idle, a numeric library's: nothing here waits for them.
                warnings.filterwarnings("ignore", category=DeprecationWarning, message=".*fork")
                helper.start()
        except OSError:
            break
        theirs.close()
        ends.append(mine)
        helpers.append(helper)
    done = _take(jobs, following)
    for end in ends:
        with suppress(EOFError, OSError):
            done.update(end.recv())
        end.close()
    for helper in helpers:
        helper.join()
    return done


def _help(jobs: Sequence[Job], following: Any, end: Connection) -> None:
    end.send(_take(jobs, following))
    end.close()


def _take(jobs: Sequence[Job], following: Any) -> dict[int, Outcome]:
    """Draw the next job until none is left."""
    done: dict[int, Outcome] = {}
    while True:
        with following.get_lock():
            index = following.value
            following.value += 1
        if index >= len(jobs):
            return done
        done[index] = _outcome(jobs[index])
