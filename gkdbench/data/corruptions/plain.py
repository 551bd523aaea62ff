"""The corruptions that need no more than arrays, a disc-shaped filter and Pillow, by their published definition.

They are bit for bit what the library gives for the same seed (a test compares them), and need none of its dependencies,
so the embedded benchmark runs wherever gkdbench is installed.

Definitions: Hendrycks and Dietterich, ICLR 2019 (arXiv 1903.12261); Michaelis et al., arXiv 1907.07484.
"""

import io
from collections.abc import Callable

import cv2
import numpy as np
from numpy.typing import NDArray
from PIL import Image

Pixels = NDArray[np.uint8]
Corrupt = Callable[[Pixels, int, int], Pixels]
"""Image [H, W, 3], severity 1 to 5, seed -> corrupted image of the same size."""


def _stored(unit: NDArray[np.float64]) -> Pixels:
    """Cut to [0, 1] and store in 8 bits; the fraction is dropped, as the library does."""
    return (np.clip(unit, 0, 1) * 255).astype(np.uint8)


def gaussian_noise(image: Pixels, severity: int, seed: int) -> Pixels:
    """Add noise of a normal distribution."""
    deviation = (0.08, 0.12, 0.18, 0.26, 0.38)[severity - 1]
    noise = np.random.RandomState(seed).normal(scale=deviation, size=image.shape)
    return _stored(image / 255.0 + noise)


def shot_noise(image: Pixels, severity: int, seed: int) -> Pixels:
    """Count photons: Poisson noise, of fewer photons where more severe."""
    photons = (60, 25, 12, 5, 3)[severity - 1]
    return _stored(np.random.RandomState(seed).poisson(image / 255.0 * photons) / photons)


def impulse_noise(image: Pixels, severity: int, seed: int) -> Pixels:
    """Set a share of the values, each channel by itself, to white or black."""
    share = (0.03, 0.06, 0.09, 0.17, 0.27)[severity - 1]
    rng = np.random.default_rng(seed)
    struck = rng.random(image.shape) <= share
    white = rng.random(image.shape) <= 0.5
    # by way of [0, 1] and back, where a few values come out one lower: so do the library's
    return np.where(struck, np.where(white, np.uint8(255), np.uint8(0)), _stored(image / 255.0))


def defocus_blur(image: Pixels, severity: int, seed: int) -> Pixels:
    """Spread every pixel over a disc with a softened rim."""
    radius, softness = ((3, 0.1), (4, 0.5), (6, 0.5), (8, 0.5), (10, 0.5))[severity - 1]
    reach, window = (8, 3) if radius <= 8 else (radius, 5)
    offsets = np.arange(-reach, reach + 1) ** 2
    disc = (offsets[:, None] + offsets <= radius**2).astype(np.float32)
    disc = cv2.GaussianBlur(disc / disc.sum(), (window, window), sigmaX=softness)
    # plane by plane: the filter's sums round otherwise over interleaved channels
    planes = [cv2.filter2D(np.ascontiguousarray(image[..., channel] / 255.0), -1, disc) for channel in range(3)]
    return _stored(np.stack(planes, axis=-1))


def contrast(image: Pixels, severity: int, seed: int) -> Pixels:
    """Draw every channel towards its mean over the image."""
    kept = (0.4, 0.3, 0.2, 0.1, 0.05)[severity - 1]
    unit = image / 255.0
    mean = unit.mean(axis=(0, 1), keepdims=True)
    return _stored((unit - mean) * kept + mean)


def pixelate(image: Pixels, severity: int, seed: int) -> Pixels:
    """Shrink by area averages and enlarge by repetition."""
    scale = (0.6, 0.5, 0.4, 0.3, 0.25)[severity - 1]
    height, width = image.shape[:2]
    small = Image.fromarray(image).resize((int(width * scale), int(height * scale)), Image.Resampling.BOX)
    return np.array(small.resize((width, height), Image.Resampling.NEAREST))


def jpeg_compression(image: Pixels, severity: int, seed: int) -> Pixels:
    """Store as JPEG of low quality."""
    stream = io.BytesIO()
    Image.fromarray(image).save(stream, format="JPEG", quality=(25, 18, 15, 10, 7)[severity - 1])
    return np.array(Image.open(stream))


PLAIN: dict[str, Corrupt] = {
    "gaussian_noise": gaussian_noise,
    "shot_noise": shot_noise,
    "impulse_noise": impulse_noise,
    "defocus_blur": defocus_blur,
    "contrast": contrast,
    "pixelate": pixelate,
    "jpeg_compression": jpeg_compression,
}
"""The kinds that work without the library."""
