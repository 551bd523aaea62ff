"""The part table of the street scenes: what can be drawn, in which colour, as which class.

A *part* is finer than a class (a wall, a window and a roof are all "building"), and some parts
belong to no class at all. The tables at the end are indexed by part number.
"""

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

CLASSES: tuple[str, ...] = (
    "road",
    "sidewalk",
    "building",
    "fence",
    "pole",
    "sign",
    "vegetation",
    "terrain",
    "sky",
    "person",
    "vehicle",
)
IGNORE = 255

# Drawing colours of the classes, those of Cityscapes.
PALETTE: NDArray[np.uint8] = np.array(
    [
        (128, 64, 128),
        (244, 35, 232),
        (70, 70, 70),
        (190, 153, 153),
        (153, 153, 153),
        (220, 220, 0),
        (107, 142, 35),
        (152, 251, 152),
        (70, 130, 180),
        (220, 20, 60),
        (0, 0, 142),
    ],
    np.uint8,
)


class Part(NamedTuple):
    """One row of the part table; `texture` is a relative amplitude, `label` None means no class."""

    name: str
    label: str | None
    colour: tuple[int, int, int]
    texture: float
    striped: bool = False  # stripes (boards, bricks, slats) are plausible on it


PARTS: tuple[Part, ...] = (
    Part("sky", "sky", (150, 190, 235), 0.01),
    Part("cloud", "sky", (235, 240, 245), 0.02),
    Part("mountain", "terrain", (120, 135, 120), 0.06),
    Part("road", "road", (92, 92, 98), 0.05),
    Part("lane", "road", (225, 225, 215), 0.03),
    Part("sidewalk", "sidewalk", (165, 155, 150), 0.06),
    Part("curb", "sidewalk", (190, 185, 180), 0.04),
    Part("grass", "terrain", (110, 150, 70), 0.10),
    Part("soil", "terrain", (140, 115, 80), 0.10),
    Part("wall", "building", (165, 140, 120), 0.06, striped=True),
    Part("window", "building", (70, 85, 105), 0.03),
    Part("roof", "building", (130, 75, 60), 0.06, striped=True),
    Part("door", "building", (95, 65, 45), 0.04),
    Part("fence", "fence", (120, 105, 110), 0.12, striped=True),
    Part("pole", "pole", (110, 112, 115), 0.03),
    Part("lamp", "pole", (225, 220, 190), 0.02),
    Part("plate", "sign", (215, 45, 45), 0.02),
    Part("symbol", "sign", (245, 245, 245), 0.02),
    Part("foliage", "vegetation", (65, 115, 50), 0.16),
    Part("trunk", "vegetation", (95, 72, 52), 0.08),
    Part("head", "person", (215, 170, 140), 0.03),
    Part("torso", "person", (180, 60, 80), 0.05),
    Part("legs", "person", (50, 55, 95), 0.05),
    Part("body", "vehicle", (60, 90, 160), 0.03),
    Part("glass", "vehicle", (40, 50, 60), 0.02),
    Part("wheel", "vehicle", (28, 28, 30), 0.03),
    Part("light", "vehicle", (245, 235, 190), 0.02),
    Part("animal", None, (150, 110, 70), 0.08),
    Part("ball", None, (230, 140, 40), 0.03),
    Part("box", None, (190, 160, 110), 0.05, striped=True),
    Part("hull", None, (180, 185, 195), 0.03, striped=True),
    Part("water", None, (70, 120, 160), 0.05),
    Part("rock", None, (125, 125, 125), 0.12),
    Part("petal", None, (225, 90, 160), 0.04),
    Part("floor", None, (175, 150, 120), 0.06, striped=True),
)

PART_INDEX: dict[str, int] = {part.name: i for i, part in enumerate(PARTS)}
PART_TO_CLASS: NDArray[np.uint8] = np.array(
    [IGNORE if part.label is None else CLASSES.index(part.label) for part in PARTS], np.uint8
)
CANONICAL: NDArray[np.float32] = (
    np.array([part.colour for part in PARTS], np.float32) / 255
).astype(np.float32)
TEXTURE: NDArray[np.float32] = np.array([part.texture for part in PARTS], np.float32)
STRIPED: NDArray[np.bool_] = np.array([part.striped for part in PARTS], np.bool_)


def part_mask(*names: str) -> NDArray[np.bool_]:
    """Return a look-up table over the parts that is true for the named ones."""
    mask = np.zeros(len(PARTS), np.bool_)
    mask[[PART_INDEX[name] for name in names]] = True
    return mask


def palette_with(changes: dict[str, tuple[int, int, int]]) -> NDArray[np.float32]:
    """Return the canonical palette with some parts recoloured (colours in 0..255)."""
    palette = CANONICAL.copy()
    for name, colour in changes.items():
        palette[PART_INDEX[name]] = np.array(colour, np.float32) / 255
    return palette
