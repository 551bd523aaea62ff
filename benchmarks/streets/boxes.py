"""Boxes of the street scenes: one around what can be seen of each car, person, sign and tree.

They come from the scene's objects, not from the class labels: two cars side by side are two boxes. They are cached in
a file of their own beside the images of their split, which are the same with and without boxes.
"""

from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from gkdbench.spec.objects import Objects

from .cache import Arrays, Progress, kept, split_name
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
        return Objects(np.array(rows[:, 1:5]), rows[:, 5].astype(np.int64), rows[:, 6] > 0)


def boxed_split(root: Path, kind: str, seed: int, count: int, *, progress: Progress | None = None) -> BoxedSplit:
    """Return the boxes of images 0..count-1 of the split (kind, seed), laying the scenes out if they are not there."""
    name = f"boxes-{BOXES}"

    def lay_out() -> Arrays:
        rows = []
        for index in range(count):
            found = objects_of(laid_out(kind, seed, index))
            numbers = np.full(len(found), index)
            rows.append(np.column_stack([numbers, found.boxes, found.labels, found.difficult]).astype(np.float32))
            if progress is not None:
                progress(index + 1, count)
        return {name: np.concatenate(rows).reshape(-1, _COLUMNS)}

    def fits(arrays: Arrays) -> bool:
        table = arrays[name]
        return table.dtype == np.float32 and table.ndim == 2 and table.shape[1] == _COLUMNS

    folder = root / split_name(kind, seed, count)
    return BoxedSplit(kept(folder, (name,), fits, lay_out)[name], count)
