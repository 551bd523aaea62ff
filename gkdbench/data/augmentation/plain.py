"""The plain augmentation: resized or cropped, flipped, brighter or darker."""

from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image as Pillow

from gkdbench.spec.augmentation import Augmentation, DetectionViews

Pixels = NDArray[np.uint8]


def geometry(
    image: NDArray[np.uint8],
    labels: NDArray[np.uint8] | None,
    size: tuple[int, int],
    augmentation: Augmentation,
    ignore: int,
    draws: NDArray[np.float64],
) -> tuple[NDArray[np.uint8], NDArray[np.uint8] | None]:
    """Resize, crop and flip image and labels alike; `draws` are four uniform numbers."""
    height, width = size
    if augmentation.scale is not None:
        low, high = augmentation.scale
        factor = low * (high / low) ** draws[0]
        image, labels = resized(image, labels, round(height * factor), round(width * factor))
        image, labels = _cropped(image, labels, size, ignore, draws[1], draws[2])
    else:
        image, labels = resized(image, labels, height, width)
    if draws[3] < augmentation.flip:
        image = image[:, ::-1]
        labels = None if labels is None else labels[:, ::-1]
    return image, labels


def resized(
    image: NDArray[np.uint8], labels: NDArray[np.uint8] | None, height: int, width: int
) -> tuple[NDArray[np.uint8], NDArray[np.uint8] | None]:
    """Resize an image, and its labels to the nearest one."""
    if image.shape[:2] != (height, width):
        picture = Pillow.fromarray(image)
        image = np.asarray(picture.resize((width, height), Pillow.Resampling.BILINEAR))
    if labels is not None and labels.shape != (height, width):
        picture = Pillow.fromarray(labels)
        labels = np.asarray(picture.resize((width, height), Pillow.Resampling.NEAREST))
    return image, labels


def _cropped(
    image: NDArray[np.uint8],
    labels: NDArray[np.uint8] | None,
    size: tuple[int, int],
    ignore: int,
    down: float,
    across: float,
) -> tuple[NDArray[np.uint8], NDArray[np.uint8] | None]:
    """Cut a window of `size`; a smaller image is first padded with its mean colour (labels: ignore)."""
    height, width = size
    whole = max(height, image.shape[0]), max(width, image.shape[1])
    if image.shape[:2] != whole:
        image = padded(image, whole, image.reshape(-1, 3).mean(axis=0).round())
        labels = None if labels is None else padded(labels, whole, ignore)
    top = int(down * (image.shape[0] - height + 1))
    left = int(across * (image.shape[1] - width + 1))
    window = (slice(top, top + height), slice(left, left + width))
    return image[window], None if labels is None else labels[window]


def padded(array: Pixels, size: tuple[int, int], value: "NDArray[Any] | int") -> Pixels:
    """Fill an image or labels up to `size` below and on the right; the very same array where it is as large."""
    height, width = array.shape[:2]
    if (height, width) == size:
        return array
    whole = np.empty((*size, *array.shape[2:]), np.uint8)
    whole[:height, :width] = array
    whole[height:] = value
    whole[:height, width:] = value
    return whole


def photometry(
    image: NDArray[np.uint8], augmentation: Augmentation | DetectionViews, rng: np.random.Generator
) -> NDArray[np.uint8]:
    """Change brightness and contrast; returns the very same array where there is nothing to do."""
    if not augmentation.brightness and not augmentation.contrast:
        return image
    draws = rng.uniform(-1, 1, 2)
    values = image.astype(np.float32) * (1 + augmentation.brightness * draws[0])
    mean = values.mean()
    values = (values - mean) * (1 + augmentation.contrast * draws[1]) + mean
    bounded: NDArray[np.uint8] = values.round().clip(0, 255).astype(np.uint8)
    return bounded
