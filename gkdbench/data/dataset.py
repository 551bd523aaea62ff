"""What every dataset offers, and how a benchmark's split is opened. Imports no torch."""

import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from gkdbench.data.files.opening import Meaning, open_dataset, open_own
from gkdbench.data.files.variants import Files, JoinedDataset
from gkdbench.data.folders import FolderDataset
from gkdbench.data.streets.cache import RenderedSplit, rendered_split
from gkdbench.data.streets.parts import IGNORE
from gkdbench.data.streets.render import CLASSES, KINDS, RENDERER, SIZE
from gkdbench.errors import DataError, UsageError
from gkdbench.spec.benchmark import FolderSplit, JoinedSplit, Split, StreetsSplit
from gkdbench.spec.dataset import DatasetSplit, FilesSplit
from gkdbench.spec.digest import digest
from gkdbench.spec.documents import nearest

Image = NDArray[np.uint8]
Progress = Callable[[int, int], None]


class Dataset(Protocol):
    """Indexed images with optional labels; reading is thread- and process-safe."""

    def __len__(self) -> int:
        """Return the number of images."""
        ...

    def name(self, index: int) -> str:
        """Return what identifies an image within its split."""
        ...

    def image(self, index: int) -> Image:
        """Return an RGB image, uint8 [H, W, 3]."""
        ...

    def labels(self, index: int) -> Image | None:
        """Return class indices or the ignore value, uint8 [H, W]; None for an unlabelled split."""
        ...


@dataclass(frozen=True)
class StreetsDataset:
    """A rendered, memory-mapped split of the embedded benchmark."""

    split: RenderedSplit
    kind: str

    def __len__(self) -> int:
        return len(self.split)

    def name(self, index: int) -> str:
        """Return kind and number of the image."""
        return f"{self.kind}/{index}"

    def image(self, index: int) -> Image:
        """Return the image, a view of the cache."""
        return np.asarray(self.split.images[index])

    def labels(self, index: int) -> Image | None:
        """Return the class indices, a view of the cache."""
        return np.asarray(self.split.labels[index])


class LabelSpace(Protocol):
    """What a benchmark says about labels: all that opening a split asks of it."""

    @property
    def name(self) -> str:
        """What messages call it."""
        ...

    @property
    def classes(self) -> Sequence[str]:
        """Names of the class indices."""
        ...

    @property
    def ignore(self) -> int:
        """What pixels without a class are."""
        ...

    @property
    def label_map(self) -> Mapping[int, int] | None:
        """Label id on disk -> class index or the ignore value; None: ids are class indices already."""
        ...

    @property
    def how_to_get(self) -> str:
        """Where a user finds the data."""
        ...


@dataclass(frozen=True)
class DataPlace:
    """Where data lies on this machine: never part of a digest."""

    data_root: Path | None = None
    cache: Path | None = None

    def cache_folder(self) -> Path:
        """Return the folder of rendered splits: given, GKDBENCH_CACHE, or the user's cache folder."""
        if self.cache is not None:
            return self.cache
        if "GKDBENCH_CACHE" in os.environ:
            return Path(os.environ["GKDBENCH_CACHE"])
        home = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
        return Path(home) / "gkdbench"


def open_split(
    split: Split,
    benchmark: LabelSpace,
    folder: Path,
    place: DataPlace,
    *,
    limit: int | None = None,
    labelled: bool = True,
    progress: Progress | None = None,
) -> Dataset:
    """Open a split of a benchmark whose YAML lies in `folder`, cut to its first `limit` images.

    labelled: False leaves label files alone, which then need not be there.
    """
    if isinstance(split, StreetsSplit):
        _check_kind(split, benchmark)
        count = min(split.count, limit or split.count)
        rendered = rendered_split(
            place.cache_folder(), split.kind, split.seed, count, progress=progress
        )
        return StreetsDataset(rendered, split.kind)
    if isinstance(split, FolderSplit):
        return _folder_dataset(split, benchmark, folder, place, limit)
    return _files(split, benchmark, folder, place, labelled).cut(limit)


def split_digest(
    split: Split,
    benchmark: LabelSpace,
    folder: Path,
    place: DataPlace,
    limit: int | None = None,
    *,
    labelled: bool = True,
) -> str:
    """Digest what a split's images, and where `labelled` its labels, are; without reading their pixels."""
    if isinstance(split, StreetsSplit):
        _check_kind(split, benchmark)
        count = min(split.count, limit or split.count)
        return digest([RENDERER, split.kind, split.seed, count, SIZE])
    if isinstance(split, FolderSplit):
        return opened_digest(_folder_dataset(split, benchmark, folder, place, limit), benchmark, labelled=labelled)
    return opened_digest(_files(split, benchmark, folder, place, labelled).cut(limit), benchmark, labelled=labelled)


def opened_digest(dataset: FolderDataset | Files, benchmark: LabelSpace, *, labelled: bool) -> str:
    """Return the digest of a split of files that is open already; see split_digest."""
    if not isinstance(dataset, FolderDataset):
        return digest([dataset.inventory(), dataset.meaning(), benchmark.ignore if labelled else None])
    try:
        inventory = dataset.inventory()
    except OSError as error:  # a link that leads nowhere
        raise DataError(f"{error.filename}: cannot be read ({error.strerror or error})") from error
    if not labelled:
        return digest([entry[:2] for entry in inventory])
    return digest([inventory, benchmark.label_map, benchmark.ignore])


def _files(
    split: FilesSplit | DatasetSplit | JoinedSplit,
    benchmark: LabelSpace,
    folder: Path,
    place: DataPlace,
    labelled: bool,
) -> Files:
    if isinstance(split, JoinedSplit):
        parts = [_files(part, benchmark, folder, place, labelled) for part in split.parts]
        titles = [part.dataset if isinstance(part, DatasetSplit) else part.root for part in split.parts]
        return JoinedDataset(parts, titles)
    meaning = Meaning(benchmark.classes, benchmark.ignore, benchmark.label_map)
    if isinstance(split, FilesSplit):
        return open_own(
            split, meaning, data_root=place.data_root, labelled=labelled, how=benchmark.how_to_get
        )
    opened = open_dataset(
        split, meaning, beside=folder, data_root=place.data_root, cache=place.cache_folder(), labelled=labelled
    )
    return opened.cut(split.first)


def _check_kind(split: StreetsSplit, benchmark: LabelSpace) -> None:
    if split.kind not in KINDS:
        raise UsageError(
            f"benchmark {benchmark.name!r}: the streets renderer has no kind {split.kind!r}"
            f"{nearest(split.kind, KINDS)} (known: {', '.join(KINDS)})"
        )
    if len(benchmark.classes) != len(CLASSES) or benchmark.ignore != IGNORE or benchmark.label_map:
        raise UsageError(
            f"benchmark {benchmark.name!r}: the streets renderer has the {len(CLASSES)} classes "
            f"{', '.join(CLASSES)}, ignore {IGNORE} and no label_map"
        )


def _folder_dataset(
    split: FolderSplit, benchmark: LabelSpace, folder: Path, place: DataPlace, limit: int | None
) -> FolderDataset:
    try:
        return FolderDataset.open(
            split,
            data_root=place.data_root,
            beside=folder,
            label_map=benchmark.label_map,
            num_classes=len(benchmark.classes),
            ignore=benchmark.ignore,
            limit=limit,
            how_to_get=benchmark.how_to_get,
        )
    except OSError as error:  # a folder that may not be searched, a lost network drive
        where = error.filename or place.data_root
        raise DataError(f"{where}: cannot be read ({error.strerror or error})") from error
