"""Large aerial pictures as square tiles: decoded once into the cache, then mapped from disk tile by tile."""

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from gkdbench.data.dataset import Wrapped
from gkdbench.data.files.dataset import FilesDataset
from gkdbench.data.files.hashes import Contents
from gkdbench.data.files.label_map import Raw
from gkdbench.data.files.pictures import size_of
from gkdbench.data.files.whole import write_whole
from gkdbench.identity.digest import READING, digest


class Tile(NamedTuple):
    """Which picture, and which square of it."""

    picture: int
    top: int
    left: int


def starts(length: int, tile: int) -> list[int]:
    """Return where tiles begin along a side: one beside the other, the last shifted inwards to end at the border."""
    if length <= tile:
        return [0]
    return [*range(0, length - tile, tile), length - tile]


@dataclass(frozen=True)
class TiledDataset(Wrapped):
    """The tiles of every picture of a dataset."""

    base: FilesDataset
    tile: int
    tiles: Sequence[Tile]
    cache: Path
    doubts: Sequence[str] = field(default=(), compare=False)
    """What is wrong with it as a whole."""

    @classmethod
    def of(cls, base: FilesDataset, tile: int, cache: Path) -> "TiledDataset":
        """Lay out the tiles; reads the size of every picture."""
        tiles = []
        for number, member in enumerate(base.images):
            height, width = size_of(member)
            tiles += [Tile(number, top, left) for top in starts(height, tile) for left in starts(width, tile)]
        return cls(base, tile, tiles, cache)

    def __len__(self) -> int:
        return len(self.tiles)

    def name(self, index: int) -> str:
        """Return the picture's name and the tile's corners, left_top_right_bottom, as converters write them."""
        number, top, left = self.tiles[index]
        return f"{self.base.name(number)}_{left}_{top}_{left + self.tile}_{top + self.tile}"

    def image(self, index: int) -> NDArray[np.uint8]:
        """Return an RGB tile, uint8 [tile, tile, 3]; smaller where the picture is."""
        return np.array(self._window(index, "image"))

    def pair(self, index: int) -> tuple[NDArray[np.uint8], Raw | None]:
        """Return a tile and its labels as the files hold them; see FilesDataset."""
        raw = None if self.base.label_files is None else np.array(self._window(index, "labels"))
        return self.image(index), raw

    def mapped(self, raw: Raw, index: int) -> NDArray[np.uint8]:
        """Return class indices of a label's content."""
        return self.base.mapped(raw, self.tiles[index].picture)

    def labels(self, index: int) -> NDArray[np.uint8] | None:
        """Return class indices or the ignore value, uint8 [tile, tile]; None for an unlabelled split."""
        raw = self.pair(index)[1]
        return None if raw is None else self.mapped(raw, index)

    def files(self, index: int) -> list[Path]:
        """Return the picture's files."""
        return self.base.files(self.tiles[index].picture)

    def identity(self, contents: Contents) -> list[object]:
        """Return what the pictures are, the side of a tile, and how many tiles there are."""
        return ["tiles", self.tile, len(self.tiles), self.base.identity(contents)]

    def cut(self, limit: int | None) -> "TiledDataset":
        """Return the first `limit` tiles."""
        return replace(self, tiles=self.tiles[:limit])

    def _window(self, index: int, part: str) -> NDArray[np.uint8]:
        number, top, left = self.tiles[index]
        whole = self._decoded(number, part)
        found: NDArray[np.uint8] = whole[top : top + self.tile, left : left + self.tile]
        return found

    def _decoded(self, number: int, part: str) -> NDArray[np.uint8]:
        """Return a whole picture or its labels, mapped from the cache, where it is put when first asked for."""
        base = self.base
        member = base.images[number] if part == "image" else (base.label_files or [])[number]
        state = member.file.stat()
        stored = [str(member.file.resolve()), member.path, member.size, state.st_size, state.st_mtime_ns]
        kind = "ids" if base.label_map is None else base.label_map.kind
        identity = digest([READING, *stored, kind, part, base.bits])
        path = self.cache / f"{identity[:24]}.npy"
        if not path.is_file():
            whole = base.image(number) if part == "image" else base.pair(number)[1]
            assert whole is not None
            write_whole(path, partial(np.save, arr=whole), "decoded pictures")
        found: NDArray[np.uint8] = np.load(path, mmap_mode="r")
        return found
