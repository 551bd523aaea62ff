"""The tables of a comparison: methods, classes, cost. Figures are rounded once, when shown."""

from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial

from gkdbench.metrics.statistics import Interval
from gkdbench.report.comparison import (
    IN_DOMAIN,
    MEAN_RULES,
    Comparison,
    MethodRow,
    Stat,
    split_of,
)
from gkdbench.report.layout import Cell, Column, Lettering, Row, Table, ranks
from gkdbench.report.records import budget_total
from gkdbench.report.visible_text import with_minus
from gkdbench.run.record import Record

Pick = Callable[[Record], float | None]
ABSENT = Cell("–", precise="")
HALF_WIDTH = (
    "± is half the width of the 95 % t-interval of the mean over seeds, for other seeds and the same images; "
    "one seed has none"
)


def method_table(comparison: Comparison) -> Table:
    """Return in-domain, each target, the OOD means and the gap, one row per method."""
    picks = summary_picks(comparison)
    lettering = Lettering()
    rows = [_method_row(row, list(picks.values()), lettering) for row in comparison.rows]
    ranked = [row.comparable and not row.teacher and row.status == "done" for row in comparison.rows]
    for column, name in enumerate(picks):
        if name == "gap":
            continue  # a small gap can also mean a poor in-domain value
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
    """Return the columns of the method table: title and how a record answers it."""
    picks: dict[str, Pick] = {IN_DOMAIN: lambda r: r.summary.in_domain if r.summary else None}
    for target in comparison.targets:
        picks[target] = partial(_split_value, split=target)
    picks["OOD mean"] = lambda r: r.summary.ood if r.summary else None
    for target in comparison.left_out:
        picks[f"OOD without {target}"] = partial(_ood_without, target=target)
    for group in comparison.groups:
        picks[f"{group} mean"] = partial(_group_value, group=group, pooled=False)
        picks[f"{group} pooled"] = partial(_group_value, group=group, pooled=True)
    picks["gap"] = lambda r: r.summary.gap if r.summary else None
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
    names = ", ".join(comparison.averaged)
    several = any(len(row.records) > 1 for row in comparison.rows if row.status == "done")
    spread = f"n: seeds. {HALF_WIDTH}" if several else "n: seeds"
    return [
        f"Mean over classes: rule {comparison.mean_rule}" + (f" ({rule})" if rule else "") + without + ".",
        f"OOD mean: unweighted mean over the targets {names}. Gap: in-domain minus OOD mean. "
        f"All means are computed unrounded. {spread}.",
        *(
            f"{name}: the targets {', '.join(targets)}; their mean, and the {comparison.metric} of their pixels pooled."
            for name, targets in comparison.groups.items()
        ),
    ]


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
    """Return the IoU of every class on every split, one row per method and split."""
    lettering = Lettering()
    rows = []
    for row in comparison.rows:
        if row.status != "done":
            continue
        for split in comparison.splits:
            cells = [_class_cell(row, split, name) for name in comparison.classes]
            never = _never_predicted(row, split)
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
        caption="IoU per class in percent, mean over the row's seeds; the CSV has ± half the 95 % t-interval.",
        columns=(
            Column("method", False),
            Column("split", False),
            *(Column(name) for name in comparison.classes),
        ),
        rows=tuple(rows),
        rules=(
            f"–: skipped by the rule {comparison.mean_rule} on this split.",
            *([f"In no mean: {', '.join(comparison.excluded)}."] if comparison.excluded else []),
        ),
        footnotes=lettering.listing(),
    )


def class_stat(row: MethodRow, split: str, name: str) -> Stat | None:
    """Return a class's IoU on a split over the seeds."""

    def pick(record: Record) -> float | None:
        result = split_of(record, split)
        return result.per_class.get(name) if result else None

    return row.stat(pick)


def _class_cell(row: MethodRow, split: str, name: str) -> Cell:
    stat = class_stat(row, split, name)
    if stat is None:
        return ABSENT
    cell = _figure(stat, len(row.records))
    few = "" if stat.n == len(row.records) else f" (n={stat.n})"
    return replace(cell, text=shown(stat.mean, 1) + few)


def _never_predicted(row: MethodRow, split: str) -> str:
    found = []
    for record in row.records:
        result = split_of(record, split)
        if result and result.never_predicted:
            found.append(f"{', '.join(result.never_predicted)} (seed {record.spec.seed})")
    return f"never predicted on {split}: {'; '.join(found)}." if found else ""


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


def comparison_tables(comparison: Comparison) -> tuple[Table, Table, Table]:
    """Return the three tables of a comparison."""
    return method_table(comparison), class_table(comparison), cost_table(comparison)
