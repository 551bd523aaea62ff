"""From what label files hold to class indices: one table per dataset and benchmark, applied to a crop or a whole."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from gkdbench.data.dataset import LabelSpace
from gkdbench.errors import DataError, UsageError
from gkdbench.spec.benchmark import Benchmark
from gkdbench.spec.dataset import Colour, Kind, Labels
from gkdbench.spec.documents import nearest

Raw = NDArray[np.uint8] | NDArray[np.uint16] | NDArray[np.int32]
"""[H, W] ids, or colours as 0xRRGGBB."""


def code_of(colour: Colour) -> int:
    """Return a colour as one number, 0xRRGGBB."""
    return colour[0] << 16 | colour[1] << 8 | colour[2]


@dataclass(frozen=True)
class LabelMap:
    """Class index, or the ignore value, of every id or colour."""

    kind: Kind
    """How label files are read."""
    known: NDArray[np.int32] = field(repr=False)
    """Ids or colour codes in order."""
    indices: NDArray[np.uint8] = field(repr=False)
    """Their class indices."""
    ignore: int
    others_ignored: bool
    table: NDArray[np.uint8] = field(repr=False)
    """Class index of ids 0..255; `absent` where an id is unknown."""
    absent: int | None
    """None: every value is a class or the ignore value, and none is left for this; the table is not used."""
    resizes: bool = False
    """Whether labels of another size than their image are brought to it."""

    @classmethod
    def of(cls, labels: Labels, classes: Sequence[str], ignore: int, whose: str) -> "LabelMap":
        """Return the map to a benchmark's classes; UsageError where the dataset has a class that is none of them."""
        pairs: dict[int, int] = {}
        for name, value in labels.values():
            if name is not None and name not in classes:
                raise UsageError(f"{whose}: class {name!r} is none of the benchmark's{nearest(name, classes)}")
            number = code_of(value) if isinstance(value, tuple) else value
            pairs[number] = ignore if name is None else classes.index(name)
        lenient, resizes = labels.others == "ignored", labels.other_size == "resize"
        return cls.from_pairs(pairs, ignore, kind=labels.kind, lenient=lenient, resizes=resizes)

    @classmethod
    def from_pairs(
        cls, pairs: Mapping[int, int], ignore: int, *, kind: Kind = "ids", lenient: bool = False, resizes: bool = False
    ) -> "LabelMap":
        """Return the map of ids or colour codes to class indices."""
        known = np.array(sorted(pairs), np.int32)
        indices = np.array([pairs[number] for number in sorted(pairs)], np.uint8)
        used = {*indices.tolist(), ignore}
        absent = ignore if lenient else next((value for value in range(255, -1, -1) if value not in used), None)
        table = np.full(256, absent or 0, np.uint8)
        for number, index in pairs.items():
            if number < 256:
                table[number] = index
        return cls(kind, known, indices, ignore, lenient, table, absent, resizes)

    def mapped(self, raw: Raw, where: str) -> NDArray[np.uint8]:
        """Return class indices [H, W] of ids or colours; DataError with the first unknown one."""
        if raw.dtype == np.uint8 and self.kind != "colours" and self.absent is not None:
            found: NDArray[np.uint8] = self.table[raw]
            unknown = None if self.others_ignored else found == self.absent
        else:
            place = np.searchsorted(self.known, raw).clip(max=len(self.known) - 1)
            found = self.indices[place]
            wrong = self.known[place] != raw
            found[wrong] = self.ignore
            unknown = None if self.others_ignored else wrong
        if unknown is not None and unknown.any():
            value = int(raw[unknown].flat[0])
            raise DataError(
                f"{where}: {self.shown(value)} is not in the label map ({int(unknown.sum())} pixels): another "
                "release of the data? Else add it to the map"
            )
        return found

    def shown(self, value: int) -> str:
        """Return an id or colour as a user would write it."""
        is_colour = self.kind == "colours"
        return f"colour {value >> 16},{value >> 8 & 255},{value & 255}" if is_colour else f"label id {value}"

    def identity(self) -> list[object]:
        """Return what the map is, for a digest."""
        pairs = [self.known.tolist(), self.indices.tolist()]
        return [self.kind, self.resizes, self.kind == "colours", *pairs, self.ignore, self.others_ignored]


def meaning(labels: Labels | None, space: Benchmark | LabelSpace, whose: str) -> LabelMap:
    """Return what label files mean to a benchmark; without labels, what its own map says."""
    if labels is not None:
        return LabelMap.of(labels, space.classes, space.ignore, whose)
    own = space.label_map
    pairs = dict(own) if own is not None else {index: index for index in range(len(space.classes))}
    pairs.setdefault(space.ignore, space.ignore)
    return LabelMap.from_pairs(pairs, space.ignore)
