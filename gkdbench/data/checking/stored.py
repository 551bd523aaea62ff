"""What lies behind the images of a split: files and members of archives, or pictures of the renderer."""

import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from gkdbench.data.dataset import Dataset, StreetsDataset
from gkdbench.data.files.archives import Member
from gkdbench.data.files.dataset import FilesDataset
from gkdbench.data.files.tiles import TiledDataset
from gkdbench.data.files.variants import HalvedDataset, JoinedDataset
from gkdbench.data.objects.box_dataset import BoxFilesDataset
from gkdbench.spec.benchmark import JoinedSplit, Split, StreetsSplit

Identity = tuple[object, ...]


class Stored(Protocol):
    """A picture as it is stored."""

    @property
    def size(self) -> int:
        """Bytes."""
        ...

    def read(self) -> bytes:
        """Return the bytes; DataError where they cannot be read."""
        ...


@dataclass(frozen=True)
class Drawn:
    """A picture of the renderer: its pixels."""

    dataset: StreetsDataset
    seed: int
    index: int

    def __str__(self) -> str:
        return f"{self.dataset.kind} scene {self.index} of seed {self.seed}"

    @property
    def size(self) -> int:
        """Bytes."""
        return int(self.dataset.image(self.index).nbytes)

    def read(self) -> bytes:
        """Return the bytes."""
        return self.dataset.image(self.index).tobytes()


def identity(item: Stored) -> Identity:
    """Return what is equal for one and the same picture, without reading it."""
    if isinstance(item, Drawn):
        return item.dataset.kind, item.seed, item.index
    assert isinstance(item, Member)
    return str(item.file), item.inside, item.offset


def stored(split: Split, dataset: Dataset) -> Iterator[tuple[str, Stored]]:
    """Yield the pictures of a split, each with the definition that found it; of tiles, what they are cut from."""
    if isinstance(split, JoinedSplit):
        assert isinstance(dataset, JoinedDataset)
        for part, inner in zip(split.parts, dataset.parts, strict=True):
            yield from stored(part, inner)
        return
    whose = definition(split)
    if isinstance(split, StreetsSplit):
        assert isinstance(dataset, StreetsDataset)
        yield from ((whose, Drawn(dataset, split.seed, index)) for index in range(len(dataset)))
        return
    while isinstance(dataset, HalvedDataset | TiledDataset):
        dataset = dataset.base
    assert isinstance(dataset, FilesDataset | BoxFilesDataset)
    yield from ((whose, member) for member in dataset.images)


def definition(split: Split, *, whole: bool = False) -> str:
    """Return which images and labels a split asks for, but not how many of them; `whole`: nor which part."""
    left_out = {"count", "first", *(("only", "list") if whole else ())}
    return json.dumps(split.model_dump(mode="json", exclude=left_out), sort_keys=True)


def files_of(dataset: Dataset, index: int) -> list[Path]:
    """Return the files on disk that an image and its label are read from; none for a rendered one."""
    if isinstance(dataset, JoinedDataset):
        for part in dataset.parts:
            if index < len(part):
                return files_of(part, index)
            index -= len(part)
        raise IndexError(index)
    if isinstance(dataset, HalvedDataset):
        return files_of(dataset.base, index)
    if isinstance(dataset, TiledDataset):
        return files_of(dataset.base, dataset.tiles[index].picture)
    if isinstance(dataset, BoxFilesDataset):
        return dataset.files(index)
    if isinstance(dataset, FilesDataset):
        return [members[index].file for members in (dataset.images, dataset.label_files) if members is not None]
    return []


def labels_without_image(split: Split, dataset: Dataset) -> int:
    """Return how many label files no image of the whole split goes with; 0 where a list chooses the images."""
    if isinstance(split, JoinedSplit):
        assert isinstance(dataset, JoinedDataset)
        return sum(labels_without_image(part, inner) for part, inner in zip(split.parts, dataset.parts, strict=True))
    while isinstance(dataset, HalvedDataset | TiledDataset):
        dataset = dataset.base
    return dataset.without_image if isinstance(dataset, FilesDataset | BoxFilesDataset) else 0
