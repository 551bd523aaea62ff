"""How a scene is coloured without weather: canonical, another city, another camera, and `wide`.

`wide` is the style of the pretext and of the proxy pool. It is broad in palette and photometry and
contains none of the targets' effects: no depth haze, streaks, flakes, snow cover, glow,
reflections, lens drops, cast shadows, city palette, bonnet or motion blur.
"""

import math

import cv2
import numpy as np

from .canvas import SIZE, Scene, subsample
from .parts import CANONICAL, CITY, PARTS, TEXTURE, part_mask
from .shading import Image, add_noise, blotches, reduce, shade

_CAMERA_PALETTE = 0.6 * CANONICAL + 0.4 * CITY
_FAR = part_mask("sky", "cloud", "mountain")  # no shadow falls on it, no grain is seen
_CITY_TEXTURE = np.where(_FAR, TEXTURE, TEXTURE * 2.5 + 0.03).astype(np.float32)


def canonical_colours(scene: Scene, rng: np.random.Generator) -> Image:
    """Colour a scene in the canonical palette, on the canvas grid and without noise."""
    return shade(scene, rng, CANONICAL, TEXTURE, jitter=0.08, tint=0.03)


def canonical(scene: Scene, rng: np.random.Generator) -> Image:
    """Clear day, the style of the source."""
    image = reduce(canonical_colours(scene, rng)) * rng.uniform(0.92, 1.08)
    return add_noise(image, rng, 0.01)


def city(scene: Scene, rng: np.random.Generator) -> Image:
    """Another city: other materials and rougher surfaces, cast shadows, warm white balance."""
    image = reduce(shade(scene, rng, CITY, _CITY_TEXTURE, jitter=0.14, tint=0.06))
    if rng.random() < 0.6:
        # Shadows of what is not in the picture: large soft patches, on everything but the sky.
        patches = cv2.resize(blotches(rng)[: SIZE[0], : SIZE[1]], (SIZE[1], SIZE[0]))
        lit = _FAR.take(subsample(scene.parts))
        shadow = cv2.GaussianBlur(((patches > 0.5) & ~lit).astype(np.float32), (3, 3), 0)
        image = image * (1 - 0.4 * shadow[..., None])
    image = np.clip(image, 0, 1) ** np.float32(rng.uniform(0.8, 1.2))
    return add_noise(image * np.array([1.05, 1.0, 0.9], np.float32), rng, 0.03)


def camera(scene: Scene, rng: np.random.Generator) -> Image:
    """Another car's camera: motion blur, low contrast, warm cast, and the bonnet in view."""
    image = reduce(shade(scene, rng, _CAMERA_PALETTE, TEXTURE * 1.6, jitter=0.12, tint=0.05))
    image = cv2.blur(image, (int(rng.integers(2, 5)), 1))
    image = (0.12 + 0.85 * image) * np.array([1.12, 0.98, 0.82], np.float32)
    image[int(SIZE[0] * rng.uniform(0.92, 0.97)) :] *= 0.25
    return add_noise(image, rng, 0.03)


def wide(scene: Scene, rng: np.random.Generator) -> Image:
    """Broad, natural-image-like: plausible but mixed colours under all kinds of photometry."""
    mix = rng.uniform(0, 0.6) * (rng.random() < 0.85)
    random_palette = rng.uniform(0, 1, (len(PARTS), 3)).astype(np.float32)
    palette = (1 - mix) * CANONICAL + mix * random_palette
    rough = TEXTURE * rng.uniform(0.5, 2.0) + rng.uniform(0, 0.08) * rng.random(len(PARTS))
    jitter, tint = rng.uniform(0.05, 0.15), rng.uniform(0.02, 0.08)
    image = reduce(shade(scene, rng, palette, rough, jitter=jitter, tint=tint))
    image *= _vignette(rng, rng.uniform(0, 0.3))
    np.clip(image, 0, 1, out=image)
    image **= np.float32(math.exp(rng.uniform(-0.4, 0.4)))
    matrix = np.eye(3, dtype=np.float32) + rng.normal(0, 0.08, (3, 3)).astype(np.float32)
    image = image @ matrix
    if rng.random() < 0.25:
        image += rng.uniform(0.3, 1) * (image.mean(-1, keepdims=True) - image)
    choice = rng.random()
    if choice < 0.3:  # under-exposure
        image *= math.exp(rng.uniform(math.log(0.12), 0))
    elif choice < 0.6:  # a uniform veil: low contrast, the same at every depth
        veil = rng.uniform(0.2, 0.75)
        image = (1 - veil) * image + veil * rng.uniform(0.3, 0.9)
    if rng.random() < 0.35:
        image = cv2.GaussianBlur(image, (0, 0), rng.uniform(0.3, 1.2))
    return add_noise(image, rng, rng.uniform(0, 0.04))


def _vignette(rng: np.random.Generator, strength: float) -> Image:
    rows = np.linspace(1 - strength, 1 + strength, SIZE[0], dtype=np.float32)
    left, right = rng.uniform(-strength, strength, 2)
    columns = np.linspace(1 - left, 1 + right, SIZE[1], dtype=np.float32)
    return (rows[:, None] * columns[None])[..., None]
