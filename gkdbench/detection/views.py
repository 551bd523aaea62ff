"""Views of images with boxes: resized with their aspect kept, cut, flipped and padded; the boxes go along exactly."""

import numpy as np
from numpy.typing import NDArray

from gkdbench.data.augmentation.plain import padded
from gkdbench.data.augmentation.task_crops import resized_window
from gkdbench.spec.augmentation import DetectionViews
from gkdbench.spec.objects import Objects

Pixels = NDArray[np.uint8]
Window = tuple[slice, slice]
DRAWS = 4
"""Uniform numbers that a view takes: factor, place down, place across, flip."""


def detection_view(
    image: Pixels, objects: Objects | None, views: DetectionViews, size: tuple[int, int], draws: NDArray[np.float64]
) -> tuple[Pixels, Objects | None]:
    """Return a view [*size, 3] of an image and its boxes there; `draws` are DRAWS uniform numbers."""
    height, width = image.shape[:2]
    factor = min(size[0] / height, size[1] / width)
    if views.scale is not None:
        low, high = views.scale
        factor *= low * (high / low) ** draws[0]
    # rounded as evaluation does it
    whole = max(int(height * factor + 0.5), 1), max(int(width * factor + 0.5), 1)
    window = _placed(whole[0], size[0], draws[1]), _placed(whole[1], size[1], draws[2])
    view = resized_window(image, whole, window)
    flipped = bool(draws[3] < views.flip)
    if flipped:
        view = np.ascontiguousarray(view[:, ::-1])
    if objects is not None:
        objects = moved(objects, (whole[0] / height, whole[1] / width), window, flipped, views.kept_share)
    # padded last, so that it lies on the right of flipped images too
    mean = view.reshape(-1, 3).mean(axis=0).round().astype(np.uint8)
    return padded(view, size, mean), objects


def moved(
    objects: Objects, scale: tuple[float, float], window: Window, flipped: bool, kept_share: float = 0.0
) -> Objects:
    """Return boxes where they lie after resizing by (down, across), cutting a window and flipping it.

    They are cut at the window's border. Those without area there, or with less than `kept_share` of their own, are
    left out.
    """
    low = np.array([window[1].start, window[0].start] * 2, np.float64)
    length = np.array([window[1].stop, window[0].stop] * 2, np.float64) - low
    factors = np.array([scale[1], scale[0]] * 2, np.float64)
    whole = objects.boxes.astype(np.float64) * factors - low
    inside = np.clip(whole, 0, length)
    if flipped:
        inside = np.stack([length[0] - inside[:, 2], inside[:, 1], length[0] - inside[:, 0], inside[:, 3]], axis=1)
    boxes = inside.astype(np.float32)
    area = _area(boxes.astype(np.float64))
    kept = (boxes[:, 2] > boxes[:, 0]) & (boxes[:, 3] > boxes[:, 1]) & (area >= kept_share * _area(whole) - 1e-6)
    return Objects(boxes[kept], objects.labels[kept], objects.difficult[kept])


def _area(boxes: NDArray[np.float64]) -> NDArray[np.float64]:
    area: NDArray[np.float64] = (boxes[:, 2] - boxes[:, 0]) * (boxes[:, 3] - boxes[:, 1])
    return area


def _placed(whole: int, wanted: int, draw: float) -> slice:
    length = min(whole, wanted)
    first = int(draw * (whole - length + 1))
    return slice(first, first + length)
