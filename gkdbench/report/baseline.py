"""The row that the others of a comparison are compared with."""

from collections.abc import Iterable

from gkdbench.errors import UsageError
from gkdbench.report.comparison import Comparison, MethodRow
from gkdbench.spec.catalogue import folders
from gkdbench.spec.documents import Strict, nearest, parse, read_yaml

FILE = "statistics/baselines.yaml"
"""Where a benchmark package names the methods that may be the baseline."""


class Baselines(Strict):
    """Methods that others are compared with, the first that has runs."""

    baselines: list[str] = []


def baselines() -> tuple[str, ...]:
    """Return the baselines that the installed benchmark packages name, our own first; UsageError names a fault."""
    found: dict[str, None] = {}
    for folder in folders():
        file = folder / FILE
        if file.is_file():
            found.update(dict.fromkeys(parse(Baselines, read_yaml(file), str(file)).baselines))
    return tuple(found)


def baseline_row(comparison: Comparison, name: str | None = None) -> MethodRow | None:
    """Return the baseline's row; None where it has no runs that may be compared.

    Args:
        comparison: whose row.
        name: a row's name, its label or a method; by default the first of `baselines()` that has runs.
    """
    for wanted in baselines() if name is None else (name,):
        found = [row for row in candidates(comparison) if wanted in (row.name, row.label, row.records[0].spec.method)]
        if found:
            # the row that is called so, the one with the method's own defaults, then the one of most seeds
            return min(found, key=lambda row: (row.name != wanted, row.label != wanted, -len(row.records)))
    return None


def candidates(comparison: Comparison) -> list[MethodRow]:
    """Return the rows that may be compared with each other: comparable ones with figures, without the teacher."""
    return [row for row in comparison.rows if row.status == "done" and row.comparable and not row.teacher]


def check_baseline(comparisons: Iterable[Comparison], name: str) -> None:
    """Raise UsageError where no comparison has the baseline that a user asks for."""
    known: dict[str, None] = {}
    for comparison in comparisons:
        if baseline_row(comparison, name) is not None:
            return
        known.update(dict.fromkeys(row.name for row in candidates(comparison)))
    several = f"; rows: {', '.join(known)}" if known else ""
    raise UsageError(f"--baseline: no comparable row {name!r} in any table{nearest(name, known)}{several}")
