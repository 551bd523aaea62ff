"""Bars: every target, every class, a series per method."""

import math
import textwrap
from collections.abc import Sequence
from statistics import fmean

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from gkdbench.report.comparison import IN_DOMAIN, Comparison, MethodRow, split_of
from gkdbench.report.figures.drawing import Drawing, finish
from gkdbench.report.figures.style import (
    INK,
    error_bars,
    legend_columns,
    legend_height,
    looks,
    shown_name,
    spread,
    width_for,
)
from gkdbench.report.tables import class_stat, summary_picks
from gkdbench.run.record import Record


def _bars(
    axes: Axes,
    groups: Sequence[str],
    rows: Sequence[MethodRow],
    stats: Sequence[Sequence[tuple[float, float | None] | None]],
) -> None:
    """Draw grouped bars: groups along x, a series per row; a missing value leaves a gap."""
    width = 0.84 / len(rows)
    for index, (row, look) in enumerate(zip(rows, looks(rows), strict=True)):
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
            label=shown_name(row, index, rows),
        )
    ticks = [textwrap.fill(group, 12, break_long_words=False) for group in groups]
    longest = max(len(line) for tick in ticks for line in tick.split("\n"))
    axes.set_xticks(range(len(groups)), ticks)
    if longest * len(groups) > 110:
        axes.set_xticks(range(len(groups)), groups, rotation=35, ha="right", rotation_mode="anchor")
    axes.set_xlim(-0.6, len(groups) - 0.4)
    axes.set_ylim(0, None)
    axes.grid(axis="y")


def targets_figure(comparison: Comparison, rows: Sequence[MethodRow]) -> Drawing:
    """Draw in-domain, each target and the means."""
    picks = {name: pick for name, pick in summary_picks(comparison).items() if name != "gap"}
    wide = width_for(7.8, len(rows), len(picks))
    figure = Figure(figsize=(wide, 4.0 + legend_height(rows, wide)), layout="constrained")
    axes = figure.add_subplot()
    stats = [[spread(row.stat(pick)) for pick in picks.values()] for row in rows]
    _bars(axes, list(picks), rows, stats)
    axes.set_ylabel(f"{comparison.metric}, %")
    figure.legend(loc="outside lower center", ncols=legend_columns(rows, wide), handlelength=2.4)
    slug = f"{comparison.slug}-targets"
    return finish(figure, slug, f"{comparison.metric} in-domain, on each target and on average. {error_bars(rows)}")


def classes_figure(comparison: Comparison, rows: Sequence[MethodRow]) -> Drawing:
    """Draw the IoU of every class, in-domain and averaged over the targets."""
    wide = width_for(11.0, len(rows), len(comparison.classes))
    figure = Figure(figsize=(wide, 5.0 + legend_height(rows, wide)), layout="constrained")
    upper, lower = figure.subplots(2, 1, sharey=True)
    classes = comparison.classes
    _bars(upper, classes, rows, [[spread(class_stat(r, IN_DOMAIN, c)) for c in classes] for r in rows])
    _bars(lower, classes, rows, [[_target_mean(r, c, comparison) for c in classes] for r in rows])
    upper.set_title("in-domain")
    lower.set_title("mean over targets")
    for axes in (upper, lower):
        axes.set_ylabel("IoU, %")
    handles, labels = upper.get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside lower center", ncols=legend_columns(rows, wide), handlelength=2.4)
    caption = "IoU per class, in-domain and averaged over the targets that have the class. "
    return finish(figure, f"{comparison.slug}-classes", caption + error_bars(rows))


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

    return spread(row.stat(pick))
