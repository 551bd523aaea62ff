"""The rows of a study's table: what was printed about each system, and the runs that answer it."""

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from gkdbench.errors import DataError
from gkdbench.report.paper import KEY, Published, published_files, read_published
from gkdbench.report.paper_terms import other_method
from gkdbench.report.printed_averages import UnevenAverage, uneven_in_row
from gkdbench.report.records import is_teacher
from gkdbench.report.study_lines import Line, Part, Runs, averaged_told, lines_of, part_of, runs_of
from gkdbench.report.table_layout import FOLDER, Layout, Measured, PrintedRows, layouts
from gkdbench.runs.record import Record
from gkdbench.spec.documents import nearest

FACTS = ("setting", "role", "teacher", "network", "decoder", "params_m", "metric")
"""What is said of a row besides its name; `network` is what is evaluated."""
TEACHER_ROLE = "teacher"
UNDISTILLED_ROLES = ("student", "reference")
ANY = "any"
"""The setting of runs that would be the same in every one."""

Key = tuple[str, ...]


@dataclass(frozen=True)
class System:
    """One row of the table: printed numbers by column, measured lines."""

    name: str
    facts: Mapping[str, str]
    """By the columns of the published CSV; empty where nobody says."""
    group: Key
    """What the systems that it competes with share."""
    printed: tuple[Published | None, ...]
    """One per column; empty where nobody printed the row."""
    lines: tuple[Line, ...] = ()
    uneven: tuple[UnevenAverage, ...] = ()

    @property
    def role(self) -> str:
        """Return what it is: teacher, student, reference, kd or dg as printed; teacher or method of records."""
        return self.facts["role"]

    @property
    def described(self) -> dict[str, str]:
        """Return the facts as tables show them, by FACTS."""
        joined = {
            "teacher": f"{self.facts['teacher']} {self.facts['teacher_arch']}".strip(),
            "network": f"{self.facts['student_init']} {self.facts['arch']}".strip(),
        }
        return {name: joined.get(name, self.facts.get(name, "")) for name in FACTS}


@dataclass(frozen=True)
class FilledTable:
    """A layout with its rows."""

    layout: Layout
    systems: tuple[System, ...]
    numbers: tuple[Published, ...] = ()
    averaged: Mapping[str, str] = field(default_factory=dict)
    """Targets that measured averages are over, in words, by benchmark, where there are comparable runs."""


def filled_tables(records: Iterable[Record], defaults: Mapping[str, Mapping[str, Any]]) -> tuple[FilledTable, ...]:
    """Return every laid out table with the runs that answer it; a table without rows is left out."""
    chosen = tuple(records)
    filled = []
    for layout in layouts():
        runs = [record for record in chosen if record.spec.benchmark in layout.benchmarks]
        table = _of_printed(layout, runs, defaults) if layout.rows else _of_records(layout, runs, defaults)
        if table.systems:
            filled.append(table)
    return tuple(filled)


def uneven_averages() -> tuple[UnevenAverage, ...]:
    """Return every printed average that is not the rounded mean of its printed targets, by table and row."""
    return tuple(one for table in filled_tables((), {}) for system in table.systems for one in system.uneven)


def _of_printed(layout: Layout, records: Sequence[Record], defaults: Mapping[str, Mapping[str, Any]]) -> FilledTable:
    assert layout.rows is not None
    numbers = _numbers(layout)
    answers = _Answers(layout, layout.rows, records, defaults)
    systems = []
    for cells in _printed_rows(layout, numbers):
        first = next(iter(cells.values()))
        printed = tuple(cells.get(index) for index in range(len(layout.columns)))
        systems.append(
            System(
                name=first.method,
                facts=_facts(first),
                group=_group(layout, first),
                printed=printed,
                lines=answers.lines(first, _methods(layout, first), printed),
                uneven=tuple(uneven_in_row(layout, cells.values())),
            )
        )
    first = numbers[0]
    for title, method in layout.rows.more.items():
        lines = answers.lines(first, [method], (None,) * len(layout.columns))
        if lines:
            systems.append(System(title, _facts(first), _group(layout, first), (), lines))
    return FilledTable(layout, tuple(systems), numbers, answers.averaged)


def _numbers(layout: Layout) -> tuple[Published, ...]:
    assert layout.source is not None
    files = published_files()
    if layout.source.file not in files:
        raise _fault(layout, "source.file", layout.source.file, files)
    every = read_published(files[layout.source.file], layout.source.file)
    numbers = tuple(number for number in every if number.table == layout.source.table)
    if not numbers:
        raise _fault(layout, "source.table", layout.source.table, {number.table for number in every})
    return numbers


def _printed_rows(layout: Layout, numbers: Sequence[Published]) -> list[dict[int, Published]]:
    """Return the printed numbers of each row by column; one that no column shows is an error."""
    places = {(p.source, p.target): i for i, column in enumerate(layout.columns) if (p := column.published)}
    rows: dict[Key, dict[int, Published]] = {}
    for number in numbers:
        place = places.get((number.source, number.target))
        if place is None:
            raise _fault(layout, "columns", f"{number.source} → {number.target}", ())
        cells = rows.setdefault((number.method, *number.key), {})
        if cells.setdefault(place, number) is not number:
            raise DataError(f"{number.table}: {number.method} has two values for {number.target}")
    return list(rows.values())


def _fault(layout: Layout, key: str, name: str, known: Iterable[str]) -> DataError:
    return DataError(f"{FOLDER}/{layout.id}.yaml: key {key!r}: {name!r} is missing{nearest(name, known)}")


def _facts(number: Published) -> dict[str, str]:
    return dict(zip(KEY, number.key, strict=True))


def _group(layout: Layout, number: Published) -> Key:
    facts = (number.fact(name) for name in layout.ranking.by)
    return tuple(layout.ranking.alike.get(fact, fact) for fact in facts)


def _methods(layout: Layout, number: Published) -> list[str]:
    """Return the methods that answer a printed row."""
    assert layout.rows is not None
    role = number.fact("role")
    if role == TEACHER_ROLE:
        return [TEACHER_ROLE]
    if role in UNDISTILLED_ROLES:
        return layout.rows.undistilled
    if number.method not in layout.rows.methods:
        raise _fault(layout, "rows.methods", number.method, layout.rows.methods)
    return layout.rows.readings(number.method)


class _Answers:
    """The runs of a table by what they are runs of."""

    def __init__(
        self,
        layout: Layout,
        rows: PrintedRows,
        records: Sequence[Record],
        defaults: Mapping[str, Mapping[str, Any]],
    ) -> None:
        self.averaged: dict[str, str] = {}
        self._layout, self._rows, self._defaults = layout, rows, defaults
        self._found: defaultdict[Key, list[Runs]] = defaultdict(list)
        for runs in runs_of(self._distinct(records), defaults):
            spec = runs.first.spec
            method = TEACHER_ROLE if is_teacher(runs.first) else spec.method
            decoder = str(spec.decoder.get("name"))
            self._found[spec.benchmark, spec.setting, spec.teacher, spec.student, decoder, method].append(runs)

    def _distinct(self, records: Sequence[Record]) -> list[Record]:
        """Take out what does not matter to a run (a teacher's student, a baseline's teacher), and then doubles."""
        kept: list[Record] = []
        distinct: dict[Key, Record] = {}
        # of doubles the last stays: one without marks, then the latest
        for record in sorted(records, key=lambda r: (not r.marks, r.started, r.run_id)):
            spec = record.spec
            if is_teacher(record):
                own = {"pair": spec.teacher, "student": "", "teacher_seed": 0}
            elif spec.method in self._rows.undistilled:
                own = {"pair": spec.student, "teacher": "", "teacher_seed": 0}
            else:
                kept.append(record)
                continue
            bare = spec.model_copy(update={**own, "setting": ANY})
            stages = "".join(stage.digest for stage in record.stages)
            key = (record.status, bare.model_dump_json(exclude={"recipe"}), stages)
            distinct[key] = record.model_copy(update={"spec": bare})
        return [*kept, *distinct.values()]

    def lines(self, number: Published, methods: Sequence[str], printed: Sequence[Published | None]) -> tuple[Line, ...]:
        """Return the measured lines of a printed row, by method."""
        return tuple(line for method in methods for line in lines_of(self._parts(number, method), printed))

    def _parts(self, number: Published, reading: str) -> list[Part]:
        method, *options = reading.split(" -o ")
        parts = []
        for index, column in enumerate(self._layout.columns):
            if column.measured is None:
                continue
            for runs in self._found.get(self._wanted(number, column.measured, method), []):
                own = [] if is_teacher(runs.first) else other_method(runs.row, self._defaults, options)
                preset = column.measured.preset or self._layout.preset
                part = part_of(index, column.measured, runs, preset, own)
                if part.comparable:
                    self.averaged.setdefault(column.measured.benchmark, averaged_told(runs.comparison))
                parts.append(part)
        return parts

    def _wanted(self, number: Published, measured: Measured, method: str) -> Key:
        """Return the key of the runs that answer a row in a column."""
        role = number.fact("role")
        teacher = measured.teacher or self._model(number, "teacher", "teacher_arch")
        student = measured.student or self._model(number, "student_init", "arch")
        setting = measured.setting or number.fact("setting").lower()
        decoder = measured.decoder or self._named("decoders", number.fact("decoder"), self._rows.decoders)
        if role == TEACHER_ROLE:
            setting, student = ANY, ""
        elif role in UNDISTILLED_ROLES:
            setting, teacher = ANY, ""
        return (measured.benchmark, setting, teacher, student, decoder, method)

    def _model(self, number: Published, start: str, size: str) -> str:
        """Return our name of a printed network; empty where the row has none."""
        printed = f"{number.fact(start)} {number.fact(size)}"
        return self._named("models", printed, self._rows.models) if number.fact(start) else ""

    def _named(self, key: str, name: str, known: Mapping[str, str]) -> str:
        if name not in known:
            raise _fault(self._layout, f"rows.{key}", name, known)
        return known[name]


def _of_records(layout: Layout, records: Sequence[Record], defaults: Mapping[str, Mapping[str, Any]]) -> FilledTable:
    assert layout.records is not None
    order = {setting: place for place, setting in enumerate(layout.records.settings)}
    blank = (None,) * len(layout.columns)
    averaged: dict[str, str] = {}
    systems: list[tuple[int, bool, System]] = []
    for runs in runs_of((record for record in records if record.spec.setting in order), defaults):
        spec = runs.first.spec
        parts = [
            part_of(index, column.measured, runs, column.measured.preset or layout.preset)
            for index, column in enumerate(layout.columns)
            if column.measured
        ]
        (line,) = lines_of(parts, blank)
        if line.comparable:
            averaged.setdefault(spec.benchmark, averaged_told(runs.comparison))
        facts = dict.fromkeys(KEY, "") | {
            "setting": spec.setting.upper(),
            "role": TEACHER_ROLE if runs.row.teacher else "method",
            "teacher": spec.teacher,
            "arch": spec.teacher if runs.row.teacher else spec.student,
            "decoder": str(spec.decoder.get("name", "")),
            "metric": runs.comparison.metric,
        }
        systems.append(
            (order[spec.setting], not line.comparable, System(runs.row.label, facts, (spec.setting,), (), (line,)))
        )
    # within a setting the order is that of the comparison: teacher first, then by OOD mean
    systems.sort(key=lambda one: one[:2])
    return FilledTable(layout, tuple(system for *_, system in systems), (), averaged)
