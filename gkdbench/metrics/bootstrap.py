"""The paired bootstrap over images: how far a difference in mIoU would move if other images were judged.

Both methods are judged on the same resample, image by image. Draws are seeded, so a report is repeatable. Nothing here
knows records.
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

from gkdbench.metrics.statistics import LEVEL, Floats

RESAMPLES = 10_000
RULES = ("skip_absent", "present_in_truth")
"""Rules of the mean that can be applied to resampled images."""
_BLOCK = 2**21
"""Cells of the weight matrix that are worked on at once: resamples x images."""

Counts = NDArray[np.integer]


def smallest_p(resamples: int = RESAMPLES) -> float:
    """Return the smallest two-sided p that so many resamples can give."""
    return 2 / (resamples + 1)


@dataclass(frozen=True)
class Pixels:
    """What IoU is made of, per class and image: [K, images]."""

    hit: NDArray[np.int64]
    union: NDArray[np.int64]
    truth: NDArray[np.int64]

    @classmethod
    def of(cls, counts: Counts) -> "Pixels":
        """Return them of confusion counts [images, K, K]; row: truth, column: prediction."""
        cells = counts.transpose(1, 2, 0).astype(np.int64, order="C")  # sums over images are fast this way round
        hit, truth = cells.diagonal().T.copy(), cells.sum(1)
        return cls(hit, truth + cells.sum(0) - hit, truth)

    @property
    def images(self) -> int:
        """Return the number of images."""
        return len(self.hit.T)

    def summed(self, rule: str) -> NDArray[np.int64]:
        """Return what is to be summed over images, [2 or 3, K, images]: hit, union and for some rules truth."""
        if rule not in RULES:
            raise ValueError(f"the bootstrap knows no rule {rule!r}")
        return np.stack([self.hit, self.union, *([self.truth] if rule == "present_in_truth" else [])])


@dataclass(frozen=True)
class Resampled:
    """A figure, as a fraction: of all images, and of every resample of them."""

    value: float
    drawn: Floats  # [R]; nan where the rule of the mean skips all there is
    images: int


@dataclass(frozen=True)
class Difference:
    """How much a second method is above a first, judged on the same images."""

    value: float
    """Difference of the metric over all images, in its unit."""
    low: float
    high: float
    p: float
    """Two-sided; see bootstrap_p."""
    images: int


@lru_cache(maxsize=8)
def _weights(images: int, resamples: int, seed: int) -> NDArray[Any]:
    """Return how often each resample takes each image, [images, R], in float32 where that is not too large."""
    rng = np.random.default_rng(seed)
    found = np.empty((images, resamples), np.float32 if images * resamples <= _BLOCK else np.min_scalar_type(images))
    step = max(_BLOCK // images, 1)
    for start in range(0, resamples, step):
        count = min(step, resamples - start)
        found[:, start : start + count] = rng.multinomial(images, np.full(images, 1 / images), size=count).T
    return found


def resampled_means(
    parts: Sequence[Pixels],
    rule: str,
    *,
    resamples: int = RESAMPLES,
    seed: int = 0,
    excluded: Sequence[int] = (),
) -> list[Resampled]:
    """Return the mIoU of each part on all of its images and on every resample of them.

    Parts of equally many images are judged on the same resamples, image by image, so two of them whose images are the
    same in the same order may be subtracted. `excluded`: classes in no mean. Sums over images are taken in float32,
    exact up to 2**24 pixels of a class and to seven digits beyond; the value of all images is always exact.
    """
    whole = [float(_mean(_iou(_whole(one, rule)), excluded)[0]) for one in parts]
    drawn = _over_resamples(parts, rule, resamples, seed, lambda iou: _mean(iou, excluded))
    return [Resampled(value, found, one.images) for value, found, one in zip(whole, drawn, parts, strict=True)]


def paired_difference(first: Sequence[Resampled], second: Sequence[Resampled]) -> Difference:
    """Return second - first, averaged over pairs (one seed each) that were judged on the same images.

    Every resample is applied to all pairs alike and their differences are averaged on it, so the percentile interval
    tells about other images, not about other seeds.
    """
    pairs = list(zip(first, second, strict=True))
    images = {one.images for one in (*first, *second)}
    if len(images) != 1:
        raise ValueError(f"pairs judged on the same images are needed, not on {sorted(images)} images")
    value = math.fsum(after.value - before.value for before, after in pairs) / len(pairs)
    drawn = np.zeros(len(pairs[0][0].drawn))
    for before, after in pairs:
        drawn += np.subtract(after.drawn, before.drawn, dtype=np.float64)
    return _difference(value, drawn / len(pairs), images.pop())


def paired_bootstrap(
    first: Counts,
    second: Counts,
    rule: str,
    *,
    resamples: int = RESAMPLES,
    seed: int = 0,
    excluded: Sequence[int] = (),
) -> Difference:
    """Return second - first in mIoU (as fractions), with a percentile interval over resampled images.

    Both methods are judged on the same resample, image by image, so what is hard about an image counts for both alike.

    Args:
        first: [images, K, K] confusion counts of a method per image; row: truth, column: prediction.
        second: those of the other method, the same images in the same order.
        rule: how classes enter the mean, one of RULES; applied to every resample anew.
        resamples: how many resamples.
        seed: of the resamples.
        excluded: classes in no mean.
    """
    parts = _paired(first, second)
    before, after = resampled_means(parts, rule, resamples=resamples, seed=seed, excluded=excluded)
    return paired_difference([before], [after])


def paired_class_bootstrap(
    first: Counts,
    second: Counts,
    rule: str,
    *,
    resamples: int = RESAMPLES,
    seed: int = 0,
) -> list[Difference]:
    """Return second - first in the IoU of every class, [K]; see paired_bootstrap. nan where a class is skipped."""
    parts = _paired(first, second)
    before, after = (_iou(_whole(one, rule))[:, 0] for one in parts)
    drawn = _over_resamples(parts, rule, resamples, seed, lambda iou: iou)
    apart = np.subtract(drawn[1], drawn[0], dtype=np.float64)
    return [_difference(float(value), found, len(first)) for value, found in zip(after - before, apart, strict=True)]


def _paired(first: Counts, second: Counts) -> list[Pixels]:
    if first.shape != second.shape or first.ndim != 3 or not len(first):
        raise ValueError(f"paired counts of one shape [images, K, K] are needed, not {first.shape} and {second.shape}")
    return [Pixels.of(first), Pixels.of(second)]


def _whole(pixels: Pixels, rule: str) -> NDArray[np.float64]:
    """Return the sums over all images, [2 or 3, K, 1]."""
    total: NDArray[np.float64] = pixels.summed(rule).sum(-1, keepdims=True).astype(np.float64)
    return total


def _over_resamples(
    parts: Sequence[Pixels], rule: str, resamples: int, seed: int, figure: Callable[[Floats], Floats]
) -> list[Floats]:
    """Return figures [..., R] of each part, computed from its IoU [K, R]."""
    found: dict[int, Floats] = {}
    for images in {one.images for one in parts}:
        alike = [index for index, one in enumerate(parts) if one.images == images]
        weights = _weights(images, resamples, seed)
        # One product for all of them: a narrow one leaves the processor idle.
        values = np.stack([parts[index].summed(rule) for index in alike]).astype(np.float32)
        step = max(_BLOCK // images, 1)
        drawn = []
        for start in range(0, resamples, step):
            block = weights[:, start : start + step].astype(np.float32, copy=False)
            sums = values.reshape(-1, images) @ block
            drawn.append(figure(_iou(sums.reshape(*values.shape[:-1], -1))))
        found.update(zip(alike, np.concatenate(drawn, axis=-1), strict=True))
    return [found[index] for index in range(len(parts))]


def _iou(sums: Floats) -> Floats:
    """Return the IoU [..., K, R] of sums [..., 2 or 3, K, R]; nan where the union, or the truth if given, is empty."""
    hit, union, counted = sums[..., 0, :, :], sums[..., 1, :, :], sums[..., -1, :, :] > 0
    if counted.all():  # almost always, and much faster
        return hit / union
    return np.divide(hit, union, out=np.full_like(hit, np.nan), where=counted)


def _mean(iou: Floats, excluded: Sequence[int]) -> Floats:
    """Return the mean over classes [..., R] of IoU [..., K, R]; nan where there is none."""
    kept = np.delete(iou, np.asarray(excluded, np.int64), axis=-2) if len(excluded) else iou
    known = ~np.isnan(kept)
    number = known.sum(-2, dtype=kept.dtype)
    with np.errstate(invalid="ignore"):
        mean: Floats = (kept if known.all() else np.where(known, kept, 0)).sum(-2) / number
    return mean


def _difference(value: float, drawn: Floats, images: int) -> Difference:
    drawn = drawn[np.isfinite(drawn)]
    if not len(drawn):
        return Difference(value, math.nan, math.nan, math.nan, images)
    low, high = np.quantile(drawn, [0.5 - LEVEL / 2, 0.5 + LEVEL / 2])
    return Difference(value, float(low), float(high), bootstrap_p(drawn), images)


def bootstrap_p(drawn: Floats) -> float:
    """Return the two-sided p of no difference, of differences [R] on resamples.

    Twice the share of resamples on the rarer side of zero, the difference itself counted as one of them (Davison and
    Hinkley 1997): no number of resamples gives a p of 0.
    """
    beyond = min(int((drawn <= 0).sum()), int((drawn >= 0).sum()))
    return min(2 * (beyond + 1) / (len(drawn) + 1), 1.0)
