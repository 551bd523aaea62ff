"""The frame of a panel, drawn by hand: matplotlib's own ticks take as long as everything else in a figure."""

import math
from typing import Any, Literal

from matplotlib.axes import Axes
from matplotlib.axis import Axis, XAxis
from matplotlib.ticker import ScalarFormatter

from gkdbench.report.figures.sheet import Sheet, strokes, text_width
from gkdbench.report.figures.style import FAINT, INK, NORMAL
from gkdbench.report.visible_text import visible

_MOST_TICKS = 7
_TICK, _PAD = 2.5, 3.5
"""Points: length of a tick, room between it and its number."""


def frame(
    sheet: Sheet,
    axes: Axes,
    *,
    across: str = "",
    up: str = "",
    grid: Literal["both", "x", "y"] = "both",
    numbers: bool = True,
) -> None:
    """Draw the left and the lower side of a panel, ticks, grid and titles; its limits and scales must be set.

    `numbers` says whether the left side has any; lines of the grid stand where ticks do.
    """
    axes.set_axis_off()
    (left, right), (low, high) = axes.get_xlim(), axes.get_ylim()
    corner, top = sheet.place(axes, left, low), sheet.place(axes, left, high)
    far = sheet.place(axes, right, low)
    sides = [[top, corner], [corner, far]]
    xs, ys = _ticks(axes.xaxis, left, right), _ticks(axes.yaxis, low, high)
    if grid != "y":
        strokes(axes, [[(x, low), (x, high)] for x, _ in xs], FAINT, 0.6, level=0.5)
    if grid != "x":
        strokes(axes, [[(left, y), (right, y)] for y, _ in ys], FAINT, 0.6, level=0.5)
    for x, text in xs:
        at = sheet.place(axes, x, low)
        sides.append([at, (at[0], at[1] - _TICK)])
        sheet.write(at[0], at[1] - _TICK - _PAD - 0.4 * NORMAL, text, side="center")
    for y, text in ys:
        at = sheet.place(axes, left, y)
        sides.append([at, (at[0] - _TICK, at[1])])
        if numbers:
            sheet.write(at[0] - _TICK - _PAD, at[1], text, side="right")
    sheet.lines(sides, INK, 0.75)
    if across:
        sheet.write((corner[0] + far[0]) / 2, corner[1] - _TICK - _PAD - 1.8 * NORMAL, across, side="center")
    if up:
        wide = max((text_width(text) for _, text in ys), default=0.0) if numbers else 0.0
        look: Any = {"rotation": 90, "rotation_mode": "anchor", "ha": "center", "va": "baseline", "fontsize": NORMAL}
        x = corner[0] - _TICK - _PAD - wide - 5
        sheet.canvas.text(x, (corner[1] + top[1]) / 2, visible(up), color=INK, **look)


def log_axis(axis: Axis, low: float, high: float) -> None:
    """Make an axis logarithmic between two positive values, with ticks that are written as a person would."""
    across = isinstance(axis, XAxis)
    (axis.axes.set_xscale if across else axis.axes.set_yscale)("log")
    (axis.axes.set_xlim if across else axis.axes.set_ylim)(low, high)
    decades = range(math.floor(math.log10(low)), math.ceil(math.log10(high)))
    ticks = [step * 10.0**decade for decade in decades for step in (1, 2, 5)]
    ticks = [tick for tick in ticks if low <= tick <= high]
    if len(ticks) > _MOST_TICKS:
        ticks = [10.0**decade for decade in decades if low <= 10.0**decade <= high]
    ticks = ticks[:: -(-len(ticks) // _MOST_TICKS) or 1]
    axis.set_ticks(ticks, labels=[f"{tick:g}" for tick in ticks])


def _ticks(axis: Axis, low: float, high: float) -> list[tuple[float, str]]:
    """Return where the ticks of an axis are and what stands there."""
    formatter = axis.get_major_formatter()
    if isinstance(formatter, ScalarFormatter):
        # Whole numbers at every tick: nothing that a corner of the panel would have to say for all.
        formatter.set_useOffset(False)
        formatter.set_scientific(False)
    places = [float(place) for place in axis.get_majorticklocs()]
    edge = 1e-9 * abs(high - low)
    texts = formatter.format_ticks(places)
    return [
        (place, text)
        for place, text in zip(places, texts, strict=True)
        if min(low, high) - edge <= place <= max(low, high) + edge
    ]
