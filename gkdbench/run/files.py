"""Files written whole or not at all: temporary name, fsync, rename."""

import errno
import json
import os
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, BinaryIO

from gkdbench.errors import DataError


@contextmanager
def clear_errors(path: Path) -> Iterator[None]:
    """Turn a refused or failed write into one clear line."""
    try:
        yield
    except OSError as error:
        if error.errno == errno.ENOSPC:
            raise DataError(f"{path}: the disk is full; free some space and repeat") from error
        if error.errno in (errno.EACCES, errno.EPERM, errno.EROFS):
            raise DataError(f"{path}: no permission to write; choose another --results") from error
        if error.errno in (errno.ENOTDIR, errno.EEXIST):
            raise DataError(f"{path}: a file is in the way of a folder") from error
        raise


def make_folder(path: Path) -> Path:
    """Create a folder with its parents."""
    with clear_errors(path):
        path.mkdir(parents=True, exist_ok=True)
    return path


def write_atomically(path: Path, write: Callable[[BinaryIO], Any]) -> None:
    """Write a file through a temporary one beside it; readers see the old content or the new."""
    make_folder(path.parent)
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    with clear_errors(path):
        try:
            with temporary.open("wb") as stream:
                write(stream)
                stream.flush()
                os.fsync(stream.fileno())
            os.replace(temporary, path)
        except BaseException:
            temporary.unlink(missing_ok=True)
            raise


def write_json(path: Path, content: Any) -> None:
    """Write indented JSON atomically."""
    text = json.dumps(content, indent=1, ensure_ascii=False, allow_nan=False) + "\n"
    write_atomically(path, lambda stream: stream.write(text.encode()))


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
