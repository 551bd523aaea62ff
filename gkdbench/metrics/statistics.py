"""The statistics of a comparison: intervals over seeds, paired tests over images and over targets, ranks.

Nothing here knows records; every function says what it pairs. Random draws are seeded, so a report is repeatable.
"""

import math
from collections.abc import Callable, Hashable, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray

# scipy.stats takes half a second to import; what is needed of it is here, and tested against it.
from scipy import special

LEVEL = 0.95
RESAMPLES = 10_000
RULES = ("skip_absent", "present_in_truth")
"""Rules of the mean that can be applied to resampled images."""
_BLOCK = 2**21
"""Cells of the weight matrix that are worked on at once: resamples x images."""
_EXACT_PAIRS = 200
"""Pairs up to which the signed ranks' distribution is counted out; beyond, it is as good as normal."""

Counts = NDArray[np.integer]
Floats = NDArray[np.floating]
Key = TypeVar("Key", bound=Hashable)


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

    @property
    def half(self) -> float | None:
        """Return half its width; None for one measurement."""
        return None if self.n < 2 else self.high - self.mean


def t_interval(values: Sequence[float], level: float = LEVEL) -> Interval:
    """Return the mean over seeds with Student's interval; of one value both ends are nan."""
    n = len(values)
    if n == 0:
        raise ValueError("an interval needs at least one value")
    mean = math.fsum(values) / n
    if n == 1:
        return Interval(mean, math.nan, math.nan, 1)
    variance = math.fsum((value - mean) ** 2 for value in values) / (n - 1)
    half = _t_quantile(n - 1, 0.5 + level / 2) * math.sqrt(variance / n)
    return Interval(mean, mean - half, mean + half, n)


@lru_cache(maxsize=256)
def _t_quantile(freedom: int, share: float) -> float:
    return float(special.stdtrit(freedom, share))


@dataclass(frozen=True)
class Pixels:
    """What IoU is made of, per class and image: [K, images]."""

    hit: NDArray[np.int64]
    union: NDArray[np.int64]
    truth: NDArray[np.int64]
    total: NDArray[np.int64]
    """Confusion counts [K, K] of all images; row: truth, column: prediction."""

    @classmethod
    def of(cls, counts: Counts) -> "Pixels":
        """Return them of confusion counts [images, K, K]; row: truth, column: prediction."""
        cells = counts.transpose(1, 2, 0).astype(np.int64, order="C")  # sums over images are fast this way round
        hit, truth = cells.diagonal().T.copy(), cells.sum(1)
        return cls(hit, truth + cells.sum(0) - hit, truth, cells.sum(2))

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
    """Two-sided share of resamples on the other side of no difference; at least 1 over their number."""
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


def paired_difference(first: Sequence[Resampled], second: Sequence[Resampled], level: float = LEVEL) -> Difference:
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
    return _difference(value, drawn / len(pairs), level, images.pop())


def paired_bootstrap(
    first: Counts,
    second: Counts,
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
        rule: how classes enter the mean, one of RULES; applied to every resample anew.
        resamples: how many resamples.
        level: confidence of the interval.
        seed: of the resamples.
        excluded: classes in no mean.
    """
    before, after = resampled_means(
        _paired(first, second), rule, resamples=resamples, seed=seed, excluded=excluded
    )  # fmt: skip
    return paired_difference([before], [after], level)


def paired_class_bootstrap(
    first: Counts,
    second: Counts,
    rule: str,
    *,
    resamples: int = RESAMPLES,
    level: float = LEVEL,
    seed: int = 0,
) -> list[Difference]:
    """Return second - first in the IoU of every class, [K]; see paired_bootstrap. nan where a class is skipped."""
    parts = _paired(first, second)
    before, after = (_iou(_whole(one, rule))[:, 0] for one in parts)
    drawn = _over_resamples(parts, rule, resamples, seed, lambda iou: iou)
    apart = np.subtract(drawn[1], drawn[0], dtype=np.float64)
    return [
        _difference(float(value), found, level, len(first)) for value, found in zip(after - before, apart, strict=True)
    ]


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


def _difference(value: float, drawn: Floats, level: float, images: int) -> Difference:
    drawn = drawn[np.isfinite(drawn)]
    if not len(drawn):
        return Difference(value, math.nan, math.nan, math.nan, images)
    low, high = np.quantile(drawn, [0.5 - level / 2, 0.5 + level / 2])
    tail = min((drawn <= 0).mean(), (drawn >= 0).mean())
    return Difference(value, float(low), float(high), float(min(max(2 * tail, 1 / len(drawn)), 1.0)), images)


@dataclass(frozen=True)
class SignedRanks:
    """Wilcoxon's test of paired values."""

    p: float
    pairs: int
    median: float
    """Median difference, second - first."""
    least: float
    """The smallest p that so many pairs can give, those without a difference left out; nan where there are none."""


def signed_ranks(first: Sequence[float], second: Sequence[float]) -> SignedRanks:
    """Test whether paired values (one target and seed each) differ; p is nan where no pair does, or there are none.

    Pairs without a difference are left out (Wilcoxon 1945), equal ones share their ranks. Two-sided; exact over all
    signs up to 200 pairs, then by the normal approximation.
    """
    if len(first) != len(second):
        raise ValueError(f"{len(first)} values cannot be paired with {len(second)}")
    differences, pairs = np.asarray(second, np.float64) - np.asarray(first, np.float64), len(first)
    told = differences[differences != 0]
    median = float(np.median(differences)) if pairs else math.nan
    if not len(told):
        return SignedRanks(math.nan, pairs, median, math.nan)
    ranks = shared_ranks(np.abs(told))
    positive = float(ranks[told > 0].sum())
    p = _exact_p(ranks, positive) if len(told) <= _EXACT_PAIRS else _normal_p(ranks, positive)
    return SignedRanks(p, pairs, median, 2.0 ** (1 - len(told)))


def shared_ranks(values: Floats) -> NDArray[np.float64]:
    """Return the ranks of values, 1 the smallest; equal ones share the mean of theirs."""
    ordered = np.sort(values)
    below, until = (np.searchsorted(ordered, values, side) for side in ("left", "right"))
    found: NDArray[np.float64] = (below + until + 1) / 2
    return found


def _exact_p(ranks: NDArray[np.float64], positive: float) -> float:
    """Return the two-sided p of a sum of ranks when every sign is as likely; ranks may be shared."""
    doubled = np.rint(2 * ranks).astype(int)  # halves come from sharing
    chance = np.zeros(doubled.sum() + 1)
    chance[0] = 1.0
    for rank in doubled:
        chance *= 0.5
        chance[rank:] += chance[:-rank].copy()
    at = round(2 * positive)
    return float(min(1.0, 2 * min(chance[: at + 1].sum(), chance[at:].sum())))


def _normal_p(ranks: NDArray[np.float64], positive: float) -> float:
    z = (positive - ranks.sum() / 2) / math.sqrt(float((ranks**2).sum()) / 4)
    return math.erfc(abs(z) / math.sqrt(2))


def holm(p_values: Mapping[Key, float]) -> dict[Key, float]:
    """Return p values corrected for their number (Holm 1979), in the order given; nan stays and does not count."""
    known = sorted((p, place) for place, p in enumerate(p_values.values()) if not math.isnan(p))
    names, corrected, largest = list(p_values), dict(p_values), 0.0
    for before, (p, place) in enumerate(known):
        largest = max(largest, min((len(known) - before) * p, 1.0))
        corrected[names[place]] = largest
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
    ranks = np.stack([shared_ranks(column) for column in -table.T], axis=1)
    critical = p = math.nan
    if methods > 1 and blocks > 1:
        critical = _range_quantile(methods) / math.sqrt(2) * math.sqrt(methods * (methods + 1) / (6 * blocks))
        if methods > 2:
            p = _friedman_p(ranks)
    return Ranking(dict(zip(names, map(float, ranks.mean(axis=1)), strict=True)), blocks, critical, p)


def _friedman_p(ranks: NDArray[np.float64]) -> float:
    """Return p of Friedman's test of ranks [methods, blocks], corrected for ties; nan where all are equal."""
    methods, blocks = ranks.shape
    spread = float(((ranks - (methods + 1) / 2) ** 2).sum())
    if not spread:
        return math.nan
    between = float(((ranks.sum(1) - blocks * (methods + 1) / 2) ** 2).sum())
    return float(special.chdtrc(methods - 1, (methods - 1) * between / spread))


@lru_cache
def _range_quantile(methods: int, level: float = LEVEL) -> float:
    """Return the quantile of the studentized range of so many normal values of known deviation."""
    z = np.linspace(-8.0, 8.0, 2001)
    density = np.exp(-(z**2) / 2) / math.sqrt(2 * math.pi) * (z[1] - z[0])
    low, high = 0.0, 20.0
    for _ in range(60):
        middle = (low + high) / 2
        # of the largest value at z, all others lie at most the range below it
        below = methods * float((density * (special.ndtr(z) - special.ndtr(z - middle)) ** (methods - 1)).sum())
        low, high = (middle, high) if below < level else (low, middle)
    return (low + high) / 2
