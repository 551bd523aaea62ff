"""A contact sheet: some images of each split in a labelled row, with their labels laid over below.

Works for images of any size (small rendered ones are enlarged, photographs are reduced). It is for
looking at data, not for measuring.
"""

import math
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont

_THUMBNAIL_PX = 256  # width
_TALLEST_PX = 320
_GAP_PX = 4
_MARGIN_PX = 10
_FONT_PX = 16
_OVERLAY = 0.65  # share of the label colour
_BACKGROUND = (255, 255, 255)
_INK = (20, 20, 20)

Row = tuple[str, Sequence[NDArray[np.uint8]], Sequence[NDArray[np.uint8]] | None]


def contact_sheet(
    rows: Sequence[Row], palette: NDArray[np.uint8], classes: Sequence[str] = ()
) -> Image.Image:
    """Draw one row (name, images, labels or None) after the other, and a legend of the classes given.

    Labels index `palette` [classes, 3]; values beyond it (the ignore label) leave the image as it
    is.
    """
    if not rows or not any(len(images) for _, images, _ in rows):
        raise ValueError("a contact sheet needs at least one image")
    font = ImageFont.load_default(_FONT_PX)
    name_px = max(math.ceil(font.getlength(name)) for name, _, _ in rows) + 2 * _MARGIN_PX
    strips = [(name, _row_strips(images, labels, palette)) for name, images, labels in rows]
    width = name_px + max(strip.width for _, pieces in strips for strip in pieces) + _MARGIN_PX
    heights = [sum(strip.height + _GAP_PX for strip in pieces) + _GAP_PX for _, pieces in strips]
    legend = _legend(classes, palette, width, font) if classes else None
    sheet = Image.new("RGB", (width, sum(heights) + _GAP_PX + (legend.height if legend else 0)), _BACKGROUND)
    pen = ImageDraw.Draw(sheet)
    top = _GAP_PX
    for (name, pieces), height in zip(strips, heights, strict=True):
        pen.text((_MARGIN_PX, top + _GAP_PX), name, fill=_INK, font=font)
        y = top
        for strip in pieces:
            sheet.paste(strip, (name_px, y))
            y += strip.height + _GAP_PX
        top += height
    if legend is not None:
        sheet.paste(legend, (0, top))
    return sheet


def _legend(
    classes: Sequence[str], palette: NDArray[np.uint8], width: int, font: ImageFont.FreeTypeFont | ImageFont.ImageFont
) -> Image.Image:
    """Return a strip with a patch of each class's colour and its name, in as many lines as the width asks for."""
    line = _FONT_PX + _MARGIN_PX
    places: list[tuple[int, int]] = []
    x, y = _MARGIN_PX, 0
    for name in classes:
        wide = _FONT_PX + _GAP_PX + math.ceil(font.getlength(name)) + 2 * _MARGIN_PX
        if x + wide > width and x > _MARGIN_PX:
            x, y = _MARGIN_PX, y + line
        places.append((x, y))
        x += wide
    strip = Image.new("RGB", (width, y + line), _BACKGROUND)
    pen = ImageDraw.Draw(strip)
    for name, colour, (x, y) in zip(classes, palette.tolist(), places, strict=True):
        pen.rectangle((x, y, x + _FONT_PX, y + _FONT_PX), fill=tuple(colour), outline=_INK)
        pen.text((x + _FONT_PX + _GAP_PX, y), name, fill=_INK, font=font)
    return strip


def _row_strips(
    images: Sequence[NDArray[np.uint8]],
    labels: Sequence[NDArray[np.uint8]] | None,
    palette: NDArray[np.uint8],
) -> list[Image.Image]:
    thumbnails = [_thumbnail(image) for image in images]
    strips = [_side_by_side(thumbnails)]
    if labels is not None:
        pairs = zip(thumbnails, labels, strict=True)
        strips.append(_side_by_side([overlaid(image, label, palette) for image, label in pairs]))
    return strips


def _thumbnail(image: NDArray[np.uint8]) -> Image.Image:
    picture = Image.fromarray(image).convert("RGB")
    scale = min(_THUMBNAIL_PX / picture.width, _TALLEST_PX / picture.height)
    size = (max(round(picture.width * scale), 1), max(round(picture.height * scale), 1))
    # Pixels of small images stay visible as such.
    method = Image.Resampling.NEAREST if scale >= 1 else Image.Resampling.BOX
    return picture.resize(size, method)


def overlaid(
    thumbnail: Image.Image, label: NDArray[np.uint8], palette: NDArray[np.uint8]
) -> Image.Image:
    """Lay label colours over an image, resizing labels to it; values beyond the palette leave it as it is."""
    small = np.asarray(Image.fromarray(label).resize(thumbnail.size, Image.Resampling.NEAREST))
    pixels = np.asarray(thumbnail, np.float32)
    known = (small < len(palette))[..., None]
    colour = palette[np.minimum(small, len(palette) - 1)].astype(np.float32)
    mixed = np.where(known, (1 - _OVERLAY) * pixels + _OVERLAY * colour, pixels)
    return Image.fromarray((mixed + 0.5).astype(np.uint8))


def _side_by_side(pictures: Sequence[Image.Image]) -> Image.Image:
    width = sum(picture.width + _GAP_PX for picture in pictures)
    height = max((picture.height for picture in pictures), default=1)
    strip = Image.new("RGB", (max(width, 1), height), _BACKGROUND)
    x = 0
    for picture in pictures:
        strip.paste(picture, (x, 0))
        x += picture.width + _GAP_PX
    return strip
