"""What average precision is computed from: every image's detections beside the objects they overlap.

`BoxCollection` takes one image after the other and keeps a score, a class and an area per detection, a class, an area
and a flag per object, and the few pairs of both that overlap by half; it keeps no box and no picture, so an
evaluation holds some thirty bytes per detection. `average_precision` judges what it holds.

Order: the images' as they were added, and within an image the detections' from the highest score down, equal scores
in the order given. All sorting is stable, so this order decides between equal scores everywhere.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from gkdbench.spec.objects import Detections, Objects

OVERLAP = 0.5
"""The least overlap that any threshold asks for."""

Bools = NDArray[np.bool_]
Floats = NDArray[np.float64]
Indices = NDArray[np.int64]


@dataclass(frozen=True)
class Overlaps:
    """Detections and objects of a split, and the pairs of one image and class that overlap by half at least."""

    images: int
    classes: int
    image: Indices
    """[n] the image of each detection, in ascending order."""
    label: Indices
    """[n] its class."""
    score: Floats
    """[n] descending within an image."""
    area: Floats
    """[n] in square pixels."""
    object_label: Indices
    """[m]"""
    object_area: Floats
    """[m]"""
    difficult: Bools
    """[m]"""
    found: Indices
    """[p] the detection of each pair, in ascending order."""
    truth: Indices
    """[p] its object, in ascending order per detection."""
    iou: Floats
    """[p] intersection over union."""
    inside: Floats
    """[p] intersection over the detection's area; a pair with a difficult object may overlap by half in this alone."""

    def positives(self) -> Indices:
        """Count the objects of each class that are not difficult, [classes]."""
        return np.bincount(self.object_label[~self.difficult], minlength=self.classes)

    def never_detected(self) -> tuple[int, ...]:
        """Return the classes that have objects to find and no detection at all."""
        detections = np.bincount(self.label, minlength=self.classes)
        return tuple(int(i) for i in np.flatnonzero((self.positives() > 0) & (detections == 0)))


class BoxCollection:
    """Collects images' objects and detections of K classes as far as average precision needs them."""

    def __init__(self, classes: int) -> None:
        self.classes = classes
        self._detections: list[tuple[NDArray[np.int32], NDArray[np.floating], Floats]] = []
        self._objects: list[tuple[NDArray[np.int32], Floats, Bools]] = []
        self._pairs: list[tuple[Indices, Indices, Floats, Floats]] = []
        self._seen = self._truths = 0

    def __len__(self) -> int:
        return len(self._detections)

    def add(self, objects: Objects, detections: Detections) -> None:
        """Add the next image.

        Raises:
            ValueError: a label is no class of the K, or a box or score is not a number.
        """
        self._check(objects.labels, objects.boxes)
        self._check(detections.labels, detections.boxes, detections.scores)
        best = np.argsort(-detections.scores, kind="stable")
        boxes = detections.boxes[best].astype(np.float64)
        truths = objects.boxes.astype(np.float64)
        labels = detections.labels[best]
        areas, truth_areas = _areas(boxes), _areas(truths)
        found, truth = np.nonzero(labels[:, None] == objects.labels)
        if len(found):
            found, truth, iou, inside = _overlapping(boxes, truths, areas, truth_areas, found, truth, objects.difficult)
            self._pairs.append((found + self._seen, truth + self._truths, iou, inside))
        self._detections.append((labels.astype(np.int32), detections.scores[best], areas))
        self._objects.append((objects.labels.astype(np.int32), truth_areas, objects.difficult.copy()))
        self._seen += len(detections)
        self._truths += len(objects)

    def overlaps(self) -> Overlaps:
        """Return what was collected so far, of all images together."""
        return Overlaps(
            images=len(self),
            classes=self.classes,
            image=np.repeat(np.arange(len(self)), [len(labels) for labels, *_ in self._detections]),
            label=_joined(self._detections, 0, np.int64),
            score=_joined(self._detections, 1, np.float64),
            area=_joined(self._detections, 2, np.float64),
            object_label=_joined(self._objects, 0, np.int64),
            object_area=_joined(self._objects, 1, np.float64),
            difficult=_joined(self._objects, 2, np.bool_),
            found=_joined(self._pairs, 0, np.int64),
            truth=_joined(self._pairs, 1, np.int64),
            iou=_joined(self._pairs, 2, np.float64),
            inside=_joined(self._pairs, 3, np.float64),
        )

    def _check(self, labels: NDArray[np.int64], *numbers: NDArray[np.floating]) -> None:
        if len(labels) and not 0 <= labels.min() <= labels.max() < self.classes:
            raise ValueError(f"image {len(self)}: labels {labels.min()} to {labels.max()} for {self.classes} classes")
        if not all(np.isfinite(values).all() for values in numbers):
            raise ValueError(f"image {len(self)}: a box or a score is not a number")


def _areas(boxes: Floats) -> Floats:
    return (boxes[:, 2] - boxes[:, 0]) * (boxes[:, 3] - boxes[:, 1])


def _overlapping(
    boxes: Floats, truths: Floats, areas: Floats, truth_areas: Floats, found: Indices, truth: Indices, difficult: Bools
) -> tuple[Indices, Indices, Floats, Floats]:
    """Return those of the pairs that overlap by half, with both overlaps."""
    a, b = boxes[found], truths[truth]
    size = np.minimum(a[:, 2:], b[:, 2:]) - np.maximum(a[:, :2], b[:, :2])
    meet = (size > 0).all(1)
    found, truth = found[meet], truth[meet]
    common = size[meet].prod(1)
    iou = common / (areas[found] + truth_areas[truth] - common)
    inside = common / areas[found]
    kept = (iou >= OVERLAP) | (difficult[truth] & (inside >= OVERLAP))
    return found[kept], truth[kept], iou[kept], inside[kept]


def _joined(rows: Sequence[tuple[NDArray[Any], ...]], column: int, kind: type[np.generic]) -> NDArray[Any]:
    return np.concatenate([row[column] for row in rows]).astype(kind) if rows else np.empty(0, kind)
