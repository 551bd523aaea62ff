"""A dataset whose images are corrupted as they are read; labels are left alone."""

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from gkdbench.data.corruptions.corrupt import check_available, corrupted_image, identity
from gkdbench.data.corruptions.kept import KeptImages
from gkdbench.data.dataset import Dataset, Opening, Wrapped
from gkdbench.data.files.hashes import Contents
from gkdbench.data.readers import CorruptedSplit
from gkdbench.identity.digest import digest

Pixels = NDArray[np.uint8]


@dataclass(frozen=True)
class CorruptedDataset(Wrapped):
    """Another dataset's images, corrupted; an image's seed is made of its name, the kind and the severity.

    Labels and boxes are the other's: no kind moves things by more than a few pixels.
    """

    kind: str
    severity: int
    kept: KeptImages | None = None
    """Images that were corrupted before; one that is missing there is corrupted now."""

    def image(self, index: int) -> Pixels:
        """Return the corrupted image, uint8 [H, W, 3]."""
        found = None if self.kept is None else self.kept.image(self.base.name(index))
        return corrupted_image(self.base, index, self.kind, self.severity) if found is None else found

    def digest(self, contents: Contents) -> str:
        """Return the digest of the corruption and of the other dataset."""
        return corrupted_digest(self.kind, self.severity, self.base.digest(contents))


def open_corrupted(split: CorruptedSplit, opening: Opening) -> CorruptedDataset:
    """Open a split with its images corrupted; UsageError where what the kind needs is not installed."""
    base, kept, place = opening.open(split.of), None, opening.place
    if place.corrupted_folder().is_dir():
        # whole: what is kept serves its first images too, for an image's pixels depend on its name
        of = replace(opening, labelled=False).open(split.of).digest(place.hashes().identities)
        kept = KeptImages(place.corrupted_folder(), of, split.kind, split.severity)
    return corrupted_dataset(base, split.kind, split.severity, kept)


def corrupted_dataset(base: Dataset, kind: str, severity: int, kept: KeptImages | None = None) -> CorruptedDataset:
    """Return a dataset with its images corrupted.

    kept: where they may lie already; what lies there counts where its manifest says that it is the same.
    """
    check_available(kind)
    return CorruptedDataset(base, kind, severity, kept if kept is not None and kept.usable() else None)


def corrupted_digest(kind: str, severity: int, inner: str) -> str:
    """Return the digest of a corrupted split, given that of the split it is made of."""
    return digest([*identity(kind, severity), inner])
