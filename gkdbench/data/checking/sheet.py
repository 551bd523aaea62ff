"""Pictures to look at: images with labels or boxes over them, and contact sheets of the splits of a benchmark.

They are for looking at data, not for measuring: on a sheet small images are enlarged and large ones reduced.
"""

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image as Pillow
from PIL import ImageDraw, ImageFont
from torchvision.utils import draw_bounding_boxes, draw_segmentation_masks, make_grid

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
    masks = torch.from_numpy(labels) == torch.arange(len(palette))[:, None, None]
    return _array(draw_segmentation_masks(_tensor(image), masks, alpha=_OVERLAY, colors=_colours(palette)))


def with_boxes(image: Image, objects: Objects, palette: Palette, fit: tuple[int, int] = CELL) -> Image:
    """Return an image, brought to fit into (width, height), with its boxes in their classes' colours.

    Difficult objects have thin lines.
    """
    drawn = _tensor(_fitted(image, fit))
    boxes = torch.from_numpy(objects.boxes) * (drawn.shape[2] / image.shape[1])
    for chosen, width in ((objects.difficult, _THIN_PX), (~objects.difficult, _LINE_PX)):
        if chosen.any():
            colours = _colours(palette[objects.labels[chosen]])
            drawn = draw_bounding_boxes(drawn, boxes[torch.from_numpy(chosen)], colors=colours, width=width)
    return _array(drawn)


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
    count = -len(pictures) // COLUMNS * -COLUMNS
    cells = np.full((count, max(len(one) for one in pictures), CELL[0], 3), _WHITE, np.uint8)
    for cell, picture in zip(cells[: len(pictures)], pictures, strict=True):
        cell[: picture.shape[0], : picture.shape[1]] = picture
    stacked = torch.from_numpy(cells).permute(0, 3, 1, 2)
    return _array(make_grid(stacked, nrow=COLUMNS, padding=_GAP_PX, pad_value=_WHITE[0]))


def _words(words: str, colour: Sequence[int] | None = None) -> Image:
    """Return a cell that names a split or, beside its colour, a class."""
    cell = Pillow.new("RGB", (CELL[0], _TEXT_PX + _GAP_PX), _WHITE)
    pen = ImageDraw.Draw(cell)
    if colour is not None:
        pen.rectangle((0, 0, _TEXT_PX, _TEXT_PX), fill=tuple(colour), outline=_INK)
    left = 0 if colour is None else _TEXT_PX + _GAP_PX
    pen.text((left, 0), words, fill=_INK, font=ImageFont.load_default(_TEXT_PX))
    return np.asarray(cell)


def _colours(palette: Palette) -> list[tuple[int, ...] | str]:
    return [tuple(colour) for colour in palette.tolist()]


def _tensor(image: Image) -> torch.Tensor:
    return torch.from_numpy(np.array(image)).permute(2, 0, 1)


def _array(pixels: torch.Tensor) -> Image:
    return np.ascontiguousarray(pixels.permute(1, 2, 0).numpy())
