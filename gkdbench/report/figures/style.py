"""How every figure looks: colours, hatches, markers, type."""

from typing import Any

# Okabe and Ito's palette without black, which dark mode swallows; the teacher is grey.
COLOURS = ("#0072B2", "#E69F00", "#009E73", "#D55E00", "#56B4E9", "#CC79A7", "#F0E442")
TEACHER_COLOUR = "#999999"
# Lines only: circles and dots make a pattern of a hundred kilobytes.
HATCHES = ("", "////", "\\\\\\\\", "xxx", "---", "|||", "+++", "//")
MARKERS = ("o", "s", "^", "D", "v", "P", "X", "<")
DASHES: tuple[Any, ...] = ("-", (0, (5, 1.5)), (0, (1.5, 1)), (0, (6, 1.5, 1.5, 1.5)), (0, (7, 2.5)), (0, (3, 2, 1, 2)))
TEACHER_LOOK = (TEACHER_COLOUR, "", "*")
# Stand-ins that the inline SVG replaces by the page's own colours, so that dark mode reaches it.
INK, FAINT = "#1a1b1c", "#c7c8c9"
GREY = "#84878b"
"""Lines that lead somewhere: seen on light and on dark paper."""
ON_LIGHT, ON_DARK = "#101112", "#ffffff"
"""Text on a coloured ground: the same in dark mode."""
SMALL, NORMAL, TITLE = 7.0, 8.0, 9.0
"""Sizes of type, in points."""
PNG_DPI = 130

STYLE: Any = {
    "font.size": NORMAL,
    "font.sans-serif": ["DejaVu Sans"],
    "axes.edgecolor": INK,
    "axes.facecolor": "none",
    "axes.labelcolor": INK,
    "axes.labelsize": NORMAL,
    "axes.labelpad": 3.0,
    "axes.linewidth": 0.7,
    "axes.titlesize": TITLE,
    "axes.titlelocation": "left",
    "axes.titlecolor": INK,
    "axes.titlepad": 5.0,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.axisbelow": True,
    "grid.color": FAINT,
    "grid.linewidth": 0.6,
    "text.color": INK,
    "xtick.color": INK,
    "xtick.labelsize": NORMAL,
    "xtick.major.size": 2.5,
    "ytick.color": INK,
    "ytick.labelsize": NORMAL,
    "ytick.major.size": 2.5,
    "hatch.linewidth": 0.6,
    "legend.frameon": False,
    "svg.hashsalt": "gkdbench",
    "svg.fonttype": "none",
    # Outlines as they are: glyphs without hints draw a quarter faster, and widths are those of the other forms.
    "text.hinting": "no_hinting",
    # Embedded, and half as slow as subsetting TrueType.
    "pdf.fonttype": 3,
    # Names come from records: a dollar sign in one is no formula.
    "text.parse_math": False,
}


def one_name(text: str, longest: int = 34) -> str:
    """Return a name as one line that every form can hold, shortened in its middle: its ends tell it apart."""
    text = " ".join("".join(char if char.isprintable() else " " for char in text).split())
    if len(text) <= longest:
        return text
    tail = longest // 3
    return f"{text[: longest - tail - 1].rstrip()}…{text[-tail:].lstrip()}"
