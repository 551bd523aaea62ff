"""What every dataset offers, and how a benchmark's split is opened. Imports no torch."""

import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol, runtime_checkable

import numpy as np
from numpy.typing import NDArray

from gkdbench.data.corruptions.dataset import corrupted_dataset, corrupted_digest
from gkdbench.data.corruptions.kept import KeptImages
from gkdbench.data.files.hashes import ContentHashes, Contents
from gkdbench.data.files.opening import Meaning, open_dataset, open_own
from gkdbench.data.files.variants import Files, JoinedDataset
from gkdbench.data.folders import open_folders
from gkdbench.data.objects.box_dataset import BoxFilesDataset
from gkdbench.data.objects.opening import has_boxes, open_boxes
from gkdbench.data.streets.boxes import BOXES, OBJECT_CLASSES, BoxedSplit, boxed_split
from gkdbench.data.streets.cache import RenderedSplit, rendered_split
from gkdbench.data.streets.parts import IGNORE
from gkdbench.data.streets.render import CLASSES, KINDS, RENDERER, SIZE
from gkdbench.errors import DataError, UsageError
from gkdbench.identity.digest import READING, digest
from gkdbench.spec.benchmark import FolderSplit, JoinedSplit, Split, StreetsSplit
from gkdbench.spec.box_splits import CocoSplit, VocSplit
from gkdbench.spec.corruption import CorruptedSplit
from gkdbench.spec.dataset import DatasetSplit, FilesSplit
from gkdbench.spec.documents import nearest
from gkdbench.spec.objects import Objects

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


@runtime_checkable
class BoxDataset(Dataset, Protocol):
    """A dataset whose images are labelled with boxes; it has no label per pixel."""

    def objects(self, index: int) -> Objects | None:
        """Return the boxes of an image; None for an unlabelled split."""
        ...


def objects_in(dataset: Dataset, index: int) -> Objects:
    """Return the boxes of an image; DataError where the split has none."""
    objects = dataset.objects(index) if isinstance(dataset, BoxDataset) else None
    if objects is None:
        raise DataError(f"image {dataset.name(index)!r}: a split to be learnt or judged needs boxes")
    return objects


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
class BoxedStreetsDataset(StreetsDataset):
    """The same images with boxes in place of class labels."""

    boxes: BoxedSplit | None

    def labels(self, index: int) -> Image | None:
        """Return None: the pixels' classes are those of another benchmark."""
        return None

    def objects(self, index: int) -> Objects | None:
        """Return the boxes of the things that stand in the scene."""
        return None if self.boxes is None else self.boxes.objects(index)


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

    def hashes(self, *, fresh: bool = False) -> ContentHashes:
        """Return the memory of what files hold."""
        return ContentHashes(self.cache_folder() / "hashes", fresh=fresh)

    def corrupted_folder(self) -> Path:
        """Return the folder of images that were corrupted ahead of time."""
        return self.cache_folder() / "corrupted"


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
        _check_kind(split, benchmark, labelled)
        count = min(split.count, limit or split.count)
        cache = place.cache_folder()
        rendered = rendered_split(cache, split.kind, split.seed, count, progress=progress)
        if split.labels == "classes":
            return StreetsDataset(rendered, split.kind)
        boxes = boxed_split(cache, split.kind, split.seed, count, progress=progress) if labelled else None
        return BoxedStreetsDataset(rendered, split.kind, boxes)
    if isinstance(split, CorruptedSplit):
        inner = open_split(split.of, benchmark, folder, place, limit=limit, labelled=labelled, progress=progress)
        kept = None
        if place.corrupted_folder().is_dir():
            # whole: what is kept serves its first images too, for an image's pixels depend on its name
            of = split_digest(split.of, benchmark, folder, place, labelled=False)
            kept = KeptImages(place.corrupted_folder(), of, split.kind, split.severity)
        return corrupted_dataset(inner, split.kind, split.severity, kept)
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
    """Digest what a split's images, and where `labelled` its labels, are.

    Images count by name and size (in a zip by its checksums too), labels and annotations by their bytes.
    """
    if isinstance(split, StreetsSplit):
        _check_kind(split, benchmark, labelled)
        count = min(split.count, limit or split.count)
        boxes = ["boxes", BOXES] if labelled and split.labels == "boxes" else []
        return digest([RENDERER, split.kind, split.seed, count, SIZE, *boxes])
    if isinstance(split, CorruptedSplit):
        inner = split_digest(split.of, benchmark, folder, place, limit, labelled=labelled)
        return corrupted_digest(split.kind, split.severity, inner)
    opened = _files(split, benchmark, folder, place, labelled).cut(limit)
    return opened_digest(opened, place.hashes().identities)


def opened_digest(dataset: Files | BoxFilesDataset, contents: Contents) -> str:
    """Return the digest of a split of files that is open already; see split_digest."""
    return digest([READING, dataset.identity(contents)])


def _files(
    split: FolderSplit | FilesSplit | DatasetSplit | JoinedSplit | VocSplit | CocoSplit,
    benchmark: LabelSpace,
    folder: Path,
    place: DataPlace,
    labelled: bool,
) -> Files | BoxFilesDataset:
    if isinstance(split, VocSplit | CocoSplit) or (isinstance(split, DatasetSplit) and has_boxes(split, folder)):
        return open_boxes(
            split, benchmark.classes, beside=folder, data_root=place.data_root, how=benchmark.how_to_get,
            labelled=labelled,
        )  # fmt: skip
    if isinstance(split, JoinedSplit):
        parts = [_joinable(part, benchmark, folder, place, labelled) for part in split.parts]
        titles = [part.dataset if isinstance(part, DatasetSplit) else part.root for part in split.parts]
        return JoinedDataset(parts, titles)
    meaning = Meaning(benchmark.classes, benchmark.ignore, benchmark.label_map)
    if isinstance(split, FolderSplit):
        return open_folders(
            split, meaning, data_root=place.data_root, beside=folder, labelled=labelled, how=benchmark.how_to_get
        )
    if isinstance(split, FilesSplit):
        return open_own(
            split, meaning, data_root=place.data_root, labelled=labelled, how=benchmark.how_to_get
        )
    opened = open_dataset(
        split, meaning, beside=folder, data_root=place.data_root, cache=place.cache_folder(), labelled=labelled
    )
    return opened.cut(split.first)


def _joinable(
    split: FilesSplit | DatasetSplit, benchmark: LabelSpace, folder: Path, place: DataPlace, labelled: bool
) -> Files:
    part = _files(split, benchmark, folder, place, labelled)
    if isinstance(part, BoxFilesDataset):
        raise UsageError(f"benchmark {benchmark.name!r}: splits of boxes cannot be joined; name their years in `only`")
    return part


def _check_kind(split: StreetsSplit, benchmark: LabelSpace, labelled: bool) -> None:
    if split.kind not in KINDS:
        raise UsageError(
            f"benchmark {benchmark.name!r}: the streets renderer has no kind {split.kind!r}"
            f"{nearest(split.kind, KINDS)} (known: {', '.join(KINDS)})"
        )
    boxes = split.labels == "boxes"
    known = OBJECT_CLASSES if boxes else CLASSES
    other = list(benchmark.classes) != list(known) if boxes else len(benchmark.classes) != len(known)
    if labelled and (other or benchmark.ignore != IGNORE or benchmark.label_map):
        raise UsageError(
            f"benchmark {benchmark.name!r}: the streets renderer has the {len(known)} classes "
            f"{', '.join(known)}, ignore {IGNORE} and no label_map"
        )
