"""What every dataset offers, and the one way to open a split. Imports no torch."""

import os
import pickle
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from gkdbench.data.files.archives import Member
from gkdbench.data.files.hashes import ContentHashes, Contents
from gkdbench.data.files.tree import clear_errors
from gkdbench.errors import DataError, GkdbenchError
from gkdbench.identity.digest import READING, digest
from gkdbench.spec.benchmark import Benchmark
from gkdbench.spec.objects import Objects, Settled
from gkdbench.spec.split import Split, load_file

Image = NDArray[np.uint8]
Progress = Callable[[int, int], None]


class Absent(DataError):
    """There is no image of a split at all."""


class Dataset(ABC):
    """Images in their order, labelled with classes, with boxes, or not at all.

    Reading is thread- and process-safe. A dataset that is opened has read no image yet.
    """

    @abstractmethod
    def __len__(self) -> int:
        """Return the number of images."""

    @abstractmethod
    def name(self, index: int) -> str:
        """Return what identifies an image within its split."""

    @abstractmethod
    def image(self, index: int) -> Image:
        """Return an RGB image, uint8 [H, W, 3]."""

    def labels(self, index: int) -> Image | None:
        """Return class indices or the ignore value, uint8 [H, W]; None where pixels have no classes."""
        return None

    def objects(self, index: int) -> Objects | None:
        """Return the boxes of an image, of which there may be none; None where images have no boxes."""
        return None

    def examined(self, index: int, size: tuple[int, int]) -> Settled | None:
        """Return the boxes of an image of [height, width], and what was done to those that cannot count."""
        objects = self.objects(index)
        return None if objects is None else Settled(objects)

    def pair(self, index: int) -> tuple[Image, NDArray[Any] | None]:
        """Return an image and what its label file holds, [H, W], each decoded once; see `mapped`."""
        return self.image(index), self.labels(index)

    def mapped(self, raw: NDArray[Any], index: int) -> Image:
        """Return the class indices of what a label file holds, or of a part of it."""
        return raw

    def files(self, index: int) -> list[Path]:
        """Return the files on disk that an image and its labels are read from."""
        return []

    def pictures(self) -> Iterator[Member]:
        """Yield the files that images are read from; of parts of a picture, the picture once."""
        for index in range(len(self)):
            yield from map(_member, self.files(index)[:1])

    def identity(self, contents: Contents) -> object:
        """Return what images and labels are, for a digest: here their names and all that their files hold."""
        members = [_member(file) for index in range(len(self)) for file in self.files(index)]
        return [[self.name(index) for index in range(len(self))], contents(members)]

    def digest(self, contents: Contents) -> str:
        """Return the digest of images and labels. contents: what tells files apart, see ContentHashes.identities."""
        return digest([READING, self.identity(contents)])

    def cut(self, limit: int | None) -> "Dataset":
        """Return the first `limit` images."""
        return self if limit is None or limit >= len(self) else _First(self, limit)

    def prepare(self, progress: Progress | None = None) -> None:
        """Make what takes long ahead of time, before processes are started that would each make it."""
        return None

    @property
    def rendered(self) -> bool:
        """Whether images are drawn, and not read from files."""
        return False

    @property
    def without_image(self) -> int:
        """How many label files no image goes with."""
        return 0

    @property
    def doubts(self) -> Sequence[str]:
        """What is wrong with it as a whole, although it can be read: how many images there are, for example."""
        return ()


def _member(file: Path) -> Member:
    try:
        return Member(file.name, file.stat().st_size, file)
    except OSError as error:
        raise DataError(f"{file}: cannot be read ({error.strerror or error})") from error


def objects_in(dataset: Dataset, index: int) -> Objects:
    """Return the boxes of an image; DataError where the split has none."""
    objects = dataset.objects(index)
    if objects is None:
        raise DataError(f"image {dataset.name(index)!r}: a split to be learnt or judged needs boxes")
    return objects


@dataclass(frozen=True)
class Wrapped(Dataset):
    """A dataset made of another, whose answers count where a subclass gives none of its own."""

    base: Dataset

    def __len__(self) -> int:
        return len(self.base)

    def name(self, index: int) -> str:
        """Return the image's name in the other dataset."""
        return self.base.name(index)

    def image(self, index: int) -> Image:
        """Return the other dataset's image."""
        return self.base.image(index)

    def labels(self, index: int) -> Image | None:
        """Return the other dataset's labels."""
        return self.base.labels(index)

    def objects(self, index: int) -> Objects | None:
        """Return the other dataset's boxes."""
        return self.base.objects(index)

    def files(self, index: int) -> list[Path]:
        """Return the other dataset's files."""
        return self.base.files(index)

    def pictures(self) -> Iterator[Member]:
        """Yield the other dataset's pictures."""
        return self.base.pictures()

    def identity(self, contents: Contents) -> object:
        """Return what the other dataset is."""
        return self.base.identity(contents)

    def cut(self, limit: int | None) -> Self:
        """Return the first `limit` images."""
        return replace(self, base=self.base.cut(limit))

    def prepare(self, progress: Progress | None = None) -> None:
        """Prepare the other dataset."""
        self.base.prepare(progress)

    @property
    def rendered(self) -> bool:
        """Whether images are drawn, and not read from files."""
        return self.base.rendered

    @property
    def without_image(self) -> int:
        """How many label files no image goes with."""
        return self.base.without_image

    @property
    def doubts(self) -> Sequence[str]:
        """What is wrong with the other dataset as a whole."""
        return self.base.doubts


@dataclass(frozen=True)
class _First(Wrapped):
    """The first images of a dataset that cannot be cut otherwise."""

    count: int

    def __len__(self) -> int:
        return self.count

    def pictures(self) -> Iterator[Member]:
        return Dataset.pictures(self)

    def identity(self, contents: Contents) -> object:
        return [self.count, self.base.identity(contents)]

    def cut(self, limit: int | None) -> "_First":
        return self if limit is None else replace(self, count=min(limit, self.count))


@dataclass(frozen=True)
class _Strangers(Wrapped):
    """What a stranger's reader opened: what it does wrong is one line, and its code counts for identity."""

    split: Split
    labels_are: "Benchmark | LabelSpace"

    def image(self, index: int) -> Image:
        """Return an image, which is looked at."""
        image = self._given(index, self.base.image)
        if not isinstance(image, np.ndarray) or image.dtype != np.uint8 or image.ndim != 3 or image.shape[2] != 3:
            raise self._wrong(index, "an image is uint8 [H, W, 3]", image)
        return image

    def labels(self, index: int) -> Image | None:
        """Return class indices, which are looked at."""
        return self.pair(index)[1]

    def pair(self, index: int) -> tuple[Image, NDArray[Any] | None]:
        """Return image and class indices, which are looked at."""
        image, labels = self.image(index), self._given(index, self.base.labels)
        if labels is None:
            return image, None
        if not isinstance(labels, np.ndarray) or labels.dtype != np.uint8 or labels.shape != image.shape[:2]:
            raise self._wrong(index, f"labels are uint8 [{image.shape[0]}, {image.shape[1]}]", labels)
        stray = labels[(labels >= len(self.labels_are.classes)) & (labels != self.labels_are.ignore)]
        if stray.size:
            raise self._wrong(index, "labels are class indices or the ignore value", int(stray[0]))
        return image, labels

    def objects(self, index: int) -> Objects | None:
        """Return boxes, which are looked at."""
        found = self._given(index, self.base.objects)
        if found is None or (isinstance(found, Objects) and np.all(found.labels < len(self.labels_are.classes))):
            return found
        raise self._wrong(index, "boxes are gkdbench.readers.Objects with class indices", found)

    def identity(self, contents: Contents) -> object:
        """Return what was opened, by which code, and what the YAML said to it."""
        said = self.split.model_dump(mode="json", exclude={"reader"})
        return [self.split.code, said, self.base.identity(contents)]

    def _given(self, index: int, read: Callable[[int], Any]) -> Any:
        with _one_line(self.split, f"image {self.name(index)!r}"):
            return read(index)

    def _wrong(self, index: int, wanted: str, given: object) -> DataError:
        what = f"{given.dtype} {list(given.shape)}" if isinstance(given, np.ndarray) else repr(given)[:60]
        return DataError(f"reader {self.split.reader}: image {self.name(index)!r}: {wanted}, and this is {what}")

    def __reduce__(self) -> tuple[Any, ...]:
        # another process has to load a reader's file before what is made of its classes
        content = pickle.dumps((self.base, self.split, self.labels_are))
        return _again, (type(self.split).file_of(), type(self.split).__name__, content)


def _again(file: Path | None, name: str, content: bytes) -> _Strangers:
    if file is not None:
        load_file(file, name)
    return _Strangers(*pickle.loads(content))


@contextmanager
def _one_line(split: Split, what: str) -> Iterator[None]:
    """Say in one line what goes wrong in a stranger's reader, whose own errors for users stay what they are."""
    try:
        yield
    except GkdbenchError:
        raise
    except Exception as error:
        raise DataError(f"reader {split.reader}: {what}: {type(error).__name__}: {error}") from error


@dataclass(frozen=True)
class LabelSpace:
    """What labels are, where no benchmark says so."""

    name: str
    """What messages call it."""
    classes: Sequence[str]
    """Names of the class indices."""
    ignore: int = 255
    """What pixels without a class are."""
    label_map: Mapping[int, int] | None = None
    """Label id on disk -> class index or the ignore value; None: ids are class indices already."""
    how_to_get: str = ""
    """Where a user finds the data."""


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

    def root(self, what: str, how: str) -> Path:
        """Return the folder that downloaded data lie below; DataError, with how to get them, where there is none."""
        if self.data_root is None:
            raise DataError(f"{what} is read below a data root: give --data-root DIR or set GKDBENCH_DATA{_hint(how)}")
        with clear_errors(self.data_root):
            if not self.data_root.is_dir():
                raise DataError(f"--data-root {self.data_root}: no such folder{_hint(how)}")
        return self.data_root

    def corrupted_folder(self) -> Path:
        """Return the folder of images that were corrupted ahead of time."""
        return self.cache_folder() / "corrupted"


@dataclass(frozen=True)
class Opening:
    """For whom, and where, a split is opened."""

    labels: Benchmark | LabelSpace
    """What labels mean: of a benchmark, or of a dataset by itself."""
    beside: Path
    """Folder of the benchmark's YAML, where lists and datasets of a user's own may lie."""
    place: DataPlace
    labelled: bool = True
    """False leaves label files alone, which then need not be there."""

    def open(self, split: Split) -> Dataset:
        """Open a split; DataError where its files are not there, UsageError where it does not fit the benchmark."""
        if not split.code:
            return split.open(self)
        with _one_line(split, "open"):
            found = split.open(self)
            if not isinstance(found, Dataset):
                raise DataError(f"reader {split.reader}: open returns a gkdbench.readers.Dataset, not {found!r}")
        return _Strangers(found, split, self.labels)

    def root(self, name: str) -> Path:
        """Return a folder below the data root; DataError, with how to get the data, where it is not there."""
        root = self.place.root(f"{name!r}", self.labels.how_to_get) / name
        with clear_errors(root):
            if not root.is_dir():
                raise DataError(f"{root}: dataset folder not found{self.how}")
        return root

    @property
    def how(self) -> str:
        """How to get the data: the end of a message."""
        return _hint(self.labels.how_to_get)


def _hint(how: str) -> str:
    return f"; {' '.join(how.split())}" if how else ""


def open_split(
    split: Split,
    labels: Benchmark | LabelSpace,
    beside: Path,
    place: DataPlace,
    *,
    limit: int | None = None,
    labelled: bool = True,
    progress: Progress | None = None,
) -> Dataset:
    """Open a split of a benchmark whose YAML lies in `beside`, cut to its first `limit` images.

    labelled: False leaves label files alone, which then need not be there. progress: of what is made ahead of time;
    None: it is made when it is asked for.
    """
    dataset = Opening(labels, beside, place, labelled).open(split).cut(limit)
    if progress is not None:
        dataset.prepare(progress)
    return dataset
