"""COCO's average precision and recall of boxes, equal to pycocotools' on the same input.

Ten IoU thresholds .50:.05:.95, precision at 101 recalls, 1, 10 or 100 detections per image and class, and ranges of
area. In an image and class, each detection from the highest score down takes the free object with the highest IoU
from the threshold on (equal IoUs: the last); only where there is none does it take one that is to be ignored, and is
ignored itself. So is a detection without a match whose area lies outside the range.

A difficult object is COCO's `iscrowd`: it is to be ignored, any number of detections may match it, and its overlap
with one is the intersection over the detection's area. It is the only flag of this kind that pycocotools and
torchmetrics heed for boxes (pycocotools overwrites `ignore`). VOC's own rule ignores less: there a box well inside a
much larger difficult one is a false positive. An object outside the range of area is ignored too, but matches once,
by IoU.

An object's area is its box's. COCO's own files give the area of its mask, which moves some objects from one range to
the next; the figures that name no range do not depend on it.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from gkdbench.detection.average_precision import Bools, Floats, Indices, Overlaps, mean_over_classes

THRESHOLDS = np.linspace(0.5, 0.95, 10)
RECALLS = np.linspace(0, 1, 101)
LIMITS = (1, 10, 100)
"""Detections per image and class."""
AREAS = {"all": (0.0, 1e10), "small": (0.0, 32.0**2), "medium": (32.0**2, 96.0**2), "large": (96.0**2, 1e10)}
"""Square pixels, both ends included."""


@dataclass(frozen=True)
class CocoScore:
    """COCO's figures as fractions, each a mean over the classes that have objects of its range; nan where none has."""

    ap: float
    ap50: float
    ap75: float
    ap_small: float
    ap_medium: float
    ap_large: float
    ar_1: float
    ar_10: float
    ar_100: float
    ar_small: float
    ar_medium: float
    ar_large: float
    per_class: Floats
    """[K] AP; nan where a class has no object that counts."""
    per_class_50: Floats
    """[K] likewise, at IoU 0.5."""
    in_mean: int
    """Classes that have one."""


@dataclass(frozen=True)
class _Ranked:
    """Detections that COCO looks at, class after class, each from the highest score down."""

    order: Indices
    """[d] their index among all."""
    ends: Indices
    """[K]"""
    rank: Indices
    """[d] place within its image and class, from 0."""


def coco_score(overlaps: Overlaps) -> CocoScore:
    """Compute COCO's figures."""
    ranked = _ranked(overlaps)
    precision, recall = {}, {}
    for name, limits in AREAS.items():
        counts = LIMITS if name == "all" else LIMITS[-1:]
        precision[name], recall[name] = _curves(overlaps, ranked, limits, counts)
    whole = precision["all"]
    per_class = whole.mean(1)
    ars = [mean_over_classes(column) for column in recall["all"].T]
    return CocoScore(
        ap=mean_over_classes(per_class),
        ap50=mean_over_classes(whole[:, 0]),
        ap75=mean_over_classes(whole[:, 5]),
        ap_small=mean_over_classes(precision["small"].mean(1)),
        ap_medium=mean_over_classes(precision["medium"].mean(1)),
        ap_large=mean_over_classes(precision["large"].mean(1)),
        ar_1=ars[0],
        ar_10=ars[1],
        ar_100=ars[2],
        ar_small=mean_over_classes(recall["small"][:, 0]),
        ar_medium=mean_over_classes(recall["medium"][:, 0]),
        ar_large=mean_over_classes(recall["large"][:, 0]),
        per_class=per_class,
        per_class_50=whole[:, 0],
        in_mean=int((~np.isnan(per_class)).sum()),
    )


def _ranked(overlaps: Overlaps) -> _Ranked:
    group = overlaps.image * overlaps.classes + overlaps.label
    together = group.argsort(kind="stable")
    starts = np.flatnonzero(np.diff(group[together], prepend=-1))
    rank = np.empty(len(group), np.int64)
    rank[together] = _places(starts, len(group))
    order = np.lexsort((-overlaps.score, overlaps.label))
    order = order[rank[order] < LIMITS[-1]]
    ends = np.bincount(overlaps.label[order], minlength=overlaps.classes).cumsum()
    return _Ranked(order, ends, rank[order])


def _curves(
    overlaps: Overlaps, ranked: _Ranked, limits: tuple[float, float], counts: tuple[int, ...]
) -> tuple[Floats, Floats]:
    """Return AP per class and threshold, [K, thresholds], and AR per class and count of detections, [K, counts]."""
    low, high = limits
    ignored = overlaps.difficult | (overlaps.object_area < low) | (overlaps.object_area > high)
    hit, aside = _matched(overlaps, ranked, ignored)
    outside = (overlaps.area < low) | (overlaps.area > high)
    hit, aside, outside = hit[ranked.order], aside[ranked.order], outside[ranked.order]
    counted = ~aside & (hit | ~outside[:, None])
    positives = np.bincount(overlaps.object_label[~ignored], minlength=overlaps.classes)
    precision = np.full((overlaps.classes, len(THRESHOLDS)), np.nan)
    recall = np.full((overlaps.classes, len(counts)), np.nan)
    start = 0
    for k, end in enumerate(ranked.ends):
        if positives[k]:
            hits, before = hit[start:end], counted[start:end].cumsum(0)
            precision[k] = [_average(hits[:, t], before[:, t], positives[k]) for t in range(len(THRESHOLDS))]
            for column, count in enumerate(counts):
                recall[k, column] = hits[ranked.rank[start:end] < count].sum(0).mean() / positives[k]
        start = end
    return precision, recall


def _average(hits: Bools, counted: Indices, positives: int) -> float:
    """Return the mean precision at RECALLS; between hits precision only falls, so only hits matter."""
    places = np.flatnonzero(hits)
    found = np.arange(1, len(places) + 1)
    best = np.maximum.accumulate((found / counted[places])[::-1])[::-1]
    return float(np.append(best, 0.0)[np.searchsorted(found / positives, RECALLS)].mean())


def _matched(overlaps: Overlaps, ranked: _Ranked, ignored: Bools) -> tuple[Bools, Bools]:
    """Return which detections found an object, and which one that is to be ignored, [n, thresholds] each.

    Images and classes do not concern each other, so the first detection of all of them chooses at once, then the
    second. One choosing looks at its objects in the order in which it prefers them, and takes the first that is free.
    """
    hit = np.zeros((len(overlaps.label), len(THRESHOLDS)), np.bool_)
    aside, taken = np.zeros_like(hit), np.zeros((len(ignored), len(THRESHOLDS)), np.bool_)
    rank = np.full(len(overlaps.label), LIMITS[-1])
    rank[ranked.order] = ranked.rank
    overlap = np.where(overlaps.difficult[overlaps.truth], overlaps.inside, overlaps.iou)
    pairs = np.flatnonzero(rank[overlaps.found] < LIMITS[-1])
    found, truth = overlaps.found[pairs], overlaps.truth[pairs]
    pairs = pairs[np.lexsort((-truth, -overlap[pairs], ignored[truth], found))]
    for turn in _turns(overlaps.found[pairs], rank):
        d, g, value = overlaps.found[pairs[turn]], overlaps.truth[pairs[turn]], overlap[pairs[turn]]
        free = ~taken[g] | overlaps.difficult[g][:, None]
        takes = free & (value[:, None] >= THRESHOLDS) & ~hit[d] & ~aside[d]
        taken[g] |= takes
        hit[d] |= takes & ~ignored[g][:, None]
        aside[d] |= takes & ignored[g][:, None]
    return hit, aside


def _turns(found: Indices, rank: NDArray[np.int64]) -> list[Indices]:
    """Split pairs, which stand together by detection, by the detection's rank, then by their place within it."""
    if not len(found):
        return []
    place = _places(np.flatnonzero(np.diff(found, prepend=-1)), len(found))
    turn = rank[found] * (place.max() + 1) + place
    order = turn.argsort(kind="stable")
    return np.split(order, np.flatnonzero(np.diff(turn[order])) + 1)


def _places(starts: Indices, length: int) -> Indices:
    """Count from 0 within each run of `length` entries that begin at `starts`."""
    return np.arange(length) - np.repeat(starts, np.diff(starts, append=length))
