"""The rows of a comparison as figures show them: names, looks, and which of many to show."""

import math
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from gkdbench.report.comparison import MethodRow
from gkdbench.report.figures.style import COLOURS, HATCHES, MARKERS, TEACHER_LOOK, one_name
from gkdbench.runs.record import Record

MOST_ROWS = 36
"""Rows that a figure of all rows shows."""


@dataclass(frozen=True)
class Series:
    """One row of a comparison: it looks the same in every figure."""

    row: MethodRow
    name: str
    """One line, short; of rows with one name each has its own."""
    number: int
    """Place in the table, from 1."""
    place: int
    """Place among what a figure shows first, from 0: the teacher, the baseline, then by OOD mean."""
    baseline: bool
    colour: str
    hatch: str
    marker: str


def line_up(rows: Sequence[MethodRow], baseline: MethodRow | None = None) -> tuple[Series, ...]:
    """Return the rows that have figures as series, in the order of the table; `baseline` is one of them."""
    rows = [row for row in rows if row.status == "done"]
    teacher = _first(rows, lambda row: row.teacher)
    base = next((index for index, row in enumerate(rows) if row is baseline), None)
    scores = [_standing(row) for row in rows]
    order = sorted(range(len(rows)), key=lambda i: (i != teacher, i != base, not rows[i].comparable, scores[i], i))
    places = {index: place for place, index in enumerate(order)}
    names = _names(rows)
    looks, used = {}, 0
    for index in order:
        if rows[index].teacher:
            looks[index] = TEACHER_LOOK
            continue
        # Seven colours and eight shapes: the first seven differ in both, and 56 pass before a look repeats.
        looks[index] = (COLOURS[used % len(COLOURS)], HATCHES[used % len(HATCHES)], MARKERS[used % len(MARKERS)])
        used += 1
    return tuple(
        Series(row, names[index], index + 1, places[index], index == base, *looks[index])
        for index, row in enumerate(rows)
    )


def _first(rows: Sequence[MethodRow], fits: Callable[[MethodRow], bool]) -> int | None:
    found = [index for index, row in enumerate(rows) if fits(row)]
    return min(found, key=lambda index: (not rows[index].comparable, index)) if found else None


def _standing(row: MethodRow) -> tuple[float, float]:
    """Return what sorts the best row first: by OOD mean, rows without one by their in-domain value behind."""
    ood, inside = row.stat(_ood), row.stat(_inside)
    return (
        -ood.mean if ood and math.isfinite(ood.mean) else math.inf,
        -inside.mean if inside and math.isfinite(inside.mean) else math.inf,
    )


def _ood(record: Record) -> float | None:
    return record.summary.ood if record.summary else None


def _inside(record: Record) -> float | None:
    return record.summary.in_domain if record.summary else None


def _names(rows: Sequence[MethodRow]) -> list[str]:
    names = []
    for row in rows:
        mark = "" if row.comparable else f" [{one_name(row.footnotes[0].split(':')[0], 20)}]" if row.footnotes else " *"
        names.append((one_name(row.name, 34 if not mark else 24) or "(no name)") + mark)
    same, seen = Counter(names), Counter[str]()
    for index, name in enumerate(names):
        if same[name] > 1:
            seen[name] += 1
            names[index] = f"{name} #{seen[name]}"
    return names


def most_telling(series: Sequence[Series], most: int = MOST_ROWS) -> tuple[Series, ...]:
    """Return at most so many series, those a figure shows first, in the order of the table."""
    return tuple(one for one in series if one.place < most)


def left_out(series: Sequence[Series], shown: Sequence[Series]) -> str:
    """Say in a caption by which rule rows were chosen; empty where all are shown."""
    missing = len(series) - len(shown)
    if not missing:
        return ""
    first = ["the teacher"] if any(one.row.teacher for one in shown) else []
    first += [f"the baseline {one.name}" for one in shown if one.baseline]
    count, other = len(shown) - len(first), "other " if first else ""
    rest = [f"the best {other}row by OOD mean" if count == 1 else f"the {count} best {other}rows by OOD mean"]
    listed = " and ".join([", ".join(first), *rest] if first else rest)
    return f"Shown: {listed}; {missing} of {len(series)} rows left out."
