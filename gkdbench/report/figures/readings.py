"""The numbers that figures show, per row: value and half an interval."""

import math
from collections.abc import Sequence

from gkdbench.metrics.statistics import t_interval
from gkdbench.report.comparison import MethodRow, Stat
from gkdbench.report.tables import Pick, class_mean, class_stat

OOD = "OOD mean"


def half_interval(stat: Stat) -> float:
    """Return half the 95 % t-interval over seeds; 0 where one seed says nothing."""
    if stat.n < 2:
        return 0.0
    found = t_interval(stat.values)
    return found.high - found.mean


def finite(row: MethodRow, pick: Pick) -> Stat | None:
    """Return a figure over the seeds of a row, if it is a number that can be drawn."""
    stat = row.stat(pick)
    return stat if stat is not None and all(map(math.isfinite, stat.values)) else None


def class_reading(row: MethodRow, name: str, split: str | None, targets: Sequence[str]) -> Stat | None:
    """Return what a class has on a split; without one averaged over the targets that have the class, per run."""
    return class_mean(row, name, targets) if split is None else class_stat(row, split, name)
