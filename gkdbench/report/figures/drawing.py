"""A finished figure: files, and SVG that becomes part of a page."""

import io
import re
from dataclasses import dataclass

from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from gkdbench.report.figures.style import FAINT, INK


@dataclass(frozen=True)
class Drawing:
    """A finished figure: for the page, and as files."""

    slug: str
    caption: str
    inline: str
    """SVG for embedding: no prologue, page colours, ids that are unique on the page."""
    svg: str
    png: bytes


def finish(figure: Figure, slug: str, caption: str) -> Drawing:
    """Write a figure in every form; the same figure gives the same bytes."""
    FigureCanvasAgg(figure)
    png, svg = io.BytesIO(), io.StringIO()
    # No date and no version: the same records give the same bytes.
    figure.savefig(png, format="png", dpi=160, facecolor="white", metadata={"Software": None})
    # Laid out once: the second file takes over the positions.
    figure.set_layout_engine("none")
    figure.savefig(
        svg,
        format="svg",
        transparent=True,
        metadata={"Date": None, "Creator": None, "Format": None, "Type": None},
    )
    text = re.sub(r"\s*<metadata>.*?</metadata>", "", svg.getvalue(), flags=re.DOTALL)
    return Drawing(slug, caption, _inline(text, slug, caption), text, png.getvalue())


def _inline(svg: str, slug: str, caption: str) -> str:
    """Make an SVG part of a page: colours of the page, ids of its own, a name to read out."""
    body = svg[svg.index("<svg") :]
    body = re.sub(r'(\bid="|url\(#|href="#)', lambda m: f"{m[1]}{slug}-", body)
    body = body.replace(INK, "currentColor").replace(FAINT, "var(--line)")
    # Sized by the page's style sheet; the view box keeps the proportions.
    body = re.sub(r'(<svg[^>]*?) width="[^"]*"', r"\1", body, count=1)
    body = re.sub(r'(<svg[^>]*?) height="[^"]*"', r"\1", body, count=1)
    label = _attribute(caption)
    return body.replace("<svg ", f'<svg role="img" aria-label="{label}" ', 1)


def _attribute(text: str) -> str:
    for char, name in (("&", "&amp;"), ("<", "&lt;"), (">", "&gt;"), ('"', "&quot;")):
        text = text.replace(char, name)
    return text
