"""Datasets made of others: at half size, or several in a row."""

import io
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import accumulate, chain, pairwise
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image as Pillow

from gkdbench.data.dataset import Dataset, Progress, Wrapped
from gkdbench.data.files.archives import Member
from gkdbench.data.files.dataset import brought_to
from gkdbench.data.files.hashes import Contents
from gkdbench.data.files.label_map import Raw
from gkdbench.spec.objects import Objects


@dataclass(frozen=True)
class HalvedDataset(Wrapped):
    """A dataset at half size: images bicubic and, where said, stored as JPEG again; labels by nearest neighbour."""

    jpeg_quality: int | None

    def image(self, index: int) -> NDArray[np.uint8]:
        """Return an RGB image, uint8 [H // 2, W // 2, 3]."""
        return self._small(self.base.image(index))

    def pair(self, index: int) -> tuple[NDArray[np.uint8], Raw | None]:
        """Return image and label content at half size."""
        image, raw = self.base.pair(index)
        half = image.shape[0] // 2, image.shape[1] // 2
        return self._small(image), None if raw is None else brought_to(half, raw)

    def mapped(self, raw: Raw, index: int) -> NDArray[np.uint8]:
        """Return class indices of a label's content."""
        return self.base.mapped(raw, index)

    def labels(self, index: int) -> NDArray[np.uint8] | None:
        """Return class indices at half size."""
        raw = self.pair(index)[1]
        return None if raw is None else self.mapped(raw, index)

    def identity(self, contents: Contents) -> list[object]:
        """Return what the base is, and how it is stored again."""
        return ["half", self.jpeg_quality, self.base.identity(contents)]

    def _small(self, image: NDArray[np.uint8]) -> NDArray[np.uint8]:
        size = (image.shape[1] // 2, image.shape[0] // 2)
        small = Pillow.fromarray(image).resize(size, Pillow.Resampling.BICUBIC)
        if self.jpeg_quality is not None:
            stream = io.BytesIO()
            small.save(stream, format="JPEG", quality=self.jpeg_quality)
            small = Pillow.open(stream)
        return np.array(small)


@dataclass(frozen=True)
class JoinedDataset(Dataset):
    """Several datasets in a row, without balancing."""

    parts: Sequence[Dataset]
    labels_of: Sequence[str]
    """What stands before the names of each part."""

    def __len__(self) -> int:
        return sum(map(len, self.parts))

    def _place(self, index: int) -> tuple[int, int]:
        for number, end in enumerate(accumulate(map(len, self.parts))):
            if index < end:
                return number, index - end + len(self.parts[number])
        raise IndexError(index)

    def name(self, index: int) -> str:
        """Return part and name of an image."""
        number, inside = self._place(index)
        return f"{self.labels_of[number]}/{self.parts[number].name(inside)}"

    def image(self, index: int) -> NDArray[np.uint8]:
        """Return an RGB image, uint8 [H, W, 3]."""
        number, inside = self._place(index)
        return self.parts[number].image(inside)

    def labels(self, index: int) -> NDArray[np.uint8] | None:
        """Return class indices or the ignore value, uint8 [H, W]."""
        number, inside = self._place(index)
        return self.parts[number].labels(inside)

    def pair(self, index: int) -> tuple[NDArray[np.uint8], Raw | None]:
        """Return image and class indices: what the parts' files hold differs."""
        number, inside = self._place(index)
        image, raw = self.parts[number].pair(inside)
        return image, None if raw is None else self.parts[number].mapped(raw, inside)

    def objects(self, index: int) -> Objects | None:
        """Return the boxes of an image."""
        number, inside = self._place(index)
        return self.parts[number].objects(inside)

    def files(self, index: int) -> list[Path]:
        """Return the files of an image."""
        number, inside = self._place(index)
        return self.parts[number].files(inside)

    def pictures(self) -> Iterator[Member]:
        """Yield the pictures of all parts."""
        return chain.from_iterable(part.pictures() for part in self.parts)

    def prepare(self, progress: Progress | None = None) -> None:
        """Prepare every part."""
        for part in self.parts:
            part.prepare(progress)

    @property
    def rendered(self) -> bool:
        """Whether all parts are drawn."""
        return all(part.rendered for part in self.parts)

    @property
    def without_image(self) -> int:
        """How many label files no image goes with."""
        return sum(part.without_image for part in self.parts)

    @property
    def doubts(self) -> Sequence[str]:
        """What is wrong with the parts."""
        return [said for part in self.parts for said in part.doubts]

    def identity(self, contents: Contents) -> list[object]:
        """Return what the parts are."""
        return [part.identity(contents) for part in self.parts]

    def cut(self, limit: int | None) -> "JoinedDataset":
        """Return images of every part in proportion, `limit` in all: the first ones alone would be of one domain."""
        total = len(self)
        if limit is None or limit >= total:
            return self
        ends = [round(limit * end / total) for end in accumulate(map(len, self.parts))]
        shares = [end - start for start, end in pairwise([0, *ends])]
        return JoinedDataset([part.cut(share) for part, share in zip(self.parts, shares, strict=True)], self.labels_of)
