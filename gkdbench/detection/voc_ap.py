"""VOC's average precision at IoU 0.5, as the development kit computes it, also over resampled images.

Of each class, the detections of all images stand in order of their scores, highest first (equal scores: in the order
of the images, and within an image as given). Each is matched to the object of its class and image with the highest IoU
(equal IoUs: the first). From 0.5 on, 0.5 included, it is a hit if the object is not difficult and no detection before
it was matched to it; a second match is a false positive, even where another object would be free; a match to a
difficult object counts as nothing. The MATLAB kit compares `ovmax >= minoverlap`; the well-known Python port uses `>`,
which differs at exactly 0.5 only; the kit's rule is the one here. Difficult objects do not count as objects to find.

The kit counts pixels: a box is xmax - xmin + 1 wide. In the coordinates of `spec.objects`, where x0 = xmin - 1 and
x1 = xmax, that is x1 - x0, and its overlap is the plain IoU.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from gkdbench.detection.average_precision import OVERLAP, Bools, Floats, Indices, Overlaps, mean_over_classes

RULES = {
    "area": "area under the precision-recall curve after precision is made monotone (VOC2010 and later)",
    "11_point": "mean of the best precision at recall 0, 0.1, ..., 1 or more (VOC2007)",
}
POINTS = np.arange(11) * 0.1
"""As the kit's loop and its ports count them in doubles: recall 3/10 or 3/5 falls short of its point by a rounding."""


@dataclass(frozen=True)
class VocScore:
    """AP50 per class and their mean, as fractions."""

    ap: Floats
    """[K]; nan where a class has no object that is not difficult."""
    mean: float
    """Over the classes that have one; nan where none has."""
    in_mean: int
    never_detected: tuple[int, ...]
    """Classes with objects to find and no detection at all."""


@dataclass(frozen=True)
class Ranking:
    """What AP50 of a split is made of: each class's detections, best first, as hits and false positives of an image.

    Matching stays within an image, so AP of any resample of the images follows from this alone. Scores are gone, only
    their order matters; so are the detections that count as nothing, and false positives below the last hit of their
    class, which no resample lets count.
    """

    image: Indices
    """[n] class after class, each from the highest score down."""
    hit: Bools
    """[n] a hit, else a false positive."""
    ends: Indices
    """[K] class k's detections end before this."""
    positives: Indices
    """[images, K] objects to find."""

    @classmethod
    def of(cls, overlaps: Overlaps) -> "Ranking":
        """Match the detections of a split."""
        order = np.lexsort((-overlaps.score, overlaps.label))
        hit, nothing = _matched(overlaps, order)
        order = order[~nothing[order]]
        label, hit = overlaps.label[order], hit[order]
        # hits at or after each place, in its class: a place with none is below the last hit
        last = np.full(overlaps.classes, -1)
        np.maximum.at(last, label[hit], np.flatnonzero(hit))
        kept = np.arange(len(order)) <= last[label]
        ends = np.bincount(label[kept], minlength=overlaps.classes).cumsum()
        return cls(overlaps.image[order[kept]], hit[kept], ends, overlaps.positives())

    def ap(self, weights: NDArray[np.integer] | None = None, rule: str = "area") -> Floats:
        """Compute AP50 per class, [K]; nan where the images hold no object to find.

        Args:
            weights: [images] how often each image counts, or [resamples, images] for [resamples, K]; none: once.
                The result is that of the images repeated, except that equal scores of one image stay together.
            rule: one of RULES.
        """
        if rule not in RULES:
            raise ValueError(f"unknown rule of AP {rule!r} (known: {', '.join(RULES)})")
        if weights is None:
            weights = np.ones(len(self.positives), np.int64)
        if weights.shape[-1] != len(self.positives):
            raise ValueError(f"weights of {weights.shape[-1]} images for {len(self.positives)}")
        starts = np.concatenate(([0], self.ends[:-1])).astype(np.int64)
        hits = [start + np.flatnonzero(self.hit[start:end]) for start, end in zip(starts, self.ends, strict=True)]
        rows = [self._ap(row.astype(np.int64), rule, starts, hits) for row in np.atleast_2d(weights)]
        return rows[0] if weights.ndim == 1 else np.stack(rows)

    def _ap(self, weights: Indices, rule: str, starts: Indices, places: list[Indices]) -> Floats:
        found = weights @ self.positives
        counted = weights[self.image]
        up_to = np.concatenate(([0], counted.cumsum()))
        result = np.full(len(self.ends), np.nan)
        for k in np.flatnonzero(found):
            gains = counted[places[k]]
            hits = gains.cumsum()
            # an image that does not count may stand first: no detection yet
            precision = hits / np.maximum(up_to[places[k] + 1] - up_to[starts[k]], 1)
            result[k] = _under(precision, gains, hits, int(found[k]), rule)
        return result

    def arrays(self) -> dict[str, NDArray[Any]]:
        """Return it as a few small arrays to be stored, some three bytes per detection."""
        images = len(self.positives)
        return {
            "image": self.image.astype(np.uint16 if images <= 2**16 else np.uint32),
            "hit": self.hit,
            "ends": self.ends.astype(np.int64),
            "positives": self.positives.astype(np.uint16 if self.positives.max(initial=0) < 2**16 else np.uint32),
        }

    @classmethod
    def of_arrays(cls, arrays: Mapping[str, NDArray[Any]]) -> "Ranking":
        """Return what `arrays` was made of.

        Raises:
            ValueError: the arrays do not belong together, or one is missing.
        """
        try:
            image, hit, ends, positives = (arrays[key] for key in ("image", "hit", "ends", "positives"))
        except KeyError as error:
            raise ValueError(f"no array {error} among {', '.join(arrays)}") from None
        whole = all(np.issubdtype(array.dtype, np.integer) for array in (image, ends, positives))
        fits = positives.ndim == 2 and image.ndim == 1 and hit.shape == image.shape and hit.dtype == np.bool_
        if not (whole and fits and ends.shape == positives.shape[1:]):
            raise ValueError("arrays of image, hit, ends and positives do not belong together")
        image, positives = image.astype(np.int64), positives.astype(np.int64)
        limits = np.concatenate(([0], ends.astype(np.int64)))
        inside = image.min(initial=0) >= 0 and image.max(initial=-1) < len(positives)
        if (np.diff(limits) < 0).any() or limits[-1] != len(image) or not inside or positives.min(initial=0) < 0:
            raise ValueError("arrays of image, hit, ends and positives do not belong together")
        return cls(image, hit, limits[1:], positives)


def voc_score(overlaps: Overlaps, rule: str = "area") -> VocScore:
    """Compute AP50 per class and its mean by one of RULES."""
    ap = Ranking.of(overlaps).ap(rule=rule)
    return VocScore(ap, mean_over_classes(ap), int((~np.isnan(ap)).sum()), overlaps.never_detected())


def _matched(overlaps: Overlaps, order: Indices) -> tuple[Bools, Bools]:
    """Return which detections are hits, and which count as nothing, [n] each.

    Args:
        overlaps: of a split.
        order: the detections from the highest score down, at least within each image and class.
    """
    n = len(overlaps.label)
    hit, nothing = np.zeros(n, np.bool_), np.zeros(n, np.bool_)
    near = np.flatnonzero(overlaps.iou >= OVERLAP)
    near = near[np.lexsort((overlaps.truth[near], -overlaps.iou[near], overlaps.found[near]))]
    # the first pair of each detection is that with the highest IoU
    found, first = np.unique(overlaps.found[near], return_index=True)
    truth = overlaps.truth[near][first]
    difficult = overlaps.difficult[truth]
    nothing[found[difficult]] = True
    found, truth = found[~difficult], truth[~difficult]
    place = np.empty(n, np.int64)
    place[order] = np.arange(n)
    ranked = place[found].argsort()
    hit[found[ranked][np.unique(truth[ranked], return_index=True)[1]]] = True
    return hit, nothing


def _under(precision: Floats, gains: Indices, hits: Indices, positives: int, rule: str) -> float:
    """Return AP from the precision at each hit; between hits precision only falls, so no other place matters."""
    best = np.maximum.accumulate(precision[::-1])[::-1]
    if rule == "area":
        return float((gains * best).sum() / positives)
    reached = np.searchsorted(hits / positives, POINTS)
    return float(np.append(best, 0.0)[reached].sum() / len(POINTS))
