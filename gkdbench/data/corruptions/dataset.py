"""A dataset whose images are corrupted as they are read; labels are left alone."""

from dataclasses import dataclass
from typing import Protocol, runtime_checkable

import numpy as np
from numpy.typing import NDArray

from gkdbench.data.corruptions.corrupt import check_available, corrupt, corruption_seed, identity
from gkdbench.data.corruptions.kept import KeptImages
from gkdbench.errors import DataError
from gkdbench.identity.digest import digest
from gkdbench.spec.corruption import Kind
from gkdbench.spec.objects import Objects

Pixels = NDArray[np.uint8]


class Images(Protocol):
    """What is corrupted: any dataset (gkdbench.data.dataset.Dataset, which this module cannot import)."""

    def __len__(self) -> int:
        """Return the number of images."""
        ...

    def name(self, index: int) -> str:
        """Return what identifies an image within its split."""
        ...

    def image(self, index: int) -> Pixels:
        """Return an RGB image, uint8 [H, W, 3]."""
        ...

    def labels(self, index: int) -> Pixels | None:
        """Return class indices, uint8 [H, W]."""
        ...


@runtime_checkable
class Boxed(Images, Protocol):
    """A dataset labelled with boxes."""

    def objects(self, index: int) -> Objects | None:
        """Return the boxes of an image."""
        ...


@dataclass(frozen=True)
class CorruptedDataset:
    """Another dataset's images, corrupted; an image's seed is made of its name, the kind and the severity."""

    base: Images
    kind: Kind
    severity: int
    kept: KeptImages | None = None
    """Images that were corrupted before; one that is missing there is corrupted now."""

    def __len__(self) -> int:
        return len(self.base)

    def name(self, index: int) -> str:
        """Return the image's name in the other dataset."""
        return self.base.name(index)

    def image(self, index: int) -> Pixels:
        """Return the corrupted image, uint8 [H, W, 3]."""
        name = self.base.name(index)
        found = None if self.kept is None else self.kept.image(name)
        return corrupted_image(self.base, index, self.kind, self.severity) if found is None else found

    def labels(self, index: int) -> Pixels | None:
        """Return the other dataset's labels."""
        return self.base.labels(index)


@dataclass(frozen=True)
class CorruptedBoxDataset(CorruptedDataset):
    """The same of a dataset labelled with boxes."""

    base: Boxed

    def objects(self, index: int) -> Objects | None:
        """Return the other dataset's boxes: no kind moves things by more than a few pixels."""
        return self.base.objects(index)


def corrupted_image(base: Images, index: int, kind: Kind, severity: int) -> Pixels:
    """Return an image of a dataset, corrupted; DataError, with its name, where that cannot be."""
    name = base.name(index)
    try:
        return corrupt(base.image(index), kind, severity, corruption_seed(name, kind, severity))
    except DataError as error:
        said = str(error)
        raise error if name in said else DataError(f"image {name!r}: {said}") from error


def corrupted_dataset(base: Images, kind: Kind, severity: int, kept: KeptImages | None = None) -> CorruptedDataset:
    """Return a dataset with its images corrupted, with boxes where it has boxes; UsageError where a kind cannot be had.

    kept: where they may lie already; what lies there counts where its manifest says that it is the same.
    """
    check_available(kind)
    usable = kept if kept is not None and kept.usable() else None
    if isinstance(base, Boxed):
        return CorruptedBoxDataset(base, kind, severity, usable)
    return CorruptedDataset(base, kind, severity, usable)


def corrupted_digest(kind: Kind, severity: int, inner: str) -> str:
    """Return the digest of a corrupted split, given that of the split it is made of."""
    return digest([*identity(kind, severity), inner])
