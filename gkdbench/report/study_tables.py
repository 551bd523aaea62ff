"""The study's tables: every printed number as printed, and what was measured beside it."""

from collections.abc import Iterable, Sequence

from gkdbench.report.layout import Cell, Column, Lettering, Rank, Row, Table
from gkdbench.report.origins import environments
from gkdbench.report.paper import BLANK, MISSING, READ_OFF, origin_rules, paper_tables
from gkdbench.report.study_entries import Entry, entries_of
from gkdbench.report.study_lines import Figure, Line
from gkdbench.report.study_rows import FACTS, TEACHER_ROLE, FilledTable
from gkdbench.report.table_layout import Layout
from gkdbench.report.tables import ABSENT, shown

_TITLES = {"params_m": "parameters, M"}


def published_tables(filled: Sequence[FilledTable]) -> tuple[Table, ...]:
    """Return all tables of published numbers: those that are laid out, then the others as they were printed."""
    laid_out = {(source.file, source.table) for one in filled if (source := one.layout.source)}
    return (*(table_of(one) for one in filled), *paper_tables(without=laid_out))


def printed_count(tables: Iterable[Table]) -> int:
    """Return how many of the study's tables hold numbers that others printed; the rest are measured alone."""
    return sum(table.slug.startswith("paper-") for table in tables)


def table_of(filled: FilledTable) -> Table:
    """Return a filled layout as a table: a line per printed row and one below it per kind of runs."""
    layout = filled.layout
    all_facts = [system.described for system in filled.systems]
    varying = [name for name in FACTS if len({facts[name] for facts in all_facts}) > 1]
    constant = [
        f"{_TITLES.get(name, name)} {value}" for name, value in all_facts[0].items() if value and name not in varying
    ]
    lettering = Lettering()
    entries = entries_of(filled)
    rows = tuple(_row(entry, varying, layout.source is not None, lettering) for entry in entries)
    return Table(
        slug=layout.slug,
        title=layout.title,
        caption=_caption(filled, constant),
        columns=(
            Column("method", False),
            Column("values", False) if layout.source else Column("n"),
            *(Column(_TITLES.get(name, name), name == "params_m") for name in varying),
            *(Column(column.name, group=column.group, short=column.title) for column in layout.columns),
        ),
        rows=rows,
        rules=tuple(_rules(filled, entries)),
        footnotes=lettering.listing(),
    )


def _caption(filled: FilledTable, constant: Sequence[str]) -> str:
    if filled.layout.source is None:
        first = "Measured, rows are the runs there are: the teacher first, then by OOD mean, lowest first."
    elif any(system.lines for system in filled.systems):
        first = "Printed values, and below each row what was measured here."
    else:
        first = "Printed values, not measured here."
    return first + (f" All rows: {'; '.join(constant)}." if constant else "")


def _row(entry: Entry, varying: Sequence[str], printed_too: bool, lettering: Lettering) -> Row:
    system, line = entry.system, entry.line
    facts = [_fact(name, system.described[name]) for name in varying]
    letters = lettering.mark(entry.footnotes)
    teacher = system.role == TEACHER_ROLE
    if line is None:
        cells = [
            MISSING if number is None else Cell(number.text, number.number, rank=rank)
            for number, rank in zip(system.printed, entry.ranks, strict=True)
        ]
        return Row(system.name, (Cell("published"), *facts, *cells), letters, "teacher" if teacher else "plain")
    kind = _kind(line) if printed_too else Cell(str(line.n), float(line.n))
    if line.status:
        filler = [ABSENT] * (len(line.figures) - 1)
        cells = [Cell(line.status, span=len(line.figures)), *filler]
        return Row(system.name, (kind, *facts, *cells), letters, "status")
    cells = [_figure(figure, line.n, rank) for figure, rank in zip(line.figures, entry.ranks, strict=True)]
    return Row(
        system.name,
        (kind, *facts, *cells),
        letters,
        "measured" if printed_too else "teacher" if teacher else "plain",
    )


def _fact(name: str, value: str) -> Cell:
    if not value:
        return BLANK
    return Cell(value, number=float(value) if name == "params_m" else None)


def _kind(line: Line) -> Cell:
    """Say what runs a line is of, and how many."""
    if line.status:
        return Cell(line.label)
    seeds = f"{line.label}, n={line.n}"
    alone = (f"{seeds}:", "no interval")
    return Cell(" ".join(alone), stacked=alone) if line.n == 1 else Cell(seeds)


def _figure(figure: Figure | None, usual: int, rank: Rank) -> Cell:
    """Return a measured cell: mean ± half-width, seeds where fewer than usual, difference and whether within."""
    if figure is None:
        return ABSENT
    interval = figure.interval

    def parts(digits: int) -> list[str]:
        spread = f" ± {shown(interval.high - interval.mean, digits)}" if interval.n > 1 else ""
        few = "" if interval.n == usual else f" (n={interval.n})"
        first = f"{shown(interval.mean, digits)}{spread}{few}"
        return [first, *([f"({against})"] if (against := _against(figure, digits)) else [])]

    hover = f"seeds {', '.join(map(str, figure.seeds))}"
    if interval.n > 1:
        hover += f"; 95 % interval {shown(interval.low, 2)} to {shown(interval.high, 2)}"
    if figure.printed is not None:
        hover += f"; printed {figure.printed.text}"
    return Cell(
        " ".join(parts(1)),
        number=interval.mean,
        precise=" ".join(parts(2)),
        rank=rank,
        hover=hover,
        stacked=tuple(parts(1)),
    )


def _against(figure: Figure, digits: int) -> str:
    if figure.difference is None or figure.printed is None:
        return ""
    size = shown(abs(figure.difference), digits)
    sign = "" if float(size) == 0 else "+" if figure.difference > 0 else "-"
    tilde = "~" if figure.printed.approximate else ""
    verdict = {True: ", within", False: ", outside", None: ""}[figure.within]
    return f"{tilde}{sign}{size}{verdict}"


def _rules(filled: FilledTable, entries: Sequence[Entry]) -> Iterable[str]:
    layout = filled.layout
    if layout.source is not None:
        yield from origin_rules(layout.source.file, filled.numbers)
    over = {
        column.published.source: column.published.over
        for column in layout.columns
        if column.published and column.published.over
    }
    if over:
        parts = "; ".join(f"{source}: {', '.join(targets)}" for source, targets in over.items())
        yield f"Printed averages are shown as printed, whatever their targets give. They are over {parts}."
    lines = [entry.line for entry in entries if entry.line is not None and not entry.line.status]
    if lines:
        against = " (measured minus printed, and whether the interval holds what was printed)" if layout.source else ""
        yield (
            f"Measured: mean ± half-width of the 95 % t-interval over the n seeds{against}; one seed has no interval. "
            f"Runs of the preset {_presets(layout)} alone may be compared."
        )
        if layout.source:
            yield (
                "Within: the interval reaches a value that is printed like this, for 54.9 from 54.85 to below 54.95; "
                f"for an approximate one (~) one at most {READ_OFF} away, or half of its last digit, if that is more."
            )
    if filled.averaged:
        parts = "; ".join(f"{name}: {told}" for name, told in sorted(filled.averaged.items()))
        yield f"Measured averages are unweighted means over all targets, computed unrounded ({parts})."
    if any(rank for entry in entries for rank in entry.ranks):
        yield from _ranking(filled)
    comparable = {record.run_id: record for line in lines if line.comparable for record in line.records}
    found = environments(comparable.values())
    if len(found) > 1:
        parts = "; ".join(f"{name or 'not recorded'} ({len(runs)} runs)" for name, runs in found.items())
        yield f"Measured lines come from different environments: {parts}."
    yield from layout.notes


def _presets(layout: Layout) -> str:
    others = {m.benchmark: m.preset for column in layout.columns if (m := column.measured) and m.preset}
    return layout.preset + "".join(f" ({name}: {preset})" for name, preset in others.items())


def _ranking(filled: FilledTable) -> Iterable[str]:
    ranking = filled.layout.ranking
    same = f" of the same {' and '.join(ranking.by)}" if ranking.by else ""
    alike = "".join(f"; {name} counts as {other}" for name, other in ranking.alike.items())
    if filled.layout.source is None:
        yield f"Best and second best are marked among comparable rows{same}, without the teacher and the gap."
        return
    yield (
        f"Best and second best are marked among rows of the roles {', '.join(ranking.roles)}{same}{alike}: printed "
        "among printed, measured among comparable measured. An approximate value gets no mark, nor does one that it "
        "may exceed or reach."
    )
