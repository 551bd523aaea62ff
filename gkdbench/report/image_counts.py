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
from gkdbench.runs.recomputed import COUNTED
from gkdbench.runs.record import Record, SplitResult

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


def counts_of(record: Record, folder: Path) -> dict[str, SplitCounts]:
    """Return the counts of every split of a finished run, {} where it left none or its metric has none.

    DataError where they are damaged, or not those that the record is made of.
    """
    if record.metric != COUNTED or record.in_domain is None:
        return {}
    found = read_image_counts(folder, len(record.classes))
    judged = {IN_DOMAIN: record.in_domain, **record.targets}
    for split in {**found, **judged} if found else ():
        wrong = _not_of(found.get(split), judged.get(split))
        if wrong is not None:
            raise DataError(f"{folder / FILE}: split {split!r}: {wrong}")
    return found


def _not_of(counts: SplitCounts | None, result: SplitResult | None) -> str | None:
    """Say why counts are not those of a record's result; None where they are."""
    if result is None:
        return "the record knows no such split"
    if counts is None:
        return "no counts, and the record has a result"
    if len(counts.names) != result.n_images:
        return f"counts of {len(counts.names)} images, and the record's result is of {result.n_images}"
    total = np.array(result.confusion)
    # larger ones might overflow when they are added up
    if (counts.counts > total.max(initial=0)).any() or (counts.counts.sum(0, dtype=np.int64) != total).any():
        return "the counts of the images do not add up to the record's"
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
