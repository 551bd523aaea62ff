"""Drawing in several processes: figures share nothing, and each takes a tenth of a second per form."""

import gc
import multiprocessing
import os
import sys
import threading
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from multiprocessing.connection import Connection
from typing import Any

from gkdbench.report.figures.drawing import Drawing, figure_style

Job = Callable[[], Drawing | None]
MOST_WORKERS = 4


def draw(jobs: Sequence[Job], workers: int | None = None) -> list[Drawing | None]:
    """Return what each job draws, in their order, whoever draws it; None where it has nothing to draw.

    `workers` is the number of processes, this one included; by default as many as are worth it here.
    """
    count = min(len(jobs), _workers() if workers is None else workers)
    with figure_style(), _collection_paused():
        done = _shared(jobs, count) if count > 1 else {}
        # What a helper could not draw is drawn here, so that its error is seen.
        return [done[index] if index in done else job() for index, job in enumerate(jobs)]


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


def _shared(jobs: Sequence[Job], count: int) -> dict[int, Drawing | None]:
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


def _take(jobs: Sequence[Job], following: Any) -> dict[int, Drawing | None]:
    """Draw the next job until none is left, or one fails."""
    done: dict[int, Drawing | None] = {}
    while True:
        with following.get_lock():
            index = following.value
            following.value += 1
        if index >= len(jobs):
            return done
        try:
            done[index] = jobs[index]()
        except Exception:
            return done  # drawn again by the parent, where the error is seen
