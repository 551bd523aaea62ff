"""Pictures to look at: images with labels or boxes over them, and contact sheets of the splits of a benchmark.

They are for looking at data, not for measuring: on a sheet small images are enlarged and large ones reduced. Drawn
without torch and torchvision, whose import takes longer than a check of small data.
"""

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from PIL import Image as Pillow
from PIL import ImageDraw, ImageFont

from gkdbench.data.dataset import Image
from gkdbench.spec.objects import Objects

COLUMNS = 6
CELL = (256, 320)
"""Width and height that a picture of a sheet fits into."""
_GAP_PX = 4
_LINE_PX, _THIN_PX = 2, 1
_TEXT_PX = 16
_OVERLAY = 0.65  # share of the label colour
_WHITE, _INK = (255, 255, 255), (20, 20, 20)

Palette = NDArray[np.uint8]
"""[classes, 3]."""


class Sample(NamedTuple):
    """An image and what is known of it: class indices, boxes, or nothing."""

    image: Image
    labels: Image | None = None
    objects: Objects | None = None


def contact_sheet(
    splits: Mapping[str, Sequence[Sample]], palette: Palette, classes: Sequence[str] = ()
) -> Pillow.Image:
    """Draw samples of each split below its name, labelled ones once more with their labels, then a legend."""
    rows = []
    for name, samples in splits.items():
        rows.append(_grid([_words(name)]))
        rows.append(_grid([_with_known_boxes(sample, palette) for sample in samples]))
        labelled = [
            overlaid(_fitted(one.image, CELL), _fitted(one.labels, CELL), palette)
            for one in samples
            if one.labels is not None
        ]
        rows += [_grid(labelled)] if labelled else []
    if classes:
        rows.append(_grid([_words(name, colour) for name, colour in zip(classes, palette.tolist(), strict=True)]))
    return Pillow.fromarray(np.concatenate(rows))


def overlaid(image: Image, labels: Image, palette: Palette) -> Image:
    """Lay the colours of class indices [H, W] over an image [H, W, 3]; other values leave it as it is."""
    drawn, known = image.copy(), labels < len(palette)
    drawn[known] = ((1 - _OVERLAY) * image[known] + _OVERLAY * palette[labels[known]]).round().astype(np.uint8)
    return drawn


def with_boxes(image: Image, objects: Objects, palette: Palette, fit: tuple[int, int] = CELL) -> Image:
    """Return an image, brought to fit into (width, height), with its boxes in their classes' colours.

    Difficult objects have thin lines.
    """
    picture = Pillow.fromarray(_fitted(image, fit))
    pen, scale = ImageDraw.Draw(picture), picture.width / image.shape[1]
    boxes = (objects.boxes * scale).astype(np.int64).tolist()
    for box, label, difficult in zip(boxes, objects.labels.tolist(), objects.difficult.tolist(), strict=True):
        pen.rectangle(box, outline=tuple(palette[label].tolist()), width=_THIN_PX if difficult else _LINE_PX)
    return np.array(picture)


def _with_known_boxes(sample: Sample, palette: Palette) -> Image:
    if sample.objects is None:
        return _fitted(sample.image, CELL)
    return with_boxes(sample.image, sample.objects, palette)


def _fitted(pixels: Image, fit: tuple[int, int]) -> Image:
    """Return an image or labels at the size that fits into (width, height)."""
    picture = Pillow.fromarray(pixels)
    scale = min(fit[0] / picture.width, fit[1] / picture.height)
    size = (max(round(picture.width * scale), 1), max(round(picture.height * scale), 1))
    # pixels of small images stay visible as such, and labels stay labels
    nearest = scale >= 1 or pixels.ndim == 2
    return np.array(picture.resize(size, Pillow.Resampling.NEAREST if nearest else Pillow.Resampling.BOX))


def _grid(pictures: Sequence[Image]) -> Image:
    """Set pictures into rows of `COLUMNS` cells."""
    rows, height = -(-len(pictures) // COLUMNS), max(len(one) for one in pictures)
    cells = np.full((rows * COLUMNS, height + _GAP_PX, CELL[0] + _GAP_PX, 3), _WHITE, np.uint8)
    for cell, picture in zip(cells[: len(pictures)], pictures, strict=True):
        cell[_GAP_PX : _GAP_PX + picture.shape[0], _GAP_PX : _GAP_PX + picture.shape[1]] = picture
    in_rows = cells.reshape(rows, COLUMNS, *cells.shape[1:]).swapaxes(1, 2)  # [rows, height, columns, width, 3]
    return in_rows.reshape(rows * cells.shape[1], -1, 3)


def _words(words: str, colour: Sequence[int] | None = None) -> Image:
    """Return a cell that names a split or, beside its colour, a class."""
    cell = Pillow.new("RGB", (CELL[0], _TEXT_PX + _GAP_PX), _WHITE)
    pen = ImageDraw.Draw(cell)
    if colour is not None:
        pen.rectangle((0, 0, _TEXT_PX, _TEXT_PX), fill=tuple(colour), outline=_INK)
    left = 0 if colour is None else _TEXT_PX + _GAP_PX
    pen.text((left, 0), words, fill=_INK, font=ImageFont.load_default(_TEXT_PX))
    return np.asarray(cell)

