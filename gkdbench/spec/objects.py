"""Boxes: what a detection benchmark labels and what a detector finds.

Coordinates are continuous pixels, x0, y0, x1, y1 with the origin at the image's upper left corner: a box around the
first pixel alone is (0, 0, 1, 1). VOC files count pixels from 1 and name the last one inside, so their
(xmin, ymin, xmax, ymax) is (xmin - 1, ymin - 1, xmax, ymax) here, and what VOC's evaluation calls the width,
xmax - xmin + 1, is x1 - x0. COCO's (x, y, width, height) is (x, y, x + width, y + height).
"""

from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True)
class Objects:
    """Labelled boxes of one image; there may be none."""

    boxes: NDArray[np.float32]  # [n, 4]
    labels: NDArray[np.int64]  # [n] class index
    difficult: NDArray[np.bool_]  # [n] counts neither as found nor as missed

    def __post_init__(self) -> None:
        _check(self.boxes, len(self.labels), len(self.difficult))

    def __len__(self) -> int:
        return len(self.labels)


@dataclass(frozen=True)
class Settled:
    """The boxes of an image that count, and what was done to the others."""

    objects: Objects
    beyond: int = 0
    """Boxes that reach up to a pixel beyond the image, left as they are."""
    clipped: int = 0
    """Boxes cut to the image, where that is asked for."""
    dropped: int = 0
    """Boxes without area or outside of the image, left out where that is asked for."""
    notes: tuple[str, ...] = field(default=(), repr=False)
    """Where these were."""


@dataclass(frozen=True)
class Detections:
    """Boxes that a detector found in one image."""

    boxes: NDArray[np.float32]  # [n, 4]
    labels: NDArray[np.int64]  # [n] class index
    scores: NDArray[np.float32]  # [n]

    def __post_init__(self) -> None:
        _check(self.boxes, len(self.labels), len(self.scores))

    def __len__(self) -> int:
        return len(self.labels)


def _check(boxes: NDArray[np.float32], *counts: int) -> None:
    if boxes.ndim != 2 or boxes.shape[1] != 4 or any(count != len(boxes) for count in counts):
        raise ValueError(f"boxes {boxes.shape} and {', '.join(map(str, counts))} labels do not belong together")
