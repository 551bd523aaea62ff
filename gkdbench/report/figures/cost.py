"""Accuracy against what it took: images seen, hours of training, size of the model."""

from collections.abc import Collection, Sequence

from gkdbench.report.comparison import Comparison
from gkdbench.report.figures.captions import bars_told, particulars, seeds_told, sentences, source_told
from gkdbench.report.figures.drawing import FORMS, Drawing, finish
from gkdbench.report.figures.frame import frame, log_axis
from gkdbench.report.figures.labels import number_points
from gkdbench.report.figures.readings import OOD, finite, half_interval
from gkdbench.report.figures.series import Series, left_out, most_telling
from gkdbench.report.figures.sheet import Point, Sheet, key, key_columns, key_height, marks, strokes
from gkdbench.report.figures.style import one_name
from gkdbench.report.records import budget_total
from gkdbench.report.tables import Pick, summary_picks
from gkdbench.runs.record import Record

_WIDE, _DEEP, _GAP = 250.0, 230.0, 22.0
_LOG_FROM = 8.0
"""Largest over smallest value from which on an axis is logarithmic."""


def cost_figure(comparison: Comparison, series: Sequence[Series], forms: Collection[str] = FORMS) -> Drawing | None:
    """Draw the OOD mean over images seen, hours of training and parameters: three panels."""
    shown = most_telling(series)
    scores = [finite(one.row, summary_picks(comparison)[OOD]) for one in shown]
    device, mixed = _devices(shown)
    quantities: list[tuple[str, Pick, float]] = [
        ("training images seen, thousands", lambda record: budget_total(record, "images"), 1e3),
        (f"training, hours on {device}", _hours, 1.0),
        ("parameters of the evaluated model, M", lambda record: record.model.get("params"), 1e6),
    ]
    columns = key_columns(shown, 3 * _WIDE, numbered=True)
    foot = key_height(shown, columns) + 44
    sheet = Sheet(44 + 3 * (_WIDE + _GAP), foot + _DEEP + 8)
    values = [score.mean for score in scores if score]
    if not values:
        return None
    room = max(max(values) - min(values), 1.0)
    drawn = 0
    for place, (title, pick, unit) in enumerate(quantities):
        axes = sheet.panel(44 + place * (_WIDE + _GAP), foot, _WIDE, _DEEP)
        costs = [finite(one.row, pick) for one in shown]
        points: list[Point | None] = [
            (cost.mean / unit, score.mean) if cost and score and cost.mean > 0 else None
            for cost, score in zip(costs, scores, strict=True)
        ]
        axes.set_ylim(min(values) - 0.09 * room, max(values) + 0.09 * room)
        known = [point[0] for point in points if point is not None]
        up = "" if place else f"OOD mean {comparison.metric}, %"
        if not known:
            frame(sheet, axes, across=title, up=up, numbers=not place)
            sheet.write(*_middle(place, foot), "not recorded", side="center")
            continue
        drawn += len(known)
        if max(known) / min(known) > _LOG_FROM:
            log_axis(axes.xaxis, min(known) / 1.25, max(known) * 1.25)
        else:
            wide = max(max(known) - min(known), 0.5 * max(known))
            axes.set_xlim(max(min(known) - 0.12 * wide, 0), max(known) + 0.12 * wide)
            axes.locator_params(axis="x", nbins=5)
        frame(sheet, axes, across=title, up=up, numbers=not place)
        bars = [
            [(point[0], point[1] - half), (point[0], point[1] + half)]
            for point, score in zip(points, scores, strict=True)
            if point and score and (half := half_interval(score))
        ]
        strokes(axes, bars)
        marks(axes, shown, points, 36)
        number_points(sheet, axes, shown, points, bars, near=True)
    if not drawn:
        return None
    key(sheet, shown, 44, foot - 40, columns, "marks", numbered=True)
    caption = sentences(
        f"OOD mean {comparison.metric} against cost; numbers are the rows of the key, written where there is room.",
        source_told(comparison),
        "Images seen: over all data roles. Training: wall time times devices from nothing, a teacher's head that the "
        "method uses included. "
        "Parameters: encoder and head that are evaluated.",
        mixed,
        left_out(series, shown),
        seeds_told(shown),
        bars_told(shown),
    )
    label = f"Scatter: OOD mean {comparison.metric} against images, hours and parameters of {len(shown)} rows."
    details = particulars(comparison, series, shown)
    return finish(sheet.figure, f"{comparison.slug}-cost", caption, details, label=label, forms=forms)


def _middle(place: int, foot: float) -> Point:
    return 44 + place * (_WIDE + _GAP) + _WIDE / 2, foot + _DEEP / 2


def _hours(record: Record) -> float | None:
    """Return the hours of training from nothing, times the devices that it kept busy."""
    wall, devices = record.cost.get("from_scratch", {}).get("wall_s"), record.environment.get("devices", 1)
    if wall is None:
        return None
    return wall / 3600 * (devices if isinstance(devices, int) and devices > 1 else 1)


def _devices(shown: Sequence[Series]) -> tuple[str, str]:
    """Return what the hours were spent on, and what to say where that differs between runs."""
    found: dict[str, set[str]] = {}
    for one in shown:
        for record in one.row.records:
            found.setdefault(_device(record), set()).add(one.name)
    if len(found) == 1:
        return next(iter(found)), ""
    parts = [f"{device} ({len(names)} row{'' if len(names) == 1 else 's'})" for device, names in sorted(found.items())]
    return "different devices", f"Hours are not comparable between devices: {', '.join(parts)}."


def _device(record: Record) -> str:
    """Return the device that a record names, on a CPU with its threads."""
    kind, threads = record.environment.get("device"), record.environment.get("threads")
    if not isinstance(kind, str) or not kind:
        return "an unrecorded device"
    if kind != "cpu":
        return one_name(kind, 30)
    return f"a CPU ({threads} thread{'' if threads == 1 else 's'})" if isinstance(threads, int) else "a CPU"
