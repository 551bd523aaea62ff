"""Can this be compared, as far as the making of runs goes: budgets, seeds, selection, environments, marks."""

from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence

from gkdbench.report.baseline import candidates
from gkdbench.report.comparison import Comparison, MethodRow
from gkdbench.report.finding import Finding, counted, joined
from gkdbench.report.layout import Cell, Column, Row, Table
from gkdbench.report.records import budget_total, facts, one_line, plain
from gkdbench.report.tables import shown
from gkdbench.runs.record import Record

PASSES = {"images": "training images", "student_passes": "student passes", "teacher_passes": "teacher passes"}
FEW_SEEDS = 3
"""Fewer than this give no usable spread."""


def run_findings(records: Sequence[Record], comparisons: Sequence[Comparison]) -> tuple[Finding, ...]:
    """Return what records say about how their runs were made."""
    done = [record for record in records if record.status == "done" and record.summary is not None]
    return (
        _budgets(comparisons),
        _seeds(comparisons),
        _references(comparisons),
        _selection(done),
        _environments(comparisons),
        _marks(records),
    )


def _budgets(comparisons: Iterable[Comparison]) -> Finding:
    sentences, tables = [], []
    for comparison in comparisons:
        groups: defaultdict[tuple[float | None, ...], list[str]] = defaultdict(list)
        for row in candidates(comparison):
            groups[tuple(budget_total(row.records[0], name) for name in PASSES)].append(row.name)
        if any(None in group for group in groups):
            silent = [label for group, labels in groups.items() if None in group for label in labels]
            sentences.append(f"{comparison.title}: no full budget is recorded for {joined(silent)}.")
        if len(groups) < 2:
            continue
        parts = [part for index, name in enumerate(PASSES.values()) if (part := _range(groups, index, name))]
        if parts:
            sentences.append(f"{comparison.title}: {'; '.join(parts)}.")
        tables.append(_budget_table(comparison, groups))
    if sentences:
        sentences.append(
            "A method that sees more may win for that reason alone: compare methods of equal budget, or name both."
        )
    else:
        sentences.append("Within each comparison all methods saw equally many images and used equally many passes.")
    return Finding("budgets", "Did all methods see equally much?", len(sentences) > 1, tuple(sentences), tuple(tables))


def _range(groups: dict[tuple[float | None, ...], list[str]], index: int, name: str) -> str:
    known: defaultdict[float, list[str]] = defaultdict(list)
    for group, labels in groups.items():
        if (value := group[index]) is not None:
            known[value].extend(labels)
    if len(known) < 2:
        return ""
    low, high = min(known), max(known)
    times = f", {high / low:.1f} times as many" if low else ""
    return f"{name} from {low:,.0f} ({joined(known[low], 2)}) to {high:,.0f} ({joined(known[high], 2)}){times}"


def _budget_table(comparison: Comparison, groups: dict[tuple[float | None, ...], list[str]]) -> Table:
    order = sorted(groups, key=lambda group: tuple(-1.0 if value is None else value for value in group))
    return Table(
        slug=f"check-budgets-{comparison.slug}",
        title=f"Budgets: {comparison.title}",
        caption="Methods of equal budget stand in one row; comparable rows without the teacher.",
        columns=(Column("methods", False), *(Column(name) for name in PASSES.values())),
        rows=tuple(Row(", ".join(groups[group]), tuple(_count(value) for value in group)) for group in order),
    )


def _count(value: float | None) -> Cell:
    return Cell("–", precise="") if value is None else Cell(f"{value:,.0f}", value)


def _seeds(comparisons: Sequence[Comparison]) -> Finding:
    sentences, rows = [], []
    for comparison in comparisons:
        counts = [row for row in comparison.rows if row.status == "done"]
        few = [row for row in counts if len(row.records) < FEW_SEEDS]
        spreads = {
            row.name: stat.sd
            for row in counts
            if (stat := row.stat(lambda r: r.summary.ood if r.summary else None)) and stat.sd is not None
        }
        widest = max(spreads, key=lambda label: spreads[label], default="")
        if few:
            text = (
                f"{comparison.title}: {len(few)} of {counted(len(counts), 'row')} rest on fewer than {FEW_SEEDS} seeds"
            )
            if widest:
                text += (
                    f"; where there are several, the OOD mean's standard deviation over seeds is up to "
                    f"{shown(spreads[widest], 1)} points ({widest}), so a difference of that size says little"
                )
            sentences.append(f"{text}.")
        numbers = Counter(len(row.records) for row in counts)
        rows.append(
            Row(
                comparison.title,
                (
                    Cell(", ".join(f"{counted(numbers[n], 'row')} of {counted(n, 'seed')}" for n in sorted(numbers))),
                    Cell(", ".join(map(str, sorted({seed for row in counts for seed in row.seeds})))),
                    Cell(shown(spreads[widest], 2), spreads[widest], hover=widest) if widest else Cell("–", precise=""),
                ),
            )
        )
    beware = bool(sentences)
    if not sentences:
        sentences.append(f"Every row rests on {FEW_SEEDS} seeds or more.")
    table = Table(
        slug="check-seeds",
        title="Seeds",
        caption="Rows by their number of seeds.",
        columns=(
            Column("comparison", False),
            Column("rows", False),
            Column("seeds", False),
            Column("largest sd of OOD"),
        ),
        rows=tuple(rows),
    )
    return Finding("seeds", "Are there enough seeds?", beware, tuple(sentences), (table,) if rows else ())


def untaught(row: MethodRow) -> bool:
    """Say whether a row's student was trained without any pass of a teacher, as its budget tells."""
    return not row.teacher and all(budget_total(record, "teacher_passes") == 0 for record in row.records)


def _references(comparisons: Iterable[Comparison]) -> Finding:
    sentences = []
    for comparison in comparisons:
        done = [row for row in comparison.rows if row.status == "done" and row.comparable]
        missing = [
            name
            for name, there in (
                ("the teacher", any(row.teacher for row in done)),
                ("a student that no teacher taught", any(untaught(row) for row in done)),
            )
            if not there
        ]
        if missing:
            sentences.append(
                f"{comparison.title}: {' and '.join(missing)} is not among the runs; gains cannot be told without it."
            )
    beware = bool(sentences)
    if not sentences:
        sentences.append("Every comparison holds the teacher and a student that no teacher taught.")
    return Finding("references", "Are teacher and baseline there?", beware, tuple(sentences))


def _selection(done: Iterable[Record]) -> Finding:
    rules = Counter(record.selection for record in done)
    sentences = [
        f"{counted(number, 'finished run')}: the {rule} checkpoint was judged; no target chose it."
        for rule, number in sorted(rules.items())
    ]
    sentences.append(
        "Records cannot tell how recipes and options were found: one that was tuned on a target is not seen here."
    )
    return Finding("selection", "What chose the checkpoint?", len(rules) > 1, tuple(sentences))


def _environments(comparisons: Iterable[Comparison]) -> Finding:
    sentences, rows = [], []
    for comparison in comparisons:
        done = [record for row in comparison.rows if row.status == "done" for record in row.records]
        values: defaultdict[str, Counter[str]] = defaultdict(Counter)
        known = [_environment(record) for record in done]
        for name in dict.fromkeys(name for one in known for name in one):
            values[name].update(one.get(name, "not recorded") for one in known)
        mixed = {name: found for name, found in values.items() if len(found) > 1}
        if mixed:
            sentences.append(f"{comparison.title}: runs differ in {joined(list(mixed), 8)}.")
        for name, found in mixed.items():
            parts = [f"{value} ({counted(number, 'run')})" for value, number in found.most_common()]
            rows.append(Row(comparison.title, (Cell(name), Cell("; ".join(parts)))))
    beware = bool(sentences)
    if beware:
        sentences.append(
            "Another version or device can move a score a little; wall times of different devices mean nothing beside "
            "each other. Whether a method's own code changed is told apart: another code is another row."
        )
    else:
        sentences.append("Within each comparison all runs come from one environment and one version of gkdbench.")
    table = Table(
        slug="check-environments",
        title="What differs between environments",
        caption="Facts that are not the same in all finished runs of a comparison.",
        columns=(Column("comparison", False), Column("fact", False), Column("values", False)),
        rows=tuple(rows),
    )
    return Finding("environments", "Were all runs made alike?", beware, tuple(sentences), (table,) if rows else ())


def _environment(record: Record) -> dict[str, str]:
    return {
        "gkdbench": record.version,
        "commit": (record.commit or "not recorded")[:12],
        **facts(record.environment),
    }


def _marks(records: Sequence[Record]) -> Finding:
    rows = []
    for record in records:
        said = [*record.marks]
        if record.spec.recipe_overrides:
            said.append("; ".join(f"{k}={plain(v)}" for k, v in sorted(record.spec.recipe_overrides.items())))
        if record.status != "done":
            said.append(f"{record.status}: {one_line(record.reason or 'no reason recorded')}")
        elif record.summary is None:
            said.append("the record has no scores")
        said.extend(f"warning: {one_line(text)}" for text in record.warnings)
        if said:
            rows.append(Row(record.run_id, (Cell("; ".join(said)),)))
    marked = sum(bool(record.marks) for record in records)
    unfinished = sum(record.status != "done" or record.summary is None for record in records)
    warned = sum(bool(record.warnings) for record in records)
    sentences = []
    if marked:
        kinds = "parts of the data, own recipes, checks left out"
        sentences.append(f"{counted(marked, 'run')} with marks ({kinds}): never in a mean or a ranking with others.")
    if unfinished:
        sentences.append(f"{counted(unfinished, 'run')} without scores, shown as rows with their reason.")
    if warned:
        sentences.append(f"{counted(warned, 'run')} with warnings.")
    if not sentences:
        sentences.append("No run is partial, has a recipe of its own, warns or has failed.")
    table = Table(
        slug="check-marks",
        title="Marks, reasons and warnings",
        caption="Runs that need a word.",
        columns=(Column("run", False), Column("what", False)),
        rows=tuple(rows),
    )
    return Finding("marks", "Is any run special?", bool(rows), tuple(sentences), (table,) if rows else ())
