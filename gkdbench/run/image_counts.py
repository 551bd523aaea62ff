"""Per-image confusion counts as Parquet: what paired tests and bootstrap over images are computed from."""

import io
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from gkdbench.engine.evaluation import Judged
from gkdbench.run.files import write_atomically


def write_image_counts(path: Path, judged: Mapping[str, Judged]) -> None:
    """Write one row per image: split, name and the K*K counts, row-major, truth before prediction.

    Counts are uint16 where every one fits, else uint32.
    """
    counts = np.concatenate([j.per_image.reshape(len(j.names), -1) for j in judged.values()])
    kind = np.uint16 if counts.max(initial=0) < 2**16 else np.uint32
    flat = pa.array(counts.astype(kind).reshape(-1))
    table = pa.table(
        {
            "split": pa.array([name for name, j in judged.items() for _ in j.names]).dictionary_encode(),
            "image": pa.array([image for j in judged.values() for image in j.names]),
            "counts": pa.FixedSizeListArray.from_arrays(flat, counts.shape[1]),
        }
    )
    buffer = io.BytesIO()
    pq.write_table(table, buffer, compression="zstd")
    write_atomically(path, lambda stream: stream.write(buffer.getvalue()))
