"""Per-image confusion counts as runs leave them beside their records; read without torch."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
from numpy.typing import NDArray

from gkdbench.errors import DataError

FILE = "images.parquet"


@dataclass(frozen=True)
class SplitCounts:
    """One split's images."""

    names: tuple[str, ...]
    counts: NDArray[np.integer]  # [images, K, K]; row: truth, column: prediction


def read_image_counts(folder: Path, classes: int) -> dict[str, SplitCounts]:
    """Return the counts of every split of a run; empty where the run left none. DataError where they are damaged."""
    path = folder / FILE
    if not path.is_file():
        return {}
    try:
        table = pq.read_table(path, columns=["split", "image", "counts"])
        splits = np.asarray(table["split"].to_pylist(), object)
        names = np.asarray(table["image"].to_pylist(), object)
        lists = table["counts"].combine_chunks()
        counts = np.asarray(lists.flatten()).reshape(len(splits), classes, classes)
    except (OSError, ValueError, KeyError) as error:  # pyarrow's own errors are of these kinds
        raise DataError(f"{path}: cannot be read as counts of {classes} classes ({error})") from error
    return {
        str(split): SplitCounts(tuple(map(str, names[splits == split])), counts[splits == split])
        for split in dict.fromkeys(splits.tolist())
    }
