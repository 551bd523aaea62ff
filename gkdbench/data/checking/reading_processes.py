"""Doing many small pieces of work in processes, and stopping between them when asked to."""

import multiprocessing
import os
import signal
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from typing import Any, TypeVar

import cv2

from gkdbench.errors import GkdbenchError

J = TypeVar("J")
R = TypeVar("R")

_CHUNK = 8
"""Jobs that go to a process at a time: what an interruption waits for is short."""
_task: Callable[[Any], Any]


def all_processors() -> int:
    """Return how many processors this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def results_of(task: Callable[[J], R], jobs: Sequence[J], workers: int, pause: Callable[[], None]) -> Iterator[R]:
    """Yield what a task makes of every job, in order; `pause` is called in between and may raise.

    With several workers the task goes to each of them once, pickled.
    """
    if workers <= 1:
        for job in jobs:
            pause()
            yield task(job)
        return
    # Not forked: the caller may hold threads that do not survive it.
    pool = ProcessPoolExecutor(workers, multiprocessing.get_context("spawn"), _prepare, (task,))
    try:
        for result in pool.map(_do, jobs, chunksize=_CHUNK):
            pause()
            yield result
    except BrokenProcessPool as error:
        raise GkdbenchError(
            "a reading process was ended, perhaps for want of memory; --workers 1 goes on with one"
        ) from error
    finally:
        pool.shutdown(cancel_futures=True)


def _prepare(task: Callable[[Any], Any]) -> None:
    global _task
    for told in (signal.SIGINT, signal.SIGTERM):  # schedulers tell the whole group, and the parent decides
        signal.signal(told, signal.SIG_IGN)
    cv2.setNumThreads(1)
    _task = task


def _do(job: Any) -> Any:
    return _task(job)
