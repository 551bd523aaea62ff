"""Every target, every seed: a point per run, a panel per split."""

from collections.abc import Collection, Sequence

import numpy as np
from matplotlib.axes import Axes

from gkdbench.report.comparison import IN_DOMAIN, Comparison, Stat
from gkdbench.report.corruptions import MPC
from gkdbench.report.figures.captions import particulars, seeds_told, sentences, source_told
from gkdbench.report.figures.drawing import FORMS, Drawing, finish
from gkdbench.report.figures.frame import frame
from gkdbench.report.figures.readings import OOD, finite
from gkdbench.report.figures.series import Series, left_out, most_telling
from gkdbench.report.figures.sheet import Sheet, boxes, spots, strokes, text_width
from gkdbench.report.figures.style import COLOURS, FAINT, INK, TEACHER_COLOUR, one_name
from gkdbench.report.tables import summary_picks

MOST_PANELS = 10
BOX_SEEDS = 5
"""Seeds from which on quartiles say something."""
_LINE = 12.5


def targets_figure(comparison: Comparison, series: Sequence[Series], forms: Collection[str] = FORMS) -> Drawing | None:
    """Draw in-domain, each target and the means of targets: a point per seed, a box where there are five or more."""
    shown = most_telling(series)
    picks = summary_picks(comparison)
    last = [OOD, MPC] if comparison.corruptions else [OOD]
    targets = comparison.singled[: MOST_PANELS - 1 - len(last)]
    titles = [IN_DOMAIN, *targets, *last]
    stats = {title: [finite(one.row, picks[title]) for one in shown] for title in titles}
    if not any(stat for found in stats.values() for stat in found):
        return None
    left = max(text_width(one.name) for one in shown) + 12
    wide = min(max(660.0 / len(titles), 62.0), 130.0)
    deep = _LINE * len(shown) + 6
    sheet = Sheet(left + len(titles) * (wide + 8) + 4, deep + 52)
    base = next((index for index, one in enumerate(shown) if one.baseline), None)
    for column, title in enumerate(titles):
        axes = sheet.panel(left + column * (wide + 8), 32, wide, deep)
        axes.set_yticks([])
        axes.locator_params(axis="x", nbins=max(int(wide // 24), 2))
        _panel(axes, shown, stats[title], base)
        frame(sheet, axes, grid="x")
        sheet.write(left + column * (wide + 8), deep + 42, _fitting(title, wide))
    for index, one in enumerate(shown):
        sheet.write(left - 6, 32 + deep - 3 - (index + 0.5) * _LINE, one.name, side="right")
    sheet.write(left + len(titles) * (wide + 8) / 2, 8, f"{comparison.metric}, %", side="center")
    quartiles = any(stat and stat.n >= BOX_SEEDS for found in stats.values() for stat in found)
    missing = len(comparison.singled) - len(targets)
    caption = sentences(
        f"{comparison.metric} in percent on each split: a point per seed, a bar at the mean over several"
        + (f", a box of the quartiles from {BOX_SEEDS} seeds on." if quartiles else "."),
        source_told(comparison),
        "Star: teacher." if any(one.row.teacher for one in shown) else "",
        f"Dotted, diamond: the baseline {shown[base].name}." if base is not None else "",
        "Hollow: out of the ranking." if not all(one.row.comparable for one in shown) else "",
        left_out(series, shown),
        f"The first {len(targets)} targets; {missing} left out." if missing else "",
        f"{MPC}: mean over {comparison.told(comparison.corruptions)}." if comparison.corruptions else "",
        seeds_told(shown),
    )
    label = f"Points: {comparison.metric} of {len(shown)} rows on {', '.join(titles)}."
    details = particulars(comparison, series, shown)
    return finish(sheet.figure, f"{comparison.slug}-targets", caption, details, label=label, forms=forms)


def _fitting(title: str, wide: float) -> str:
    short = one_name(title)
    while text_width(short) > wide and len(short) > 4:
        short = one_name(short, len(short) - 1)
    return short


def _panel(axes: Axes, shown: Sequence[Series], stats: Sequence[Stat | None], base: int | None) -> None:
    groups: dict[tuple[str, str, bool], list[tuple[float, float]]] = {}
    ticks, corners, medians = [], [], []
    for index, (one, stat) in enumerate(zip(shown, stats, strict=True)):
        if stat is None:
            continue
        look = (TEACHER_COLOUR, "*") if one.row.teacher else (COLOURS[3], "D") if one.baseline else (COLOURS[0], "o")
        groups.setdefault((*look, one.row.comparable), []).extend((value, index) for value in stat.values)
        if stat.n >= BOX_SEEDS:
            low, middle, high = np.quantile(stat.values, [0.25, 0.5, 0.75])
            corners.append((low, index - 0.3, high, index + 0.3))
            medians.append([(middle, index - 0.3), (middle, index + 0.3)])
        if stat.n > 1:
            ticks.append([(stat.mean, index - 0.42), (stat.mean, index + 0.42)])
    boxes(axes, corners, "none")
    strokes(axes, medians, INK, 0.6)
    strokes(axes, ticks, INK, 1.4)
    for (colour, marker, full), points in groups.items():
        size = {"*": 48, "D": 17}.get(marker, 17)
        face, edge = (colour, INK) if full else ("none", colour)
        spots(axes, points, marker, size, face, edge, 0.5)
    mean = stats[base].mean if base is not None and stats[base] else None  # type: ignore[union-attr]
    if mean is not None:
        strokes(axes, [[(mean, len(shown) - 0.26), (mean, -0.74)]], INK, 0.7, ":", level=1)
    axes.set_ylim(len(shown) - 0.26, -0.74)
    values = [value for points in groups.values() for value, _ in points] or [0.0, 1.0]
    room = 0.1 * (max(values) - min(values)) or 0.05 * abs(values[0]) or 1.0
    left, right = min(values) - room, max(values) + room
    strokes(axes, [[(left, index), (right, index)] for index in range(len(shown))], FAINT, 0.4, level=0)
    axes.set_xlim(left, right)
