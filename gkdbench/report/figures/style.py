"""How every figure looks: colours, hatches, markers, names in legends, error bars."""

import math
import textwrap
from collections.abc import Sequence
from typing import Any

from gkdbench.report.comparison import MethodRow, Stat

# Okabe and Ito's palette without black, which dark mode swallows; the teacher is grey.
COLOURS = ("#0072B2", "#E69F00", "#009E73", "#D55E00", "#56B4E9", "#CC79A7", "#F0E442")
TEACHER_COLOUR = "#999999"
HATCHES = ("", "///", "\\\\\\", "...", "xxx", "---", "+++", "|||")
MARKERS = ("o", "s", "^", "D", "v", "P", "X", "<")
MOST_LABELS, LONGEST_LABEL = 9, 26
WIDEST = 18.0
# Stand-ins that the inline SVG replaces by the page's own colours, so that dark mode reaches it.
INK, FAINT = "#1a1b1c", "#c7c8c9"

STYLE: Any = {
    "font.size": 9,
    "axes.edgecolor": INK,
    "axes.labelcolor": INK,
    "axes.titlesize": 10,
    "axes.titlelocation": "left",
    "axes.titlecolor": INK,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.axisbelow": True,
    "grid.color": FAINT,
    "grid.linewidth": 0.6,
    "text.color": INK,
    "xtick.color": INK,
    "ytick.color": INK,
    "hatch.linewidth": 0.6,
    "legend.frameon": False,
    "svg.hashsalt": "gkdbench",
    "svg.fonttype": "none",
    # Names come from records: a dollar sign in one is no formula.
    "text.parse_math": False,
}


def shown_name(row: MethodRow, index: int, rows: Sequence[MethodRow]) -> str:
    """Return the legend's name: marked rows say so, rows of one name are numbered."""
    same = [i for i, other in enumerate(rows) if other.label == row.label]
    short = textwrap.shorten(row.label, 40, placeholder=" …")
    if not row.comparable:
        short += f" [{textwrap.shorten(row.footnotes[0].split(':')[0], 24, placeholder=' …')}]"
    return short if len(same) == 1 else f"{short} #{same.index(index) + 1}"


def legend_columns(rows: Sequence[MethodRow], wide: float) -> int:
    """Return how many columns of the longest name fit into a figure `wide` inches wide."""
    longest = max(len(shown_name(row, index, rows)) for index, row in enumerate(rows))
    return max(1, min(len(rows), 5, int(wide * 72 / (5.0 * longest + 46))))


def legend_height(rows: Sequence[MethodRow], wide: float) -> float:
    """Return the inches a legend takes: the plot above keeps its own."""
    return 0.19 * math.ceil(len(rows) / legend_columns(rows, wide)) + 0.1


def width_for(least: float, rows: int, groups: int) -> float:
    """Return a figure's width in inches at which a bar stays wide enough to see."""
    return min(max(least, 0.07 * (rows + 2) * groups), WIDEST)


def looks(rows: Sequence[MethodRow]) -> list[tuple[str, str, str]]:
    """Return colour, hatch and marker per row: the same in every figure of the comparison."""
    looks, used = [], 0
    for row in rows:
        if row.teacher:
            looks.append((TEACHER_COLOUR, "oo", "*"))
            continue
        # Seven colours and eight hatches: 56 rows before a look repeats.
        colour, style = COLOURS[used % len(COLOURS)], used % len(HATCHES)
        looks.append((colour, HATCHES[style], MARKERS[style]))
        used += 1
    return looks


def spread(stat: Stat | None) -> tuple[float, float | None] | None:
    """Return height and error bar."""
    return None if stat is None else (stat.mean, stat.sd)


def error_bars(rows: Sequence[MethodRow]) -> str:
    """Say in a caption what the error bars are."""
    several = any(len(row.records) > 1 for row in rows)
    return "Error bars: standard deviation over seeds." if several else "One seed per method: no error bars."
