"""Photometric distortion: brightness, contrast, saturation and hue by tables, since each maps a level to a level."""

import cv2
import numpy as np
from numpy.typing import NDArray

from gkdbench.spec.augmentation import TaskCrops

Levels = NDArray[np.uint8]
DRAWS = 9
"""Uniform numbers that a distortion takes."""
_LEVELS: Levels = np.arange(256, dtype=np.uint8)


def distorted(image: NDArray[np.uint8], crops: TaskCrops, draws: NDArray[np.float64]) -> NDArray[np.uint8]:
    """Distort an RGB image [H, W, 3] by DRAWS uniform numbers; returns the very same array where nothing is drawn.

    Results are cut off, not rounded, to whole levels after each change, as mmseg does. Where saturation and hue both
    change, mmseg goes back to RGB in between; here both happen in one HSV image, which spares a rounding.
    """
    brighter, more, coloured, turned = draws[:4] < 0.5
    first = draws[4] < 0.5
    contrast = _between(crops.contrast, draws[6])
    levels = _LEVELS
    if brighter:
        levels = _scaled(levels, offset=_between((-crops.brightness, crops.brightness), draws[5]))
    if more and first:
        levels = _scaled(levels, contrast)
    if coloured or turned:
        image = _looked_up(image, levels)
        saturation = _scaled(_LEVELS, _between(crops.saturation, draws[7])) if coloured else _LEVELS
        turn = int(2 * crops.hue * draws[8]) - crops.hue if turned else 0
        hue = ((_LEVELS.astype(np.int16) + turn) % 180).astype(np.uint8)
        hsv = cv2.LUT(cv2.cvtColor(image, cv2.COLOR_RGB2HSV), np.stack([hue, saturation, _LEVELS], -1)[None])
        image = cv2.cvtColor(hsv, cv2.COLOR_HSV2RGB)
        levels = _LEVELS
    if more and not first:
        levels = _scaled(levels, contrast)
    return _looked_up(image, levels)


def _between(bounds: tuple[float, float], draw: float) -> float:
    return bounds[0] + (bounds[1] - bounds[0]) * draw


def _scaled(levels: Levels, factor: float = 1.0, offset: float = 0.0) -> Levels:
    return (levels.astype(np.float32) * np.float32(factor) + np.float32(offset)).clip(0, 255).astype(np.uint8)


def _looked_up(image: NDArray[np.uint8], levels: Levels) -> NDArray[np.uint8]:
    if levels is _LEVELS:
        return image
    found: NDArray[np.uint8] = cv2.LUT(image, levels)
    return found
