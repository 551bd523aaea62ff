"""What every dataset offers, and how a benchmark's split is opened. Imports no torch."""

import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from gkdbench.data.folders import FolderDataset
from gkdbench.data.streets.cache import RenderedSplit, rendered_split
from gkdbench.data.streets.parts import IGNORE
from gkdbench.data.streets.render import CLASSES, KINDS, RENDERER, SIZE
from gkdbench.errors import DataError, UsageError
from gkdbench.spec.benchmark import Benchmark, FolderSplit, Split, StreetsSplit
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
    benchmark: Benchmark,
    folder: Path,
    place: DataPlace,
    *,
    limit: int | None = None,
    progress: Progress | None = None,
) -> Dataset:
    """Open a split of a benchmark whose YAML lies in `folder`, cut to its first `limit` images."""
    if isinstance(split, StreetsSplit):
        _check_kind(split, benchmark)
        count = min(split.count, limit or split.count)
        rendered = rendered_split(
            place.cache_folder(), split.kind, split.seed, count, progress=progress
        )
        return StreetsDataset(rendered, split.kind)
    return _folder_dataset(split, benchmark, folder, place, limit)


def split_digest(
    split: Split,
    benchmark: Benchmark,
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
    dataset = _folder_dataset(split, benchmark, folder, place, limit)
    if not labelled:
        return digest([entry[:2] for entry in dataset.inventory()])
    return digest([dataset.inventory(), benchmark.label_map, benchmark.ignore])


def _check_kind(split: StreetsSplit, benchmark: Benchmark) -> None:
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
    split: FolderSplit, benchmark: Benchmark, folder: Path, place: DataPlace, limit: int | None
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
