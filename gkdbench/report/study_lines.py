"""Measured lines of a study's table: runs of one kind over the columns, joined across benchmarks."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from gkdbench.metrics.statistics import Interval, t_interval
from gkdbench.report.comparison import Comparison, MethodRow, compare
from gkdbench.report.paper import Published
from gkdbench.report.paper_terms import departures
from gkdbench.report.table_layout import Measured
from gkdbench.report.tables import summary_picks
from gkdbench.runs.record import Record


@dataclass(frozen=True)
class Figure:
    """One column's figure over the seeds of a line."""

    interval: Interval
    """Mean and 95 % interval in the metric's unit; nan ends for one seed."""
    seeds: tuple[int, ...]
    printed: Published | None
    """The number it may be compared with."""

    @property
    def difference(self) -> float | None:
        """Return measured minus printed."""
        return None if self.printed is None else self.interval.mean - self.printed.number

    @property
    def within(self) -> bool | None:
        """Say whether the interval reaches what the printed number may stand for; None where either is missing."""
        if self.printed is None or self.interval.n < 2:
            return None
        return self.printed.meets(self.interval.low, self.interval.high)


@dataclass(frozen=True)
class Line:
    """What runs of one kind say in a row, or that they have no figures."""

    label: str
    figures: tuple[Figure | None, ...]
    """One per column."""
    reasons: tuple[str, ...] = ()
    """Why it may not be compared with the table's other lines; empty: it may."""
    remarks: tuple[str, ...] = ()
    status: str = ""
    """What became of the runs, where they have no figures."""
    records: tuple[Record, ...] = ()

    @property
    def comparable(self) -> bool:
        """Whether it may be ranked and set against printed numbers."""
        return not self.reasons and not self.status

    @property
    def n(self) -> int:
        """Return the seeds of the figure that has most."""
        return max((figure.interval.n for figure in self.figures if figure), default=0)


@dataclass(frozen=True)
class Runs:
    """A row of a comparison, and in what it departs from the terms of its benchmark."""

    comparison: Comparison
    row: MethodRow
    picks: Mapping[str, Callable[[Record], float | None]]
    """How a record answers a column of the method table."""
    departures: tuple[str, ...]

    @property
    def first(self) -> Record:
        """Return a record that has what all of them share."""
        return self.row.records[0]


def runs_of(records: Iterable[Record], defaults: Mapping[str, Mapping[str, Any]]) -> list[Runs]:
    """Return the rows of all comparisons of these records."""
    found = []
    for comparison in compare(records, defaults):
        picks = summary_picks(comparison)
        for row in comparison.rows:
            reasons = departures(row) if row.status == "done" else []
            found.append(Runs(comparison, row, picks, tuple(reasons)))
    return found


def averaged_told(comparison: Comparison) -> str:
    """Return in words what the OOD mean is over."""
    return comparison.told(comparison.averaged)


@dataclass(frozen=True)
class Part:
    """Runs in one column of a table."""

    column: int
    runs: Runs
    figure: Interval | None
    seeds: tuple[int, ...]
    reasons: tuple[str, ...]

    @property
    def comparable(self) -> bool:
        """Whether it may be ranked and set against a printed number."""
        return self.runs.row.status == "done" and not self.reasons

    @property
    def kind(self) -> tuple[str, ...]:
        """Return what parts of one line share, over benchmarks."""
        row, spec = self.runs.row, self.runs.first.spec
        teacher_seed = "" if row.teacher else str(spec.teacher_seed)
        return (row.label, spec.code, teacher_seed, row.status, row.reason, *self.reasons)


def part_of(column: int, measured: Measured, runs: Runs, preset: str, reasons: Sequence[str] = ()) -> Part:
    """Return what runs say in a column of a table of a preset; `reasons` are the table's own against comparing them."""
    pick = runs.picks.get(measured.figure)
    stat = runs.row.stat(pick) if pick else None
    having = [r.spec.seed for r in runs.row.records if pick and (value := pick(r)) is not None and value == value]
    found = runs.first.spec.preset
    budget = [] if found == preset else [f"preset {found}, not {preset}: another budget."]
    every = dict.fromkeys([*budget, *reasons, *runs.departures])
    return Part(column, runs, t_interval(stat.values) if stat else None, tuple(sorted(having)), tuple(every))


def lines_of(parts: Iterable[Part], printed: Sequence[Published | None]) -> tuple[Line, ...]:
    """Join parts to lines, comparable ones first; `printed` has the row's number of each column."""
    kinds: dict[tuple[str, ...], list[Part]] = {}
    for part in parts:
        kind = part.kind
        while any(part.column == other.column for other in kinds.get(kind, [])):
            kind = (*kind, part.runs.comparison.slug)  # alike in all but the table they stand in
        kinds.setdefault(kind, []).append(part)
    lines = [_line(same, printed, apart=kind != same[0].kind) for kind, same in kinds.items()]
    lines = [_with_code(line, lines) for line in lines]
    return tuple(sorted(lines, key=lambda line: (bool(line.status), not line.comparable)))


def _line(parts: Sequence[Part], printed: Sequence[Published | None], apart: bool) -> Line:
    row = parts[0].runs.row
    figures: list[Figure | None] = [None] * len(printed)
    for part in parts:
        if part.figure is not None:
            counterpart = printed[part.column] if part.comparable else None
            figures[part.column] = Figure(part.figure, part.seeds, counterpart)
    records = {record.run_id: record for part in parts for record in part.runs.row.records}
    remarks = [
        note
        for part in parts
        if part.runs.row.comparable
        for note in part.runs.row.footnotes
        if note not in parts[0].reasons
    ]
    if apart:
        remarks.append(f"the runs of {parts[0].runs.comparison.slug}.")
    status = ""
    if row.status != "done":
        places = sorted({f"{r.spec.benchmark} seed {r.spec.seed}" for r in records.values()})
        status = f"{row.status} ({', '.join(places)})"
        remarks = [f"{row.status}: {row.reason}"] if row.reason else []
    return Line(
        label=row.label,
        figures=tuple(figures),
        reasons=parts[0].reasons,
        remarks=tuple(dict.fromkeys(remarks)),
        status=status,
        records=tuple(records.values()),
    )


def _with_code(line: Line, lines: Sequence[Line]) -> Line:
    """Say which code a line is of, where another of its name is of other code and nothing else says so."""
    codes = {other.records[0].spec.code for other in lines if other.label == line.label and not other.status}
    code = line.records[0].spec.code
    if line.status or len(codes) < 2 or any(note.startswith("code ") for note in (*line.remarks, *line.reasons)):
        return line
    return replace(line, remarks=(*line.remarks, f"code {code[:8]}: another version of a method is another line."))
