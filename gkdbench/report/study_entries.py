"""The lines of a study's table in order, with their footnotes and ranks; and all of them as one tidy CSV."""

import csv
import io
from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from gkdbench.report.layout import Rank, ranks
from gkdbench.report.paper import KEY, Published
from gkdbench.report.study_lines import Figure, Line
from gkdbench.report.study_rows import FilledTable, System
from gkdbench.report.table_layout import TableColumn
from gkdbench.report.visible_text import csv_cell


@dataclass(frozen=True)
class Entry:
    """One line of a table: a system's printed numbers, or a line of its runs."""

    system: System
    line: Line | None
    """None: the printed numbers."""
    ranks: tuple[Rank, ...]
    """One per column."""

    @property
    def footnotes(self) -> tuple[str, ...]:
        """Return what must be said of the line."""
        if self.line is None:
            return tuple(uneven.remark for uneven in self.system.uneven)
        others = "the printed values" if self.system.printed else "the other rows"
        apart = f"Not comparable with {others}, and not ranked: {' '.join(self.line.reasons)}"
        return (*([apart] if self.line.reasons else []), *self.line.remarks)


def entries_of(filled: FilledTable) -> list[Entry]:
    """Return the lines of a table from top to bottom."""
    places: list[tuple[System, Line | None]] = []
    for system in filled.systems:
        places.extend([(system, None)] if system.printed else [])
        places.extend((system, line) for line in system.lines)
    marks: list[list[Rank]] = [[""] * len(filled.layout.columns) for _ in places]
    competing: defaultdict[tuple[tuple[str, ...], bool], list[int]] = defaultdict(list)
    for place, (system, line) in enumerate(places):
        if system.role in filled.layout.ranking.roles and (line is None or line.comparable):
            competing[system.group, line is None].append(place)
    for (_, printed), members in competing.items():
        for index, column in enumerate(filled.layout.columns):
            if printed:
                found = _printed_ranks([places[place][0].printed[index] for place in members])
            elif column.measured and column.measured.what != "gap":  # a small gap can also mean a poor in-domain value
                found = ranks([_mean(places[place][1], index) for place in members])
            else:
                continue
            for place, rank in zip(members, found, strict=True):
                marks[place][index] = rank
    return [Entry(system, line, tuple(found)) for (system, line), found in zip(places, marks, strict=True)]


def _mean(line: Line | None, index: int) -> float | None:
    figure = line.figures[index] if line else None
    return figure.interval.mean if figure else None


def _printed_ranks(numbers: Sequence[Published | None]) -> list[Rank]:
    """Rank printed numbers, but none that is approximate or that an approximate one may exceed or reach."""
    found = ranks([number.number if number else None for number in numbers])
    vague = [number for number in numbers if number and number.approximate]
    for place, number in enumerate(numbers):
        # differences of printed decimals are exact to far less than the margin
        if number and any(abs(one.number - number.number) < one.margin + 1e-9 for one in vague):
            found[place] = ""
    return found


COLUMNS = (
    *("table", "method", *KEY, "line", "measured_as", "comparable", "column", "source", "target"),
    *("benchmark", "figure", "published", "approximate", "measured_mean", "low", "high", "n", "seeds"),
    *("difference", "within", "rank", "footnotes"),
)


def study_csv(tables: Iterable[FilledTable]) -> str:
    """Return the laid out tables as one tidy CSV: a line per printed number, one per measured figure, unrounded.

    Figures of a measured line that may be compared repeat the printed number in `published`; `line` tells which is
    which.
    """
    stream = io.StringIO()
    writer = csv.DictWriter(stream, COLUMNS, lineterminator="\n", restval="")
    writer.writeheader()
    for filled in tables:
        for entry in entries_of(filled):
            for index, column in enumerate(filled.layout.columns):
                cell = _cell(entry, index)
                if cell:
                    line = _head(filled, entry, index, column) | cell
                    writer.writerow({key: csv_cell(text) for key, text in line.items()})
    return stream.getvalue()


def _head(filled: FilledTable, entry: Entry, index: int, column: TableColumn) -> dict[str, str]:
    line = entry.line
    return {
        "table": filled.layout.id,
        "method": entry.system.name,
        **entry.system.facts,
        "line": "published" if line is None else "measured",
        "measured_as": line.label if line else "",
        "comparable": "" if line is None else str(line.comparable),
        "column": column.name,
        "source": column.published.source if column.published else "",
        "target": column.published.target if column.published else "",
        "benchmark": column.measured.benchmark if column.measured else "",
        "figure": column.measured.what if column.measured else "",
        "rank": entry.ranks[index],
        "footnotes": " ".join(entry.footnotes),
    }


def _cell(entry: Entry, index: int) -> dict[str, str]:
    if entry.line is None:
        number = entry.system.printed[index]
        return {} if number is None else _printed(number)
    figure = entry.line.figures[index]
    return {} if figure is None else _measured(figure)


def _printed(number: Published) -> dict[str, str]:
    return {"published": number.value, "approximate": str(number.approximate)}


def _measured(figure: Figure) -> dict[str, str]:
    interval = figure.interval
    ends = {"low": repr(interval.low), "high": repr(interval.high)} if interval.n > 1 else {}
    against = _printed(figure.printed) if figure.printed else {}
    return {
        **against,
        "measured_mean": repr(interval.mean),
        **ends,
        "n": str(interval.n),
        "seeds": " ".join(map(str, figure.seeds)),
        "difference": "" if figure.difference is None else repr(figure.difference),
        "within": "" if figure.within is None else str(figure.within),
    }
