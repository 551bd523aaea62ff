"""Boxes drawn on images, as a contact sheet shows them: to look at, not to measure."""

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw

from gkdbench.spec.objects import Objects

WIDTH_PX, HEIGHT_PX = 256, 320
"""What a picture is brought to fit into: the size of a contact sheet's."""
_LINE_PX = 2
_DASH_PX = 4
_EDGE = (0, 0, 0)


def with_boxes(
    image: NDArray[np.uint8], objects: Objects, palette: NDArray[np.uint8], fit: tuple[int, int] = (WIDTH_PX, HEIGHT_PX)
) -> NDArray[np.uint8]:
    """Return an image [H, W, 3], brought to fit into (width, height), with its boxes in their classes' colours.

    palette: [classes, 3]. Difficult objects have dashed lines. A dark edge keeps lines visible on any image.
    """
    picture = Image.fromarray(image)
    scale = min(fit[0] / picture.width, fit[1] / picture.height)
    size = (max(round(picture.width * scale), 1), max(round(picture.height * scale), 1))
    # pixels of small images stay visible as such
    picture = picture.resize(size, Image.Resampling.NEAREST if scale >= 1 else Image.Resampling.BOX)
    pen = ImageDraw.Draw(picture)
    limits = np.array([*size, *size], np.float64) - 1
    places = np.clip(objects.boxes.astype(np.float64) * scale - (0, 0, 1, 1), 0, limits).round().astype(int)
    # large boxes first: small ones stay visible
    order = np.argsort(-(objects.boxes[:, 2:] - objects.boxes[:, :2]).prod(axis=1), kind="stable")
    for index in order.tolist():
        x0, y0, x1, y1 = places[index].tolist()
        corners = (x0, y0, max(x1, x0), max(y1, y0))
        red, green, blue = palette[objects.labels[index]].tolist()
        _outline(pen, corners, (red, green, blue), dashed=bool(objects.difficult[index]))
    return np.asarray(picture)


def _outline(
    pen: ImageDraw.ImageDraw, corners: tuple[int, int, int, int], colour: tuple[int, int, int], *, dashed: bool
) -> None:
    x0, y0, x1, y1 = corners
    pen.rectangle((x0 - 1, y0 - 1, x1 + 1, y1 + 1), outline=_EDGE)
    if not dashed:
        pen.rectangle(corners, outline=colour, width=_LINE_PX)
        return
    step = 2 * _DASH_PX
    for x in range(x0, x1 + 1, step):
        for y in (y0, y1):
            pen.line((x, y, min(x + _DASH_PX, x1), y), fill=colour, width=_LINE_PX)
    for y in range(y0, y1 + 1, step):
        for x in (x0, x1):
            pen.line((x, y, x, min(y + _DASH_PX, y1)), fill=colour, width=_LINE_PX)
