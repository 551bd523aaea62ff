"""A split of images with boxes: files found when it is opened, pictures and boxes read when they are asked for."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from gkdbench.data.dataset import Dataset
from gkdbench.data.files.archives import Member
from gkdbench.data.files.hashes import Contents
from gkdbench.data.files.pictures import read_image, size_of
from gkdbench.detection.stated import Stated, settled
from gkdbench.spec.objects import Objects, Settled


class Annotations(Protocol):
    """The boxes of a split's images, in their order, as files have them."""

    def stated(self, index: int) -> Stated:
        """Return what is said about an image; DataError where its file is bad."""
        ...

    def file(self, index: int) -> Path:
        """Return the file on disk that an image's boxes are read from."""
        ...

    def identity(self, contents: Contents) -> list[object]:
        """Return what the annotations are, for a digest."""
        ...

    def cut(self, limit: int | None) -> "Annotations":
        """Return those of the first `limit` images."""
        ...


@dataclass(frozen=True)
class BoxFilesDataset(Dataset):
    """Images, unpacked or in archives, and their boxes. Holds where they lie, not what they are: it is small."""

    root: Path
    names: Sequence[str]
    images: Sequence[Member] = field(repr=False)
    annotations: Annotations | None = field(repr=False)
    """None: unlabelled."""
    clip: bool = False
    """Cut boxes to the image and drop those without area; else they are errors."""
    templates: tuple[str | None, ...] = ()
    """Where images and annotations lie: two datasets may have files of the same names and sizes."""
    ids: Sequence[int | str] = field(default=(), repr=False)
    """What files of results call the images."""
    categories: Mapping[int, int] = field(default_factory=dict)
    """Class index -> category id in files of results; empty: the class index and 1."""
    without_image: int = field(default=0, compare=False)
    """Annotation files that no image goes with."""
    bits: int | None = None
    """How many bits count in images with more than 8 per channel."""
    doubts: Sequence[str] = field(default=(), compare=False)
    """What is wrong with it as a whole."""

    def __len__(self) -> int:
        return len(self.names)

    def name(self, index: int) -> str:
        """Return the image's name within the split."""
        return self.names[index]

    def image(self, index: int) -> NDArray[np.uint8]:
        """Return an RGB image, uint8 [H, W, 3]."""
        return read_image(self.images[index], self.bits)

    def size(self, index: int) -> tuple[int, int]:
        """Return height and width of an image, without decoding it."""
        return size_of(self.images[index])

    def objects(self, index: int) -> Objects | None:
        """Return the boxes of an image, of which there may be none; None for an unlabelled split.

        DataError, with file and line, for a bad annotation, a box that the image cannot hold, an unknown class.
        """
        found = None if self.annotations is None else self.examined(index, self.size(index))
        return None if found is None else found.objects

    def examined(self, index: int, size: tuple[int, int]) -> Settled | None:
        """Return the boxes of an image of [height, width], and what was done to those that cannot count.

        None for an unlabelled split.
        """
        if self.annotations is None:
            return None
        return settled(self.annotations.stated(index), size, self.images[index], clip=self.clip)

    def files(self, index: int) -> list[Path]:
        """Return the files on disk that an image and its boxes are read from."""
        found = [self.images[index].file]
        return found if self.annotations is None else [*found, self.annotations.file(index)]

    def pictures(self) -> Iterator[Member]:
        """Yield the images' files."""
        return iter(self.images)

    def identity(self, contents: Contents) -> list[object]:
        """Return what images and boxes are, for a digest: names and sizes, and what annotations hold."""
        images = [[name, image.size, image.crc] for name, image in zip(self.names, self.images, strict=True)]
        if self.annotations is None:
            return [self.templates, self.bits, images]
        return [self.templates, self.bits, images, self.annotations.identity(contents), self.clip]

    def cut(self, limit: int | None) -> "BoxFilesDataset":
        """Return the first `limit` images."""
        if limit is None or limit >= len(self):
            return self
        annotations = None if self.annotations is None else self.annotations.cut(limit)
        part = slice(limit)
        return replace(
            self, names=self.names[part], images=self.images[part], annotations=annotations, ids=self.ids[part]
        )
