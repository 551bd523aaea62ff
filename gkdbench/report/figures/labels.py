"""Numbers beside points, none on top of another where that can be had."""

import math
from collections.abc import Iterable, Sequence

from matplotlib.axes import Axes

from gkdbench.report.figures.series import Series
from gkdbench.report.figures.sheet import Point, Sheet, text_width
from gkdbench.report.figures.style import SMALL

_TURNS = (0, 180, 45, 135, 315, 225, 90, 270)
_RINGS = (9.0, 14.0, 20.0, 27.0, 35.0)
_MARKER = 4.5
Box = tuple[float, float, float, float]


def number_points(
    sheet: Sheet,
    axes: Axes,
    shown: Sequence[Series],
    points: Sequence[Point | None],
    bars: Iterable[Sequence[Point]],
    near: bool = False,
) -> None:
    """Write every series' number beside its point and clear of error bars, with a line to it where it lies far off.

    `near` leaves a number out that finds no free place close by: where points lie on one line, lines do not help.
    """
    here = {i: sheet.place(axes, *point) for i, point in enumerate(points) if point is not None}
    frame = [float(edge) * 72 / sheet.figure.dpi for edge in axes.get_window_extent().extents]
    taken = [(x - _MARKER, y - _MARKER, x + _MARKER, y + _MARKER) for x, y in here.values()]
    for first, last in bars:
        (x, y), (right, top) = sheet.place(axes, *first), sheet.place(axes, *last)
        taken.append((x - 0.5, y - 0.5, right + 0.5, top + 0.5))
    leaders = []
    for index, (x, y) in here.items():
        text = str(shown[index].number)
        at = _free(x, y, text_width(text, SMALL), taken, frame, near)
        if at is None:
            continue
        taken.append(_box(*at, text_width(text, SMALL)))
        sheet.write(*at, text, SMALL, "center")
        if math.dist(at, (x, y)) > _RINGS[1] + 1:
            leaders.append([(x, y), (x + (at[0] - x) * 0.78, y + (at[1] - y) * 0.78)])
    sheet.lines(leaders, width=0.4)


def _free(x: float, y: float, wide: float, taken: Sequence[Box], frame: Sequence[float], near: bool) -> Point | None:
    """Return the nearest place that covers nothing; if there is none, the one that covers least, or none."""
    best, least = (x, y), math.inf
    for ring in _RINGS[:2] if near else _RINGS:
        for turn in _TURNS:
            angle = math.radians(turn)
            at = (x + (ring + wide / 4) * math.cos(angle), y + ring * math.sin(angle))
            box = _box(*at, wide)
            if box[0] < frame[0] or box[1] < frame[1] or box[2] > frame[2] + 8 or box[3] > frame[3] + 4:
                continue
            covered = sum(_common(box, other) for other in taken)
            if covered == 0:
                return at
            if covered < least:
                best, least = at, covered
    return None if near else best


def _box(x: float, y: float, wide: float) -> Box:
    return x - wide / 2 - 0.7, y - SMALL * 0.42, x + wide / 2 + 0.7, y + SMALL * 0.42


def _common(one: Box, other: Box) -> float:
    wide = min(one[2], other[2]) - max(one[0], other[0])
    high = min(one[3], other[3]) - max(one[1], other[1])
    return wide * high if wide > 0 and high > 0 else 0.0
