"""The statistics of a comparison over seeds and targets: intervals, signed ranks, Holm's correction, average ranks.

Nothing here knows records; every function says what it pairs. What is resampled over images is in metrics.bootstrap.
"""

import math
from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

# scipy.stats takes half a second to import, so functions that need it do
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
    half = float(special.stdtrit(n - 1, 0.5 + level / 2)) * math.sqrt(variance / n)
    return Interval(mean, mean - half, mean + half, n)


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
    from scipy import stats

    if len(first) != len(second):
        raise ValueError(f"{len(first)} values cannot be paired with {len(second)}")
    differences, pairs = np.asarray(second, np.float64) - np.asarray(first, np.float64), len(first)
    told = differences[differences != 0]
    median = float(np.median(differences)) if pairs else math.nan
    if not len(told):
        return SignedRanks(math.nan, pairs, median, math.nan)
    if len(told) > _EXACT_PAIRS:
        p = float(stats.wilcoxon(told, method="asymptotic").pvalue)
    else:
        ranks = stats.rankdata(np.abs(told))
        p = _exact_p(ranks, float(ranks[told > 0].sum()))
    return SignedRanks(p, pairs, median, 2.0 ** (1 - len(told)))


def _exact_p(ranks: NDArray[np.float64], positive: float) -> float:
    """Return the two-sided p of a sum of ranks when every sign is as likely; scipy's is not exact for shared ranks."""
    doubled = np.rint(2 * ranks).astype(int)  # halves come from sharing
    chance = np.zeros(doubled.sum() + 1)
    chance[0] = 1.0
    for rank in doubled:
        chance *= 0.5
        chance[rank:] += chance[:-rank].copy()
    at = round(2 * positive)
    return float(min(1.0, 2 * min(chance[: at + 1].sum(), chance[at:].sum())))


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
    from scipy import stats

    names = list(scores)
    table = np.array([scores[name] for name in names], np.float64)  # [methods, blocks]
    if table.ndim != 2 or not table.size:
        raise ValueError("every method needs a score in every block")
    methods, blocks = table.shape
    ranks = stats.rankdata(-table, axis=0)
    critical = p = math.nan
    if methods > 1 and blocks > 1:
        spread = float(stats.studentized_range.ppf(LEVEL, methods, math.inf))
        critical = spread / math.sqrt(2) * math.sqrt(methods * (methods + 1) / (6 * blocks))
        if methods > 2 and (ranks != ranks[0]).any():
            p = float(stats.friedmanchisquare(*table).pvalue)
    return Ranking(dict(zip(names, map(float, ranks.mean(axis=1)), strict=True)), blocks, critical, p)
