"""The tables of a comparison: methods, classes, cost. Figures are rounded once, when shown."""

from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial
from statistics import fmean

from gkdbench.metrics.statistics import Interval
from gkdbench.report.comparison import (
    IN_DOMAIN,
    MEAN_RULES,
    Comparison,
    MethodRow,
    Stat,
    split_of,
)
from gkdbench.report.corruptions import MPC, RPC, TOGETHER, kinds_of, severities_of
from gkdbench.report.layout import Cell, Column, Lettering, Row, Table, ranks
from gkdbench.report.records import budget_total
from gkdbench.report.visible_text import with_minus
from gkdbench.runs.record import Record

Pick = Callable[[Record], float | None]
ABSENT = Cell("–", precise="")
HALF_WIDTH = (
    "± is half the width of the 95 % t-interval of the mean over seeds, for other seeds and the same images; "
    "one seed has none"
)


def method_table(comparison: Comparison) -> Table:
    """Return in-domain, each target, the OOD means and the gap, one row per method."""
    picks = {name: pick for name, pick in summary_picks(comparison).items() if name not in comparison.corruptions}
    lettering = Lettering()
    rows = [_method_row(row, list(picks.values()), lettering) for row in comparison.rows]
    ranked = [row.comparable and not row.teacher and row.status == "done" for row in comparison.rows]
    for column, name in enumerate(picks):
        if name in ("gap", RPC):
            continue  # a small gap, or a large share, can also mean a poor in-domain value
        values = [row.cells[column].number if may else None for row, may in zip(rows, ranked, strict=True)]
        for index, rank in enumerate(ranks(values)):
            if rank:
                cells = list(rows[index].cells)
                cells[column] = replace(cells[column], rank=rank)
                rows[index] = replace(rows[index], cells=tuple(cells))
    columns = (Column("method", False), *(Column(name) for name in picks), Column("n"))
    return Table(
        slug=f"{comparison.slug}-methods",
        title=f"Methods: {comparison.title}",
        caption=f"{comparison.metric} in percent. {comparison.subtitle} Teacher first, then by OOD "
        "mean, lowest first, so that improvement reads downward. Best and second best are marked "
        "among comparable rows, without the teacher.",
        columns=columns,
        rows=tuple(rows),
        rules=(*_rules(comparison), *comparison.notes),
        footnotes=lettering.listing(),
    )


def summary_picks(comparison: Comparison) -> dict[str, Pick]:
    """Return what a row is told by: title and how a record answers it; the method table leaves out corruptions."""
    picks: dict[str, Pick] = {IN_DOMAIN: lambda r: r.summary.in_domain if r.summary else None}
    for target in comparison.targets:
        picks[target] = partial(_split_value, split=target)
    picks["OOD mean"] = lambda r: r.summary.ood if r.summary else None
    for target in comparison.left_out:
        picks[f"OOD without {target}"] = partial(_ood_without, target=target)
    for group in comparison.groups:
        picks[f"{group} mean"] = partial(_group_value, group=group, pooled=False)
        if comparison.counted:
            picks[f"{group} pooled"] = partial(_group_value, group=group, pooled=True)
    picks["gap"] = lambda r: r.summary.gap if r.summary else None
    if comparison.corruptions:
        picks[MPC] = lambda r: r.summary.mpc if r.summary else None
        picks[RPC] = lambda r: r.summary.rpc if r.summary else None
    return picks


def _split_value(record: Record, split: str) -> float | None:
    result = split_of(record, split)
    return result.value if result else None


def _ood_without(record: Record, target: str) -> float | None:
    return record.summary.ood_without.get(target) if record.summary else None


def _group_value(record: Record, group: str, pooled: bool) -> float | None:
    result = record.summary.groups.get(group) if record.summary else None
    return None if result is None else result.pooled if pooled else result.mean


def _rules(comparison: Comparison) -> list[str]:
    rule = MEAN_RULES.get(comparison.mean_rule)
    without = f", without {', '.join(comparison.excluded)}" if comparison.excluded else ""
    names = comparison.told(comparison.averaged)
    several = any(len(row.records) > 1 for row in comparison.rows if row.status == "done")
    spread = f"n: seeds. {HALF_WIDTH}" if several else "n: seeds"
    return [
        f"Mean over classes: rule {comparison.mean_rule}" + (f" ({rule})" if rule else "") + without + ".",
        f"OOD mean: unweighted mean over the targets {names}. Gap: in-domain minus OOD mean. "
        f"All means are computed unrounded. {spread}.",
        *(
            f"{name}: the targets {comparison.told(targets)}; their mean"
            + (f", and the {comparison.metric} of their pixels pooled." if comparison.counted else ".")
            for name, targets in comparison.groups.items()
        ),
        *([_robustness_rule(comparison)] if comparison.corruptions else []),
    ]


def _robustness_rule(comparison: Comparison) -> str:
    made = comparison.told(comparison.corruptions)
    return (
        f"{MPC}: mean {comparison.metric} under corruption of the in-domain images ({made}), each kind over its "
        f"severities, then over kinds; {RPC}: that in percent of the in-domain value. Each one: table of corruptions."
    )


def _method_row(row: MethodRow, picks: list[Pick], lettering: Lettering) -> Row:
    if row.status != "done":
        text = f"{row.status} (seed {', '.join(map(str, row.seeds))})"
        filler = tuple(ABSENT for _ in picks[1:])
        # the reason is a sentence: as a footnote it does not widen a column of figures
        return Row(
            head=row.name,
            cells=(Cell(text, span=len(picks)), *filler, Cell("0", number=0.0)),
            letters=lettering.mark((f"{row.status}: {row.reason}",) if row.reason else ()),
            kind="status",
        )
    cells = [_figure(row.stat(pick), len(row.records)) for pick in picks]
    count = len(row.records)
    hover = "seeds " + ", ".join(str(seed) for seed in row.seeds)
    return Row(
        head=row.name,
        cells=(*cells, Cell(str(count), number=float(count), hover=hover)),
        letters=lettering.mark(row.footnotes),
        kind="teacher" if row.teacher else "plain",
    )


def shown(value: float, digits: int) -> str:
    """Round once, for show; never '-0.0'."""
    text = f"{value:.{digits}f}"
    return text.removeprefix("-") if float(text) == 0 else text


def signed(value: float, digits: int) -> str:
    """Round once, for show, with the sign of positive values too."""
    text = shown(value, digits)
    return f"+{text}" if float(text) > 0 else text


def _figure(stat: Stat | None, seeds: int) -> Cell:
    return ABSENT if stat is None else mean_cell(stat.interval, stat.values, few=stat.n != seeds)


def mean_cell(interval: Interval, values: Sequence[float], *, few: bool = False, plus: bool = False) -> Cell:
    """Return mean ± half-width, and beside it the interval and the value of each seed.

    Args:
        interval: of the mean over seeds.
        values: by seed, in their order.
        few: a figure that some of the row's seeds lack must not pass for a mean over all of them.
        plus: show the sign of positive values too.
    """
    short = f" (n={interval.n})" if few else ""

    def text(digits: int) -> str:
        half = "" if interval.half is None else f" ± {shown(interval.half, digits)}"
        mean = signed(interval.mean, digits) if plus else shown(interval.mean, digits)
        return f"{mean}{half}{short}"

    hover = ""
    if interval.n > 1:
        said = f"95 % interval {shown(interval.low, 2)} to {shown(interval.high, 2)}"
        hover = with_minus(f"{said}; seeds: {', '.join(shown(value, 2) for value in values)}")
    ends = (interval.low, interval.high) if interval.n > 1 else None
    return Cell(text(1), interval.mean, text(2), hover=hover, interval=ends, values=tuple(values))


def class_table(comparison: Comparison) -> Table:
    """Return what every class has on every split, one row per method and split; corruptions are one split."""
    lettering = Lettering()
    rows = []
    together = [TOGETHER] if comparison.corruptions else []
    for row in comparison.rows:
        if row.status != "done":
            continue
        for split in (IN_DOMAIN, *comparison.singled, *together):
            corrupted = list(comparison.corruptions) if split == TOGETHER else None
            cells = [_class_cell(row, split, name, corrupted) for name in comparison.classes]
            never = _never_predicted(row, split, comparison.never)
            notes = [*row.footnotes, *([never] if never else [])]
            rows.append(
                Row(
                    head=row.name,
                    cells=(Cell(split), *cells),
                    letters=lettering.mark(notes),
                    kind="teacher" if row.teacher else "plain",
                )
            )
    return Table(
        slug=f"{comparison.slug}-classes",
        title=f"Classes: {comparison.title}",
        caption=f"{comparison.class_metric} per class in percent, mean over the row's seeds; the CSV has ± half the "
        "95 % t-interval.",
        columns=(
            Column("method", False),
            Column("split", False),
            *(Column(name) for name in comparison.classes),
        ),
        rows=tuple(rows),
        rules=(
            f"–: skipped by the rule {comparison.mean_rule} on this split.",
            *([f"In no mean: {', '.join(comparison.excluded)}."] if comparison.excluded else []),
            *([f"{TOGETHER}: mean over those that have the class, {comparison.told(comparison.corruptions)}."]
              if together else []),
        ),
        footnotes=lettering.listing(),
    )


def class_stat(row: MethodRow, split: str, name: str) -> Stat | None:
    """Return what a class has on a split, over the seeds."""

    def pick(record: Record) -> float | None:
        result = split_of(record, split)
        return result.per_class.get(name) if result else None

    return row.stat(pick)


def class_mean(row: MethodRow, name: str, splits: Sequence[str]) -> Stat | None:
    """Return what a class has on average over the splits that have it, run by run, over the seeds."""

    def pick(record: Record) -> float | None:
        results = [result for split in splits if (result := split_of(record, split)) is not None]
        found = [value for result in results if (value := result.per_class.get(name)) is not None]
        return fmean(found) if found else None

    return row.stat(pick)


def _class_cell(row: MethodRow, split: str, name: str, over: Sequence[str] | None = None) -> Cell:
    stat = class_stat(row, split, name) if over is None else class_mean(row, name, over)
    if stat is None:
        return ABSENT
    cell = _figure(stat, len(row.records))
    few = "" if stat.n == len(row.records) else f" (n={stat.n})"
    return replace(cell, text=shown(stat.mean, 1) + few)


def _never_predicted(row: MethodRow, split: str, never: str) -> str:
    found = []
    for record in row.records:
        result = split_of(record, split)
        if result and result.never_predicted:
            found.append(f"{', '.join(result.never_predicted)} (seed {record.spec.seed})")
    return f"{never} on {split}: {'; '.join(found)}." if found else ""


def corruption_table(comparison: Comparison) -> Table:
    """Return a column per kind of corruption, rows per method: the mean over severities, then each severity."""
    kinds, severities = kinds_of(comparison.corruptions), severities_of(comparison.corruptions)
    targets = {(one.kind, one.severity): target for target, one in comparison.corruptions.items()}
    lettering = Lettering()
    done = [row for row in comparison.rows if row.status == "done"]
    rows: list[Row] = []
    for severity in (None, *severities) if len(severities) > 1 else severities:
        named = [severity] if severity is not None else severities
        # a mean over other severities than its neighbour's would not compare
        picks = [
            partial(_mean_of, targets=[targets.get((kind, level)) for level in named]) for kind in kinds
        ]  # fmt: skip
        every = partial(_mean_of, targets=[targets.get((kind, level)) for kind in kinds for level in named])
        own = [
            Row(
                head=row.name,
                cells=(
                    Cell("mean" if severity is None else str(severity), float(severity or 0)),
                    *(_figure(row.stat(pick), len(row.records)) for pick in (*picks, every)),
                ),
                letters=lettering.mark(row.footnotes),
                kind="teacher" if row.teacher else "plain",
            )
            for row in done
        ]
        rows.extend(_marked(own, [row.comparable and not row.teacher for row in done]))
    return Table(
        slug=f"{comparison.slug}-corruptions",
        title=f"Corruptions: {comparison.title}",
        caption=f"{comparison.metric} in percent on the in-domain images, corrupted; a column per kind. Best and "
        "second best are marked among comparable rows of one severity, without the teacher.",
        columns=(Column("method", False), Column("severity"), *(Column(kind) for kind in kinds), Column("all kinds")),
        rows=tuple(rows),
        rules=("Means are unweighted, and only where every severity and kind that they are over was scored.",),
        footnotes=lettering.listing(),
    )


def _mean_of(record: Record, targets: Sequence[str | None]) -> float | None:
    """Return the mean over targets; None where one was not scored, or there is none."""
    found = [result.value for target in targets if target and (result := split_of(record, target))]
    return fmean(found) if found and len(found) == len(targets) else None


def _marked(rows: Sequence[Row], ranked: Sequence[bool]) -> list[Row]:
    """Mark the best cells of every column but the first among rows that may be ranked."""
    marked = [list(row.cells) for row in rows]
    for column in range(1, len(marked[0]) if marked else 0):
        values = [cells[column].number if may else None for cells, may in zip(marked, ranked, strict=True)]
        for cells, rank in zip(marked, ranks(values), strict=True):
            cells[column] = replace(cells[column], rank=rank)
    return [replace(row, cells=tuple(cells)) for row, cells in zip(rows, marked, strict=True)]


def cost_table(comparison: Comparison) -> Table:
    """Return what each method's training took and how large the result is."""
    quantities: list[tuple[str, Pick, float, int]] = [
        ("training images seen", lambda r: budget_total(r, "images"), 1, 0),
        ("student passes", lambda r: budget_total(r, "student_passes"), 1, 0),
        ("teacher passes", lambda r: budget_total(r, "teacher_passes"), 1, 0),
        ("wall time, s", partial(_wall, name="from_scratch"), 1, 1),
        ("of it here, s", partial(_wall, name="spent_here"), 1, 1),
        ("peak memory, GiB", lambda r: max((s.peak_gib for s in r.stages), default=None), 1, 2),
        ("parameters, M", lambda r: r.model.get("params"), 1e6, 2),
    ]
    rows = []
    lettering = Lettering()
    for row in comparison.rows:
        if row.status != "done":
            continue
        cells = []
        for _, pick, unit, digits in quantities:
            stat = row.stat(pick)
            value = stat.mean / unit if stat else None
            cells.append(
                ABSENT if value is None else Cell(f"{value:,.{digits}f}", value, precise=f"{value:.{max(digits, 2)}f}")
            )
        rows.append(
            Row(
                head=row.name,
                cells=tuple(cells),
                letters=lettering.mark(row.footnotes),
                kind="teacher" if row.teacher else "plain",
            )
        )
    return Table(
        slug=f"{comparison.slug}-cost",
        title=f"Cost: {comparison.title}",
        caption="Mean over the row's seeds. Passes count images through a network, summed over the data roles.",
        columns=(Column("method", False), *(Column(name) for name, *_ in quantities)),
        rows=tuple(rows),
        rules=(
            "Passes are those of the method's own stages. Wall time: training from nothing, a teacher's "
            "head that the method uses included. Of it here: what was not taken from the cache. "
            "Parameters: encoder and head that are evaluated.",
        ),
        footnotes=lettering.listing(),
    )


def _wall(record: Record, name: str) -> float | None:
    return record.cost.get(name, {}).get("wall_s")


def comparison_tables(comparison: Comparison, evidence: Sequence[Table] = ()) -> tuple[Table, ...]:
    """Return the tables of a comparison: methods, corruptions where there are some, evidence, classes, cost."""
    corrupted = [corruption_table(comparison)] if comparison.corruptions else []
    return (method_table(comparison), *corrupted, *evidence, class_table(comparison), cost_table(comparison))
