"""What the published numbers say about themselves: averages recomputed, and a re-evaluation by others."""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from decimal import ROUND_HALF_UP, Decimal
from statistics import fmean

from gkdbench.report.paper import FILES, Published, read_published

AVERAGE = "Avg"
THIRD_PARTY = "third_party"


@dataclass(frozen=True)
class UnevenAverage:
    """A printed average that is not the rounded mean of the targets printed before it."""

    file: str
    title: str
    row: str
    source: str
    mean: Decimal
    printed: str


@dataclass(frozen=True)
class Reevaluation:
    """A checkpoint judged again by others, per class, in percent."""

    source: str
    what: str
    claimed: float
    measured: float
    augmented: tuple[tuple[str, float], ...]
    """Protocols with test-time augmentation, as printed."""
    classes: Mapping[str, float]

    @property
    def zero(self) -> tuple[str, ...]:
        """Return the classes that scored exactly 0."""
        return tuple(name for name, value in self.classes.items() if value == 0)

    @property
    def mean(self) -> float:
        """Return the mean over all classes."""
        return fmean(self.classes.values())

    @property
    def mean_without_zero(self) -> float:
        """Return the mean over the classes that scored more than 0."""
        return fmean(value for value in self.classes.values() if value != 0)


def uneven_averages(files: Mapping[str, str]) -> tuple[UnevenAverage, ...]:
    """Recompute every printed average of the published files (name without suffix -> content).

    An average is over the targets that its row prints before it for the same source. Ties round away from zero.
    """
    found = []
    for file, content in files.items():
        targets: dict[tuple[str, ...], list[Decimal]] = {}
        for number in read_published(content, file):
            before = targets.setdefault((number.table, number.method, *number.key, number.source), [])
            if number.target != AVERAGE:
                before.append(Decimal(number.value))
                continue
            printed = Decimal(number.value)
            if not before or number.approximate:
                continue
            mean = sum(before, Decimal(0)) / len(before)
            if mean.quantize(printed, ROUND_HALF_UP) != printed:
                row = _row(number)
                found.append(UnevenAverage(file, FILES.get(file, file), row, number.source, mean, number.value))
    return tuple(found)


def _row(number: Published) -> str:
    arch, decoder = number.key[5], number.key[6]
    return ", ".join(part for part in (number.method, arch, decoder) if part)


def reevaluation(files: Mapping[str, str]) -> Reevaluation | None:
    """Return the third party's numbers; None where the file is not there or lacks what is compared."""
    numbers = read_published(files.get(THIRD_PARTY, ""), THIRD_PARTY) if THIRD_PARTY in files else []
    by_metric = {_metric(number): float(number.value) for number in numbers}
    classes = {
        match[1]: value
        for name, value in by_metric.items()
        if (match := re.fullmatch(r"IoU (.+) \(single-scale\)", name))
    }
    measured, claimed = by_metric.get("mIoU single-scale"), by_metric.get("mIoU claimed in paper")
    if not classes or measured is None or claimed is None:
        return None
    return Reevaluation(
        source=numbers[0].table,
        what=f"{numbers[0].method}, {numbers[0].source} to {numbers[0].target}",
        claimed=claimed,
        measured=measured,
        augmented=tuple(
            (name.removeprefix("mIoU "), value)
            for name, value in by_metric.items()
            if name.startswith("mIoU multi-scale")
        ),
        classes=classes,
    )


def _metric(number: Published) -> str:
    return number.key[-1]
