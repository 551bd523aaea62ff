"""Out-of-domain against in-domain."""

import math
from collections.abc import Collection, Sequence

from matplotlib.axes import Axes

from gkdbench.report.comparison import IN_DOMAIN, Comparison
from gkdbench.report.figures.captions import bars_told, particulars, seeds_told, sentences, source_told
from gkdbench.report.figures.drawing import FORMS, Drawing, finish
from gkdbench.report.figures.frame import frame
from gkdbench.report.figures.labels import number_points
from gkdbench.report.figures.readings import OOD, finite, half_interval
from gkdbench.report.figures.series import Series, left_out, most_telling
from gkdbench.report.figures.sheet import Point, Sheet, areas, key, key_height, key_width, marks, strokes
from gkdbench.report.figures.style import GREY
from gkdbench.report.tables import summary_picks

_WIDE, _DEEP = 330.0, 300.0


def scatter_figure(comparison: Comparison, series: Sequence[Series], forms: Collection[str] = FORMS) -> Drawing | None:
    """Draw the OOD mean over the in-domain score, with arrows from the baseline to each other row."""
    shown = most_telling(series)
    picks = summary_picks(comparison)
    stats = [(finite(one.row, picks[IN_DOMAIN]), finite(one.row, picks[OOD])) for one in shown]
    points: list[Point | None] = [(x.mean, y.mean) if x and y else None for x, y in stats]
    known = [point for point in points if point is not None]
    if not known:
        return None
    deep = max(_DEEP, key_height(shown, 1) - 6)
    sheet = Sheet(44 + _WIDE + 22 + key_width(shown, "marks", numbered=True), deep + 46)
    axes = sheet.panel(44, 36, _WIDE, deep)
    halves = [(half_interval(x), half_interval(y)) if x and y else (0.0, 0.0) for x, y in stats]
    _limits(axes, known)
    bars = [
        segment
        for point, (across, up) in zip(points, halves, strict=True)
        if point
        for segment in (
            [(point[0] - across, point[1]), (point[0] + across, point[1])],
            [(point[0], point[1] - up), (point[0], point[1] + up)],
        )
        if segment[0] != segment[1]
    ]
    strokes(axes, bars)
    base = next((index for index, one in enumerate(shown) if one.baseline), None)
    start = points[base] if base is not None else None
    busy: list[list[Point]] = []
    if start is not None:
        busy = _arrows(sheet, axes, start, [p for i, p in enumerate(points) if p is not None and i != base])
    marks(axes, shown, points, 44)
    number_points(sheet, axes, shown, points, [*bars, *busy])
    frame(sheet, axes, across=f"in-domain {comparison.metric}, %", up=f"OOD mean {comparison.metric}, %")
    key(sheet, shown, 44 + _WIDE + 14, sheet.height - 6, 1, "marks", numbered=True)
    caption = sentences(
        f"OOD mean against in-domain {comparison.metric}; up is more robust, numbers are the rows of the key.",
        source_told(comparison),
        f"Arrows lead from the baseline {shown[base].name} to each row."
        if start is not None and base is not None
        else "",
        "Hollow: out of the ranking." if not all(one.row.comparable for one in shown) else "",
        left_out(series, shown),
        seeds_told(shown),
        bars_told(shown),
        "Bars that leave the frame are cut." if _cut(axes, bars) else "",
    )
    label = f"Scatter: OOD mean against in-domain {comparison.metric} of {len(known)} rows of {comparison.title}."
    details = particulars(comparison, series, shown)
    return finish(sheet.figure, f"{comparison.slug}-scatter", caption, details, label=label, forms=forms)


def _limits(axes: Axes, points: Sequence[Point]) -> None:
    """Frame the points, not the bars: an interval over two seeds would push all else together."""
    ends = []
    for values in zip(*points, strict=True):
        room = 0.09 * max(max(values) - min(values), 1.0)
        ends.append((min(values) - room, max(values) + room))
    axes.set_xlim(ends[0])
    axes.set_ylim(ends[1])


def _cut(axes: Axes, bars: Sequence[Sequence[Point]]) -> bool:
    (left, right), (low, high) = axes.get_xlim(), axes.get_ylim()
    return any(not (left <= x <= right and low <= y <= high) for bar in bars for x, y in bar)


def _arrows(sheet: Sheet, axes: Axes, start: Point, ends: Sequence[Point]) -> list[list[Point]]:
    """Draw a line with a filled head to every end, clear of the markers and above the grid.

    Returns where numbers are in the way: bits of each arrow near its end, in the units of the axes.
    """
    shafts: list[list[Point]] = []
    heads: list[list[Point]] = []
    busy: list[list[Point]] = []
    x0, y0 = sheet.place(axes, *start)
    for end in ends:
        x1, y1 = sheet.place(axes, *end)
        length = math.hypot(x1 - x0, y1 - y0)
        if length < 16:
            continue
        ux, uy = (x1 - x0) / length, (y1 - y0) / length
        tip, neck = (x1 - 5 * ux, y1 - 5 * uy), (x1 - 11 * ux, y1 - 11 * uy)
        shafts.append([(x0 + 5 * ux, y0 + 5 * uy), neck])
        heads.append([tip, (neck[0] + 2.6 * uy, neck[1] - 2.6 * ux), (neck[0] - 2.6 * uy, neck[1] + 2.6 * ux)])
        along = [sheet.back(axes, x1 - reach * ux, y1 - reach * uy) for reach in range(8, min(30, int(length)), 4)]
        busy.extend([point, point] for point in along)
    strokes(axes, [[sheet.back(axes, *point) for point in shaft] for shaft in shafts], GREY, 0.8, level=1.6)
    areas(axes, [[sheet.back(axes, *point) for point in head] for head in heads], GREY, edge=0, level=1.7)
    return busy
