"""Time of day and weather, each a function from a scene to an image: the hard target domains.

They use the scene's exact depth and parts. None of their effects occurs in the styles on which
encoders are pre-trained.
"""

import cv2
import numpy as np
from numpy.typing import NDArray

from .canvas import SIZE, Scene, subsample
from .parts import DESERT, PART_INDEX, PARTS, TEXTURE, part_mask
from .shading import Image, add_noise, blotches, reduce, shade
from .styles import canonical_colours

_HEIGHT, _WIDTH = SIZE
_SKY = part_mask("sky", "cloud")
_UNLIT = part_mask("sky", "cloud", "mountain")
_WET = part_mask("road", "lane", "sidewalk", "curb")
_SNOW_CATCHING = part_mask("grass", "soil", "sidewalk", "curb", "roof", "mountain")
_EMISSION = {"lamp": 1.0, "light": 1.0, "window": 0.35}


def _where(table: NDArray[np.bool_], parts: NDArray[np.uint8]) -> NDArray[np.bool_]:
    return table.take(parts)[..., None]  # [H, W, 1]


def night(scene: Scene, rng: np.random.Generator) -> Image:
    """Darkness with a cold cast; lamps, car lights and some windows glow."""
    colours = canonical_colours(scene, rng)
    emission = np.zeros(len(scene.part), np.float32)
    for name, strength in _EMISSION.items():
        emission[scene.part == PART_INDEX[name]] = strength
    dark_window = (scene.part == PART_INDEX["window"]) & (rng.random(len(scene.part)) >= 0.55)
    emission[dark_window] = 0
    emitted = reduce(emission.take(scene.ids))  # [H, W]
    unlit = _where(_UNLIT, subsample(scene.parts))
    exposure = np.where(unlit, np.float32(0.06), np.float32(rng.uniform(0.13, 0.24)))
    image = reduce(colours) * exposure * np.array([0.85, 0.9, 1.15], np.float32)
    lit = cv2.GaussianBlur(emitted, (0, 0), 8)
    glow = 1.2 * cv2.GaussianBlur(emitted, (0, 0), 4) + cv2.GaussianBlur(emitted, (0, 0), 1.2)
    lamp_colour = np.array([1.0, 0.85, 0.5], np.float32)
    image = image * (1 + 3 * lit[..., None] * lamp_colour) + 0.8 * glow[..., None] * lamp_colour
    return add_noise(image, rng, 0.025)


def fog(scene: Scene, rng: np.random.Generator) -> Image:
    """Haze that thickens with depth."""
    image = reduce(canonical_colours(scene, rng))
    through = np.exp(-rng.uniform(0.035, 0.09) * subsample(scene.depth))[..., None]
    air = np.array([0.78, 0.8, 0.82], np.float32) * rng.uniform(0.85, 1.05)
    image = image * through + air.astype(np.float32) * (1 - through)
    return add_noise(cv2.GaussianBlur(image, (0, 0), 0.5), rng, 0.012)


def rain(scene: Scene, rng: np.random.Generator) -> Image:
    """Dim and grey, a wet reflecting ground, streaks in the air and drops on the lens."""
    image = reduce(canonical_colours(scene, rng))
    grey = image.mean(-1, keepdims=True)
    image = (0.55 * image + 0.45 * grey) * np.float32(rng.uniform(0.5, 0.7))
    parts = subsample(scene.parts)
    wet, sky = _where(_WET, parts), _where(_SKY, parts)
    image = np.where(sky, 0.5 + 0.1 * image, image)
    share = np.float32(rng.uniform(0.35, 0.6))
    reflected = _reflection(image, wet[..., 0])
    image = np.where(wet, (1 - share) * image + share * 0.75 * reflected + 0.02, image)
    streaks = _streaks(rng)[..., None]
    image = image * (1 - streaks) + 0.75 * streaks
    for _ in range(rng.integers(2, 7)):
        x, y, radius = (int(rng.uniform(0, limit)) for limit in (_WIDTH, _HEIGHT, 4))
        radius += 2
        drop = np.s_[max(y - radius, 0) : y + radius, max(x - radius, 0) : x + radius]
        image[drop] = cv2.blur(image[drop], (5, 5))
    return add_noise(image, rng, 0.02)


def _reflection(image: Image, wet: NDArray[np.bool_]) -> Image:
    """Mirror the picture at the first wet row; beyond the upper edge it is mirrored once more."""
    first = int(np.argmax(wet.any(1))) if wet.any() else _HEIGHT - 1
    below = np.arange(_HEIGHT - first)
    mirrored = image.copy()
    mirrored[first:] = image[np.minimum(np.abs(first - 1 - below), _HEIGHT - 1)]
    blurred: Image = cv2.GaussianBlur(mirrored, (1, 9), 0)
    return blurred


def _streaks(rng: np.random.Generator) -> NDArray[np.float32]:
    streaks = np.zeros((_HEIGHT, _WIDTH), np.float32)
    slant = rng.uniform(-0.3, 0.3)
    for _ in range(rng.integers(50, 120)):
        x, y, length = rng.uniform(0, _WIDTH), rng.uniform(-5, _HEIGHT), rng.uniform(3, 9)
        start, end = (int(x), int(y)), (int(x + slant * length), int(y + length))
        cv2.line(streaks, start, end, (rng.uniform(0.1, 0.4),), 1, cv2.LINE_AA)
    return streaks


def snow(scene: Scene, rng: np.random.Generator) -> Image:
    """Patchy cover on ground, roofs, foliage and part of the road; flakes before a white sky."""
    colours = canonical_colours(scene, rng)
    cover = np.zeros(len(PARTS), np.float32)
    cover[_SNOW_CATCHING] = rng.uniform(0.6, 0.95)
    cover[PART_INDEX["road"]] = rng.uniform(0.1, 0.6)
    cover[PART_INDEX["foliage"]] = 0.45
    limit = np.where(cover > 0, cover * 4 - 2, -np.inf).astype(np.float32)
    covered = blotches(rng) < limit[scene.part].take(scene.ids)
    colours = np.where(covered[..., None], colours * 0.15 + 0.82, colours)
    image = reduce(colours)
    sky = _where(_SKY, subsample(scene.parts))
    image = np.where(sky, 0.8 + 0.05 * image, image * 0.9 + 0.06)
    count = int(rng.integers(40, 140))
    xs, ys = rng.integers(0, _WIDTH, count), rng.integers(0, _HEIGHT, count)
    image[ys, xs] = 0.7 * 0.95 + 0.3 * image[ys, xs]
    for _ in range(12):
        x, y = int(rng.integers(_WIDTH)), int(rng.integers(_HEIGHT))
        cv2.circle(image, (x, y), 1, (0.95, 0.95, 0.97), -1)
    return add_noise(image, rng, 0.015)


def dust(scene: Scene, rng: np.random.Generator) -> Image:
    """A desert town in dust under a low sun: the style of `held-out`, which nobody tunes on."""
    image = reduce(shade(scene, rng, DESERT, TEXTURE * 1.8, jitter=0.1, tint=0.04))
    through = np.exp(-rng.uniform(0.02, 0.06) * subsample(scene.depth))[..., None]
    air = np.array([0.88, 0.68, 0.45], np.float32) * np.float32(rng.uniform(0.8, 1.05))
    image = image * through + air * (1 - through)
    # The sun stands just above the horizon; towards it everything is washed out, away from it dim.
    sun_x, sun_y = rng.uniform(0.1, 0.9) * _WIDTH, rng.uniform(0.15, 0.4) * _HEIGHT
    y, x = np.mgrid[:_HEIGHT, :_WIDTH].astype(np.float32)
    apart = np.sqrt((x - sun_x) ** 2 + (1.6 * (y - sun_y)) ** 2)
    flare = (np.exp(-apart / 9) + 0.45 * np.exp(-apart / 38)).astype(np.float32)
    # A dusty windscreen scatters the sun unevenly.
    dirt = 1 + 0.2 * reduce(np.ascontiguousarray(blotches(rng)))
    warm = np.array([1.0, 0.85, 0.55], np.float32)
    image = image * np.float32(rng.uniform(0.6, 0.8)) + (flare * dirt)[..., None] * warm
    return add_noise(image, rng, 0.02)
