"""What was rendered, on disk: arrays that are made once, then memory-mapped.

A split's folder is named by a digest of everything that its pictures depend on. Files are plain `.npy`.
"""

import hashlib
import json
import multiprocessing
import os
import signal
import zipfile
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from filelock import FileLock
from numpy.typing import NDArray

from gkdbench.data.files.whole import told, write_whole
from gkdbench.errors import DataError, UsageError

from .render import KINDS, RENDERER, SIZE, class_labels, render

Progress = Callable[[int, int], None]
Arrays = dict[str, NDArray[Any]]

_CHUNK = 40  # images per piece of work: a fifth of a second, so that Ctrl-C is heard
_PARALLEL_FROM = 200  # below it, starting processes takes longer than rendering
_MOST_WORKERS = 4
_WHAT = "rendered scenes"


@dataclass(frozen=True)
class RenderedSplit:
    """The images and class labels of a split, mapped from disk and read-only."""

    images: NDArray[np.uint8]  # [n, 64, 128, 3]
    labels: NDArray[np.uint8]  # [n, 64, 128], 255 = ignore

    def __len__(self) -> int:
        return len(self.images)


def rendered_split(
    root: Path, kind: str, seed: int, count: int, *, workers: int | None = None, progress: Progress | None = None
) -> RenderedSplit:
    """Return images 0..count-1 of the split (kind, seed), rendering them if they are not there.

    `progress` is called with (images done, images in all) while rendering.
    """
    if kind not in KINDS:
        raise UsageError(f"unknown kind of street scenes {kind!r}; known: {', '.join(KINDS)}")
    if count < 1 or seed < 0:
        raise UsageError(f"{kind}: count must be positive and seed not negative: {count}, {seed}")
    shapes = {"images": (count, *SIZE, 3), "labels": (count, *SIZE)}

    def draw() -> Arrays:
        arrays = {name: np.empty(shape, np.uint8) for name, shape in shapes.items()}
        for start, images, labels in _rendered(kind, seed, count, workers):
            end = start + len(images)
            arrays["images"][start:end], arrays["labels"][start:end] = images, labels
            if progress is not None:
                progress(end, count)
        return arrays

    def fits(arrays: Arrays) -> bool:
        return all(arrays[name].shape == shapes[name] and arrays[name].dtype == np.uint8 for name in shapes)

    return RenderedSplit(**kept(root / split_name(kind, seed, count), ("images", "labels"), fits, draw))


def split_name(kind: str, seed: int, count: int) -> str:
    """Return the name of a split's folder."""
    identity = json.dumps([RENDERER, kind, seed, count, SIZE])
    return f"{kind}-{hashlib.sha256(identity.encode()).hexdigest()[:16]}"


def kept(folder: Path, names: tuple[str, ...], fits: Callable[[Arrays], bool], make: Callable[[], Arrays]) -> Arrays:
    """Return the arrays NAME.npy of a folder; they are made where one is missing, damaged or does not fit.

    Of several processes that want the same, one makes them and the others wait.
    """
    arrays = _mapped(folder, names, fits)
    if arrays is not None:
        return arrays
    with told(folder, _WHAT):
        folder.mkdir(parents=True, exist_ok=True)
        with FileLock(folder.with_name(f"{folder.name}.lock")):
            arrays = _mapped(folder, names, fits)
            if arrays is None:
                for left in folder.glob(".*.tmp"):  # by a process that was killed, since nobody else is here
                    left.unlink()
                for name, array in make().items():
                    write_whole(folder / f"{name}.npy", partial(np.save, arr=array, allow_pickle=False), _WHAT)
                arrays = _mapped(folder, names, fits)
    if arrays is None:
        raise DataError(f"the rendered scenes in {folder} cannot be read back; delete the folder")
    return arrays


def _mapped(folder: Path, names: tuple[str, ...], fits: Callable[[Arrays], bool]) -> Arrays | None:
    try:
        arrays = {name: np.load(folder / f"{name}.npy", mmap_mode="r", allow_pickle=False) for name in names}
    except (OSError, ValueError, EOFError, zipfile.BadZipFile):  # missing, truncated, or no array at all
        return None
    whole = all(isinstance(array, np.ndarray) for array in arrays.values())  # and no archive of several
    return arrays if whole and fits(arrays) else None


def _rendered(
    kind: str, seed: int, count: int, workers: int | None
) -> Iterator[tuple[int, NDArray[np.uint8], NDArray[np.uint8]]]:
    """Render chunk after chunk, in order, in this process or in several."""
    if workers is None:
        workers = min(_MOST_WORKERS, os.cpu_count() or 1)
    jobs = [(kind, seed, start, min(start + _CHUNK, count)) for start in range(0, count, _CHUNK)]
    finished = 0
    if workers > 1 and count > _PARALLEL_FROM:
        # Not forked: the caller may hold threads (torch, OpenMP) that do not survive it.
        context = multiprocessing.get_context("spawn")
        pool = ProcessPoolExecutor(workers, mp_context=context, initializer=_prepare_worker)
        try:
            for chunk in pool.map(_render_chunk, jobs):
                finished += 1
                yield chunk
        except BrokenProcessPool:
            pass  # a main script without a guard, or a worker killed for memory: go on alone
        finally:
            pool.shutdown(wait=True, cancel_futures=True)
    for job in jobs[finished:]:
        yield _render_chunk(job)


def _prepare_worker() -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the parent decides
    cv2.setNumThreads(1)


def _render_chunk(job: tuple[str, int, int, int]) -> tuple[int, NDArray[np.uint8], NDArray[np.uint8]]:
    kind, seed, start, end = job
    rendered = [render(kind, seed, index) for index in range(start, end)]
    return start, np.stack([one.image for one in rendered]), np.stack([class_labels(one.parts) for one in rendered])
