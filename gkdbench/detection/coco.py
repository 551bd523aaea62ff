"""COCO's annotations: one JSON for all images of a split (Lin et al., ECCV 2014).

Of an annotation the box, the category and `iscrowd` count. A crowd, and what is marked `ignore` as VOC's
conversions do, is a difficult object: it counts neither as found nor as missed.
"""

import hashlib
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, NamedTuple, NoReturn

import numpy as np
from numpy.typing import NDArray

from gkdbench.data.files.archives import Member
from gkdbench.data.files.hashes import Contents
from gkdbench.detection.stated import ClassNames, Stated
from gkdbench.errors import DataError
from gkdbench.spec.documents import json_content, shortened

ImageId = int | str


class CocoImage(NamedTuple):
    """An image of the JSON."""

    id: ImageId
    file: str
    size: tuple[int, int] | None
    """Height and width."""
    place: str


@dataclass(frozen=True)
class CocoTable:
    """The boxes of all images of a JSON, image after image: arrays, which are small and quickly handed to workers."""

    origin: str
    path: Path
    starts: NDArray[np.int64]
    """[images + 1] where the boxes of an image begin."""
    written: NDArray[np.float64]
    """[boxes, 4] x, y, width, height."""
    labels: NDArray[np.int64]
    difficult: NDArray[np.bool_]
    entries: NDArray[np.int64]
    """Position of every box among the JSON's annotations."""
    image_sizes: Sequence[tuple[int, int] | None]
    image_places: Sequence[str]
    names: ClassNames

    def stated(self, index: int) -> Stated:
        """Return what the JSON says about an image."""
        part = slice(int(self.starts[index]), int(self.starts[index + 1]))
        written = self.written[part]
        boxes = np.concatenate([written[:, :2], written[:, :2] + written[:, 2:]], axis=1)
        places = [f"{self.origin}: annotations[{entry}]" for entry in self.entries[part].tolist()]
        return Stated(
            boxes, written, self.labels[part], self.difficult[part], places, self.image_sizes[index],
            self.image_places[index],
        )  # fmt: skip

    def file(self, index: int) -> Path:
        """Return the file on disk that an image's boxes are read from."""
        return self.path

    def identity(self, contents: Contents) -> list[object]:
        """Return what the annotations are, for a digest: of a JSON that has been read, what counts in it."""
        content = hashlib.sha256()
        for array in (self.starts, self.written, self.labels, self.difficult):
            content.update(array.tobytes())
        return ["coco", content.hexdigest(), self.names.identity()]

    def cut(self, limit: int | None) -> "CocoTable":
        """Return those of the first `limit` images."""
        starts = self.starts if limit is None else self.starts[: limit + 1]
        end = int(starts[-1])
        return replace(
            self, starts=starts, written=self.written[:end], labels=self.labels[:end], difficult=self.difficult[:end],
            entries=self.entries[:end], image_sizes=self.image_sizes[:limit], image_places=self.image_places[:limit],
        )  # fmt: skip


class Coco(NamedTuple):
    """A JSON that has been read."""

    images: Sequence[CocoImage]
    table: CocoTable
    categories: Mapping[int, int]
    """Class index -> the JSON's id of the category with this name."""


def read_coco(member: Member, names: ClassNames, *, labelled: bool = True) -> Coco:
    """Read a JSON of boxes; DataError, naming entry and value, for anything that is none.

    labelled: False reads the list of images alone.
    """
    content = json_content(member.read(), str(member), numbers=False)
    return _Document(str(member), content, names).read(member.file, labelled)


class _Document:
    def __init__(self, origin: str, content: Any, names: ClassNames) -> None:
        self.origin, self.content, self.names = origin, content, names

    def read(self, path: Path, labelled: bool) -> Coco:
        if not isinstance(self.content, dict):
            self._fail("", "is no object with images, annotations and categories; is it COCO's format?")
        names = self._categories() if labelled else {}
        images = self._images()
        number = {image.id: position for position, image in enumerate(images)}
        rows: list[list[tuple[int, int, bool, list[float]]]] = [[] for _ in images]
        for entry, (place, one) in enumerate(self._entries("annotations") if labelled else ()):
            image = self._id(one, "image_id", place)
            if image not in number:
                self._fail(place, f"image_id {shortened(image)} is the id of no image; add it, or remove this entry")
            category = self._id(one, "category_id", place)
            if category not in names:
                self._fail(place, f"category_id {shortened(category)} is the id of no category; add it to categories")
            box, crowd = self._box(one, place), self._flag(one, "iscrowd", place) or self._flag(one, "ignore", place)
            index = self.names.index(names[category], f"{self.origin}: {place}")
            if index is not None:
                rows[number[image]].append((entry, index, crowd, box))
        flat = [row for of_image in rows for row in of_image]
        table = CocoTable(
            self.origin, path, np.cumsum([0, *map(len, rows)], dtype=np.int64),
            np.array([row[3] for row in flat], np.float64).reshape(-1, 4),
            np.array([row[1] for row in flat], np.int64), np.array([row[2] for row in flat], np.bool_),
            np.array([row[0] for row in flat], np.int64), [image.size for image in images],
            [image.place for image in images], self.names,
        )  # fmt: skip
        known = {self.names.indices[name]: id for id, name in reversed(names.items()) if name in self.names.indices}
        return Coco(images, table, {index: id for index, id in sorted(known.items()) if isinstance(id, int)})

    def _categories(self) -> dict[ImageId, str]:
        names: dict[ImageId, str] = {}
        for place, one in self._entries("categories"):
            category = self._id(one, "id", place)
            if category in names:
                self._fail(place, f"id {shortened(category)} stands there twice")
            names[category] = self._text(one, "name", place)
        return names

    def _images(self) -> list[CocoImage]:
        found: list[CocoImage] = []
        ids: dict[ImageId, str] = {}
        files: dict[str, str] = {}
        for place, one in self._entries("images"):
            image, file = self._id(one, "id", place), self._text(one, "file_name", place)
            for what, known in ((image, ids), (file, files)):
                if what in known:
                    self._fail(place, f"{shortened(what)} is that of {known[what]} already; keep one of them")  # type: ignore[index]
            if file.startswith("/") or "\\" in file or ".." in file.split("/"):
                self._fail(place, f"file_name {shortened(file)} must be a path below the images' folder, without '..'")
            ids[image] = files[file] = place
            found.append(CocoImage(image, file, self._size(one, place), f"{self.origin}: {place}"))
        if not found:
            self._fail("images", "there is none; is this the right file?")
        return found

    def _entries(self, key: str) -> list[tuple[str, dict[str, Any]]]:
        """Return what a list of the JSON holds, each with its place in messages."""
        content = self.content.get(key)
        if not isinstance(content, list):
            self._fail(key, "is missing or no list; is it COCO's format?")
        for number, one in enumerate(content):
            if not isinstance(one, dict):
                self._fail(f"{key}[{number}]", "is no object")
        return [(f"{key}[{number}]", one) for number, one in enumerate(content)]

    def _id(self, one: dict[str, Any], key: str, place: str) -> ImageId:
        value = one.get(key)
        if isinstance(value, bool) or not isinstance(value, int | str):
            self._fail(place, f"{key} is {shortened(value)}; it is a whole number or a text")
        return value

    def _text(self, one: dict[str, Any], key: str, place: str) -> str:
        value = one.get(key)
        if not isinstance(value, str) or not value:
            self._fail(place, f"{key} is {shortened(value)}; it is a text")
        return value

    def _size(self, one: dict[str, Any], place: str) -> tuple[int, int] | None:
        sides = [one.get(side) for side in ("height", "width")]
        if sides == [None, None]:
            return None
        if not all(isinstance(side, int) and not isinstance(side, bool) and 0 < side < 10**6 for side in sides):
            self._fail(place, f"height and width are {shortened(sides)}; they are the image's numbers of pixels")
        return int(sides[0] or 0), int(sides[1] or 0)

    def _box(self, one: dict[str, Any], place: str) -> list[float]:
        value = one.get("bbox")
        if not isinstance(value, list) or len(value) != 4 or not all(map(_is_number, value)):
            self._fail(place, f"bbox is {shortened(value)}; it is [x, y, width, height]")
        return [float(number) for number in value]

    def _flag(self, one: dict[str, Any], key: str, place: str) -> bool:
        value = one.get(key, 0)
        if value not in (0, 1):
            self._fail(place, f"{key} is {shortened(value)}; it is 0 or 1")
        return bool(value)

    def _fail(self, place: str, said: str) -> NoReturn:
        raise DataError(f"{self.origin}: {place}{': ' if place else ''}{said}")


def _is_number(value: object) -> bool:
    if isinstance(value, bool) or not isinstance(value, int | float):
        return False
    return abs(value) < 10**12 if isinstance(value, int) else math.isfinite(value)
