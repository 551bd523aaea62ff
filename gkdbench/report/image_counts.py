"""Per-image confusion counts as runs leave them beside their records; read without torch."""

from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from gkdbench.errors import DataError
from gkdbench.metrics.statistics import Pixels

FILE = "images.parquet"
IN_DOMAIN = "in-domain val"
"""What the file calls the in-domain split."""


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
    try:
        # One thread and no buffering ahead: a report reads a thousand such files, each in a millisecond.
        with pq.ParquetFile(path, pre_buffer=False) as file:
            table = file.read(columns=["split", "image", "counts"], use_threads=False)
        return _splits(table.combine_chunks(), classes)
    except (OSError, ValueError, KeyError, pa.ArrowException) as error:
        reason = " ".join(str(error).split())
        raise DataError(f"{path}: cannot be read as counts of {classes} classes ({reason})") from error


def _splits(table: pa.Table, classes: int) -> dict[str, SplitCounts]:
    split, names, lists = (_array(table[name]) for name in ("split", "image", "counts"))
    for name, column in zip(table.column_names, (split, names, lists), strict=True):
        if column.null_count:
            raise ValueError(f"column {name!r} has empty cells")
    if not pa.types.is_fixed_size_list(lists.type) or not pa.types.is_integer(lists.type.value_type):
        raise ValueError(f"column 'counts' holds {lists.type}, not lists of whole numbers of one size")
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
