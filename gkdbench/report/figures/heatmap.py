"""Heat maps: rows by classes, corruptions by severity."""

from collections.abc import Collection, Mapping, Sequence
from functools import partial
from typing import Any

import matplotlib
import numpy as np
from matplotlib.colors import Colormap
from numpy.typing import NDArray

from gkdbench.report.comparison import Comparison, split_of
from gkdbench.report.corruptions import kinds_of, severities_of
from gkdbench.report.figures.captions import having_told, particulars, seeds_told, sentences, source_told
from gkdbench.report.figures.drawing import FORMS, Drawing, finish
from gkdbench.report.figures.readings import class_reading, finite
from gkdbench.report.figures.series import Series, left_out, most_telling
from gkdbench.report.figures.sheet import Sheet, text_width
from gkdbench.report.figures.style import INK, NORMAL, ON_DARK, ON_LIGHT, SMALL, TITLE, one_name
from gkdbench.runs.record import Corruption, Record

MOST_CLASSES = 60
MOST_CELLS = 700
"""Cells of a map whose values are written into them."""
MOST_MAPS = 6
"""Rows that get a map of corruptions each."""
_LINE = 14.0
_HEAD = 20.0
_WIDEST = 900.0

Values = NDArray[np.float64]
Map = tuple[Values, str, Colormap, tuple[float, float], str]
"""Values, title, colours, the values at their ends, how values are written."""


def heatmap_figure(comparison: Comparison, series: Sequence[Series], forms: Collection[str] = FORMS) -> Drawing | None:
    """Draw what every row has per class, averaged over the targets, and what it is above the baseline (Fig 9)."""
    shown = most_telling(series)
    classes = comparison.classes[:MOST_CLASSES]
    values = _class_values(shown, classes, comparison.shifts)
    if not np.isfinite(values).any():
        return None
    names, ticks = [one.name for one in shown], [one_name(name, 18) for name in classes]
    base = next((one for one in shown if one.baseline), None)
    cell = 24.0 if len(classes) <= 30 else 15.0
    foot = max(map(text_width, ticks)) * 0.71 + 12
    left = max(max(map(text_width, names)) + 10, foot)
    wide, deep = max(cell * len(classes), 210.0), _LINE * len(shown)
    beside = left + 2 * wide + 24 <= _WIDEST
    maps: list[Map] = [
        (values, f"{comparison.class_metric} over targets, %", matplotlib.colormaps["cividis"], (0.0, 100.0), "{:.0f}")
    ]
    if base is not None:
        change = values - values[shown.index(base)]
        reach = float(np.ceil(max(np.nanmax(np.abs(change), initial=1.0), 1.0)))
        title = f"difference to {base.name}"
        maps.append((change, title, matplotlib.colormaps["PuOr"], (-reach, reach), "{:+.0f}"))
    across = len(maps) if beside else 1
    down = -(-len(maps) // across)
    sheet = Sheet(left + across * (wide + 16), down * (_HEAD + deep + foot))
    for index, (found, title, colours, limits, form) in enumerate(maps):
        at = left + (index % across) * (wide + 16)
        top = sheet.height - (index // across) * (_HEAD + deep + foot) - _HEAD
        _map(sheet, found, at, top, wide, deep, colours, limits, form)
        _scale(sheet, at, top, wide, title, colours, limits, form)
        _columns(sheet, ticks, at, top - deep, wide)
        if at == left:
            _rows(sheet, names, left, top, deep)
    missing = len(comparison.classes) - len(classes)
    caption = sentences(
        f"{comparison.class_metric} of every class in percent, averaged over the {having_told(comparison)}"
        + (f", and the difference to the baseline {base.name} in points." if base is not None else "."),
        source_told(comparison),
        left_out(series, shown),
        f"The first {len(classes)} classes; {missing} left out." if missing else "",
        seeds_told(shown),
        "Means over seeds, rounded to whole numbers; a dash where there is no value.",
    )
    judged, rows = comparison.class_metric, len(shown)
    label = f"Heat map: {judged} of {len(classes)} classes for {rows} rows of {comparison.title}."
    details = particulars(comparison, series, shown)
    return finish(sheet.figure, f"{comparison.slug}-heatmap", caption, details, label=label, forms=forms)


def corruptions_figure(
    comparison: Comparison, series: Sequence[Series], forms: Collection[str] = FORMS
) -> Drawing | None:
    """Draw a map of corruption by severity per row, and below it what it is above the baseline."""
    known = comparison.corruptions
    shown = most_telling(series, MOST_MAPS)
    kinds, severities = kinds_of(known), severities_of(known)
    grids = [_corruption_values(one, known, kinds, severities) for one in shown]
    if not known or not shown or not np.isfinite(grids).any():
        return None
    maps = _corruption_maps(shown, grids)
    names, ticks = [one_name(kind, 24) for kind in kinds], [str(severity) for severity in severities]
    left, cell = max(map(text_width, names)) + 10, 26.0
    wide, deep = max(cell * len(ticks), 150.0), _LINE * len(kinds)
    across = min(max(map(len, maps)), 3)
    block = _HEAD + deep + 30
    sheet = Sheet(left + across * (wide + 14), block * sum(-(-len(part) // across) for part in maps))
    top = sheet.height - _HEAD
    for part in maps:
        for index, (found, title, colours, limits, form) in enumerate(part):
            at, high = left + (index % across) * (wide + 14), top - (index // across) * block
            _map(sheet, found, at, high, wide, deep, colours, limits, form)
            _scale(sheet, at, high, wide, title, colours, limits, form)
            for place, tick in enumerate(ticks):
                sheet.write(at + (place + 0.5) * wide / len(ticks), high - deep - 8, tick, side="center")
            sheet.write(at + wide / 2, high - deep - 19, "severity", side="center")
            if at == left:
                _rows(sheet, names, left, high, deep)
        top -= -(-len(part) // across) * block
    base = next((one for one in shown if one.baseline), None)
    caption = sentences(
        f"{comparison.metric} in percent on the in-domain images under each corruption, by severity"
        + (f"; below (Δ), the difference to the baseline {base.name} in points." if base and len(maps) > 1 else "."),
        source_told(comparison),
        left_out(series, shown),
        seeds_told(shown),
        "Means over seeds, rounded to whole numbers; one scale for all values"
        + (" and one for all differences." if len(maps) > 1 else "."),
        "A dash where there is no value." if not np.isfinite(grids).all() else "",
    )
    label = f"Heat maps: {comparison.metric} of {len(shown)} rows by {len(kinds)} corruptions and severity."
    details = particulars(comparison, series, shown)
    return finish(sheet.figure, f"{comparison.slug}-corruptions", caption, details, label=label, forms=forms)


def _corruption_maps(shown: Sequence[Series], grids: Sequence[Values]) -> list[list[Map]]:
    """Return the maps of all rows, then those of differences where there is a baseline to differ from."""
    limits = (float(np.floor(np.nanmin(grids))), float(np.ceil(np.nanmax(grids))))
    colours = matplotlib.colormaps["cividis"]
    found: list[list[Map]] = [
        [(grid, one.name, colours, limits, "{:.0f}") for one, grid in zip(shown, grids, strict=True)]
    ]
    base = next((index for index, one in enumerate(shown) if one.baseline), None)
    changes = [
        (one, grid - grids[base]) for index, (one, grid) in enumerate(zip(shown, grids, strict=True)) if index != base
    ] if base is not None else []  # fmt: skip
    if any(np.isfinite(change).any() for _, change in changes):
        reach = max(float(np.ceil(np.nanmax(np.abs([change for _, change in changes])))), 1.0)
        ends, apart = (-reach, reach), matplotlib.colormaps["PuOr"]
        found.append([(change, f"Δ {one.name}", apart, ends, "{:+.0f}") for one, change in changes])
    return found


def _class_values(shown: Sequence[Series], classes: Sequence[str], targets: Sequence[str]) -> Values:
    """Return [rows, classes]; nan where there is no value."""
    found = [[class_reading(one.row, name, None, targets) for name in classes] for one in shown]
    return np.array([[np.nan if stat is None else stat.mean for stat in row] for row in found], np.float64)


def _corruption_values(
    one: Series, known: Mapping[str, Corruption], kinds: Sequence[str], severities: Sequence[int]
) -> Values:
    """Return [kinds, severities]; nan where there is no value."""
    grid = np.full((len(kinds), len(severities)), np.nan)
    for target, corruption in known.items():
        stat = finite(one.row, partial(_value, target=target))
        if stat is not None:
            grid[kinds.index(corruption.kind), severities.index(corruption.severity)] = stat.mean
    return grid


def _value(record: Record, target: str) -> float | None:
    result = split_of(record, target)
    return result.value if result else None


def _map(
    sheet: Sheet, values: Values, left: float, top: float, wide: float, deep: float,
    colours: Colormap, limits: tuple[float, float], form: str,
) -> None:  # fmt: skip
    """Draw the cells and write their values while these fit."""
    rows, columns = values.shape
    known = np.isfinite(values)
    share = np.clip((np.where(known, values, limits[0]) - limits[0]) / max(limits[1] - limits[0], 1e-9), 0, 1)
    faces = colours(share, bytes=True)
    faces[~known] = 0
    sheet.picture(faces, left, top - deep, wide, deep)
    if values.size > MOST_CELLS:
        return
    light = faces[..., :3] @ np.array([0.299, 0.587, 0.114]) > 120
    for row in range(rows):
        y = top - (row + 0.5) * deep / rows
        for column in range(columns):
            x = left + (column + 0.5) * wide / columns
            if known[row, column]:
                value = values[row, column]
                # "+0" and "-0" would claim a sign that rounding took.
                text = form.format(value).replace("-", "−") if abs(value) >= 0.5 else "0"
                colour = ON_LIGHT if light[row, column] else ON_DARK
                sheet.write(x, y, text, SMALL, "center", colour)
            else:
                sheet.write(x, y, "–", SMALL, "center")


def _scale(
    sheet: Sheet, left: float, top: float, wide: float, title: str,
    colours: Colormap, limits: tuple[float, float], form: str,
) -> None:  # fmt: skip
    """Write a map's title and, to its right, what its colours mean."""
    ends = [form.format(limit).replace("-", "−") for limit in limits]
    room = text_width(ends[1], SMALL)
    bar = 44.0
    right = left + wide - room - 3
    sheet.picture(colours(np.linspace(0, 1, 32)[None], bytes=True), right - bar, top + 6, bar, 7)
    sheet.write(left + wide, top + 9.5, ends[1], SMALL, "right")
    sheet.write(right - bar - 3, top + 9.5, ends[0], SMALL, "right")
    space = wide - room - bar - text_width(ends[0], SMALL) - 14
    while title and text_width(title, TITLE) > space:
        title = one_name(title, len(title) - 1) if len(title) > 4 else ""
    sheet.write(left, top + 9.5, title, TITLE)


def _rows(sheet: Sheet, names: Sequence[str], left: float, top: float, deep: float) -> None:
    for index, name in enumerate(names):
        sheet.write(left - 5, top - (index + 0.5) * deep / len(names), name, side="right")


def _columns(sheet: Sheet, ticks: Sequence[str], left: float, bottom: float, wide: float) -> None:
    look: Any = {"rotation": 45, "rotation_mode": "anchor", "ha": "right", "va": "center"}
    for index, tick in enumerate(ticks):
        x = left + (index + 0.5) * wide / len(ticks)
        sheet.canvas.text(x + 2, bottom - 6, tick, color=INK, fontsize=NORMAL, **look)
