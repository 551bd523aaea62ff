"""PASCAL VOC's annotations: one XML per image (Everingham et al., IJCV 2010; development kits of 2007 and 2012).

Of `annotation/object` the name, `difficult` and the `bndbox` count; the parts of a person (`object/part`), poses and
actions do not. Files are untrusted: a document type, by which XML can be made to grow or to reach for other files, is
refused, and nothing outside a file is ever read.
"""

import math
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NoReturn
from xml.parsers import expat

import numpy as np

from gkdbench.data.files.archives import Member
from gkdbench.data.files.hashes import Contents
from gkdbench.detection.stated import ClassNames, Stated
from gkdbench.errors import DataError

LARGEST = 2**24
"""Bytes of the largest annotation that is read: thousands of boxes fit into one."""
_TOO_LARGE = f"has more than {LARGEST // 2**20} MiB, which no annotation has; is it another file?"
DEEPEST = 32
LONGEST = 10**6
CORNERS = ("xmin", "ymin", "xmax", "ymax")
_NUMBER = re.compile(r"[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d+)?", re.ASCII)
_ROOT, _SIZE, _OBJECT = "annotation", "annotation/size", "annotation/object"
_BOX = f"{_OBJECT}/bndbox"
_OF_SIZE = {f"{_SIZE}/{side}": side for side in ("width", "height")}
_OF_OBJECT = {
    f"{_OBJECT}/name": "name", f"{_OBJECT}/difficult": "difficult", **{f"{_BOX}/{corner}": corner for corner in CORNERS}
}  # fmt: skip
Texts = dict[str, tuple[str, int]]
"""Field -> its text and line."""


def parse_voc(content: bytes, where: str, names: ClassNames) -> Stated:
    """Return the boxes of an annotation; DataError, with `where` and the line, for anything that is no such file."""
    if len(content) > LARGEST:
        raise DataError(f"{where}: {_TOO_LARGE}")
    return _Reader(where, names).read(content)


class _Reader:
    """Collects what counts while expat walks through a file, so that every value has its line."""

    def __init__(self, where: str, names: ClassNames) -> None:
        self.where, self.names = where, names
        self.path: list[str] = []
        self.text: list[str] = []
        self.size: Texts = {}
        self.object: Texts = {}
        self.object_line, self.box_line, self.size_line = 1, 0, 1
        self.written: list[list[float]] = []
        self.labels: list[int] = []
        self.difficult: list[bool] = []
        self.places: list[str] = []
        self.parser = expat.ParserCreate()
        self.parser.buffer_text = True
        self.parser.StartElementHandler = self._start
        self.parser.EndElementHandler = self._end
        self.parser.CharacterDataHandler = self.text.append
        self.parser.StartDoctypeDeclHandler = self._doctype

    def read(self, content: bytes) -> Stated:
        try:
            self.parser.Parse(content, True)
        except expat.ExpatError as error:
            said = expat.ErrorString(error.code)
            raise DataError(f"{self.where}:{error.lineno}: malformed XML ({said}); get the file again") from error
        except (LookupError, ValueError) as error:  # an encoding that there is none of
            raise DataError(f"{self.where}:1: cannot be read as XML ({error}); write it in UTF-8") from error
        written = np.array(self.written, np.float64).reshape(-1, 4)
        size = (self._side("height"), self._side("width")) if self.size else None
        return Stated(
            written - (1, 1, 0, 0), written, np.array(self.labels, np.int64), np.array(self.difficult, np.bool_),
            self.places, size, f"{self.where}:{self.size_line}", least=1.0,
        )  # fmt: skip

    def _start(self, name: str, _attributes: dict[str, str]) -> None:
        if not self.path and name != _ROOT:
            self._fail(f"begins with <{name[:40]}>, and VOC's annotations with <{_ROOT}>: another kind of file?")
        self.path.append(name)
        if len(self.path) > DEEPEST:
            self._fail("elements are nested too deeply for an annotation; get the file again")
        del self.text[:]
        here = "/".join(self.path)
        if here == _OBJECT:
            self.object, self.object_line, self.box_line = {}, self.parser.CurrentLineNumber, 0
        elif here == _BOX:
            if self.box_line:
                self._fail("the object has a second <bndbox>; give each box its own <object>")
            self.box_line = self.parser.CurrentLineNumber
        elif here == _SIZE:
            self.size_line = self.parser.CurrentLineNumber

    def _end(self, _name: str) -> None:
        here = "/".join(self.path)
        if here in _OF_OBJECT:
            self._keep(self.object, _OF_OBJECT[here])
        elif here in _OF_SIZE:
            self._keep(self.size, _OF_SIZE[here])
        elif here == _OBJECT:
            self._add()
        self.path.pop()
        del self.text[:]

    def _doctype(self, *_: object) -> None:
        self._fail("declares a document type, which no annotation needs and which is not read; remove <!DOCTYPE ...>")

    def _keep(self, texts: Texts, field: str) -> None:
        if field in texts:
            self._fail(f"<{field}> stands there a second time; keep one of them")
        texts[field] = ("".join(self.text).strip(), self.parser.CurrentLineNumber)

    def _add(self) -> None:
        """Add an object that has been read to its end."""
        if "name" not in self.object:
            self._fail("the object has no <name>; name its class", self.object_line)
        if not self.box_line:
            self._fail("the object has no <bndbox>; give it one, or remove it", self.object_line)
        for corner in CORNERS:
            if corner not in self.object:
                self._fail(f"the box has no <{corner}>; give it all of {', '.join(CORNERS)}", self.box_line)
        name, line = self.object["name"]
        index = self.names.index(name, f"{self.where}:{line}")
        box = [self._number(self.object[corner], corner) for corner in CORNERS]
        difficult, line = self.object.get("difficult", ("0", 0))
        if difficult not in ("", "0", "1"):
            self._fail(f"<difficult> is {difficult[:40]!r}; it is 0 or 1", line)
        if index is None:
            return
        self.written.append(box)
        self.labels.append(index)
        self.difficult.append(difficult == "1")
        self.places.append(f"{self.where}:{self.box_line}")

    def _side(self, side: str) -> int:
        if side not in self.size:
            self._fail(f"<size> has no <{side}>; give it, or leave <size> out", self.size_line)
        number = self._number(self.size[side], side)
        if number != int(number) or not 0 < number <= LONGEST:
            said = f"<{side}> is {number:g}; give the image's number of pixels, or leave <size> out"
            self._fail(said, self.size[side][1])
        return int(number)

    def _number(self, given: tuple[str, int], field: str) -> float:
        text, line = given
        number = float(text) if _NUMBER.fullmatch(text) else math.nan
        if not math.isfinite(number):
            self._fail(f"<{field}> is {text[:40]!r}, which is no number", line)
        return number

    def _fail(self, said: str, line: int | None = None) -> NoReturn:
        raise DataError(f"{self.where}:{self.parser.CurrentLineNumber if line is None else line}: {said}")


@dataclass(frozen=True)
class VocFiles:
    """The annotations of a split's images, in their order; each is read when it is asked for."""

    members: Sequence[Member]
    names: ClassNames

    def stated(self, index: int) -> Stated:
        """Return what the annotation of an image says."""
        member = self.members[index]
        if member.size > LARGEST:
            raise DataError(f"{member}: {_TOO_LARGE}")
        return parse_voc(member.read(), str(member), self.names)

    def file(self, index: int) -> Path:
        """Return the file on disk that an image's boxes are read from."""
        return self.members[index].file

    def identity(self, contents: Contents) -> list[object]:
        """Return what the annotations are, for a digest: what they hold, and what names mean."""
        return ["voc", contents(self.members), self.names.identity()]

    def cut(self, limit: int | None) -> "VocFiles":
        """Return those of the first `limit` images."""
        return VocFiles(self.members[:limit], self.names)
