"""Differences as dots with their intervals, small: SVG written by hand, for the page of two runs."""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from html import escape
from textwrap import shorten

from gkdbench.report.visible_text import visible, with_minus

_NAMES, _PLOT, _ROW, _FOOT = 150, 420, 20, 30
_MARGIN = 24
"""At the right end, for half a number."""
_STEPS = (0.1, 0.2, 0.5, 1, 2, 5, 10, 20, 50, 100)
_MOST_STEPS = 5
"""Of the scale on either side of no difference."""


@dataclass(frozen=True)
class Dot:
    """One difference; without an interval both ends are None."""

    name: str
    value: float
    low: float | None = None
    high: float | None = None


def forest(dots: Sequence[Dot], label: str) -> str:
    """Return an SVG for the page, a row per dot, the scale about no difference; empty where there is none."""
    if not dots:
        return ""
    reach = max(abs(end) for dot in dots for end in (dot.value, dot.low, dot.high) if end is not None)
    step = next((step for step in _STEPS if reach <= step * _MOST_STEPS), _STEPS[-1])
    limit = step * max(1, math.ceil(reach / step))
    high, width = len(dots) * _ROW, _NAMES + _PLOT + _MARGIN

    def across(value: float) -> float:
        return _NAMES + _PLOT * (value + limit) / (2 * limit)

    parts = []
    for place in range(-round(limit / step), round(limit / step) + 1):
        x, text = across(place * step), with_minus(f"{place * step:+.3g}") if place else "0"
        line = 'class="zero"' if place == 0 else 'class="tick"'
        parts.append(
            f'<path {line} d="M{x:.1f} 0V{high}"/><text x="{x:.1f}" y="{high + 14}" class="axis">{text}</text>'
        )
    for place, dot in enumerate(dots):
        parts.append(_dot(dot, (place + 0.5) * _ROW, across))
    return (
        f'<svg class="forest" role="img" aria-label="{escape(visible(label))}" viewBox="0 0 {width} {high + _FOOT}" '
        f'style="max-width: {1.2 * width:.0f}px">{"".join(parts)}'
        f'<text x="{_NAMES + _PLOT / 2}" y="{high + 27}" class="axis">points, second minus first</text></svg>'
    )


def _dot(dot: Dot, y: float, across: Callable[[float], float]) -> str:
    interval = ""
    told = with_minus(f"{dot.value:+.2f}")
    if dot.low is not None and dot.high is not None:
        interval = f'<path class="range" d="M{across(dot.low):.1f} {y}H{across(dot.high):.1f}"/>'
        told += with_minus(f", {dot.low:+.2f} to {dot.high:+.2f}")
    told = f"{dot.name}: {told}"
    sure = dot.low is not None and dot.high is not None and not dot.low <= 0 <= dot.high
    return (
        f'<g><title>{escape(visible(told))}</title><text x="{_NAMES - 12}" y="{y + 4}" class="name">'
        f"{escape(shorten(visible(dot.name), 22, placeholder=' …'))}</text>{interval}"
        f'<circle class="{"dot sure" if sure else "dot"}" cx="{across(dot.value):.1f}" cy="{y}" r="4.5"/></g>'
    )
