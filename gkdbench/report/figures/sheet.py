"""A figure laid out by hand, in points: nothing is drawn twice to find where it goes."""

from collections.abc import Iterable, Sequence
from functools import lru_cache
from typing import Any, Literal

import numpy as np
from matplotlib.artist import Artist
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import RendererAgg
from matplotlib.collections import PathCollection
from matplotlib.figure import Figure
from matplotlib.font_manager import FontProperties
from matplotlib.image import AxesImage
from matplotlib.markers import MarkerStyle
from matplotlib.patches import PathPatch
from matplotlib.path import Path
from matplotlib.text import Text
from matplotlib.transforms import IdentityTransform

from gkdbench.report.figures.series import Series
from gkdbench.report.figures.style import DASHES, INK, NORMAL, TEACHER_LOOK
from gkdbench.report.visible_text import visible

Point = tuple[float, float]
Side = Literal["left", "center", "right"]
Kind = Literal["marks", "patches", "lines", "dashes"]


@lru_cache(maxsize=4096)
def text_width(text: str, size: float = NORMAL) -> float:
    """Return the width of a line of text in points."""
    found = _measure().get_text_width_height_descent(text, FontProperties(size=size), False)  # type: ignore[no-untyped-call]
    return float(found[0])


@lru_cache(maxsize=1)
def _measure() -> RendererAgg:
    return RendererAgg(8, 8, 72)  # type: ignore[no-untyped-call]


class Words(Artist):
    """Many short lines of text as one artist: a Text each takes twice as long to draw."""

    def __init__(self) -> None:
        super().__init__()
        self.items: list[tuple[float, float, str, Side, float, str]] = []
        """Left, centre or right end and base line in points, text, alignment, size, colour."""
        self.zorder = 6

    def draw(self, renderer: Any) -> None:
        """Draw all lines; every backend calls this."""
        unit = renderer.points_to_pixels(1.0)
        height = renderer.get_canvas_width_height()[1]
        fonts: dict[float, FontProperties] = {}
        # Tells the SVG where a line is anchored, so that another font stays in place.
        anchor = Text(rotation_mode="anchor", transform=IdentityTransform())
        context = renderer.new_gc()
        for x, y, text, side, size, colour in self.items:
            font = fonts.setdefault(size, FontProperties(size=size))
            left = x
            if side != "left":
                left -= text_width(text, size) * (0.5 if side == "center" else 1.0)
            anchor.set_position((x * unit, y * unit))
            anchor.set_horizontalalignment(side)
            context.set_foreground(colour)
            base = height - y * unit if renderer.flipy() else y * unit
            renderer.draw_text(context, left * unit, base, text, font, 0.0, ismath=False, mtext=anchor)
        context.restore()
        self.stale = False


class Sheet:
    """A figure of a fixed size in points, with panels where they are told and words between them."""

    def __init__(self, width: float, height: float) -> None:
        self.width, self.height = width, height
        self.figure = Figure(figsize=(width / 72, height / 72))
        self.canvas: Axes = self.figure.add_axes((0.0, 0.0, 1.0, 1.0))
        """All of the figure, one unit a point: for keys and whatever lies between panels."""
        self.canvas.set_axis_off()
        self.canvas.set_xlim(0, width)
        self.canvas.set_ylim(0, height)
        self.words = Words()
        self.figure.add_artist(self.words)

    def panel(self, left: float, bottom: float, width: float, height: float) -> Axes:
        """Return axes whose frame lies there; tick labels lie outside it."""
        return self.figure.add_axes(
            (left / self.width, bottom / self.height, width / self.width, height / self.height), zorder=1
        )

    def place(self, axes: Axes, x: float, y: float) -> Point:
        """Return where a point of a panel lies on the sheet; the panel's limits must be set."""
        found = axes.transData.transform((x, y)) * (72 / self.figure.dpi)
        return float(found[0]), float(found[1])

    def back(self, axes: Axes, x: float, y: float) -> Point:
        """Return what a point of the sheet is in the units of a panel."""
        found = axes.transData.inverted().transform((x * self.figure.dpi / 72, y * self.figure.dpi / 72))
        return float(found[0]), float(found[1])

    def write(
        self, x: float, y: float, text: str, size: float = NORMAL, side: Side = "left", colour: str = INK
    ) -> None:
        """Write a line whose middle lies at height y."""
        if text:
            self.words.items.append((x, y - 0.36 * size, visible(text), side, size, colour))

    def picture(self, pixels: Any, left: float, bottom: float, width: float, height: float) -> None:
        """Draw an image [H, W, 3 or 4], its pixels as they are; without interpolation none is merged with others."""
        shown = AxesImage(self.canvas, interpolation="none", extent=(left, left + width, bottom, bottom + height))
        shown.set_data(pixels)
        self.canvas.add_image(shown)

    def lines(
        self, segments: Iterable[Sequence[Point]], colour: str = INK, width: float = 0.7, dashes: Any = "-"
    ) -> None:
        """Draw lines on the sheet."""
        strokes(self.canvas, segments, colour, width, dashes)


def strokes(
    axes: Axes, segments: Iterable[Sequence[Point]], colour: str = INK, width: float = 0.7, dashes: Any = "-",
    level: float = 2.0,
) -> None:  # fmt: skip
    """Draw lines of one look as one path, in the units of the axes; they do not move its limits."""
    outline = _outline(segments, closed=False)
    if outline is not None:
        look: Any = {"edgecolor": colour, "linewidth": width, "linestyle": dashes, "capstyle": "butt"}
        axes.add_artist(PathPatch(outline, fill=False, zorder=level, joinstyle="round", **look))


def boxes(
    axes: Axes, corners: Iterable[tuple[float, float, float, float]], colour: str, hatch: str = "", edge: float = 0.5
) -> None:
    """Draw boxes of one look as one path: left, bottom, right, top; they do not move the limits of the axes."""
    areas(axes, [[(a, b), (c, b), (c, d), (a, d)] for a, b, c, d in corners], colour, hatch, edge)


def areas(
    axes: Axes, shapes: Iterable[Sequence[Point]], colour: str, hatch: str = "", edge: float = 0.5, level: float = 1.0
) -> None:
    """Fill closed shapes of one look as one path; they do not move the limits of the axes."""
    outline = _outline(shapes, closed=True)
    if outline is not None:
        rim = INK if edge else "none"
        axes.add_artist(
            PathPatch(outline, facecolor=colour, edgecolor=rim, linewidth=edge, hatch=hatch or None, zorder=level)
        )


def _outline(segments: Iterable[Sequence[Point]], closed: bool) -> Path | None:
    points: list[Point] = []
    codes: list[Any] = []
    for segment in segments:
        points.extend(segment)
        codes.extend([Path.MOVETO, *[Path.LINETO] * (len(segment) - 1)])
        if closed:
            points.append(segment[0])
            codes.append(Path.CLOSEPOLY)
    return Path(np.array(points, np.float64), codes) if points else None


def spots(axes: Axes, points: Any, marker: str, area: float, faces: Any, edges: Any, width: float) -> None:
    """Draw markers of one shape, faster than a scatter; they do not move the limits of the axes."""
    shape = MarkerStyle(marker)
    outline = shape.get_path().transformed(shape.get_transform())
    found = PathCollection(
        [outline], [area], facecolors=faces, edgecolors=edges, linewidths=width, offsets=points,
        offset_transform=axes.transData, zorder=3,
    )  # fmt: skip
    found.set_transform(IdentityTransform())
    axes.add_collection(found, autolim=False)


def marks(axes: Axes, shown: Sequence[Series], points: Sequence[Point | None], size: float = 34) -> None:
    """Draw a marker per series where it has a point; rows out of the ranking are hollow."""
    shapes: dict[str, list[int]] = {}
    for index, one in enumerate(shown):
        if points[index] is not None:
            shapes.setdefault(one.marker, []).append(index)
    for marker, indices in shapes.items():
        at = np.array([points[index] for index in indices], float)
        faces = [shown[index].colour if shown[index].row.comparable else "none" for index in indices]
        edges = [INK if shown[index].row.comparable else shown[index].colour for index in indices]
        area = size * (1.9 if marker == "*" else 1.0)
        spots(axes, at, marker, area, faces, edges, 0.7)


KEY_LINE = 11.5
"""Height of a key's line, in points."""
HANDLE = 36.0
"""Length of a line in a key: twice the longest pattern of dashes."""


def key_columns(shown: Sequence[Series], width: float, kind: Kind = "marks", numbered: bool = False) -> int:
    """Return how many columns of a key fit into a width."""
    return max(1, min(len(shown), int((width + 14) // key_width(shown, kind, numbered))))


def key_height(shown: Sequence[Series], columns: int) -> float:
    """Return the height of a key in points."""
    return KEY_LINE * -(-len(shown) // columns)


def key_width(shown: Sequence[Series], kind: Kind = "marks", numbered: bool = False) -> float:
    """Return the width of one column of a key in points."""
    return max(text_width(one.name) for one in shown) + _handle(kind) + 16 + (14 if numbered else 0)


def _handle(kind: Kind) -> float:
    return HANDLE if kind in ("lines", "dashes") else 18.0


def key(
    sheet: Sheet, shown: Sequence[Series], left: float, top: float, columns: int, kind: Kind, numbered: bool = False
) -> None:
    """Write a key, column by column, whose upper left corner lies there; `kind`: dashes are lines without marks."""
    wide, deep, half = key_width(shown, kind, numbered), -(-len(shown) // columns), _handle(kind) / 2
    at = [(left + wide * (i // deep) + half, top - KEY_LINE * (i % deep + 0.5)) for i in range(len(shown))]
    shift = 15 if numbered else 0
    for (x, y), one in zip(at, shown, strict=True):
        if numbered:
            sheet.write(x + 5, y, str(one.number), side="right")
        sheet.write(x + half + 4 + shift, y, one.name)
    if kind == "marks":
        marks(sheet.canvas, shown, [(x + shift, y) for x, y in at], 30)
    elif kind == "patches":
        for (x, y), one in zip(at, shown, strict=True):
            boxes(sheet.canvas, [(x - 9, y - 3.5, x + 9, y + 3.5)], one.colour, one.hatch)
    else:
        for (x, y), one in zip(at, shown, strict=True):
            sheet.lines([[(x - half, y), (x + half, y)]], one.colour, 1.6, dash(one))
        if kind == "lines":
            marks(sheet.canvas, shown, at, 18)


def dash(one: Series) -> Any:
    """Return the dashes of a series' line: lines of one colour differ in them."""
    return "-" if one.marker == TEACHER_LOOK[2] else DASHES[one.place % len(DASHES)]
