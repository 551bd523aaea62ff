"""The statistics of a comparison over seeds and targets: intervals, signed ranks, Holm's correction, average ranks.

Nothing here knows records; every function says what it pairs. What is resampled over images is in metrics.bootstrap.
"""

import math
from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

# scipy.stats takes half a second to import; what is needed of it is here, and tested against it.
from scipy import special

LEVEL = 0.95
_EXACT_PAIRS = 200
"""Pairs up to which the signed ranks' distribution is counted out; beyond, it is as good as normal."""

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
        """Whether a value lies within; never for one measurement, whose interval has no ends."""
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
