"""Bars: what every class has, a series per row."""

from collections.abc import Collection, Sequence
from typing import Any

from matplotlib.axes import Axes

from gkdbench.report.comparison import IN_DOMAIN, Comparison
from gkdbench.report.figures.captions import bars_told, having_told, particulars, seeds_told, sentences, source_told
from gkdbench.report.figures.drawing import FORMS, Drawing, finish
from gkdbench.report.figures.frame import frame
from gkdbench.report.figures.readings import class_reading, half_interval
from gkdbench.report.figures.series import Series, left_out, most_telling
from gkdbench.report.figures.sheet import Sheet, boxes, key, key_columns, key_height, strokes, text_width
from gkdbench.report.figures.style import INK, NORMAL, one_name

MOST_BARS = 8
"""Rows whose bars can be told apart."""
MOST_CLASSES = 40
_PANEL = 118.0


def classes_figure(comparison: Comparison, series: Sequence[Series], forms: Collection[str] = FORMS) -> Drawing | None:
    """Draw what every class has, in-domain and averaged over the targets."""
    shown = most_telling(series, MOST_BARS)
    classes = comparison.classes[:MOST_CLASSES]
    if not classes or not shown:
        return None
    ticks = [one_name(name, 18) for name in classes]
    inner = min(max(620.0, (7.0 * len(shown) + 10) * len(classes)), 1300.0)
    turned = max(map(text_width, ticks)) > inner / len(classes) - 4
    foot = max(map(text_width, ticks)) * 0.6 + 14 if turned else 18.0
    columns = key_columns(shown, inner, "patches")
    deep = key_height(shown, columns)
    sheet = Sheet(inner + 52, 2 * (_PANEL + 20) + foot + deep + 12)
    top = sheet.height - 18
    for title, split in ((IN_DOMAIN, IN_DOMAIN), (f"mean over {comparison.shifts_told}", None)):
        axes = sheet.panel(40, top - _PANEL, inner, _PANEL)
        _bars(axes, shown, classes, split, comparison)
        sheet.write(40, top + 9, title, 9)
        axes.set_xticks([])
        frame(sheet, axes, up=f"{comparison.class_metric}, %", grid="y")
        if split is None:
            _names(sheet, axes, ticks, turned)
        top -= _PANEL + 20
    key(sheet, shown, 40, deep + 4, columns, "patches")
    missing = len(comparison.classes) - len(classes)
    caption = sentences(
        f"{comparison.class_metric} per class in percent, in-domain and averaged over the {having_told(comparison)}.",
        source_told(comparison),
        left_out(series, shown),
        f"The first {len(classes)} classes; {missing} left out." if missing else "",
        seeds_told(shown),
        bars_told(shown),
    )
    details = particulars(comparison, series, shown)
    label = f"Bars: {comparison.class_metric} of {len(classes)} classes for {len(shown)} rows of {comparison.title}."
    return finish(sheet.figure, f"{comparison.slug}-classes", caption, details, label=label, forms=forms)


def _bars(
    axes: Axes, shown: Sequence[Series], classes: Sequence[str], split: str | None, comparison: Comparison
) -> None:
    """Draw grouped bars; a missing value leaves a gap."""
    width = 0.84 / len(shown)
    whiskers, highest = [], 1.0
    for index, one in enumerate(shown):
        corners = []
        for group, name in enumerate(classes):
            stat = class_reading(one.row, name, split, comparison.shifts)
            if stat is None:
                continue
            left = group + (index - len(shown) / 2) * width
            corners.append((left, 0.0, left + width, stat.mean))
            half = half_interval(stat)
            highest = max(highest, stat.mean + half)
            if half:
                x = left + width / 2
                whiskers.append([(x, max(stat.mean - half, 0)), (x, stat.mean + half)])
        boxes(axes, corners, one.colour, one.hatch)
    strokes(axes, whiskers, INK, 0.9, level=3)
    axes.set_xlim(-0.6, len(classes) - 0.4)
    axes.set_ylim(0, min(highest * 1.02, 102.0))


def _names(sheet: Sheet, axes: Axes, names: Sequence[str], turned: bool) -> None:
    """Write the classes below a panel, slanting where they are long."""
    look: Any = {"rotation": 35, "ha": "right", "va": "top", "rotation_mode": "anchor", "fontsize": NORMAL}
    for index, name in enumerate(names):
        x, y = sheet.place(axes, index, axes.get_ylim()[0])
        if turned:
            sheet.canvas.text(x, y - 3.5, name, color=INK, **look)
        else:
            sheet.write(x, y - 7, name, side="center")
