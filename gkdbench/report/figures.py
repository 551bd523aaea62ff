"""The figures of a comparison: one style, colour-blind safe, hatched to be readable in grey."""

import io
import math
import re
import textwrap
from collections.abc import Sequence
from dataclasses import dataclass
from statistics import fmean
from typing import Any

import matplotlib
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from gkdbench.report.comparison import IN_DOMAIN, Comparison, MethodRow, Stat, split_of
from gkdbench.report.tables import class_stat, summary_picks
from gkdbench.run.record import Record

# Okabe and Ito's palette without black, which dark mode swallows; the teacher is grey.
COLOURS = ("#0072B2", "#E69F00", "#009E73", "#D55E00", "#56B4E9", "#CC79A7", "#F0E442")
TEACHER_COLOUR = "#999999"
HATCHES = ("", "///", "\\\\\\", "...", "xxx", "---", "+++", "|||")
MARKERS = ("o", "s", "^", "D", "v", "P", "X", "<")
MOST_LABELS, LONGEST_LABEL = 9, 26
WIDEST = 18.0
# Stand-ins that the inline SVG replaces by the page's own colours, so that dark mode reaches it.
INK, FAINT = "#1a1b1c", "#c7c8c9"

STYLE: Any = {
    "font.size": 9,
    "axes.edgecolor": INK,
    "axes.labelcolor": INK,
    "axes.titlesize": 10,
    "axes.titlelocation": "left",
    "axes.titlecolor": INK,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.axisbelow": True,
    "grid.color": FAINT,
    "grid.linewidth": 0.6,
    "text.color": INK,
    "xtick.color": INK,
    "ytick.color": INK,
    "hatch.linewidth": 0.6,
    "legend.frameon": False,
    "svg.hashsalt": "gkdbench",
    "svg.fonttype": "none",
    # Names come from records: a dollar sign in one is no formula.
    "text.parse_math": False,
}


@dataclass(frozen=True)
class Drawing:
    """A finished figure: for the page, and as files."""

    slug: str
    caption: str
    inline: str
    """SVG for embedding: no prologue, page colours, ids that are unique on the page."""
    svg: str
    png: bytes


def draw_comparison(comparison: Comparison) -> tuple[Drawing, ...]:
    """Draw the figures of a comparison; none where no run has figures."""
    rows = [row for row in comparison.rows if row.status == "done"]
    if not rows:
        return ()
    with matplotlib.rc_context(STYLE):
        return (
            _targets_figure(comparison, rows),
            _scatter_figure(comparison, rows),
            _classes_figure(comparison, rows),
        )


def _name(row: MethodRow, index: int, rows: Sequence[MethodRow]) -> str:
    """Return the legend's name: marked rows say so, rows of one name are numbered."""
    same = [i for i, other in enumerate(rows) if other.label == row.label]
    short = textwrap.shorten(row.label, 40, placeholder=" …")
    if not row.comparable:
        short += f" [{textwrap.shorten(row.footnotes[0].split(':')[0], 24, placeholder=' …')}]"
    return short if len(same) == 1 else f"{short} #{same.index(index) + 1}"


def _legend_columns(rows: Sequence[MethodRow], wide: float) -> int:
    """Return how many columns of the longest name fit into a figure `wide` inches wide."""
    longest = max(len(_name(row, index, rows)) for index, row in enumerate(rows))
    return max(1, min(len(rows), 5, int(wide * 72 / (5.0 * longest + 46))))


def _legend_height(rows: Sequence[MethodRow], wide: float) -> float:
    """Return the inches a legend takes: the plot above keeps its own."""
    return 0.19 * math.ceil(len(rows) / _legend_columns(rows, wide)) + 0.1


def _width(least: float, rows: int, groups: int) -> float:
    """Return a figure's width in inches at which a bar stays wide enough to see."""
    return min(max(least, 0.07 * (rows + 2) * groups), WIDEST)


def _looks(rows: Sequence[MethodRow]) -> list[tuple[str, str, str]]:
    """Return colour, hatch and marker per row: the same in every figure of the comparison."""
    looks, used = [], 0
    for row in rows:
        if row.teacher:
            looks.append((TEACHER_COLOUR, "oo", "*"))
            continue
        # Seven colours and eight hatches: 56 rows before a look repeats.
        colour, style = COLOURS[used % len(COLOURS)], used % len(HATCHES)
        looks.append((colour, HATCHES[style], MARKERS[style]))
        used += 1
    return looks


def _bars(
    axes: Axes,
    groups: Sequence[str],
    rows: Sequence[MethodRow],
    stats: Sequence[Sequence[tuple[float, float | None] | None]],
) -> None:
    """Draw grouped bars: groups along x, a series per row; a missing value leaves a gap."""
    width = 0.84 / len(rows)
    for index, (row, look) in enumerate(zip(rows, _looks(rows), strict=True)):
        at, heights, errors = [], [], []
        for group, stat in enumerate(stats[index]):
            if stat is not None and math.isfinite(stat[0]):
                at.append(group + (index - (len(rows) - 1) / 2) * width)
                heights.append(stat[0])
                errors.append(stat[1] or 0.0)
        axes.bar(
            at,
            heights,
            width,
            yerr=errors if any(errors) else None,
            color=look[0],
            hatch=look[1],
            edgecolor=INK,
            linewidth=0.5,
            error_kw={"elinewidth": 0.8, "ecolor": INK},
            label=_name(row, index, rows),
        )
    ticks = [textwrap.fill(group, 12, break_long_words=False) for group in groups]
    longest = max(len(line) for tick in ticks for line in tick.split("\n"))
    axes.set_xticks(range(len(groups)), ticks)
    if longest * len(groups) > 110:
        axes.set_xticks(range(len(groups)), groups, rotation=35, ha="right", rotation_mode="anchor")
    axes.set_xlim(-0.6, len(groups) - 0.4)
    axes.set_ylim(0, None)
    axes.grid(axis="y")


def _spread(stat: Stat | None) -> tuple[float, float | None] | None:
    return None if stat is None else (stat.mean, stat.sd)


def _targets_figure(comparison: Comparison, rows: Sequence[MethodRow]) -> Drawing:
    picks = {name: pick for name, pick in summary_picks(comparison).items() if name != "gap"}
    wide = _width(7.8, len(rows), len(picks))
    figure = Figure(figsize=(wide, 4.0 + _legend_height(rows, wide)), layout="constrained")
    axes = figure.add_subplot()
    stats = [[_spread(row.stat(pick)) for pick in picks.values()] for row in rows]
    _bars(axes, list(picks), rows, stats)
    axes.set_ylabel(f"{comparison.metric}, %")
    figure.legend(loc="outside lower center", ncols=_legend_columns(rows, wide), handlelength=2.4)
    slug = f"{comparison.slug}-targets"
    return _finish(figure, slug, f"{comparison.metric} in-domain, on each target and on average. {_error_bars(rows)}")


def _classes_figure(comparison: Comparison, rows: Sequence[MethodRow]) -> Drawing:
    wide = _width(11.0, len(rows), len(comparison.classes))
    figure = Figure(figsize=(wide, 5.0 + _legend_height(rows, wide)), layout="constrained")
    upper, lower = figure.subplots(2, 1, sharey=True)
    classes = comparison.classes
    _bars(upper, classes, rows, [[_spread(class_stat(r, IN_DOMAIN, c)) for c in classes] for r in rows])
    _bars(lower, classes, rows, [[_target_mean(r, c, comparison) for c in classes] for r in rows])
    upper.set_title("in-domain")
    lower.set_title("mean over targets")
    for axes in (upper, lower):
        axes.set_ylabel("IoU, %")
    handles, labels = upper.get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside lower center", ncols=_legend_columns(rows, wide), handlelength=2.4)
    caption = "IoU per class, in-domain and averaged over the targets that have the class. "
    return _finish(figure, f"{comparison.slug}-classes", caption + _error_bars(rows))


def _target_mean(row: MethodRow, name: str, comparison: Comparison) -> tuple[float, float | None] | None:
    """Average a class over the targets within each run, then over the runs."""

    def pick(record: Record) -> float | None:
        found = []
        for target in comparison.targets:
            result = split_of(record, target)
            value = result.per_class.get(name) if result else None
            if value is not None:
                found.append(value)
        return fmean(found) if found else None

    return _spread(row.stat(pick))


def _error_bars(rows: Sequence[MethodRow]) -> str:
    several = any(len(row.records) > 1 for row in rows)
    return "Error bars: standard deviation over seeds." if several else "One seed per method: no error bars."


def _scatter_figure(comparison: Comparison, rows: Sequence[MethodRow]) -> Drawing:
    picks = summary_picks(comparison)
    names = [_name(row, index, rows) for index, row in enumerate(rows)]
    # beside the points while there is room for words; else in a legend
    beside = len(rows) <= MOST_LABELS and max(map(len, names)) <= LONGEST_LABEL
    wide = 5.2 if beside else 7.8
    figure = Figure(figsize=(wide, 4.2 if beside else 4.2 + _legend_height(rows, wide)), layout="constrained")
    axes = figure.add_subplot()
    points = []
    for index, (row, look) in enumerate(zip(rows, _looks(rows), strict=True)):
        x, y = row.stat(picks[IN_DOMAIN]), row.stat(picks["OOD mean"])
        if x is None or y is None or not (math.isfinite(x.mean) and math.isfinite(y.mean)):
            continue
        axes.errorbar(x.mean, y.mean, xerr=x.sd, yerr=y.sd, fmt="none", ecolor=INK, elinewidth=0.6, alpha=0.7)
        axes.scatter(x.mean, y.mean, s=90 if row.teacher else 52, color=look[0], marker=look[2],
                     edgecolor=INK, linewidth=0.7, zorder=3, label=names[index])  # fmt: skip
        points.append((x.mean, y.mean, names[index]))
    axes.margins(x=0.22 if beside else 0.06, y=0.14 if beside else 0.08)
    axes.set_xlabel(f"in-domain {comparison.metric}, %")
    axes.set_ylabel(f"OOD mean {comparison.metric}, %")
    axes.grid()
    if beside:
        _label_points(axes, points)
    else:
        if points:
            figure.legend(loc="outside lower center", ncols=_legend_columns(rows, wide))
    caption = f"OOD mean against in-domain {comparison.metric}; up is more robust. {_error_bars(rows)}"
    return _finish(figure, f"{comparison.slug}-scatter", caption)


def _label_points(axes: Axes, points: Sequence[tuple[float, float, str]]) -> None:
    """Write each point's name beside it, at the nearest place free of markers and other names."""
    figure = axes.get_figure(root=True)
    assert figure is not None
    figure.draw_without_rendering()
    scale = 72 / figure.dpi
    centres = [axes.transData.transform((x, y)) * scale for x, y, _ in points]
    # Boxes in points: left, bottom, right, top.
    taken = [(x - 5, y - 5, x + 5, y + 5) for x, y in centres]
    offsets = [(side, step * 9) for step in (0, 1, -1, 2, -2, 3, -3, 4, -4) for side in (1, -1)]
    for (x, y), (at_x, at_y, name) in zip(centres, points, strict=True):
        width = 5.2 * len(name)
        for side, lift in offsets:
            left = x + 8 if side == 1 else x - 8 - width
            box = (left, y + lift - 4, left + width, y + lift + 5)
            if not any(_overlap(box, other) for other in taken):
                break
        taken.append(box)
        axes.annotate(
            name,
            (at_x, at_y),
            xytext=(8 * side, lift),
            textcoords="offset points",
            ha="left" if side == 1 else "right",
            va="center",
            annotation_clip=False,
        )


def _overlap(one: tuple[float, ...], other: tuple[float, ...]) -> bool:
    return one[0] < other[2] and other[0] < one[2] and one[1] < other[3] and other[1] < one[3]


def _finish(figure: Figure, slug: str, caption: str) -> Drawing:
    FigureCanvasAgg(figure)
    png, svg = io.BytesIO(), io.StringIO()
    # No date and no version: the same records give the same bytes.
    figure.savefig(png, format="png", dpi=160, facecolor="white", metadata={"Software": None})
    # Laid out once: the second file takes over the positions.
    figure.set_layout_engine("none")
    figure.savefig(
        svg,
        format="svg",
        transparent=True,
        metadata={"Date": None, "Creator": None, "Format": None, "Type": None},
    )
    text = re.sub(r"\s*<metadata>.*?</metadata>", "", svg.getvalue(), flags=re.DOTALL)
    return Drawing(slug, caption, _inline(text, slug, caption), text, png.getvalue())


def _inline(svg: str, slug: str, caption: str) -> str:
    """Make an SVG part of a page: colours of the page, ids of its own, a name to read out."""
    body = svg[svg.index("<svg") :]
    body = re.sub(r'(\bid="|url\(#|href="#)', lambda m: f"{m[1]}{slug}-", body)
    body = body.replace(INK, "currentColor").replace(FAINT, "var(--line)")
    # Sized by the page's style sheet; the view box keeps the proportions.
    body = re.sub(r'(<svg[^>]*?) width="[^"]*"', r"\1", body, count=1)
    body = re.sub(r'(<svg[^>]*?) height="[^"]*"', r"\1", body, count=1)
    label = _attribute(caption)
    return body.replace("<svg ", f'<svg role="img" aria-label="{label}" ', 1)


def _attribute(text: str) -> str:
    for char, name in (("&", "&amp;"), ("<", "&lt;"), (">", "&gt;"), ('"', "&quot;")):
        text = text.replace(char, name)
    return text
