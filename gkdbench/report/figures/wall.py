"""A wall of pictures: lines of images, columns of what was made of them, small enough for a page."""

import base64
import io
import re
from collections.abc import Iterable, Sequence
from dataclasses import replace

import numpy as np
from PIL import Image

from gkdbench.report.examples import Picture
from gkdbench.report.figures.drawing import Drawing
from gkdbench.report.figures.sheet import Sheet, text_width
from gkdbench.report.figures.style import NORMAL, SMALL, one_name

_LONGEST_PX = 224
"""Longer side of a picture in a figure: twice what a screen shows of it."""
CELL, GAP, HEAD = 104.0, 3.0, 26.0
"""Points: width of a picture, space between two, room for names above."""
_GUTTER = 84.0
"""Most room for names at the left."""
_EMBEDDED = re.compile(r"data:image/png;base64,\s*([A-Za-z0-9+/=]+)")
_JPEG_QUALITY = 85
_TALLEST = 1.4
"""Height of a picture relative to its width; taller ones are drawn narrower."""


class Wall:
    """Where pictures hang: a line per image, a column per run, names at the left and above."""

    def __init__(
        self,
        lines: Sequence[tuple[str, str]],
        heights: Sequence[float],
        stories: int,
        columns: int,
        cell: float = CELL,
    ) -> None:
        """Lay lines out by split and image, their pictures of such heights, each as many high as there are stories.

        cell: width of a picture, in points.
        """
        self._lines, self._heights, self._stories, self._cell = lines, heights, stories, cell
        wide = [max(text_width(one_name(split)), text_width(one_name(image), SMALL)) for split, image in lines]
        self._gutter = min(max(wide) + 8, _GUTTER)
        self.width = self._gutter + columns * (cell + GAP)
        self.height = HEAD + sum(stories * (height + GAP) + GAP for height in heights)

    def put_up(self, foot: float) -> Sheet:
        """Return the sheet, with so much room at the foot and the lines' names on it."""
        self.sheet = Sheet(self.width, self.height + foot)
        for line, (split, image) in enumerate(self._lines):
            top = self._top(line)
            self.sheet.write(0, top - 8, fitting(split, self._gutter - 6), NORMAL)
            self.sheet.write(0, top - 18, fitting(image, self._gutter - 6, SMALL), SMALL)
        return self.sheet

    def head(self, column: int, name: str, below: str) -> None:
        """Write what a column shows."""
        left = self._left(column)
        self.sheet.write(left, self.sheet.height - 9, fitting(name, self._cell), NORMAL)
        self.sheet.write(left, self.sheet.height - 19, fitting(below, self._cell, SMALL), SMALL)

    def hang(
        self, picture: Picture | None, line: int, column: int, story: int = 0, *, like: Picture | None = None
    ) -> tuple[float, float, float, float]:
        """Hang a picture [H, W, 3] up, its pixels as they are; a dash where there is none.

        like: the picture whose proportions it takes, by default its own. Returns where it hangs, as `place` does.
        """
        at = self.place(picture if like is None else like, line, column, story)
        left, bottom, wide, height = at
        if picture is None:
            self.sheet.write(left + wide / 2, bottom + height / 2, "–", NORMAL, "center")
        else:
            self.sheet.picture(picture, left, bottom, wide, height)
        return at

    def place(
        self, like: Picture | None, line: int, column: int, story: int = 0
    ) -> tuple[float, float, float, float]:
        """Return left, bottom, width and height of where a picture of such proportions hangs."""
        height, left = self._heights[line], self._left(column)
        bottom = self._top(line) - (story + 1) * (height + GAP) + GAP
        wide = self._cell if like is None else min(self._cell, height * like.shape[1] / like.shape[0])
        return left, bottom, wide, height

    def _left(self, column: int) -> float:
        return self._gutter + column * (self._cell + GAP)

    def _top(self, line: int) -> float:
        above = sum(self._stories * (height + GAP) + GAP for height in self._heights[:line])
        return self.sheet.height - HEAD - above


def heights_of(images: Iterable[Picture | None], cell: float = CELL) -> list[float]:
    """Return the height in points of each line, by the shape of its image."""
    return [cell / 2 if one is None else cell * min(one.shape[0] / one.shape[1], _TALLEST) for one in images]


def reduced(picture: Picture, *, smooth: bool) -> Picture:
    """Bring a picture [H, W, 3], or a map [H, W], to the size of figures where it is larger."""
    height, width = picture.shape[:2]
    scale = _LONGEST_PX / max(height, width)
    if scale >= 1:
        return picture
    size = max(round(width * scale), 1), max(round(height * scale), 1)
    how = Image.Resampling.BOX if smooth else Image.Resampling.NEAREST
    return np.asarray(Image.fromarray(picture).resize(size, how))


def fitting(text: str, width: float, size: float = NORMAL) -> str:
    """Shorten a text to a width in points."""
    text = one_name(text, 80)
    while len(text) > 3 and text_width(text, size) > width:
        text = one_name(text, len(text) - 1)
    return text


def lean(drawing: Drawing) -> Drawing:
    """Return a drawing whose SVG holds its pictures in less space: few colours as a palette, photographs as JPEG."""
    known: dict[str, str] = {}

    def smaller(found: re.Match[str]) -> str:
        if found[1] not in known:
            known[found[1]] = _smaller(base64.b64decode(found[1]))
        return known[found[1]]

    inline, svg = _EMBEDDED.sub(smaller, drawing.inline), _EMBEDDED.sub(smaller, drawing.svg)
    files = {**drawing.files, "svg": svg.encode()} if svg else drawing.files
    return replace(drawing, inline=inline, files=files)


def _smaller(content: bytes) -> str:
    """Return a picture as a data URL."""
    with Image.open(io.BytesIO(content)) as opened:
        picture = opened.convert("RGB")
    out, kind = io.BytesIO(), "png"
    codes = np.asarray(picture, np.uint32) @ np.array([1 << 16, 1 << 8, 1], np.uint32)
    colours, indices = np.unique(codes, return_inverse=True)
    if len(colours) <= 256:
        few = Image.fromarray(indices.reshape(picture.height, picture.width).astype(np.uint8))
        few.putpalette(b"".join(int(colour).to_bytes(3, "big") for colour in colours))
        few.save(out, format="PNG", optimize=True)
    else:
        kind = "jpeg"
        picture.save(out, format="JPEG", quality=_JPEG_QUALITY)
    return f"data:image/{kind};base64,{base64.b64encode(out.getvalue()).decode()}"
