"""The parts of the street scenes: what can be drawn, in which colours, as which class.

A *part* is finer than a class (a wall, a window and a roof are all "building"), and some parts belong to no class at
all. They are the rows of parts.csv: `texture` is a relative amplitude, `striped` says that boards, bricks or slats are
plausible on it, and a palette has the canonical `colour` wherever it names no other.
"""

import csv
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

_CLASS_COLOURS: dict[str, tuple[int, int, int]] = {  # those of Cityscapes
    "road": (128, 64, 128),
    "sidewalk": (244, 35, 232),
    "building": (70, 70, 70),
    "fence": (190, 153, 153),
    "pole": (153, 153, 153),
    "sign": (220, 220, 0),
    "vegetation": (107, 142, 35),
    "terrain": (152, 251, 152),
    "sky": (70, 130, 180),
    "person": (220, 20, 60),
    "vehicle": (0, 0, 142),
}
CLASSES: tuple[str, ...] = tuple(_CLASS_COLOURS)
PALETTE: NDArray[np.uint8] = np.array(list(_CLASS_COLOURS.values()), np.uint8)
IGNORE = 255

with (Path(__file__).parent / "parts.csv").open(encoding="utf-8", newline="") as _file:
    _ROWS = list(csv.DictReader(_file))

PARTS: tuple[str, ...] = tuple(row["part"] for row in _ROWS)
PART_INDEX: dict[str, int] = {name: number for number, name in enumerate(PARTS)}
PART_TO_CLASS: NDArray[np.uint8] = np.array(
    [CLASSES.index(row["class"]) if row["class"] else IGNORE for row in _ROWS], np.uint8
)
TEXTURE: NDArray[np.float32] = np.array([float(row["texture"]) for row in _ROWS], np.float32)
STRIPED: NDArray[np.bool_] = np.array([row["striped"] == "yes" for row in _ROWS], np.bool_)


def _colours(column: str) -> NDArray[np.float32]:
    texts = [row[column] or row["colour"] for row in _ROWS]
    return np.array([text.split() for text in texts]).astype(np.float32) / np.float32(255)  # [parts, 3]


CANONICAL, CITY, DESERT = map(_colours, ("colour", "city", "desert"))


def part_mask(*names: str) -> NDArray[np.bool_]:
    """Return a look-up table over the parts that is true for the named ones."""
    return np.isin(PARTS, names)
