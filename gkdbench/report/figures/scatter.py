"""Out-of-domain against in-domain."""

import math
from collections.abc import Sequence

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from gkdbench.report.comparison import IN_DOMAIN, Comparison, MethodRow
from gkdbench.report.figures.drawing import Drawing, finish
from gkdbench.report.figures.style import (
    INK,
    LONGEST_LABEL,
    MOST_LABELS,
    error_bars,
    legend_columns,
    legend_height,
    looks,
    shown_name,
)
from gkdbench.report.tables import summary_picks


def scatter_figure(comparison: Comparison, rows: Sequence[MethodRow]) -> Drawing:
    """Draw the OOD mean over the in-domain score."""
    picks = summary_picks(comparison)
    names = [shown_name(row, index, rows) for index, row in enumerate(rows)]
    # beside the points while there is room for words; else in a legend
    beside = len(rows) <= MOST_LABELS and max(map(len, names)) <= LONGEST_LABEL
    wide = 5.2 if beside else 7.8
    figure = Figure(figsize=(wide, 4.2 if beside else 4.2 + legend_height(rows, wide)), layout="constrained")
    axes = figure.add_subplot()
    points = []
    for index, (row, look) in enumerate(zip(rows, looks(rows), strict=True)):
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
            figure.legend(loc="outside lower center", ncols=legend_columns(rows, wide))
    caption = f"OOD mean against in-domain {comparison.metric}; up is more robust. {error_bars(rows)}"
    return finish(figure, f"{comparison.slug}-scatter", caption)


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
