"""Looking at the images of a split before training on them: sizes, label coverage, class frequencies, bad files."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from gkdbench.data.checking.boxes import BoxCounts, BoxTally, box_counts
from gkdbench.data.dataset import Dataset, Image
from gkdbench.errors import DataError

EXAMPLES = 5


def spread(length: int, count: int) -> list[int]:
    """Return up to `count` indices spread evenly over a split."""
    if length <= count:
        return list(range(length))
    return [int(i) for i in np.linspace(0, length - 1, count).round()]


@dataclass(frozen=True)
class Reading:
    """What an image and its label were found to be."""

    index: int
    size: tuple[int, int] | None
    """Height and width; None where something cannot be read."""
    pixels: dict[int, int] | None
    """Pixels by class index or ignore value; None where there is no label."""
    problem: str | None = None
    boxes: BoxCounts | None = None
    """None where the split has no boxes."""


def read(dataset: Dataset, index: int, *, labelled: bool) -> tuple[Image, Image | None]:
    """Return an image [H, W, 3] and its class indices [H, W], each file decoded once; DataError where one is bad."""
    if not labelled:
        return dataset.image(index), None
    image, raw = dataset.pair(index)
    return image, None if raw is None else dataset.mapped(raw, index)


def reading(dataset: Dataset, index: int, *, labelled: bool) -> Reading:
    """Read an image and its label, and keep what a check asks about them."""
    try:
        image, labels = read(dataset, index, labelled=labelled)
        size = (image.shape[0], image.shape[1])
        boxes = box_counts(dataset, index, size) if labelled else None
    except DataError as error:
        return Reading(index, None, None, str(error))
    if boxes is not None:
        return Reading(index, size, None, None, boxes)
    if labels is None:
        return Reading(index, size, None)
    counts = np.bincount(labels.ravel(), minlength=256)
    return Reading(index, size, {int(value): int(counts[value]) for value in np.flatnonzero(counts)})


class Tally:
    """What the images of a split add up to."""

    def __init__(self, dataset: Dataset, classes: Sequence[str], ignore: int) -> None:
        self.dataset, self.classes, self.ignore = dataset, classes, ignore
        self.read, self.labelled = 0, 0
        self.sizes: dict[tuple[int, int], int] = {}
        self.pixels: NDArray[np.int64] = np.zeros(256, np.int64)
        self.problems: list[str] = []
        self.empty = 0
        """Labels without a single labelled pixel."""
        self.empty_names: list[str] = []
        self.boxes = BoxTally()

    def add(self, found: Reading) -> None:
        """Count one image."""
        self.read += 1
        if found.problem is not None:
            self.problems.append(found.problem)
        if found.size is not None:
            self.sizes[found.size] = self.sizes.get(found.size, 0) + 1
        if found.boxes is not None:
            self.boxes.add(found.boxes, self.dataset.name(found.index))
        if found.pixels is None:
            return
        self.labelled += 1
        for value, count in found.pixels.items():
            self.pixels[value] += count
        if not any(value < len(self.classes) for value in found.pixels):
            self.empty += 1
            if len(self.empty_names) < EXAMPLES:
                self.empty_names.append(self.dataset.name(found.index))

    @property
    def all_empty(self) -> bool:
        """Whether labels were read and none has a labelled pixel."""
        return 0 < self.labelled == self.empty

    def facts(self) -> dict[str, Any]:
        """Return what was read, as JSON; `frequencies` are shares of the labelled pixels read."""
        known = self.pixels[: len(self.classes)]
        total = int(known.sum())
        return {
            "images": len(self.dataset),
            "read": self.read,
            "size": self._size(),
            "labelled": total / int(self.pixels.sum()) if self.labelled else None,
            "ignored_pixels": int(self.pixels[self.ignore]),
            "classes_seen": len(self.boxes.classes) if self.boxes.images else int((known > 0).sum()),
            "frequencies": {
                name: float(known[i] / total) if total else 0.0 for i, name in enumerate(self.classes)
            },
            "without_labelled_pixel": self.empty,
            "boxes": self.boxes.facts(self.classes) if self.boxes.images else None,
        }

    def _size(self) -> str:
        if not self.sizes:
            return ""
        height, width = max(self.sizes, key=lambda size: self.sizes[size])
        return f"{width}x{height}" + ("" if len(self.sizes) == 1 else " and others")
