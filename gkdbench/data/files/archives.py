"""Zip and tar archives read in place: an index of what is inside, and the bytes of one member.

Nothing is ever unpacked, so names inside can lead nowhere; a member that claims to be huge is not read.
"""

import io
import os
import posixpath
import struct
import tarfile
import zipfile
import zlib
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from functools import lru_cache
from lzma import LZMAError
from pathlib import Path
from typing import IO

from gkdbench.errors import DataError

LARGEST = 2**30
"""Bytes of the largest member that is read: the largest official tile has 108 MB."""
SUFFIXES = (".zip", ".tar")
COMPRESSED_TARS = (".tar.gz", ".tgz", ".tar.bz2", ".tar.xz", ".rar", ".7z")
_NESTED = ".tar"
_MOST_LINKS = 8
_UTF8 = 0x800
"""Flag of a member of a zip whose name is UTF-8."""
# KeyError: another archive has been put in its place
_BAD_ARCHIVE = (KeyError, EOFError, RuntimeError, zipfile.BadZipFile, zlib.error, LZMAError)
_DAMAGED = (*_BAD_ARCHIVE, OSError, ValueError)


@dataclass(frozen=True, slots=True)
class Member:
    """A file on disk, or inside an archive."""

    path: str
    """Relative to the root, or inside the archive; for messages and sorting."""
    size: int
    file: Path
    """The file itself, or the archive."""
    inside: str | None = None
    """Name inside a zip."""
    offset: int | None = None
    """Where the bytes begin inside a tar."""
    crc: int | None = None
    """Checksum of the content, where an archive states it."""

    def __str__(self) -> str:
        return str(self.file) if self.inside is None and self.offset is None else f"{self.file}:{self.path}"

    @contextmanager
    def opened(self) -> Iterator[IO[bytes]]:
        """Open for reading a part, such as the header of a picture; DataError where that fails."""
        try:
            if self.inside is not None:
                with _zip(self.file).open(self.inside) as stream:
                    yield stream
            elif self.offset is None:
                with self.file.open("rb") as stream:
                    yield stream
            else:
                yield io.BytesIO(self.read())
        except _BAD_ARCHIVE as error:  # what is wrong with the picture itself, its reader says
            raise DataError(f"{self}: cannot be read ({error}); get the file again") from error

    def read(self) -> bytes:
        """Return the bytes; DataError where the file or archive is damaged."""
        if self.size > LARGEST:
            raise DataError(f"{self}: claims {self.size / 2**30:.1f} GiB, more than any image has; not read")
        try:
            if self.inside is not None:
                return _zip(self.file).read(self.inside)
            with self.file.open("rb") as stream:
                if self.offset is None:
                    return stream.read()
                stream.seek(self.offset)
                content = stream.read(self.size)
        except _DAMAGED as error:
            raise DataError(f"{self}: cannot be read ({error}); get the file again") from error
        if len(content) < self.size:
            raise DataError(f"{self}: the archive ends before its member does; get it again")
        return content


def _zip(path: Path) -> zipfile.ZipFile:
    state = path.stat()
    # one per process: forked loaders would share the position in the file
    return _opened_zip(path, os.getpid(), state.st_size, state.st_mtime_ns)


@lru_cache(maxsize=64)
def _opened_zip(path: Path, _process: int, _size: int, _modified: int) -> zipfile.ZipFile:
    return zipfile.ZipFile(path)


def members(path: Path) -> tuple[Member, ...]:
    """Return the files inside an archive; DataError where it is damaged or a name in it leaves the archive."""
    state = path.stat()
    return _members(path, state.st_size, state.st_mtime_ns)


@lru_cache(maxsize=64)
def _members(path: Path, _size: int, _modified: int) -> tuple[Member, ...]:
    found = tuple(_in_zip(path) if path.suffix.lower() == ".zip" else _in_tar(path, 0, ""))
    for member in found:
        if member.path.startswith("/") or ".." in member.path.split("/") or "\\" in member.path:
            raise DataError(f"{path}: holds a member named {member.path!r}, which leads outside: not an official one")
    return found


def _in_zip(path: Path) -> Iterator[Member]:
    try:
        with zipfile.ZipFile(path) as archive:
            for info in archive.infolist():
                if not info.is_dir():
                    name = _name(info).removeprefix("./")
                    yield Member(name, info.file_size, path, inside=info.filename, crc=info.CRC)
    except (zipfile.BadZipFile, OSError, struct.error) as error:
        raise DataError(f"{path}: cannot be read as a zip ({error}); is the download complete?") from error


def _name(info: zipfile.ZipInfo) -> str:
    """Return a member's name; a Mac writes UTF-8 without the flag that says so, which then reads as code page 437."""
    if info.flag_bits & _UTF8 or info.filename.isascii():
        return info.filename
    try:
        return info.filename.encode("cp437").decode("utf-8")
    except UnicodeError:
        return info.filename


def _target(entry: tarfile.TarInfo, named: Mapping[str, tarfile.TarInfo], path: Path) -> tarfile.TarInfo:
    """Return what a tar's entry is or leads to; DataError for a link that leads to no file of the tar."""
    first = entry.name
    for _ in range(_MOST_LINKS):
        if not (entry.islnk() or entry.issym()):
            return entry
        near = posixpath.join(posixpath.dirname(entry.name), entry.linkname) if entry.issym() else entry.linkname
        plain = posixpath.normpath(near)
        found = named.get(near) or named.get(plain) or named.get(f"./{plain}")
        if found is None:
            break
        entry = found
    raise DataError(f"{path}: {first!r} is a link to no file of the tar; pack the file itself")


def _in_tar(path: Path, start: int, before: str) -> Iterator[Member]:
    """Yield what a tar holds from a byte on; tars inside it are looked into (ImageNet's training set has such)."""
    try:
        with path.open("rb") as stream:
            stream.seek(start)
            with tarfile.open(fileobj=stream, mode="r:") as archive:
                entries = [entry for entry in archive if not entry.isdir()]
                named = {entry.name: entry for entry in entries}
                files = [(entry.name, _target(entry, named, path)) for entry in entries]
                inner = [(name, file.size, file.offset_data) for name, file in files if file.isfile()]
    except (tarfile.TarError, OSError) as error:
        raise DataError(f"{path}: cannot be read as a tar ({error}); is the download complete?") from error
    for name, size, offset in inner:
        name = before + name.removeprefix("./")
        if name.endswith(_NESTED) and not name.rpartition("/")[2].startswith("."):
            yield from _in_tar(path, offset, name.removesuffix(_NESTED) + "/")
        else:
            yield Member(name, size, path, offset=offset)
