"""Two runs side by side as a page: the numbers that `gkdbench compare --json` prints, in tables and drawn."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from gkdbench import __version__
from gkdbench.metrics.bootstrap import Difference
from gkdbench.report.corruptions import TOGETHER, targets_told
from gkdbench.report.forest import Dot, forest
from gkdbench.report.layout import Cell, Column, Rank, Row, Table
from gkdbench.report.page import render
from gkdbench.report.records import class_metric
from gkdbench.report.run_comparison import ClassDifference, RunComparison, SplitDifference
from gkdbench.report.tables import ABSENT, shown
from gkdbench.report.visible_text import with_minus

INTERVAL = "95 % interval"


@dataclass(frozen=True)
class SplitView:
    """The classes of one split."""

    name: str
    table: Table
    drawing: str


def render_comparison(found: RunComparison) -> str:
    """Return the HTML; it needs no network and shares its look with the report."""
    metric = found.first.metric
    splits = splits_table(found)
    return render(
        "compare.html.j2",
        version=__version__,
        found=found,
        metric=metric,
        spec=_pairs("spec", "Made otherwise", "What differs in how the two runs were made.", found.spec),
        splits=splits,
        drawing=forest(
            [_dot(name, one.second - one.first, one.difference) for name, one in found.told.items()],
            f"{metric} of the second run minus the first, by split; the table holds the numbers",
        ),
        matrix=matrix_table(found),
        views=[_view(name, one, found) for name, one in found.told.items()],
        cost=_cost(found),
    )


def splits_table(found: RunComparison) -> Table:
    """Return both runs on every split, with difference, and interval and p where there are such."""
    intervals = found.intervals
    return Table(
        slug="splits",
        title="Splits",
        caption=f"{found.first.metric} in percent; the difference is second minus first, in points.",
        columns=(
            Column("split", False),
            *(Column(name) for name in ("first", "second", "difference")),
            *((*_interval_columns(), *(Column(name) for name in ("p", "p (Holm)", "images"))) if intervals else ()),
        ),
        rows=tuple(_split_row(name, one, intervals) for name, one in found.told.items()),
        rules=(
            *(f"{name}: not paired, {why_not}." for name, why_not in found.unpaired.items()),
            *([_together_rule(found)] if found.first.corruptions else []),
        ),
    )


def _together_rule(found: RunComparison) -> str:
    both = {name: one for name, one in found.first.corruptions.items() if name in found.splits}
    return f"{TOGETHER}: mean over {targets_told(both, both)}; each of them: gkdbench compare --json, or --split NAME."


def _split_row(name: str, one: SplitDifference, intervals: bool) -> Row:
    scores = (_value(one.first), _value(one.second))
    if not intervals:
        return Row(name, (*scores, _difference(one.second - one.first, None)[0]))
    images = one.difference.images if one.difference else None
    return Row(
        name,
        (
            *scores,
            *_difference(one.second - one.first, one.difference),
            _p(one.corrected),
            ABSENT if images is None else Cell(f"{images:,}", float(images)),
        ),
    )


def matrix_table(found: RunComparison) -> Table:
    """Return the difference of every class on every split; marked where its interval excludes no difference."""
    splits = list(found.told.items())
    judged = class_metric(found.first.metric)
    return Table(
        slug="matrix",
        title="Classes and splits",
        caption=f"Difference of the class {judged} in points, second minus first.",
        columns=(Column("class", False), *(Column(name) for name, _ in splits)),
        rows=tuple(
            Row(name, tuple(_matrix_cell(one.classes[name]) for _, one in splits)) for name in found.first.classes
        ),
        rules=(
            "The interval of this class on this split excludes no difference where the cell is bold (the second run is "
            "better) or underlined (the first is). Nothing corrects for the number of cells: without any difference "
            "one in twenty would be marked."
            if found.intervals
            else "No cell is marked: without intervals nothing says which differences other images would not turn.",
            f"–: a run has no {judged} for the class on this split.",
        ),
    )


def _matrix_cell(one: ClassDifference) -> Cell:
    change = _change(one)
    if math.isnan(change):
        return ABSENT
    known = one.difference if one.difference and not math.isnan(one.difference.low) else None
    sure = known is not None and not known.low <= 0 <= known.high
    hover = with_minus(f"{known.low:+.2f} to {known.high:+.2f}, p {_shown_p(known.p)}") if known else ""
    rank: Rank = "" if not sure else "best" if change > 0 else "second"
    return Cell(_signed(change, 1), change, rank=rank, hover=hover)


def _view(name: str, split: SplitDifference, found: RunComparison) -> SplitView:
    judged, intervals = class_metric(found.first.metric), found.intervals
    drawn = [
        _dot(label, change, one.difference)
        for label, one in split.classes.items()
        if not math.isnan(change := _change(one))
    ]
    table = Table(
        slug=f"classes-{name.replace(' ', '-')}",
        title=f"Classes on {name}",
        caption=f"{judged} in percent; the difference is second minus first, in points"
        + ("; p is not corrected." if intervals else "."),
        columns=(
            Column("class", False),
            *(Column(title) for title in ("first", "second", "difference")),
            *((*_interval_columns(), Column("p")) if intervals else ()),
        ),
        rows=tuple(
            Row(
                label,
                (
                    _value(one.first),
                    _value(one.second),
                    *_difference(_change(one), one.difference)[: None if intervals else 1],
                ),
            )
            for label, one in split.classes.items()
        ),
    )
    label = f"{judged} of the second run minus the first on {name}, by class; the table holds the numbers"
    return SplitView(name, table, forest(drawn, label))


def _change(one: ClassDifference) -> float:
    return math.nan if one.first is None or one.second is None else one.second - one.first


def _dot(name: str, change: float, difference: Difference | None) -> Dot:
    if difference is None or math.isnan(difference.low):
        return Dot(name, change)
    return Dot(name, change, difference.low, difference.high)


def _interval_columns() -> Sequence[Column]:
    return (Column("interval, from", group=INTERVAL, short="from"), Column("interval, to", group=INTERVAL, short="to"))


def _difference(change: float, difference: Difference | None) -> tuple[Cell, Cell, Cell, Cell]:
    """Return difference, both ends of its interval and p."""
    first = ABSENT if math.isnan(change) else Cell(_signed(change, 1), change, precise=_signed(change, 2))
    if difference is None or math.isnan(difference.low):
        return first, ABSENT, ABSENT, ABSENT
    ends = [Cell(_signed(end, 1), end, precise=_signed(end, 2)) for end in (difference.low, difference.high)]
    return first, ends[0], ends[1], _p(difference.p)


def _pairs(slug: str, title: str, caption: str, pairs: Mapping[str, tuple[str, str]]) -> Table:
    return Table(
        slug=slug,
        title=title,
        caption=caption,
        columns=(Column("what", False), Column("first", False), Column("second", False)),
        rows=tuple(Row(key, (Cell(before), Cell(after))) for key, (before, after) in pairs.items()),
    )


def _cost(found: RunComparison) -> Table:
    rows = []
    for name, (before, after) in found.cost.items():
        times = ABSENT
        if before and after is not None:
            times = Cell(f"{after / before:.2f}", after / before)
        rows.append(Row(name, (_count(before), _count(after), times)))
    return Table(
        slug="cost",
        title="Cost",
        caption="What the two runs took.",
        columns=(Column("what", False), Column("first"), Column("second"), Column("second over first")),
        rows=tuple(rows),
    )


def _value(value: float | None) -> Cell:
    return ABSENT if value is None else Cell(shown(value, 1), value, precise=shown(value, 2))


def _count(value: float | None) -> Cell:
    return ABSENT if value is None else Cell(f"{value:,.0f}", value)


def _signed(value: float, digits: int) -> str:
    text = f"{value:+.{digits}f}"
    return text.replace("-", "+") if float(text) == 0 else text


def _p(value: float) -> Cell:
    return ABSENT if math.isnan(value) else Cell(_shown_p(value), value)


def _shown_p(value: float) -> str:
    return "<0.001" if value < 0.001 else f"{value:.3f}"
