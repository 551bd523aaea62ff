"""What a file says about the boxes of an image, and what of it can count.

An image holds a box that lies within it. Tools differ by a pixel in where they begin to count and in whether a box
names the last pixel inside or the first outside, so a box that reaches up to one pixel beyond a border is left as it is
written: the evaluation sees what the file says. Anything further out is a mistake, and so is a box without area.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from gkdbench.errors import DataError
from gkdbench.spec.box_labels import BoxRules
from gkdbench.spec.documents import nearest
from gkdbench.spec.objects import Objects, Settled

BEYOND = 1.0
"""Pixels that a box may reach beyond a border."""
_SHOWN = 60
"""Characters of a name that a message shows."""


@dataclass(frozen=True)
class ClassNames:
    """Class indices by the names that files use, and the names whose boxes are left out."""

    indices: Mapping[str, int]
    ignored: frozenset[str] = frozenset()
    others_ignored: bool = False

    @classmethod
    def of(cls, classes: Sequence[str], rules: BoxRules) -> "ClassNames":
        """Return the names of a benchmark's classes, by the rules of a split."""
        indices = {name: index for index, name in enumerate(classes)}
        return cls(indices, frozenset(rules.ignored) - indices.keys(), rules.others == "ignored")

    def index(self, name: str, where: str) -> int | None:
        """Return a name's class index, None where its boxes are left out; DataError for an unknown name."""
        if name in self.indices:
            return self.indices[name]
        if name in self.ignored or self.others_ignored:
            return None
        name = name[:_SHOWN]
        raise DataError(
            f"{where}: class {name!r} is none of the benchmark's{nearest(name, self.indices)} (known: "
            f"{_few(self.indices)}); mend it, add it to `classes`, or name it among `ignored`"
        )

    def identity(self) -> list[object]:
        """Return what the names are, for a digest."""
        return [list(self.indices), sorted(self.ignored), self.others_ignored]


@dataclass(frozen=True)
class Stated:
    """The boxes of one image as its file has them."""

    boxes: NDArray[np.float64]
    """[n, 4] x0, y0, x1, y1 in continuous pixels; see `gkdbench.spec.objects`."""
    written: NDArray[np.float64]
    """[n, 4] numbers as they stand in the file, for messages."""
    labels: NDArray[np.int64]
    """[n] class index."""
    difficult: NDArray[np.bool_]
    """[n] counts neither as found nor as missed."""
    places: Sequence[str]
    """[n] file and line, or entry."""
    size: tuple[int, int] | None = None
    """Height and width that the file gives the image."""
    size_place: str = ""
    least: float = 0.0
    """Side from which a box has area: 1 where a file names the last pixel inside, whose two corners may not meet."""


def settled(stated: Stated, size: tuple[int, int], image: object, *, clip: bool) -> Settled:
    """Return the boxes of an image of [height, width]; DataError for one that no image of this size can hold.

    clip: cut boxes to the image and drop those without area, in place of an error.
    """
    if stated.size is not None and stated.size != size:
        raise DataError(
            f"{stated.size_place}: is for an image of {stated.size[1]}x{stated.size[0]} pixels, and {image} has "
            f"{size[1]}x{size[0]}; get both from one release"
        )
    boxes, (height, width) = stated.boxes, size
    limits = np.array([width, height, width, height], np.float64)
    flat: NDArray[np.bool_] = np.any(boxes[:, 2:] - boxes[:, :2] <= stated.least, axis=1)
    excess = np.maximum(-boxes, boxes - limits).max(axis=1, initial=0.0)
    outside = excess > BEYOND
    beyond = (excess > 0) & ~outside & ~flat
    if not clip:
        wrong = np.flatnonzero(flat | outside)
        if len(wrong):
            raise DataError(_wrong(stated, int(wrong[0]), bool(flat[wrong[0]]), len(wrong), size))
        return Settled(_objects(stated, boxes, slice(None)), int(beyond.sum()))
    cut = np.where(outside[:, None], np.clip(boxes, 0, limits), boxes)
    kept: NDArray[np.bool_] = ~flat & np.all(cut[:, 2:] > cut[:, :2], axis=1)
    clipped = outside & kept
    notes = tuple(stated.places[index] for index in np.flatnonzero(clipped | ~kept).tolist())
    return Settled(_objects(stated, cut, kept), int(beyond.sum()), int(clipped.sum()), int((~kept).sum()), notes)


def _objects(stated: Stated, boxes: NDArray[np.float64], kept: NDArray[np.bool_] | slice) -> Objects:
    return Objects(boxes[kept].astype(np.float32), stated.labels[kept], stated.difficult[kept])


def _wrong(stated: Stated, index: int, flat: bool, count: int, size: tuple[int, int]) -> str:
    numbers = " ".join(f"{number:g}" for number in stated.written[index].tolist())
    what = "has no area" if flat else f"lies outside of the image, which has {size[1]}x{size[0]} pixels"
    more = f" ({count} such boxes in this image)" if count > 1 else ""
    return (
        f"{stated.places[index]}: box {numbers} {what}{more}; mend or remove it, or write `clip: true` in the split to "
        "cut boxes to the image and drop those without area"
    )


def _few(names: Iterable[str]) -> str:
    shown = list(names)
    return ", ".join(shown[:6]) + (f", ... {len(shown)} in all" if len(shown) > 6 else "")
