"""Examples that a run left in its folder: images, truth, predictions, features; foreign files, so all is checked.

A damaged file costs what it shows, not the report.
"""

import io
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from pydantic import ConfigDict, Field

from gkdbench.errors import DataError, GkdbenchError
from gkdbench.spec.documents import Section, parse, read_json

FOLDER, INDEX = "examples", "examples.json"
VAL = "in-domain val"
"""What runs call the in-domain split here."""
_LARGEST_INDEX, _LARGEST_FILE = 2**20, 4 * 2**20
"""Bytes: a run writes some kilobytes, and some hundred."""
_LONGEST_PX = 2048
_MOST = 1000
_FARTHEST = 4
"""Widths or heights of the image within which corners lie."""
_FORMATS = {"png": "PNG", "jpg": "JPEG"}
_FILE = re.compile(rf"[0-9a-z][0-9a-z_-]{{0,60}}\.({'|'.join(_FORMATS)})")
"""A plain name: it leads nowhere but into the folder."""

Byte = Annotated[int, Field(ge=0, le=255)]
Picture = NDArray[np.uint8]
_MOST_BOXES = 1000
BoxRow = tuple[float, float, float, float, int, float]
"""Corners in the image's pixels (x0, y0, x1, y1), class, and a score or whether it is difficult."""
BoxRows = Annotated[tuple[BoxRow, ...], Field(max_length=_MOST_BOXES)]


class _Foreign(Section):
    """Keys that a later version writes are left alone."""

    model_config = ConfigDict(extra="ignore", frozen=True)


class Example(_Foreign):
    """One image with what was found in it."""

    split: str
    """A target, or VAL."""
    image: str
    """Its name within the split."""
    files: Annotated[Mapping[str, str], Field(max_length=100)]
    """By what they show (image, truth, prediction, features), in the folder of the index."""
    size: Annotated[tuple[int, ...], Field(max_length=2)] = ()
    """Height and width of the image itself; not stated by older runs."""
    boxes: Annotated[Mapping[str, BoxRows], Field(max_length=9)] = {}
    """Of a detector, by what they show (truth, prediction)."""


class Encoder(_Foreign):
    """The encoder whose features are shown."""

    model: Literal["student", "teacher"]
    trained: bool
    """Whether the run trained it."""


class _Index(_Foreign):
    schema_: Annotated[Literal[1], Field(alias="schema")]
    task: str
    rule: str
    encoder: Encoder
    classes: Annotated[tuple[str, ...], Field(min_length=1, max_length=255)]
    palette: tuple[tuple[Byte, Byte, Byte], ...]
    ignore: Byte
    examples: Annotated[tuple[Example, ...], Field(max_length=_MOST)]


@dataclass(frozen=True)
class Boxes:
    """Boxes in an image."""

    places: NDArray[np.float64]
    """[n, 4] corners in parts of the image's width and height."""
    labels: NDArray[np.int64]
    last: NDArray[np.float64]
    """Scores, or of the truth whether a box is difficult."""

    def chosen(self, which: NDArray[np.bool_]) -> "Boxes":
        """Return some of them."""
        return Boxes(self.places[which], self.labels[which], self.last[which])


@dataclass(frozen=True)
class Examples:
    """The examples of a run; pictures are read when they are asked for."""

    folder: Path
    index: _Index

    @property
    def rule(self) -> str:
        """How the images were chosen, in words."""
        return " ".join(self.index.rule.split())

    @property
    def encoder(self) -> Encoder:
        """Whose features are shown."""
        return self.index.encoder

    @property
    def task(self) -> str:
        """What the run was judged at."""
        return self.index.task

    @property
    def classes(self) -> tuple[str, ...]:
        """Names of the class indices."""
        return self.index.classes

    @property
    def palette(self) -> NDArray[np.uint8]:
        """Colours of the classes, [K, 3]."""
        return np.array(self.index.palette, np.uint8)

    @property
    def ignore(self) -> int:
        """What pixels without a class are in the truth."""
        return self.index.ignore

    @property
    def every(self) -> tuple[Example, ...]:
        """All examples, split by split."""
        return self.index.examples

    def of(self, split: str) -> tuple[Example, ...]:
        """Return a split's examples, those that the rule puts first in front."""
        return tuple(example for example in self.index.examples if example.split == split)

    def colours(self, example: Example, kind: str) -> Picture:
        """Return a picture [H, W, 3]; DataError where it cannot be read."""
        return self._decoded(example, kind, lambda picture: picture.convert("RGB"))

    def labels(self, example: Example, kind: str) -> Picture:
        """Return a map of class indices and the ignore value [H, W]; DataError where it cannot be read."""

        def ids(picture: Image.Image) -> Image.Image:
            if picture.mode not in ("L", "P"):
                raise ValueError(f"class ids have 8 bits, this file has mode {picture.mode}")
            return picture

        found = self._decoded(example, kind, ids)
        stray = (found >= len(self.classes)) & (found != self.ignore)
        if stray.any():
            raise DataError(f"{self._path(example, kind)}: {int(found[stray][0])} is no class")
        return found

    def found(self, example: Example, kind: str) -> Boxes:
        """Return boxes, large ones first; DataError where there are none of the kind, or they cannot be drawn."""
        rows, place = example.boxes.get(kind), f"{self.folder / INDEX}: {example.image!r}"
        if rows is None or len(example.size) != 2 or min(example.size) < 1:
            raise DataError(f"{place} has no {kind} with boxes, or no size")
        table = np.array(rows, np.float64).reshape(-1, 6)
        height, width = example.size
        places, labels = table[:, :4] / [width, height, width, height], table[:, 4].astype(np.int64)
        sound = np.isfinite(table).all() and (np.abs(places) <= _FARTHEST).all()
        if not sound or (labels < 0).any() or (labels >= len(self.classes)).any():
            raise DataError(f"{place}: a box of its {kind} is outside the image, or of no class")
        order = np.argsort(-(places[:, 2:] - places[:, :2]).prod(axis=1), kind="stable")
        return Boxes(places[order].clip(0, 1), labels[order], table[order, 5])

    def _path(self, example: Example, kind: str) -> Path:
        name = example.files.get(kind)
        if name is None:
            raise DataError(f"{self.folder / INDEX}: an example of {example.split!r} has no {kind}")
        path = self.folder / name
        if not _FILE.fullmatch(name) or path.resolve().parent != self.folder.resolve():
            raise DataError(f"{self.folder / INDEX}: {name!r} is no file of this folder")
        return path

    def _decoded(self, example: Example, kind: str, shown: Callable[[Image.Image], Image.Image]) -> Picture:
        path = self._path(example, kind)
        try:
            content = _bounded(path, _LARGEST_FILE)
            with Image.open(io.BytesIO(content), formats=[_FORMATS[path.suffix[1:]]]) as picture:
                if max(picture.size) > _LONGEST_PX:
                    raise ValueError(f"{picture.width}x{picture.height} pixels are more than a run writes")
                return np.array(shown(picture), np.uint8)
        # whatever a broken file makes the decoder raise
        except Exception as error:
            raise DataError(f"{path}: cannot be read as a picture ({_said(error)})") from error


def read_examples(folder: Path) -> tuple[Examples | None, str]:
    """Return a run's examples; None and a sentence why where there are none to show."""
    home = folder / FOLDER
    path = home / INDEX
    if not path.is_file():
        return None, f"{path}: the run left no examples"
    try:
        if path.stat().st_size > _LARGEST_INDEX:
            return None, f"{path}: larger than {_LARGEST_INDEX >> 20} MiB; its examples are left out"
        index = parse(_Index, read_json(path), str(path))
    except (GkdbenchError, OSError, ValueError, RecursionError) as error:
        said = _said(error) if isinstance(error, GkdbenchError) else f"{path}: cannot be read ({_said(error)})"
        return None, f"{said}; its examples are left out"
    if len(index.palette) != len(index.classes) or index.ignore < len(index.classes):
        return None, f"{path}: palette, classes and ignore do not fit together; its examples are left out"
    return Examples(home, index), ""


def _bounded(path: Path, most: int) -> bytes:
    with path.open("rb") as stream:
        content = stream.read(most + 1)
    if len(content) > most:
        raise ValueError(f"larger than {most >> 20} MiB")
    return content


def _said(error: Exception) -> str:
    return " ".join(str(error).split())[:300] or type(error).__name__
