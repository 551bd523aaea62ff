"""From a scene to colours: the bank of noise textures, and palette shading on the canvas grid.

Stripes are kept apart from the plain textures: only parts on which boards, bricks or slats are
plausible may get one.
"""

import functools
import math

import cv2
import numpy as np
from numpy.typing import NDArray

from .canvas import HEIGHT_PX, SIZE, WIDTH_PX, Scene
from .parts import PARTS, STRIPED

Image = NDArray[np.float32]  # [H, W, 3]

_TILE_PX = 256 + WIDTH_PX // 2
_PERIOD_PX = 256
_GRAINS: tuple[tuple[int, ...], ...] = ((1,), (2, 4), (4, 8), (8, 16, 32), (1, 4, 16))
_BLOTCHY = 3  # the index of the coarsest grain
_REPEATS = 4
_STRIPE_SHARE = 0.25  # of the parts that may be striped, scene by scene


def _noise(rng: np.random.Generator, grain: tuple[int, ...]) -> Image:
    total = np.zeros((_PERIOD_PX, _PERIOD_PX), np.float32)
    for cell in grain:
        side = _PERIOD_PX // cell
        coarse = rng.standard_normal((side, side)).astype(np.float32)
        size = (_PERIOD_PX, _PERIOD_PX)
        total += cv2.resize(coarse, size, interpolation=cv2.INTER_CUBIC)
    return total


def _standardised(texture: Image) -> Image:
    texture = np.tile((texture - texture.mean()) / texture.std(), (1, 2))
    return np.ascontiguousarray(texture[:, :_TILE_PX], np.float32)


@functools.cache
def plain_textures() -> Image:
    """Return the isotropic textures, zero mean and unit deviation  # [n, 256, 384]."""
    rng = np.random.default_rng(7)
    grains = _GRAINS * _REPEATS
    return np.stack([_standardised(_noise(rng, grain)) for grain in grains])


@functools.cache
def striped_textures() -> Image:
    """Return the striped textures, in various directions and widths  # [n, 256, 384]."""
    rng = np.random.default_rng(11)
    y, x = np.mgrid[:_PERIOD_PX, :_PERIOD_PX].astype(np.float32)
    bank = []
    for k in range(8):
        angle = 0.0 if k % 4 == 0 else math.pi / 2 if k % 4 == 1 else rng.uniform(0, math.pi)
        across = (x * math.cos(angle) + y * math.sin(angle)) * 2 * math.pi / rng.uniform(5, 14)
        bank.append(_standardised(np.sin(across) + 0.3 * _noise(rng, (2,))))
    return np.stack(bank)


def blotches(rng: np.random.Generator) -> Image:
    """Return a coarse noise field with unit deviation over the canvas  # [HEIGHT_PX, WIDTH_PX]."""
    index = _BLOTCHY + len(_GRAINS) * int(rng.integers(_REPEATS))
    return _window(plain_textures()[index], rng)


def _window(texture: Image, rng: np.random.Generator) -> Image:
    row, column = rng.integers(0, 128, 2).tolist()
    return texture[row : row + HEIGHT_PX, column : column + WIDTH_PX]


def shade(
    scene: Scene,
    rng: np.random.Generator,
    palette: NDArray[np.float32],
    texture: NDArray[np.floating],
    *,
    jitter: float,
    tint: float,
) -> Image:
    """Colour a scene on the canvas grid: palette by part, variation by object, texture by part.

    `jitter` is the deviation of an object's brightness; per channel half of it, plus `tint`, is
    added.
    """
    groups = int(scene.group.max()) + 1
    vary = 1 + rng.normal(0, jitter, (groups, 1)) + rng.normal(0, jitter * 0.5 + tint, (groups, 3))
    colour = np.clip(palette[scene.part] * vary[scene.group], 0, 1.2).astype(np.float32)

    chosen = [_window(plain_textures()[k], rng) for k in rng.integers(0, len(plain_textures()), 4)]
    chosen.append(_window(striped_textures()[rng.integers(len(striped_textures()))], rng))
    select = rng.integers(0, 4, len(PARTS))
    select[STRIPED & (rng.random(len(PARTS)) < _STRIPE_SHARE)] = 4
    flat = np.concatenate([window.reshape(-1) for window in chosen])
    # The texture of a pixel: the offset of its part's window plus its own place.
    place = (select * (HEIGHT_PX * WIDTH_PX))[scene.part].take(scene.ids.reshape(-1))
    place += _places()
    grain = flat.take(place)
    grain *= texture.astype(np.float32)[scene.part].take(scene.ids.reshape(-1))
    grain += 1
    shaded = colour.take(scene.ids.reshape(-1), axis=0)  # [HEIGHT_PX * WIDTH_PX, 3]
    shaded *= grain[:, None]
    np.clip(shaded, 0, 1.5, out=shaded)
    return shaded.reshape(HEIGHT_PX, WIDTH_PX, 3)


@functools.cache
def _places() -> NDArray[np.intp]:
    return np.arange(HEIGHT_PX * WIDTH_PX, dtype=np.intp)


def reduce(canvas: NDArray[np.float32]) -> NDArray[np.float32]:
    """Average the canvas down to the image grid."""
    reduced: NDArray[np.float32] = cv2.resize(canvas, (SIZE[1], SIZE[0]), interpolation=cv2.INTER_AREA)
    return reduced


def add_noise(image: Image, rng: np.random.Generator, deviation: float) -> Image:
    """Add white sensor noise."""
    return image + rng.standard_normal(image.shape, dtype=np.float32) * np.float32(deviation)
