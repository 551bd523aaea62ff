"""How well a model holds up under corruptions: mPC and rPC of Michaelis et al. 2019 (arXiv 1907.07484).

mPC is the mean over corruptions of the mean over severities of a metric under corruption; rPC is mPC over the same
metric on the clean images. Any metric will do: AP50 as in the paper's Pascal-C, COCO's AP, a mean IoU.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

Cell = tuple[str, int]
"""A corruption and a severity."""


@dataclass(frozen=True)
class Robustness:
    """Means of a metric under corruption; each is None unless every cell that it averages was measured."""

    mpc: float | None
    rpc: float | None
    """None also where the clean metric is missing or 0."""
    clean: float | None
    per_corruption: Mapping[str, float | None]
    """Mean over severities."""
    per_severity: Mapping[int, float | None]
    """Mean over corruptions."""
    expected: int
    """Cells that mPC averages."""
    missing: tuple[Cell, ...]
    """Those that were not measured, corruption by corruption."""


def robustness(
    cells: Mapping[Cell, float | None],
    clean: float | None,
    corruptions: Sequence[str],
    severities: Sequence[int] = (1, 2, 3, 4, 5),
) -> Robustness:
    """Average a metric over corruptions and severities.

    Args:
        cells: the metric by (corruption, severity); None, nan or absence: not measured. Other cells are left out.
        clean: the metric on the clean images.
        corruptions: those that mPC averages, each once.
        severities: likewise.
    """
    if len(set(corruptions)) < len(corruptions) or len(set(severities)) < len(severities):
        raise ValueError("a corruption or severity is named twice")
    wanted = [(corruption, severity) for corruption in corruptions for severity in severities]
    held = {cell: _measured(cells.get(cell)) for cell in wanted}
    clean = _measured(clean)
    mpc = _mean(list(held.values()))
    return Robustness(
        mpc=mpc,
        rpc=None if mpc is None or not clean else mpc / clean,
        clean=clean,
        per_corruption={name: _mean([held[name, severity] for severity in severities]) for name in corruptions},
        per_severity={severity: _mean([held[name, severity] for name in corruptions]) for severity in severities},
        expected=len(wanted),
        missing=tuple(cell for cell in wanted if held[cell] is None),
    )


def _measured(value: float | None) -> float | None:
    return None if value is None or math.isnan(value) else value


def _mean(values: Sequence[float | None]) -> float | None:
    measured = [value for value in values if value is not None]
    return math.fsum(measured) / len(measured) if measured and len(measured) == len(values) else None
