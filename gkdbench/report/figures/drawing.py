"""A finished figure: files, and SVG that becomes part of a page."""

import hashlib
import io
import re
import warnings
from collections.abc import Collection, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field

import matplotlib
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from gkdbench.report.figures.style import FAINT, INK, PNG_DPI, STYLE
from gkdbench.report.visible_text import visible

FORMS = ("svg", "png", "pdf")
# Two digits after the point are a hundredth of a point: more is only size.
_DIGITS = re.compile(r"(\.\d\d)\d+")
_TAG = re.compile(r"<[^!>][^>]*>")
_IDLE = re.compile(r' transform="rotate\(-?0 [^"]*"')
_ID = re.compile(r' id="([^"]*)"')
_PATH = re.compile(r' d="[^"]*"')
_STEP = re.compile(r" *([MLCQz]) *")
_REFERENCE = re.compile(r'(\bid="|url\(#|href="#)')
_LARGEST = 1.25
"""How much larger than as a file a figure may be on the page."""
_FAMILY = "font-family: 'DejaVu Sans', sans-serif; "


@dataclass(frozen=True)
class Drawing:
    """A finished figure: for the page, and as files."""

    slug: str
    caption: str
    """What the page says below it."""
    inline: str
    """SVG for embedding: no prologue, page colours, ids that are unique on the page."""
    files: Mapping[str, bytes] = field(default_factory=dict)
    """By form: svg, png, pdf."""
    details: tuple[str, ...] = ()
    """What the caption file says beyond the caption: data, seeds, run digests."""

    @property
    def svg(self) -> str:
        """Return the SVG file's text; empty where none was asked for."""
        return self.files.get("svg", b"").decode()

    @property
    def png(self) -> bytes:
        """Return the PNG file; empty where none was asked for."""
        return self.files.get("png", b"")


@contextmanager
def figure_style() -> Iterator[None]:
    """Draw in the style of all figures; letters that the font lacks show as boxes, without a word of warning."""
    with matplotlib.rc_context(STYLE), warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="Glyph .* missing from")
        yield


def finish(
    figure: Figure,
    slug: str,
    caption: str,
    details: Collection[str] = (),
    *,
    label: str | None = None,
    forms: Collection[str] = FORMS,
) -> Drawing:
    """Write a figure in the forms asked for; the same figure gives the same bytes.

    `label` is what a screen reader says, by default the caption. The SVG for the page is always made.
    """
    files: dict[str, bytes] = {}
    FigureCanvasAgg(figure)
    with figure_style():
        if figure.get_layout_engine() is not None:
            # Laid out once: the files take over the positions.
            figure.draw_without_rendering()
            figure.set_layout_engine("none")
        svg = _compact(_svg(figure))
        if "svg" in forms:
            files["svg"] = svg.encode()
        if "png" in forms:
            files["png"] = _png(figure)
        if "pdf" in forms:
            files["pdf"] = _pdf(figure)
    return Drawing(slug, caption, _inline(svg, slug, label or caption), files, tuple(details))


# No date and no version: the same records give the same bytes.
def _svg(figure: Figure) -> str:
    out = io.StringIO()
    blank = {"Date": None, "Creator": None, "Format": None, "Type": None}
    figure.savefig(out, format="svg", facecolor="none", metadata=blank)
    return re.sub(r"\s*<metadata>.*?</metadata>", "", out.getvalue(), flags=re.DOTALL)


def _png(figure: Figure) -> bytes:
    out = io.BytesIO()
    quick = {"compress_level": 3}
    blank = {"Software": None}
    figure.savefig(out, format="png", dpi=PNG_DPI, facecolor="white", metadata=blank, pil_kwargs=quick)
    return out.getvalue()


def _pdf(figure: Figure) -> bytes:
    out = io.BytesIO()
    blank = {"CreationDate": None, "Producer": None, "Creator": None}
    figure.savefig(out, format="pdf", facecolor="none", metadata=blank)
    return out.getvalue()


def _compact(svg: str) -> str:
    """Shorten what stands in tags, never a text: numbers, what does nothing, ids that nothing refers to."""
    used = set(re.findall(r"#([\w-]+)", svg))

    def shorter(tag: re.Match[str]) -> str:
        text = _IDLE.sub("", _DIGITS.sub(r"\1", tag[0])).replace(_FAMILY, "")
        text = _ID.sub(lambda found: found[0] if found[1] in used else "", text)
        return _PATH.sub(lambda found: _STEP.sub(r"\1", found[0].replace("\n", "")), text)

    # The family of all text, said once.
    return _TAG.sub(shorter, svg).replace("<svg ", "<svg font-family=\"'DejaVu Sans', sans-serif\" ", 1)


def _inline(svg: str, slug: str, label: str) -> str:
    """Make an SVG part of a page: colours of the page, ids of its own, a name to read out."""
    own = hashlib.sha256(slug.encode()).hexdigest()[:8]

    def adapted(tag: re.Match[str]) -> str:
        text = _REFERENCE.sub(lambda found: f"{found[1]}f{own}-", tag[0])
        return text.replace(INK, "currentColor").replace(FAINT, "var(--line)")

    body = _TAG.sub(adapted, svg[svg.index("<svg") :])
    # Sized by the page's style sheet, but never blown up: type has one size in all figures.
    body = re.sub(r'(<svg[^>]*?) height="[^"]*"', r"\1", body, count=1)
    body = re.sub(r'(<svg[^>]*?) width="([\d.]+)pt"', _widest, body, count=1)
    return body.replace("<svg ", f'<svg role="img" aria-label="{_attribute(visible(label))}" ', 1)


def _widest(tag: re.Match[str]) -> str:
    width = float(tag[2])
    return f'{tag[1]} style="max-width: {_LARGEST * width:.0f}pt; --width: {width:.0f}pt"'


def _attribute(text: str) -> str:
    for char, name in (("&", "&amp;"), ("<", "&lt;"), (">", "&gt;"), ('"', "&quot;")):
        text = text.replace(char, name)
    return text
