"""Per-image confusion counts as Parquet: what paired tests and bootstrap over images are computed from."""

import io
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from gkdbench.engine.evaluation import Judged
from gkdbench.runs.files import write_atomically


def write_image_counts(path: Path, judged: Mapping[str, Judged], *, void: bool) -> None:
    """Write one row per image: split, name and the K*K counts, row-major, truth before prediction.

    With `void`, a column of that name has the K counts by predicted class where the truth is ignored.
    Counts of a column are uint16 where every one fits, else uint32.
    """
    columns = {
        "split": pa.array([name for name, j in judged.items() for _ in j.names]).dictionary_encode(),
        "image": pa.array([image for j in judged.values() for image in j.names]),
        "counts": _lists([j.per_image for j in judged.values()]),
    }
    if void:
        columns["void"] = _lists([j.void_per_image for j in judged.values()])
    table = pa.table(columns)
    buffer = io.BytesIO()
    pq.write_table(table, buffer, compression="zstd")
    write_atomically(path, lambda stream: stream.write(buffer.getvalue()))


def _lists(parts: Sequence[NDArray[np.int64]]) -> pa.FixedSizeListArray:
    """Lay the counts of all images out as one list each, in the narrowest type that holds them."""
    counts = np.concatenate([part.reshape(len(part), -1) for part in parts])
    kind = np.uint16 if counts.max(initial=0) < 2**16 else np.uint32
    return pa.FixedSizeListArray.from_arrays(pa.array(counts.astype(kind).reshape(-1)), counts.shape[1])
