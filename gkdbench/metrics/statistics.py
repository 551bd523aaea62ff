"""The statistics of a comparison: intervals over seeds, paired tests over images and over targets, ranks.

Nothing here knows records; every function says what it pairs. Random draws are seeded, so a report is repeatable.
"""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import stats

LEVEL = 0.95
RESAMPLES = 10_000
_CHUNK_CELLS = 2**24
"""Cells of the weight matrix held at once: resamples x images."""


@dataclass(frozen=True)
class Interval:
    """A mean and the interval that holds the true one with the stated confidence."""

    mean: float
    low: float
    high: float
    n: int

    def holds(self, value: float) -> bool:
        """Whether a value lies within; of one measurement nothing is known but itself."""
        return self.low <= value <= self.high


def t_interval(values: Sequence[float], level: float = LEVEL) -> Interval:
    """Return the mean over seeds with Student's interval; of one value both ends are nan."""
    found = np.asarray(values, np.float64)
    n = len(found)
    if n == 0:
        raise ValueError("an interval needs at least one value")
    mean = float(found.mean())
    if n == 1:
        return Interval(mean, math.nan, math.nan, 1)
    half = float(stats.t.ppf(0.5 + level / 2, n - 1) * found.std(ddof=1) / math.sqrt(n))
    return Interval(mean, mean - half, mean + half, n)


@dataclass(frozen=True)
class Difference:
    """How much a second method is above a first, judged on the same images."""

    value: float
    """Difference of the metric over all images, in its unit."""
    low: float
    high: float
    p: float
    """Two-sided share of resamples on the other side of no difference; at least 1 over their number."""
    images: int


def paired_bootstrap(
    first: NDArray[np.integer],
    second: NDArray[np.integer],
    rule: str,
    *,
    resamples: int = RESAMPLES,
    level: float = LEVEL,
    seed: int = 0,
    excluded: Sequence[int] = (),
) -> Difference:
    """Return second - first in mIoU (as fractions), with a percentile interval over resampled images.

    Both methods are judged on the same resample, image by image, so what is hard about an image counts for both alike.

    Args:
        first: [images, K, K] confusion counts of a method per image; row: truth, column: prediction.
        second: those of the other method, the same images in the same order.
        rule: how classes enter the mean, `skip_absent` or `present_in_truth`; applied to every resample anew.
        excluded: classes in no mean.
    """
    kept = np.setdiff1d(np.arange(first.shape[-1]), np.asarray(excluded, np.int64))

    def mean(iou: NDArray[np.float64]) -> NDArray[np.float64]:
        known = ~np.isnan(iou[:, kept])
        with np.errstate(invalid="ignore"):
            found: NDArray[np.float64] = np.where(known, iou[:, kept], 0.0).sum(1) / known.sum(1)
        return found[:, None]

    (found,) = _bootstrap(first, second, rule, mean, resamples, level, seed)
    return found


def paired_class_bootstrap(
    first: NDArray[np.integer],
    second: NDArray[np.integer],
    rule: str,
    *,
    resamples: int = RESAMPLES,
    level: float = LEVEL,
    seed: int = 0,
) -> list[Difference]:
    """Return second - first in the IoU of every class, [K]; see paired_bootstrap. nan where a class is skipped."""
    return _bootstrap(first, second, rule, lambda iou: iou, resamples, level, seed)


def _bootstrap(
    first: NDArray[np.integer],
    second: NDArray[np.integer],
    rule: str,
    figure: Callable[[NDArray[np.float64]], NDArray[np.float64]],
    resamples: int,
    level: float,
    seed: int,
) -> list[Difference]:
    """Return the differences of figures [R, F] that are computed from IoU [R, K]."""
    if first.shape != second.shape or first.ndim != 3 or not len(first):
        raise ValueError(f"paired counts of one shape [images, K, K] are needed, not {first.shape} and {second.shape}")
    if rule not in ("skip_absent", "present_in_truth"):
        raise ValueError(f"the bootstrap knows no rule {rule!r}")
    before, after = _Sides.of(first), _Sides.of(second)

    def difference(weights: NDArray[np.float64]) -> NDArray[np.float64]:
        return figure(after.iou(weights, rule)) - figure(before.iou(weights, rule))

    images = len(first)
    whole = difference(np.ones((1, images)))[0]
    rng = np.random.default_rng(seed)
    drawn = []
    step = max(_CHUNK_CELLS // images, 1)
    for start in range(0, resamples, step):
        count = min(step, resamples - start)
        weights = rng.multinomial(images, np.full(images, 1 / images), size=count).astype(np.float64)
        drawn.append(difference(weights))
    return [
        _difference(float(value), column[np.isfinite(column)], level, images)
        for value, column in zip(whole, np.concatenate(drawn).T, strict=True)
    ]


def _difference(value: float, drawn: NDArray[np.float64], level: float, images: int) -> Difference:
    if not len(drawn):
        return Difference(value, math.nan, math.nan, math.nan, images)
    low, high = np.quantile(drawn, [0.5 - level / 2, 0.5 + level / 2])
    tail = min((drawn <= 0).mean(), (drawn >= 0).mean())
    return Difference(value, float(low), float(high), float(min(max(2 * tail, 1 / len(drawn)), 1.0)), images)


@dataclass(frozen=True)
class _Sides:
    """What IoU is made of, per image and class."""

    hit: NDArray[np.float64]  # [images, K]
    truth: NDArray[np.float64]
    predicted: NDArray[np.float64]

    @classmethod
    def of(cls, counts: NDArray[np.integer]) -> "_Sides":
        whole = counts.astype(np.float64)
        return cls(whole.diagonal(axis1=1, axis2=2).copy(), whole.sum(2), whole.sum(1))

    def iou(self, weights: NDArray[np.float64], rule: str) -> NDArray[np.float64]:
        """Return the IoU [R, K] of images taken `weights` [R, images] times; nan where the rule skips a class."""
        hit, truth = weights @ self.hit, weights @ self.truth
        union = truth + weights @ self.predicted - hit
        counted = truth > 0 if rule == "present_in_truth" else union > 0
        with np.errstate(invalid="ignore", divide="ignore"):
            found: NDArray[np.float64] = np.where(counted, hit / union, np.nan)
        return found


@dataclass(frozen=True)
class SignedRanks:
    """Wilcoxon's test of paired values."""

    p: float
    pairs: int
    median: float
    """Median difference, second - first."""


def signed_ranks(first: Sequence[float], second: Sequence[float]) -> SignedRanks:
    """Test whether paired values (one target and seed each) differ; p is nan where no pair does, or there are none."""
    if len(first) != len(second):
        raise ValueError(f"{len(first)} values cannot be paired with {len(second)}")
    differences = np.asarray(second, np.float64) - np.asarray(first, np.float64)
    median = float(np.median(differences)) if len(differences) else math.nan
    if not len(differences) or not np.any(differences):
        return SignedRanks(math.nan, len(differences), median)
    return SignedRanks(float(stats.wilcoxon(differences).pvalue), len(differences), median)


def holm(p_values: Mapping[str, float]) -> dict[str, float]:
    """Return p values corrected for their number (Holm 1979), in the order given; nan stays and does not count."""
    known = sorted((p, name) for name, p in p_values.items() if not math.isnan(p))
    corrected, largest = dict(p_values), 0.0
    for place, (p, name) in enumerate(known):
        largest = max(largest, min((len(known) - place) * p, 1.0))
        corrected[name] = largest
    return corrected


@dataclass(frozen=True)
class Ranking:
    """Average ranks of methods over blocks (targets and seeds), 1 the best, and what difference of ranks counts."""

    ranks: dict[str, float]
    blocks: int
    critical: float
    """Nemenyi's critical difference at 5 %; nan for one block or method."""
    p: float
    """Of Friedman's test that all methods are alike; nan for fewer than three methods or two blocks."""

    def alike(self) -> list[tuple[str, ...]]:
        """Return the largest groups of methods whose ranks lie within the critical difference, best first."""
        ordered = sorted(self.ranks, key=lambda name: (self.ranks[name], name))
        groups: list[tuple[str, ...]] = []
        for start, name in enumerate(ordered):
            near = [other for other in ordered[start:] if self.ranks[other] - self.ranks[name] <= self.critical]
            if len(near) > 1 and not any(set(near) <= set(group) for group in groups):
                groups.append(tuple(near))
        return groups


def average_ranks(scores: Mapping[str, Sequence[float]]) -> Ranking:
    """Rank methods in every block by score, the largest first; ties share their ranks (Demsar 2006)."""
    names = list(scores)
    table = np.array([scores[name] for name in names], np.float64)  # [methods, blocks]
    if table.ndim != 2 or not table.size:
        raise ValueError("every method needs a score in every block")
    methods, blocks = table.shape
    ranks = stats.rankdata(-table, axis=0).mean(axis=1)
    critical = p = math.nan
    if methods > 1 and blocks > 1:
        q = float(stats.studentized_range.ppf(1 - 0.05, methods, np.inf)) / math.sqrt(2)
        critical = q * math.sqrt(methods * (methods + 1) / (6 * blocks))
        if methods > 2:
            p = float(stats.friedmanchisquare(*table).pvalue)
    return Ranking(dict(zip(names, map(float, ranks), strict=True)), blocks, critical, p)
