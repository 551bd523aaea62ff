"""The embedded street scenes: the table of kinds and the one function that renders an image.

An image is a pure function of (kind, seed, index): the same in any process and any order. Nothing
is read from disk.
"""

import functools
import hashlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from . import styles, weather
from .canvas import FARTHEST, SIZE, Scene, subsample
from .layouts import Camera, objects, street
from .parts import CLASSES, PALETTE, PART_TO_CLASS

__all__ = [
    "CLASSES",
    "COMPOSITES",
    "KINDS",
    "PALETTE",
    "RENDERER",
    "SIZE",
    "TARGETS",
    "Rendered",
    "class_labels",
    "laid_out",
    "render",
]

RENDERER = 1  # raise it when any image changes: caches and published numbers depend on it

Layout = Callable[[np.random.Generator], Scene]
Style = Callable[[Scene, np.random.Generator], NDArray[np.float32]]

_OWN = Camera()
_OTHER_CAR = Camera(
    focal=(0.72, 0.9),
    horizon=(0.52, 0.6),
    centre=(0.35, 0.65),
    height_m=(1.1, 1.3),
    road_m=(4.5, 7.0),
    density=0.8,
    roofs=0.6,
    buildings=0.55,
)
_WIDE = Camera(
    focal=(0.85, 1.35),
    horizon=(0.36, 0.54),
    centre=(0.3, 0.7),
    height_m=(1.2, 2.0),
    road_m=(2.5, 6.0),
    roofs=0.4,
    buildings=0.65,
)
_DESERT_TOWN = Camera(focal=(0.9, 1.1), horizon=(0.4, 0.5), road_m=(3.0, 6.0), density=0.7, buildings=0.6)

_own_street: Layout = functools.partial(street, camera=_OWN)

_SCENES: dict[str, tuple[Layout, Style]] = {
    "day": (_own_street, styles.canonical),
    "night": (_own_street, weather.night),
    "fog": (_own_street, weather.fog),
    "rain": (_own_street, weather.rain),
    "snow": (_own_street, weather.snow),
    "city": (_own_street, styles.city),
    "camera": (functools.partial(street, camera=_OTHER_CAR), styles.camera),
    "held-out": (functools.partial(street, camera=_DESERT_TOWN), weather.dust),
    "wide_street": (functools.partial(street, camera=_WIDE), styles.wide),
    "wide_objects": (objects, styles.wide),
    "canonical_objects": (objects, styles.canonical),
}
TARGETS: tuple[str, ...] = ("night", "fog", "rain", "snow", "city", "camera")
# A composite takes its kinds in turn by index; an image is the same as in its own kind.
COMPOSITES: dict[str, tuple[str, ...]] = {"proxy": ("wide_objects", "wide_street")}
KINDS: tuple[str, ...] = (*_SCENES, *COMPOSITES)


@dataclass(frozen=True)
class Rendered:
    """One image with everything that is known about it."""

    image: NDArray[np.uint8]  # [64, 128, 3]
    parts: NDArray[np.uint8]  # [64, 128]
    depth: NDArray[np.float16]  # [64, 128], metres


@functools.cache
def _kind_entropy(kind: str) -> int:
    return int.from_bytes(hashlib.sha256(kind.encode()).digest()[:8], "big")


def render(kind: str, seed: int, index: int) -> Rendered:
    """Render image `index` of the split (kind, seed)."""
    with _one_thread():
        scene, style, rng = _scene(kind, seed, index)
        coloured = np.clip(style(scene, rng), 0, 1)
        image = (coloured * 255 + 0.5).astype(np.uint8)
        depth = np.minimum(subsample(scene.depth), FARTHEST).astype(np.float16)
        return Rendered(image, scene.part.take(subsample(scene.ids)), depth)


def laid_out(kind: str, seed: int, index: int) -> Scene:
    """Return what stands where in image `index` of the split (kind, seed), without colouring it."""
    with _one_thread():
        return _scene(kind, seed, index)[0]


def _scene(kind: str, seed: int, index: int) -> tuple[Scene, Style, np.random.Generator]:
    """Return an image's scene, the style that colours it, and the generator as the layout left it."""
    if kind not in KINDS:
        raise ValueError(f"unknown kind of scene {kind!r}; known: {', '.join(KINDS)}")
    if kind in COMPOSITES:
        members = COMPOSITES[kind]
        kind = members[index % len(members)]
    rng = np.random.default_rng([seed, index, _kind_entropy(kind)])
    layout, style = _SCENES[kind]
    return layout(rng), style, rng


@contextmanager
def _one_thread() -> Iterator[None]:
    """Keep OpenCV to one thread: images this small only lose by more."""
    threads = cv2.getNumThreads()
    if threads != 1:
        cv2.setNumThreads(1)
    try:
        yield
    finally:
        if threads != 1:
            cv2.setNumThreads(threads)


def class_labels(parts: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Map part numbers to class numbers; 255 marks parts that belong to no class."""
    return PART_TO_CLASS.take(parts)
