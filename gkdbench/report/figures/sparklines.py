"""A run's own curves, small: SVG written by hand, since hundreds of runs would take a plotting library minutes."""

import math
from collections.abc import Sequence
from html import escape

from gkdbench.report.curves import StageCurves
from gkdbench.report.figures.style import COLOURS, one_name

MOST_POINTS = 60
MOST_TERMS, MOST_STAGES = 6, 8
_WIDE, _DEEP, _HEAD, _GAP = 200, 72, 14, 24
_DASHES = ("", "5 2", "2 2", "7 2 2 2", "9 3", "3 2 1 2")
_LOG_FROM = 5.0


def run_curves(stages: Sequence[StageCurves]) -> str:
    """Return an SVG for the page: a panel per stage, a line per weighted term; empty where nothing was logged."""
    logged = [stage for stage in stages if any(_points(stage, name) for name in stage.terms)][:MOST_STAGES]
    if not logged:
        return ""
    deepest = max(min(len(stage.terms), MOST_TERMS) for stage in logged)
    width, height = len(logged) * (_WIDE + _GAP), _HEAD + _DEEP + 14 + 11 * deepest
    panels = "".join(_panel(stage, place * (_WIDE + _GAP) + 2) for place, stage in enumerate(logged))
    names = escape(", ".join(one_name(stage.name) for stage in logged))
    return (
        f'<svg role="img" aria-label="Training loss over steps, stages {names}" viewBox="0 0 {width} {height}" '
        f'style="max-width: {width}pt; --width: {width}pt" font-size="8" fill="currentColor">{panels}</svg>'
    )


def _panel(stage: StageCurves, left: int) -> str:
    lines = {name: found for name in [*stage.terms][:MOST_TERMS] if (found := _points(stage, name))}
    values = [value for points in lines.values() for _, value in points]
    low, high, last = min(values), max(values), max(max(stage.steps), 1)
    log = low > 0 and high / low > _LOG_FROM

    def height(value: float) -> float:
        one, other, this = (math.log(low), math.log(high), math.log(value)) if log else (low, high, value)
        return _HEAD + _DEEP * (1 - ((this - one) / (other - one) if other > one else 0.5))

    parts = [f'<text x="{left}" y="9">{escape(one_name(stage.name, 24))}{", log scale" if log else ""}</text>']
    frame = f"M{left} {_HEAD}V{_HEAD + _DEEP}H{left + _WIDE}"
    parts.append(f'<path d="{frame}" fill="none" stroke="currentColor" stroke-width="0.7"/>')
    parts.append(f'<text x="{left + 3}" y="{_HEAD + 7}" font-size="7">{high:.3g}</text>')
    parts.append(f'<text x="{left + 3}" y="{_HEAD + _DEEP - 3}" font-size="7">{low:.3g}</text>')
    parts.append(f'<text x="{left + _WIDE}" y="{_HEAD + _DEEP + 9}" text-anchor="end">step {last}</text>')
    for place, (name, points) in enumerate(lines.items()):
        at = " ".join(f"{left + _WIDE * step / last:.0f},{height(value):.1f}" for step, value in points)
        look = f'fill="none" stroke="{COLOURS[place]}" stroke-width="1.3" stroke-dasharray="{_DASHES[place]}"'
        y = _HEAD + _DEEP + 20 + 11 * place
        parts.append(f'<polyline points="{at}" {look}/><path d="M{left} {y - 3}h26" {look}/>')
        parts.append(f'<text x="{left + 30}" y="{y}">{escape(one_name(name, 30))}</text>')
    return "".join(parts)


def _points(stage: StageCurves, name: str) -> list[tuple[float, float]]:
    """Return a term's points, neighbours averaged until they are few."""
    known = [(s, v) for s, v in zip(stage.steps, stage.terms[name], strict=True) if v is not None and s >= 0]
    if len(known) < 2:
        return []
    size = -(-len(known) // MOST_POINTS)
    groups = [known[start : start + size] for start in range(0, len(known), size)]
    return [(sum(s for s, _ in group) / len(group), sum(v for _, v in group) / len(group)) for group in groups]
