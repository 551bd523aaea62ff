"""Rendered splits on disk: rendered once, then memory-mapped.

The files are plain uncompressed `.npy`, in a folder named by a digest of everything the pictures
depend on. Each is written under a temporary name and renamed when complete, so that two processes
may render the same split at once and a killed one leaves nothing that looks finished.
"""

import hashlib
import json
import multiprocessing
import os
import shutil
import signal
import time
import uuid
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from gkdbench.errors import DataError, UsageError

from .render import KINDS, RENDERER, SIZE, class_labels, render

Progress = Callable[[int, int], None]
_Chunk = tuple[NDArray[np.uint8], NDArray[np.uint8]]

_CHUNK = 40  # images per piece of work: a fifth of a second, so that Ctrl-C is heard
_PARALLEL_FROM = 200  # below it, starting processes takes longer than rendering
_MOST_WORKERS = 4
_SPARE_BYTES = 32 * 2**20
_STALE_S = 6 * 3600


@dataclass(frozen=True)
class RenderedSplit:
    """The images and class labels of a split, mapped from disk and read-only."""

    images: NDArray[np.uint8]  # [n, 64, 128, 3]
    labels: NDArray[np.uint8]  # [n, 64, 128], 255 = ignore

    def __len__(self) -> int:
        return len(self.images)


def rendered_split(
    root: Path,
    kind: str,
    seed: int,
    count: int,
    *,
    workers: int | None = None,
    progress: Progress | None = None,
) -> RenderedSplit:
    """Return images 0..count-1 of the split (kind, seed), rendering them if they are not there.

    `progress` is called with (images done, images in all) while rendering.
    """
    if kind not in KINDS:
        raise UsageError(f"unknown kind of street scenes {kind!r}; known: {', '.join(KINDS)}")
    if count < 1 or seed < 0:
        raise UsageError(f"{kind}: count must be positive and seed not negative: {count}, {seed}")
    folder = root / split_name(kind, seed, count)
    split = _opened(folder, count)
    if split is not None:
        return split
    try:
        folder.mkdir(parents=True, exist_ok=True)
        _check_space(folder, count)
        _write(folder, kind, seed, count, workers, progress)
    except OSError as error:
        reason = error.strerror or str(error)
        raise DataError(f"cannot keep the rendered scenes in {folder}: {reason}") from error
    split = _opened(folder, count)
    if split is None:
        raise DataError(f"the rendered scenes in {folder} cannot be read back; delete the folder")
    return split


def split_name(kind: str, seed: int, count: int) -> str:
    """Return the name of a split's folder."""
    identity = json.dumps([RENDERER, kind, seed, count, SIZE])
    return f"{kind}-{hashlib.sha256(identity.encode()).hexdigest()[:16]}"


def _opened(folder: Path, count: int) -> RenderedSplit | None:
    """Map the two files, or return None if one is missing, truncated or not what it should be."""
    mapped = []
    for name, shape in _shapes(count).items():
        path = folder / name
        try:
            array = np.load(path, mmap_mode="r", allow_pickle=False)
            complete = path.stat().st_size == array.offset + array.nbytes
        except (OSError, ValueError, EOFError, AttributeError):
            return None
        if not complete or array.shape != shape or array.dtype != np.uint8:
            return None
        mapped.append(array)
    return RenderedSplit(mapped[0], mapped[1])


def _shapes(count: int) -> dict[str, tuple[int, ...]]:
    return {"images.npy": (count, *SIZE, 3), "labels.npy": (count, *SIZE)}


def _check_space(folder: Path, count: int) -> None:
    needed = count * SIZE[0] * SIZE[1] * 4 + _SPARE_BYTES
    free = shutil.disk_usage(folder).free
    if free < needed:
        raise DataError(
            f"not enough space for the rendered scenes in {folder}: "
            f"{needed / 2**20:.0f} MiB needed, {free / 2**20:.0f} MiB free"
        )


def _write(
    folder: Path,
    kind: str,
    seed: int,
    count: int,
    workers: int | None,
    progress: Progress | None,
) -> None:
    _remove_stale(folder)
    mark = uuid.uuid4().hex
    partial = {name: folder / f"{name}.{mark}.partial" for name in _shapes(count)}
    try:
        # Written as a stream, not through a map: a full disk is then an error, not a crash.
        with ExitStack() as stack:
            files = [stack.enter_context(path.open("wb")) for path in partial.values()]
            for file, shape in zip(files, _shapes(count).values(), strict=True):
                header = {"descr": "|u1", "fortran_order": False, "shape": shape}
                np.lib.format.write_array_header_1_0(file, header)
            done = 0
            for chunk in _rendered(kind, seed, count, workers):
                for file, array in zip(files, chunk, strict=True):
                    file.write(array.data)
                done += len(chunk[0])
                if progress is not None:
                    progress(done, count)
            for file in files:
                file.flush()
                os.fsync(file.fileno())
        for name, path in partial.items():
            path.replace(folder / name)
    finally:
        for path in partial.values():
            path.unlink(missing_ok=True)


def _remove_stale(folder: Path) -> None:
    """Remove what killed processes left; a running one has touched its files recently."""
    for path in folder.glob("*.partial"):
        try:
            if time.time() - path.stat().st_mtime > _STALE_S:
                path.unlink(missing_ok=True)
        except FileNotFoundError:  # renamed or removed by its owner just now
            continue


def _rendered(kind: str, seed: int, count: int, workers: int | None) -> Iterator[_Chunk]:
    """Render chunk after chunk, in order, in this process or in several."""
    if workers is None:
        workers = min(_MOST_WORKERS, os.cpu_count() or 1)
    starts = range(0, count, _CHUNK)
    jobs = [(kind, seed, start, min(start + _CHUNK, count)) for start in starts]
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


def _render_chunk(job: tuple[str, int, int, int]) -> _Chunk:
    kind, seed, start, end = job
    rendered = [render(kind, seed, index) for index in range(start, end)]
    images = np.stack([one.image for one in rendered])
    return images, np.stack([class_labels(one.parts) for one in rendered])
