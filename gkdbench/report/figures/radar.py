"""Radar charts: the paper's Figure 2 from its published values, and each comparison over its targets."""

import math
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from matplotlib.axes import Axes

from gkdbench.report.comparison import IN_DOMAIN, Comparison
from gkdbench.report.figures.captions import particulars, seeds_told, sentences, source_told
from gkdbench.report.figures.drawing import FORMS, Drawing, finish
from gkdbench.report.figures.readings import finite
from gkdbench.report.figures.series import Series, left_out, most_telling
from gkdbench.report.figures.sheet import (
    HANDLE,
    KEY_LINE,
    Point,
    Sheet,
    Side,
    dash,
    key,
    key_columns,
    key_height,
    spots,
)
from gkdbench.report.figures.style import (
    COLOURS,
    DASHES,
    FAINT,
    INK,
    MARKERS,
    NORMAL,
    SMALL,
    TEACHER_LOOK,
    TITLE,
    one_name,
)
from gkdbench.report.paper import SOURCE, Published
from gkdbench.report.tables import summary_picks

MOST_LINES = 6
"""Rows whose outlines can be told apart."""
FEWEST_AXES, MOST_AXES = 3, 12
_RADIUS = 104.0
_INNER = 0.12
"""Radius of the ring where an axis' lowest value lies: in the centre itself rows would hide each other."""


@dataclass(frozen=True)
class Outline:
    """One closed line: a value per axis, None where there is none."""

    name: str
    values: tuple[float | None, ...]
    colour: str
    marker: str
    dashes: Any
    rough: tuple[bool, ...] = ()
    """Values that were read off a figure."""


def radar_figure(comparison: Comparison, series: Sequence[Series], forms: Collection[str] = FORMS) -> Drawing | None:
    """Draw in-domain and the targets as axes, each from the lowest value shown to the highest."""
    shown = most_telling(series, MOST_LINES)
    picks = summary_picks(comparison)
    axes = [IN_DOMAIN, *comparison.singled]
    if len(axes) > MOST_AXES or len(axes) < FEWEST_AXES or not shown:
        return None
    outlines = []
    for one in shown:
        stats = [finite(one.row, picks[name]) for name in axes]
        values = tuple(stat.mean if stat else None for stat in stats)
        outlines.append(Outline(one.name, values, one.colour, one.marker, dash(one)))
    if not any(value is not None for outline in outlines for value in outline.values):
        return None
    columns = key_columns(shown, 400, "lines")
    deep = key_height(shown, columns)
    sheet = Sheet(420, 2 * _RADIUS + 92 + deep)
    _radar(sheet, (210, deep + 48 + _RADIUS), [(one_name(name, 20), "") for name in axes], outlines)
    key(sheet, shown, 20, deep + 6, columns, "lines")
    caption = sentences(
        f"{comparison.metric} in percent, in-domain and on each of the {comparison.shifts_told}. Each axis is linear "
        "from the lowest value shown (inner ring) to the highest (rim), both printed at its end, so distances on two "
        "axes do not compare.",
        source_told(comparison),
        left_out(series, shown),
        seeds_told(shown),
        "Means over seeds.",
    )
    label = f"Radar chart: {comparison.metric} of {len(shown)} rows on {', '.join(axes)}."
    details = particulars(comparison, series, shown)
    return finish(sheet.figure, f"{comparison.slug}-radar", caption, details, label=label, forms=forms)


def published_radar(numbers: Sequence[Published], file: str, forms: Collection[str] = FORMS) -> Drawing | None:
    """Draw the paper's Figure 2: a chart per setting and pair, each axis from the lowest value to the highest."""
    spokes = list(dict.fromkeys((number.source, number.target) for number in numbers))
    charts = _charts(numbers)
    if not charts or len(spokes) < FEWEST_AXES:
        return None
    systems = list(dict.fromkeys(name for chart in charts.values() for name in chart))
    labels = [(one_name(source, 16), f"→ {one_name(target, 18)}") for source, target in spokes]
    across = min(len(charts), 2)
    wide, high = 2 * _RADIUS + 150.0, 2 * _RADIUS + 96.0
    foot = KEY_LINE * len(systems[::3]) + 8
    sheet = Sheet(across * wide, high * -(-len(charts) // across) + foot)
    for index, (title, chart) in enumerate(charts.items()):
        x, y = (index % across) * wide, sheet.height - (index // across) * high
        sheet.write(x + 8, y - 10, title, TITLE)
        outlines = []
        for name, found in chart.items():
            values = tuple(found[spoke].number if spoke in found else None for spoke in spokes)
            rough = tuple(spoke in found and found[spoke].approximate for spoke in spokes)
            outlines.append(Outline(name, values, *_look(systems.index(name)), rough))
        _radar(sheet, (x + wide / 2, y - 56 - _RADIUS), labels, outlines)
    for index, name in enumerate(systems):
        colour, marker, dashes = _look(index)
        x, y = 28 + (index % 3) * (sheet.width - 30) / 3, foot - 4 - KEY_LINE * (index // 3 + 0.5)
        sheet.lines([[(x - HANDLE / 2, y), (x + HANDLE / 2, y)]], colour, 1.6, dashes)
        _spots(sheet.canvas, [(x, y)], colour, marker)
        sheet.write(x + HANDLE / 2 + 4, y, one_name(name))
    caption = sentences(
        "Published values of the paper's Figure 2, not measured here: mIoU in percent. Each axis is linear from the "
        "lowest value (inner ring; in the paper the centre, where low systems would hide each other) to the highest "
        "(rim), both printed at its end, so distances on two axes do not compare.",
        "Hollow markers: approximate values, read off the figure.",
        _gaps_told(charts, len(spokes)),
    )
    details = (f"Source: {SOURCE}, Figure 2. File: results/paper/{file}.csv.", "Seeds: not stated in the paper.")
    label = "Radar charts: published mIoU of the paper's Figure 2, five source and target pairs."
    return finish(sheet.figure, "paper-radar", caption, details, label=label, forms=forms)


def _charts(numbers: Sequence[Published]) -> dict[str, dict[str, dict[tuple[str, str], Published]]]:
    """Return per title and system its values by spoke; a teacher belongs to the chart of the pairs it teaches."""
    students = [n for n in numbers if n.fact("role") != "teacher"]
    pairs = dict.fromkeys((n.fact("setting"), n.fact("teacher_arch"), n.fact("arch")) for n in students)
    charts: dict[str, dict[str, dict[tuple[str, str], Published]]] = {}
    for setting, large, small in pairs:
        chart = charts.setdefault(f"{setting}, {large} → {small}", {})
        for number in numbers:
            teaches = number.fact("role") == "teacher" and number.fact("arch") == large
            if number.fact("setting") != setting or number.fact("teacher_arch") != large:
                continue
            if teaches or (number.fact("role") != "teacher" and number.fact("arch") == small):
                name = f"{number.method} (teacher)" if teaches else number.method
                chart.setdefault(name, {})[number.source, number.target] = number
    return charts


def _gaps_told(charts: Mapping[str, Mapping[str, Mapping[tuple[str, str], Published]]], spokes: int) -> str:
    """Say in which charts the paper prints a part of the values."""
    known = {title: sum(map(len, chart.values())) for title, chart in charts.items()}
    parts = [
        f"{title} ({known[title]} of {spokes * len(chart)})"
        for title, chart in charts.items()
        if known[title] < spokes * len(chart)
    ]
    if not parts:
        return ""
    return (
        f"Not every value is printed in {', '.join(parts)}: lines are open where one is missing, and an axis starts "
        "at the lowest that is printed, not at that of the worst system."
    )


def _look(index: int) -> tuple[str, str, Any]:
    """Return colour, marker and dashes of a published system: the teacher comes first."""
    if index == 0:
        return TEACHER_LOOK[0], TEACHER_LOOK[2], "-"
    place = index - 1
    return COLOURS[place % len(COLOURS)], MARKERS[place % len(MARKERS)], DASHES[index % len(DASHES)]


def _radar(sheet: Sheet, centre: Point, labels: Sequence[tuple[str, str]], outlines: Sequence[Outline]) -> None:
    """Draw one chart: rings, spokes with their ends, outlines."""
    count = len(labels)
    turns = [math.pi / 2 - 2 * math.pi * index / count for index in range(count)]

    def at(spoke: int, share: float) -> Point:
        return (
            centre[0] + _RADIUS * share * math.cos(turns[spoke]),
            centre[1] + _RADIUS * share * math.sin(turns[spoke]),
        )

    rings = [_INNER + (1 - _INNER) * step / 4 for step in range(5)]
    sheet.lines([[at(spoke % count, ring) for spoke in range(count + 1)] for ring in rings], FAINT, 0.6)
    sheet.lines([[at(spoke, _INNER), at(spoke, 1.0)] for spoke in range(count)], FAINT, 0.6)
    ends: Mapping[int, tuple[float, float]] = {
        spoke: (min(known), max(known))
        for spoke in range(count)
        if (known := [value for outline in outlines if (value := outline.values[spoke]) is not None])
    }
    for spoke, (first, second) in enumerate(labels):
        _spoke_label(sheet, at(spoke, 1.0), turns[spoke], [first, second], ends.get(spoke))
    for outline in outlines:
        points: list[Point | None] = []
        for spoke, value in enumerate(outline.values):
            if value is None:
                points.append(None)
                continue
            low, high = ends[spoke]
            share = (value - low) / (high - low) if high > low else 1.0
            points.append(at(spoke, _INNER + (1 - _INNER) * share))
        # An axis without a value opens the line there.
        sides = [(points[i], points[(i + 1) % count]) for i in range(count)]
        if None not in points:
            whole = [point for point in points if point is not None]
            sheet.lines([[*whole, whole[0]]], outline.colour, 1.5, outline.dashes)
        else:
            lines = [[one, other] for one, other in sides if one is not None and other is not None]
            sheet.lines(lines, outline.colour, 1.5, outline.dashes)
        rough = outline.rough or (False,) * count
        for hollow in (False, True):
            spots = [p for p, about in zip(points, rough, strict=True) if p is not None and about is hollow]
            _spots(sheet.canvas, spots, outline.colour, outline.marker, hollow)


def _spots(axes: Axes, points: Sequence[Point], colour: str, marker: str, hollow: bool = False) -> None:
    if points:
        face, edge = ("none", colour) if hollow else (colour, INK)
        size = 50 if marker == "*" else 20
        spots(axes, points, marker, size, face, edge, 0.9 if hollow else 0.5)


def _spoke_label(sheet: Sheet, tip: Point, turn: float, lines: Sequence[str], ends: tuple[float, float] | None) -> None:
    """Write an axis' name and both its values beyond its end."""
    lines = [line for line in lines if line]
    values = f"{ends[0]:.1f} to {ends[1]:.1f}" if ends else "no value"
    across, up = math.cos(turn), math.sin(turn)
    side: Side = "left" if across > 0.25 else "right" if across < -0.25 else "center"
    x, height = tip[0] + 9 * across, 10.0 * (len(lines) + 1)
    # The block's middle goes up or down by half its height where the axis does.
    middle = tip[1] + 9 * up + height / 2 * up
    y = middle + height / 2 - 5
    for line in lines:
        sheet.write(x, y, line, NORMAL, side)
        y -= 10
    sheet.write(x, y, values, SMALL, side)
