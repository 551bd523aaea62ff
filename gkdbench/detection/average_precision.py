"""Average precision of boxes as VOC's development kit computes it, and as pycocotools does, on the same overlaps.

Of each class, the detections of all images stand in order of their scores, highest first (equal scores: in the order
of the images, and within an image as given). Each is a hit, a false positive, or counts as nothing; precision at a
recall is the best that is reached there or later.

VOC matches a detection to the object of its class and image with the highest IoU (equal IoUs: the first). From 0.5 on,
0.5 included, it is a hit if the object is not difficult and no detection before it was matched to it; a second match is
a false positive, even where another object would be free; a match to a difficult object counts as nothing. The MATLAB
kit compares `ovmax >= minoverlap`; the well-known Python port uses `>`, which differs at exactly 0.5 only; the kit's
rule is the one here. The kit counts pixels: a box is xmax - xmin + 1 wide. In the coordinates of `spec.objects`, where
x0 = xmin - 1 and x1 = xmax, that is x1 - x0, and its overlap is the plain IoU.

COCO asks at ten IoU thresholds, .50:.05:.95, reads precision at 101 recalls, looks at the 100 best detections per image
and class, and at ranges of area. In an image and class, each detection from the highest score down takes the free
object with the highest IoU from the threshold on (equal IoUs: the last); only where there is none does it take one that
is to be ignored, and is ignored itself. So is a detection without a match whose area lies outside the range. A
difficult object is COCO's `iscrowd`: it is to be ignored, any number of detections may match it, and its overlap with
one is the intersection over the detection's area. It is the only flag of this kind that pycocotools and torchmetrics
heed for boxes (pycocotools overwrites `ignore`). An object outside the range of area is ignored too, but matches once,
by IoU. An object's area is its box's; COCO's own files give the area of its mask, which moves some objects from one
range to the next.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from gkdbench.detection.overlaps import OVERLAP, Bools, Floats, Indices, Overlaps

POINTS = np.arange(11) * 0.1
"""Recalls of VOC2007, as the kit's loop counts them in doubles: recall 3/10 or 3/5 falls short of its point by a
rounding."""
THRESHOLDS = np.linspace(0.5, 0.95, 10)
RECALLS = np.linspace(0, 1, 101)
LIMIT = 100
"""Detections per image and class that COCO looks at."""
AREAS = {"all": (0.0, 1e10), "small": (0.0, 32.0**2), "medium": (32.0**2, 96.0**2), "large": (96.0**2, 1e10)}
"""Square pixels, both ends included."""


@dataclass(frozen=True)
class VocScore:
    """AP50 as fractions; means are over the classes that have an object that is not difficult, nan where none has."""

    ap: Floats
    """[K] area under the curve of precision over recall (VOC2010 and later); nan without an object that counts."""
    mean: float
    mean_11_point: float
    """With precision at recall 0, 0.1, ..., 1 in place of the area (VOC2007)."""
    in_mean: int
    """Classes that count."""


@dataclass(frozen=True)
class CocoScore:
    """COCO's figures as fractions, each a mean over the classes that have objects of its range; nan where none has."""

    ap: float
    ap50: float
    ap75: float
    ap_small: float
    ap_medium: float
    ap_large: float
    ar_100: float


def voc_score(overlaps: Overlaps) -> VocScore:
    """Compute AP50 as VOC defines it."""
    hit, nothing = _voc_matches(overlaps)
    positives = overlaps.positives()
    area, points = np.full((2, overlaps.classes), np.nan)
    for k, ranked in enumerate(_by_class(overlaps)):
        if positives[k]:
            recall, precision = _curve(hit[ranked], (~nothing[ranked]).cumsum(), positives[k])
            area[k] = precision.sum() / positives[k]
            points[k] = _mean_at(POINTS, recall, precision)
    return VocScore(area, _mean(area), _mean(points), int((positives > 0).sum()))


def coco_score(overlaps: Overlaps) -> CocoScore:
    """Compute COCO's figures."""
    rank = _rank(overlaps)
    by_class = [ranked[rank[ranked] < LIMIT] for ranked in _by_class(overlaps)]
    figures = {name: _coco_figures(overlaps, rank, by_class, area) for name, area in AREAS.items()}
    ap, recall = figures["all"]
    return CocoScore(
        ap=_mean(ap.mean(1)),
        ap50=_mean(ap[:, 0]),
        ap75=_mean(ap[:, 5]),
        ap_small=_mean(figures["small"][0].mean(1)),
        ap_medium=_mean(figures["medium"][0].mean(1)),
        ap_large=_mean(figures["large"][0].mean(1)),
        ar_100=_mean(recall),
    )


def _by_class(overlaps: Overlaps) -> list[Indices]:
    """Return each class's detections, from the highest score down."""
    order = np.lexsort((-overlaps.score, overlaps.label))
    return np.split(order, np.bincount(overlaps.label, minlength=overlaps.classes).cumsum()[:-1])


def _curve(hits: Bools, counted: Indices, positives: int) -> tuple[Floats, Floats]:
    """Return recall at each hit and the best precision there or later; between hits precision only falls.

    counted: for each detection, how many up to it count.
    """
    places = np.flatnonzero(hits)
    found = np.arange(1, len(places) + 1)
    return found / positives, np.maximum.accumulate((found / counted[places])[::-1])[::-1]


def _mean_at(recalls: NDArray[np.floating], recall: Floats, precision: Floats) -> float:
    """Return the mean precision at given recalls; it is 0 where one is not reached."""
    return float(np.append(precision, 0.0)[np.searchsorted(recall, recalls)].mean())


def _mean(values: Floats) -> float:
    """Return the mean of the classes that have a value; nan where none has."""
    held = values[~np.isnan(values)]
    return float(held.mean()) if len(held) else float("nan")


def _voc_matches(overlaps: Overlaps) -> tuple[Bools, Bools]:
    """Return which detections are hits, and which count as nothing, [n] each."""
    hit, nothing = np.zeros((2, len(overlaps.label)), np.bool_)
    near = np.flatnonzero(overlaps.iou >= OVERLAP)
    near = near[np.lexsort((overlaps.truth[near], -overlaps.iou[near], overlaps.found[near]))]
    # the first pair of each detection is that with the highest IoU
    found, first = np.unique(overlaps.found[near], return_index=True)
    truth = overlaps.truth[near][first]
    difficult = overlaps.difficult[truth]
    nothing[found[difficult]] = True
    found, truth = found[~difficult], truth[~difficult]
    # an object's detections are of one image, where the first has the highest score
    hit[found[np.unique(truth, return_index=True)[1]]] = True
    return hit, nothing


def _coco_figures(
    overlaps: Overlaps, rank: Indices, by_class: list[Indices], area: tuple[float, float]
) -> tuple[Floats, Floats]:
    """Return AP per class and threshold, [K, thresholds], and AR per class, [K]; nan without an object that counts."""
    low, high = area
    ignored = overlaps.difficult | (overlaps.object_area < low) | (overlaps.object_area > high)
    hit, aside = _coco_matches(overlaps, rank, ignored)
    outside = (overlaps.area < low) | (overlaps.area > high)
    counted = ~aside & (hit | ~outside[:, None])
    positives = np.bincount(overlaps.object_label[~ignored], minlength=overlaps.classes)
    ap = np.full((overlaps.classes, len(THRESHOLDS)), np.nan)
    ar = np.full(overlaps.classes, np.nan)
    for k in np.flatnonzero(positives):
        hits, before = hit[by_class[k]], counted[by_class[k]].cumsum(0)
        curves = [_curve(hits[:, t], before[:, t], positives[k]) for t in range(len(THRESHOLDS))]
        ap[k] = [_mean_at(RECALLS, *curve) for curve in curves]
        ar[k] = hits.sum(0).mean() / positives[k]
    return ap, ar


def _coco_matches(overlaps: Overlaps, rank: Indices, ignored: Bools) -> tuple[Bools, Bools]:
    """Return which detections found an object, and which one that is to be ignored, [n, thresholds] each.

    Images and classes do not concern each other, so the first detection of all of them chooses at once, then the
    second. One choosing looks at its objects in the order in which it prefers them, and takes the first that is free.
    """
    hit = np.zeros((len(overlaps.label), len(THRESHOLDS)), np.bool_)
    aside, taken = np.zeros_like(hit), np.zeros((len(ignored), len(THRESHOLDS)), np.bool_)
    overlap = np.where(overlaps.difficult[overlaps.truth], overlaps.inside, overlaps.iou)
    pairs = np.flatnonzero(rank[overlaps.found] < LIMIT)
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


def _turns(found: Indices, rank: Indices) -> list[Indices]:
    """Split pairs, which stand together by detection, by the detection's rank, then by their place within it."""
    if not len(found):
        return []
    place = _places(np.flatnonzero(np.diff(found, prepend=-1)), len(found))
    turn = rank[found] * (place.max() + 1) + place
    order = turn.argsort(kind="stable")
    return np.split(order, np.flatnonzero(np.diff(turn[order])) + 1)


def _rank(overlaps: Overlaps) -> Indices:
    """Return each detection's place within its image and class, from 0."""
    group = overlaps.image * overlaps.classes + overlaps.label
    together = group.argsort(kind="stable")
    rank = np.empty(len(group), np.int64)
    rank[together] = _places(np.flatnonzero(np.diff(group[together], prepend=-1)), len(group))
    return rank


def _places(starts: Indices, length: int) -> Indices:
    """Count from 0 within each run of `length` entries that begin at `starts`."""
    return np.arange(length) - np.repeat(starts, np.diff(starts, append=length))
