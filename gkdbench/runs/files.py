"""Files written whole or not at all: temporary name, fsync, rename."""

import errno
import json
import os
import re
import shutil
import stat
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from glob import escape
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO

from gkdbench.errors import DataError, UsageError

if TYPE_CHECKING:
    from PIL import Image

_TEMPORARY = re.compile(r"\..+\.([0-9]+)\.tmp")
"""A temporary name; the number is the process that writes."""
_SHOWN = 60
"""Characters of a file's name in that of its temporary one."""


@contextmanager
def clear_errors(path: Path) -> Iterator[None]:
    """Turn a refused or failed write into one clear line."""
    try:
        yield
    except OSError as error:
        if error.errno == errno.ENAMETOOLONG:  # a bad argument, whatever it was to be written
            raise
        if error.errno == errno.ENOSPC:
            raise DataError(f"{path}: the disk is full; free some space and repeat") from error
        if error.errno in (errno.EACCES, errno.EPERM, errno.EROFS):
            raise DataError(f"{path}: no permission to write; choose another place") from error
        if error.errno in (errno.ENOTDIR, errno.EEXIST):
            raise DataError(f"{path}: a file is in the way of a folder") from error
        if error.errno in (errno.EISDIR, errno.ENOTEMPTY):
            raise DataError(f"{path}: a folder is in the way of a file") from error
        raise DataError(f"{path}: cannot be written ({error.strerror or error})") from error


def make_folder(path: Path) -> Path:
    """Create a folder with its parents."""
    with clear_errors(path):
        path.mkdir(parents=True, exist_ok=True)
    return path


def check_output(path: Path) -> None:
    """Refuse to write in the place of anything but a regular file; UsageError says what lies there.

    A rename would replace a device, and of a symbolic link what somebody else pointed it at may be worth keeping.
    """
    try:
        mode = path.lstat().st_mode
    except OSError:  # not there; what keeps it from being written is told then
        return
    if not stat.S_ISREG(mode):
        kinds = {stat.S_IFDIR: "a folder", stat.S_IFLNK: "a symbolic link", stat.S_IFIFO: "a pipe"}
        kind = kinds.get(stat.S_IFMT(mode), "a device or socket")
        raise UsageError(f"{path}: {kind}, and output takes the place of regular files alone; name another file")


def put_in_place(temporary: Path, path: Path) -> None:
    """Give a file that is written the name it was written for."""
    check_output(path)
    os.replace(temporary, path)


@contextmanager
def written_beside(path: Path) -> Iterator[Path]:
    """Yield a temporary path to write to, which gets its name at the end, or is removed where the writing fails."""
    check_output(path)
    make_folder(path.parent)
    temporary = temporary_name(path)
    with clear_errors(path):
        try:
            yield temporary
            put_in_place(temporary, path)
        except BaseException:
            temporary.unlink(missing_ok=True)
            raise


def write_atomically(path: Path, write: Callable[[BinaryIO], Any]) -> None:
    """Write a file through a temporary one beside it; readers see the old content or the new."""
    with written_beside(path) as temporary, temporary.open("wb") as stream:
        write(stream)
        stream.flush()
        os.fsync(stream.fileno())


def temporary_name(path: Path) -> Path:
    """Return what a file is called while this process writes it; see remove_temporaries."""
    # a name may be as long as the file system allows already
    return path.with_name(f".{path.name[:_SHOWN]}.{os.getpid()}.tmp")


def remove_temporaries(folder: Path, *, alone: bool = False) -> None:
    """Remove what processes that ended in the midst of a write left in a folder and those below.

    alone: nobody else can be writing there, since the caller holds a lock; otherwise what a living process of this
    machine may be writing stays.
    """
    _remove(folder.rglob(".*.tmp"), alone)


def remove_temporaries_of(path: Path) -> None:
    """Remove what processes that ended in the midst of writing a file left beside it."""
    _remove(path.parent.glob(f".{escape(path.name[:_SHOWN])}.*.tmp"), alone=False)


def _remove(found: Iterable[Path], alone: bool) -> None:
    for path in found:
        named = _TEMPORARY.fullmatch(path.name)
        if named and not path.is_dir() and (alone or not _lives(int(named[1]))):
            with clear_errors(path):
                path.unlink(missing_ok=True)


def _lives(process: int) -> bool:
    if os.name == "nt":  # where asking would interrupt it
        return True
    try:
        os.kill(process, 0)
    except (ProcessLookupError, OverflowError):
        return False
    except PermissionError:  # another user's
        return True
    return True


def write_json(path: Path, content: Any) -> None:
    """Write indented JSON atomically."""
    text = json.dumps(content, indent=1, ensure_ascii=False, allow_nan=False) + "\n"
    write_atomically(path, lambda stream: stream.write(text.encode()))


def write_png(path: Path, picture: "Image.Image") -> None:
    """Write a picture as PNG atomically."""
    write_atomically(path, lambda stream: picture.save(stream, format="PNG"))


def need_space(path: Path, wanted_bytes: int) -> None:
    """Refuse to start what the disk cannot hold."""
    folder = path
    while not folder.exists():
        folder = folder.parent
    free = shutil.disk_usage(folder).free
    if free < wanted_bytes:
        raise DataError(
            f"{path}: {free / 2**20:.0f} MiB free, {wanted_bytes / 2**20:.0f} MiB needed"
        )
