"""The numbers that figures show, per row: value and half an interval."""

import math
from collections.abc import Sequence
from statistics import fmean

from gkdbench.metrics.statistics import t_interval
from gkdbench.report.comparison import MethodRow, Stat, split_of
from gkdbench.report.tables import Pick, class_stat
from gkdbench.run.record import Record

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
    """Return a class's IoU on a split; without one averaged over the targets that have the class, per run."""
    if split is not None:
        return class_stat(row, split, name)

    def pick(record: Record) -> float | None:
        found = []
        for target in targets:
            result = split_of(record, target)
            value = result.per_class.get(name) if result else None
            if value is not None:
                found.append(value)
        return fmean(found) if found else None

    return row.stat(pick)
