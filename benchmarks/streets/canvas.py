"""A canvas of primitives: polygons and ellipses are queued, then painted far to near as numbers.

The canvas holds no colours. Every pixel holds the number of the primitive it shows, and part,
object and depth are look-ups by that number, so that a style knows all of them exactly.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TypeVar

import cv2
import numpy as np
from numpy.typing import NDArray

from .parts import PART_INDEX

SIZE = (64, 128)  # height, width of an image
OVERSAMPLING = 2
HEIGHT_PX, WIDTH_PX = SIZE[0] * OVERSAMPLING, SIZE[1] * OVERSAMPLING
FARTHEST = 200.0
_LIMIT_PX = 4000.0  # fillPoly overflows far outside of the canvas

Point = tuple[float, float]
Value = TypeVar("Value", bound=np.generic)


@dataclass(frozen=True)
class Scene:
    """A painted canvas: primitive numbers by pixel, and part, object and depth by primitive."""

    ids: NDArray[np.intp]  # [HEIGHT_PX, WIDTH_PX]
    part: NDArray[np.uint8]  # [primitives]
    group: NDArray[np.intp]  # [primitives]; primitives of one object share a number
    depth: NDArray[np.float32]  # [HEIGHT_PX, WIDTH_PX]

    @property
    def parts(self) -> NDArray[np.uint8]:
        """Part numbers at full resolution."""
        return self.part.take(self.ids)


def subsample(values: NDArray[Value]) -> NDArray[Value]:
    """Bring labels or depth from the canvas to the image grid without mixing neighbours."""
    return np.ascontiguousarray(values[1::OVERSAMPLING, 1::OVERSAMPLING])


def rectangle(x0: float, y0: float, x1: float, y1: float) -> list[Point]:
    """Return the corners of an upright rectangle."""
    return [(x0, y0), (x1, y0), (x1, y1), (x0, y1)]


class Canvas:
    """Collects primitives and paints them; the background is sky at the farthest depth."""

    def __init__(self) -> None:
        self._ids = np.zeros((HEIGHT_PX, WIDTH_PX), np.int32)
        self._part = [PART_INDEX["sky"]]
        self._group = [0]
        self._depth = [FARTHEST]
        self._groups = 0
        # depth, part, points (for an ellipse: centre and semi-axes), is ellipse, group
        self._queue: list[tuple[float, int, Sequence[Point], bool, int]] = []

    def new_group(self) -> int:
        """Start an object: its primitives get one colour variation."""
        self._groups += 1
        return self._groups

    def polygon(self, depth: float, part: str, points: Sequence[Point], group: int) -> None:
        """Queue a filled polygon."""
        self._queue.append((depth, PART_INDEX[part], points, False, group))

    def ellipse(self, depth: float, part: str, centre: Point, axes: Point, group: int) -> None:
        """Queue a filled upright ellipse with the given semi-axes."""
        self._queue.append((depth, PART_INDEX[part], (centre, axes), True, group))

    def paint(self) -> None:
        """Paint what is queued, far to near; of equal depths the later one covers the earlier."""
        queue = sorted(self._queue, key=lambda item: -item[0])
        self._queue = []
        if not queue:
            return
        # One rounding for all points: per primitive it would be most of the cost.
        flat = np.array([point for item in queue for point in item[2]], np.float64)
        flat = np.rint(np.clip(flat, -_LIMIT_PX, _LIMIT_PX)).astype(np.int32)
        start = 0
        for depth, part, points, is_ellipse, group in queue:
            number = len(self._part)
            self._part.append(part)
            self._depth.append(depth)
            self._group.append(group)
            end = start + len(points)
            if is_ellipse:
                (x, y), (rx, ry) = flat[start:end].tolist()
                axes = (max(rx, 1), max(ry, 1))
                cv2.ellipse(self._ids, (x, y), axes, 0, 0, 360, (number,), -1)
            else:
                cv2.fillPoly(self._ids, [flat[start:end]], (number,))
            start = end

    def scene(
        self,
        ground: tuple[float, float] | None = None,
        depth_rows: NDArray[np.float32] | None = None,
    ) -> Scene:
        """Finish; primitives whose depth lies in `ground` get that of their rows instead."""
        self.paint()
        ids = self._ids.astype(np.intp)
        of_primitive = np.array(self._depth, np.float32)
        depth = of_primitive.take(ids)
        if ground is not None and depth_rows is not None:
            is_ground = (of_primitive >= ground[0]) & (of_primitive <= ground[1])
            depth = np.where(is_ground.take(ids), depth_rows[:, None], depth)
        return Scene(ids, np.array(self._part, np.uint8), np.array(self._group, np.intp), depth)
