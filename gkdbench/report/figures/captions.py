"""What is said below a figure, and in the caption file: metric, seeds, error bars, data, digests of the runs."""

from collections import defaultdict
from collections.abc import Iterable, Sequence

from gkdbench.report.comparison import MEAN_RULES, Comparison
from gkdbench.report.figures.drawing import Drawing
from gkdbench.report.figures.series import Series
from gkdbench.report.writers import plain_md

_MOST_NAMES = 6
_MOST_LISTED = 60
_DIGEST = 12
"""Characters of a digest: enough to find the run by."""


def sentences(*parts: str) -> str:
    """Join what is to be said; empty parts say nothing."""
    return " ".join(part for part in parts if part)


def listed(names: Sequence[str], most: int) -> str:
    """Return at most so many names, then how many more there are."""
    if len(names) <= most:
        return ", ".join(names)
    return f"{', '.join(names[: most - 1])} and {len(names) - most + 1} more"


def seeds_told(shown: Sequence[Series]) -> str:
    """Say compactly how many seeds each row has."""
    groups: defaultdict[int, list[str]] = defaultdict(list)
    for one in shown:
        groups[len(one.row.records)].append(one.name)
    if len(groups) == 1:
        (count,) = groups
        return "One seed per row." if count == 1 else f"{count} seeds per row."
    usual = max(groups, key=lambda count: (len(groups[count]), -count))
    parts = []
    for count in sorted(groups, reverse=True):
        names = groups[count]
        rows = "the other rows" if count == usual else listed(names, _MOST_NAMES)
        parts.append(f"{count} ({rows})")
    return f"Seeds: {', '.join(parts)}."


def bars_told(shown: Sequence[Series]) -> str:
    """Say what the error bars are."""
    if all(len(one.row.records) == 1 for one in shown):
        return "No error bars: one seed per row."
    return "Error bars: 95 % t-interval of the mean over seeds, for rows of several."


def having_told(comparison: Comparison) -> str:
    """Say over which targets what a class has is averaged."""
    return f"{comparison.shifts_told} {'that' if comparison.shifts == comparison.targets else 'and'} have the class"


def source_told(comparison: Comparison) -> str:
    """Say on what the runs were judged."""
    return f"{comparison.title}."


def particulars(comparison: Comparison, series: Sequence[Series], shown: Sequence[Series]) -> tuple[str, ...]:
    """Return what the caption file adds: data, means, seeds and run digests of the rows shown, rows left out."""
    rule = MEAN_RULES.get(comparison.mean_rule)
    averaged = comparison.told(comparison.averaged)
    found = [
        f"Data: {comparison.title}. {comparison.subtitle}",
        f"{comparison.metric} in percent; mean over classes: rule {comparison.mean_rule}"
        + (f" ({rule})" if rule else "")
        + (f", without {', '.join(comparison.excluded)}" if comparison.excluded else "")
        + f". OOD mean: unweighted over {averaged}.",
        "Rows, seeds and run digests: " + "; ".join(_row_told(one) for one in shown) + ".",
    ]
    missing = [one.name for one in series if one not in shown]
    if missing:
        found.append(f"Rows left out: {listed(missing, _MOST_LISTED)}.")
    return tuple(found)


def _row_told(one: Series) -> str:
    runs = sorted(one.row.records, key=lambda record: record.spec.seed)
    return f"{one.name}: " + ", ".join(f"seed {run.spec.seed} {run.digest[:_DIGEST]}" for run in runs)


def captions(drawings: Iterable[Drawing]) -> str:
    """Return the caption file: for each figure its files, its caption, and what it was drawn from."""
    parts = ["# Figures\n"]
    for drawing in drawings:
        files = ", ".join(f"{drawing.slug}.{form}" for form in drawing.files)
        lines = [f"## {drawing.slug}", "", *([f"Files: {files}", ""] if files else []), plain_md(drawing.caption), ""]
        lines.extend(f"- {plain_md(detail)}" for detail in drawing.details)
        parts.append("\n".join([*lines, ""]) if drawing.details else "\n".join(lines))
    return "\n".join(parts)
