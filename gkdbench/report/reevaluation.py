"""A published checkpoint judged again by others: what their numbers say, per class."""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from statistics import fmean

from gkdbench.report.paper import read_published

FILE = "third_party"
"""Of results/paper, without suffix."""


@dataclass(frozen=True)
class Reevaluation:
    """A checkpoint judged again by others, in percent."""

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
        """Return the mean over the classes that scored more than 0; 0 where none did."""
        return fmean([value for value in self.classes.values() if value != 0] or [0.0])


def reevaluation(files: Mapping[str, str]) -> Reevaluation | None:
    """Return the third party's numbers; None where the file is not there or lacks what is compared."""
    numbers = read_published(files[FILE], FILE) if FILE in files else []
    values = {number.fact("metric"): float(number.value) for number in numbers}
    listed = ((re.fullmatch(r"IoU (.+) \(single-scale\)", name), value) for name, value in values.items())
    classes = {match[1]: value for match, value in listed if match}
    measured, claimed = values.get("mIoU single-scale"), values.get("mIoU claimed in paper")
    if not classes or measured is None or claimed is None:
        return None
    return Reevaluation(
        source=numbers[0].table,
        what=f"{numbers[0].method}, {numbers[0].source} to {numbers[0].target}",
        claimed=claimed,
        measured=measured,
        augmented=tuple(
            (name.removeprefix("mIoU "), value) for name, value in values.items() if name.startswith("mIoU multi-scale")
        ),
        classes=classes,
    )
