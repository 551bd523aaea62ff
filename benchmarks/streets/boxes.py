"""Boxes of the street scenes: one around what can be seen of each car, person, sign and tree.

They come from the scene's objects, not from the class labels: two cars side by side are two boxes. They are cached in
a file of their own beside the images of their split, which are the same with and without boxes.
"""

import contextlib
import os
import uuid
import zipfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from gkdbench.errors import DataError
from gkdbench.spec.objects import Objects

from .cache import split_name
from .canvas import OVERSAMPLING, Scene
from .parts import PART_INDEX
from .render import laid_out

BOXES = 1
"""Raise it when any box changes: caches and published numbers depend on it."""
OBJECT_CLASSES: tuple[str, ...] = ("car", "person", "sign", "tree")
_TOLD_BY = {"body": "car", "torso": "person", "plate": "sign", "trunk": "tree"}
"""The part that tells what an object is: no other kind of object has it."""
SMALLEST_PX = 16.0
"""Visible area in pixels below which an object is difficult: it counts neither as found nor as missed."""
_COLUMNS = 7
"""Of the cached table: image, x0, y0, x1, y1, class, difficult."""

Progress = Callable[[int, int], None]


def objects_of(scene: Scene) -> Objects:
    """Return the boxes of a scene in pixels of its image, in the order in which the objects were placed.

    A box holds all that can be seen of its object. One that is wholly hidden has none.
    """
    classes = np.full(int(scene.group.max()) + 1, -1, np.int64)
    for part, name in _TOLD_BY.items():
        classes[scene.group[scene.part == PART_INDEX[part]]] = OBJECT_CLASSES.index(name)
    groups = scene.group.take(scene.ids)
    rows, columns = np.nonzero(classes.take(groups) >= 0)
    order, of_pixel = np.unique(groups[rows, columns], return_inverse=True)
    low = np.full((len(order), 2), np.iinfo(np.int64).max)
    high = np.zeros((len(order), 2), np.int64)
    for axis, values in enumerate((columns, rows)):
        np.minimum.at(low[:, axis], of_pixel, values)
        np.maximum.at(high[:, axis], of_pixel, values + 1)
    areas = np.bincount(of_pixel, minlength=len(order)) / OVERSAMPLING**2
    boxes = (np.concatenate([low, high], axis=1) / OVERSAMPLING).astype(np.float32)
    return Objects(boxes, classes[order], areas < SMALLEST_PX)


class BoxedSplit:
    """The boxes of a split's images."""

    def __init__(self, table: NDArray[np.float32], count: int) -> None:
        self._table = table
        self._starts = np.searchsorted(table[:, 0], np.arange(count + 1))

    def objects(self, index: int) -> Objects:
        """Return the boxes of an image."""
        rows = self._table[self._starts[index] : self._starts[index + 1]]
        return Objects(rows[:, 1:5].copy(), rows[:, 5].astype(np.int64), rows[:, 6] > 0)


def boxed_split(root: Path, kind: str, seed: int, count: int, *, progress: Progress | None = None) -> BoxedSplit:
    """Return the boxes of images 0..count-1 of the split (kind, seed), laying the scenes out if they are not there."""
    path = root / split_name(kind, seed, count) / f"boxes-{BOXES}.npy"
    table = _opened(path)
    if table is None:
        table = _laid_out(kind, seed, count, progress)
        _write(path, table)
    return BoxedSplit(table, count)


def _opened(path: Path) -> NDArray[np.float32] | None:
    """Read a table, or return None where it is missing or not what it should be."""
    try:
        table = np.load(path, allow_pickle=False)
    except (OSError, ValueError, EOFError, zipfile.BadZipFile):
        return None
    if not isinstance(table, np.ndarray):  # an archive of several
        return None
    return table if table.dtype == np.float32 and table.ndim == 2 and table.shape[1] == _COLUMNS else None


def _laid_out(kind: str, seed: int, count: int, progress: Progress | None) -> NDArray[np.float32]:
    parts = []
    for index in range(count):
        found = objects_of(laid_out(kind, seed, index))
        numbers = np.full(len(found), index)
        parts.append(np.column_stack([numbers, found.boxes, found.labels, found.difficult]).astype(np.float32))
        if progress is not None:
            progress(index + 1, count)
    return np.concatenate(parts).reshape(-1, _COLUMNS)


def _write(path: Path, table: NDArray[np.float32]) -> None:
    partial = path.with_name(f"{path.name}.{uuid.uuid4().hex}.partial")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with partial.open("wb") as file:
            np.save(file, table, allow_pickle=False)
            file.flush()
            os.fsync(file.fileno())
        partial.replace(path)
    except OSError as error:
        raise DataError(f"cannot keep the boxes of the rendered scenes in {path}: {error.strerror or error}") from error
    finally:
        with contextlib.suppress(OSError):  # where nothing can be written there is nothing to remove
            partial.unlink(missing_ok=True)
