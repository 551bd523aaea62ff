"""Files of the cache that are there whole or not at all."""

import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO, Any
from uuid import uuid4

from gkdbench.errors import DataError


@contextmanager
def told(folder: Path, what: str) -> Iterator[None]:
    """Turn a refused write into a DataError that says what cannot be kept where."""
    try:
        yield
    except OSError as error:
        said = error.strerror or str(error)
        raise DataError(f"{folder}: {what} cannot be kept there ({said}); set GKDBENCH_CACHE") from error


def write_whole(path: Path, write: Callable[[IO[bytes]], Any], what: str) -> None:
    """Write a file under another name and rename it; DataError, which says what it is, where the disk refuses.

    Not synced: what a power cut left empty cannot be read, and is made again.
    """
    partial = path.with_name(f".{path.name}.{os.getpid()}-{uuid4().hex[:8]}.tmp")
    with told(path.parent, what):
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            with partial.open("wb") as stream:
                write(stream)
            partial.replace(path)
        finally:
            with suppress(OSError):  # where nothing can be written there is nothing to remove
                partial.unlink(missing_ok=True)
