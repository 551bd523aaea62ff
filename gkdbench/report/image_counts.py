"""Per-image confusion counts as runs leave them beside their records; read without torch."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from gkdbench.errors import DataError
from gkdbench.metrics.bootstrap import Pixels

FILE = "images.parquet"
IN_DOMAIN = "in-domain val"
"""What the file calls the in-domain split."""
_COLUMNS = ("split", "image", "counts")


@dataclass(frozen=True)
class SplitCounts:
    """One split's images."""

    names: pa.Array
    """Text, in the order of the counts; left as read, for a report compares thousands and shows none."""
    counts: NDArray[np.integer]  # [images, K, K]; row: truth, column: prediction

    @cached_property
    def pixels(self) -> Pixels:
        """Return what IoU is made of."""
        return Pixels.of(self.counts)


def read_image_counts(folder: Path, classes: int) -> dict[str, SplitCounts]:
    """Return the counts of every split of a run; empty where the run left none. DataError where they are damaged."""
    path = folder / FILE
    if not path.is_file():
        return {}
    with _opened(path, classes) as file:
        table = file.read(columns=list(_COLUMNS), use_threads=False)
        return _splits(table.combine_chunks(), classes)


def damage(folder: Path, classes: int) -> str | None:
    """Say why a run's counts cannot be read, as far as the end of the file tells; None where it is whole or not there.

    A tenth of a millisecond: a report looks at every run's file so, and reads only those that a test needs.
    """
    path = folder / FILE
    try:
        if path.is_file():
            with _opened(path, classes):
                pass
    except DataError as error:
        return str(error)
    return None


@contextmanager
def _opened(path: Path, classes: int) -> Iterator[pq.ParquetFile]:
    """Open a file of counts; DataError, here and while it is read, where it is none or damaged."""
    try:
        # No buffering ahead: a report reads a thousand such files, each in a millisecond.
        with pq.ParquetFile(path, pre_buffer=False) as file:
            _check(file.schema_arrow, classes)
            yield file
    except (OSError, ValueError, KeyError, pa.ArrowException) as error:
        reason = " ".join(str(error).split())
        raise DataError(f"{path}: cannot be read as counts of {classes} classes ({reason})") from error


def _check(schema: pa.Schema, classes: int) -> None:
    missing = [name for name in _COLUMNS if name not in schema.names]
    if missing:
        raise ValueError(f"no column {' or '.join(map(repr, missing))}")
    lists = schema.field("counts").type
    if not pa.types.is_fixed_size_list(lists) or not pa.types.is_integer(lists.value_type):
        raise ValueError(f"column 'counts' holds {lists}, not lists of whole numbers of one size")
    if lists.list_size != classes**2:
        raise ValueError(f"column 'counts' holds lists of {lists.list_size} numbers, not {classes**2}")


def _splits(table: pa.Table, classes: int) -> dict[str, SplitCounts]:
    split, names, lists = (_array(table[name]) for name in ("split", "image", "counts"))
    for name, column in zip(table.column_names, (split, names, lists), strict=True):
        if column.null_count:
            raise ValueError(f"column {name!r} has empty cells")
    flat = lists.flatten()
    if flat.null_count:
        raise ValueError("column 'counts' has empty cells")
    counts = flat.to_numpy(zero_copy_only=False).reshape(len(lists), classes, classes)
    if counts.dtype.kind == "i" and counts.min(initial=0) < 0:
        raise ValueError("column 'counts' holds numbers below 0")
    coded = split if pa.types.is_dictionary(split.type) else split.dictionary_encode()
    codes = coded.indices.to_numpy(zero_copy_only=False)
    labels = coded.dictionary.to_pylist()
    found = {}
    for code in dict.fromkeys(codes.tolist()):
        places = np.flatnonzero(codes == code)
        first, last = int(places[0]), int(places[-1])
        if last - first + 1 == len(places):
            found[str(labels[code])] = SplitCounts(names.slice(first, len(places)), counts[first : last + 1])
        else:
            found[str(labels[code])] = SplitCounts(names.take(pa.array(places)), counts[places])
    return found


def _array(column: pa.ChunkedArray) -> pa.Array:
    """Return a column that has been combined as one array."""
    return column.chunk(0) if column.num_chunks == 1 else column.combine_chunks()
