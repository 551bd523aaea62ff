"""Files of the cache that are there whole or not at all."""

import os
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import IO, Any
from uuid import uuid4

from gkdbench.errors import DataError


def write_whole(path: Path, write: Callable[[IO[bytes]], Any], what: str) -> None:
    """Write a file under another name and rename it; DataError, which says what it is, where the disk refuses.

    Not synced: what a power cut left empty cannot be read, and is made again.
    """
    partial = path.with_name(f".{path.name}.{os.getpid()}-{uuid4().hex[:8]}.tmp")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with partial.open("wb") as stream:
            write(stream)
        partial.replace(path)
    except OSError as error:
        with suppress(OSError):
            partial.unlink()
        said = error.strerror or str(error)
        raise DataError(f"{path.parent}: {what} cannot be kept there ({said}); set GKDBENCH_CACHE") from error
