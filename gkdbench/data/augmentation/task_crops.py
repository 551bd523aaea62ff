"""The study's task crops, of which only the window is ever resized: decided on the labels first, then cut and coloured.

Resizing a window gives what cutting it from the resized whole would, at the cost of the window alone.
"""

import math
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image as Pillow

from gkdbench.data.augmentation import photometric
from gkdbench.data.augmentation.plain import padded
from gkdbench.data.dataset import Dataset
from gkdbench.spec.augmentation import IMAGENET_MEAN, TaskCrops

Pixels = NDArray[np.uint8]
PADDING = np.array([round(255 * value) for value in IMAGENET_MEAN], np.uint8)
"""Colour beside an image that is smaller than the crop: the study pads with 0 after normalisation."""


class TaskCropper:
    """Cuts the crops of a dataset."""

    def __init__(
        self, dataset: Dataset, crops: TaskCrops, size: tuple[int, int], ignore: int, labelled: bool
    ) -> None:
        self.dataset, self.crops, self.size = dataset, crops, size
        self.ignore, self.labelled = ignore, labelled

    def crop(self, index: int, rng: np.random.Generator) -> tuple[Pixels, Pixels, Pixels | None]:
        """Return a distorted crop [H, W, 3], the undistorted one (the very same where nothing happened), and labels."""
        crops = self.crops
        draws = rng.random(2 + photometric.DRAWS)
        places = rng.random((crops.tries + 1, 2))
        image, raw = self._read(index)
        short = crops.short_sides[int(draws[0] * len(crops.short_sides))]
        whole = resized_size((image.shape[0], image.shape[1]), short, crops.long_side)
        window, labels = self._window(raw, index, whole, places)
        clean = resized_window(image, whole, window)
        if draws[1] < crops.flip:
            clean = np.ascontiguousarray(clean[:, ::-1])
            labels = None if labels is None else labels[:, ::-1]
        coloured = photometric.distorted(clean, crops, draws[2:])
        same = coloured is clean
        # Padded last, so that it lies on the right of flipped images too, and is not coloured
        clean = padded(clean, self.size, PADDING)
        coloured = clean if same else padded(coloured, self.size, PADDING)
        return coloured, clean, None if labels is None else padded(labels, self.size, self.ignore)

    def _read(self, index: int) -> tuple[Pixels, NDArray[Any] | None]:
        return self.dataset.pair(index) if self.labelled else (self.dataset.image(index), None)

    def _window(
        self, raw: NDArray[Any] | None, index: int, whole: tuple[int, int], places: NDArray[np.float64]
    ) -> tuple[tuple[slice, slice], Pixels | None]:
        """Return the first window in which no class dominates, or the last, and its labels."""
        if raw is None:
            return _placed(whole, self.size, places[0]), None
        rows, columns = (_nearest(old, new) for old, new in zip(raw.shape, whole, strict=True))
        for place in places:
            window = _placed(whole, self.size, place)
            labels = self.dataset.mapped(raw.take(rows[window[0]], 0).take(columns[window[1]], 1), index)
            if place is places[-1] or self._mixed(labels):
                break
        return window, labels

    def _mixed(self, labels: Pixels) -> bool:
        counts = np.bincount(labels.reshape(-1), minlength=256)
        counts[self.ignore] = 0
        return bool(counts.max() < self.crops.max_class_share * counts.sum())


def resized_size(size: tuple[int, int], short: int, long_limit: int) -> tuple[int, int]:
    """Return height and width after resizing to a short side, with the long side at most `long_limit`."""
    factor = min(short / min(size), long_limit / max(size))
    height, width = (max(1, math.floor(side * factor + 0.5)) for side in size)
    return height, width


def resized_window(image: Pixels, whole: tuple[int, int], window: tuple[slice, slice]) -> Pixels:
    """Return a window of an image resized to `whole`, without resizing the rest; bilinear with Pillow's filter."""
    if image.shape[:2] == whole:
        return np.ascontiguousarray(image[window])
    starts, ends, below, sizes = [], [], [], []
    for old, new, part in zip(image.shape[:2], whole, window, strict=True):
        factor = old / new
        low, high = part.start * factor, part.stop * factor
        # Only the pixels under the window and within the filter's reach: all that go to Pillow are copied
        reach = max(1.0, factor) + 1
        first, last = max(0, math.floor(low - reach)), min(old, math.ceil(high + reach))
        starts.append(low - first)
        ends.append(min(high - first, float(last - first)))
        below.append(slice(first, last))
        sizes.append(part.stop - part.start)
    box = (starts[1], starts[0], ends[1], ends[0])
    picture = Pillow.fromarray(np.ascontiguousarray(image[below[0], below[1]]))
    return np.asarray(picture.resize((sizes[1], sizes[0]), Pillow.Resampling.BILINEAR, box=box))


def _placed(whole: tuple[int, int], size: tuple[int, int], place: NDArray[np.float64]) -> tuple[slice, slice]:
    """Return a window at two uniform numbers; an image that is smaller than the window is taken whole."""
    lengths = [min(have, wanted) for have, wanted in zip(whole, size, strict=True)]
    firsts = [int(draw * (have - length + 1)) for have, length, draw in zip(whole, lengths, place, strict=True)]
    down, across = (slice(first, first + length) for first, length in zip(firsts, lengths, strict=True))
    return down, across


def _nearest(old: int, new: int) -> NDArray[np.intp]:
    """Return the source of each of `new` places: Pillow's, which adds up its steps."""
    steps = np.full(new, old / new)
    steps[0] /= 2
    return np.cumsum(steps).astype(np.intp).clip(max=old - 1)
