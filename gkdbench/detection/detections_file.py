"""detections.parquet: what a detector found in every image, and what was there, beside the run's record.

One row per image: `split`, `image`; `boxes` (x0, y0, x1, y1 after one another, in the image's pixels), `labels` (class
numbers) and `scores` of what was found, best first; `true_boxes`, `true_labels` and `difficult` of what was there. A
paired bootstrap over images needs no more. Rows go to disk as they come, so a run's memory does not grow with them.
"""

from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from gkdbench.runs.files import clear_errors, make_folder, put_in_place, temporary_name
from gkdbench.spec.objects import Detections, Objects

FILE = "detections.parquet"
_BUFFERED = 500
"""Rows that are written at once."""
_SCHEMA = pa.schema(
    [
        ("split", pa.dictionary(pa.int16(), pa.string())),
        ("image", pa.string()),
        ("boxes", pa.list_(pa.float32())),
        ("labels", pa.list_(pa.uint16())),
        ("scores", pa.list_(pa.float32())),
        ("true_boxes", pa.list_(pa.float32())),
        ("true_labels", pa.list_(pa.uint16())),
        ("difficult", pa.list_(pa.bool_())),
    ]
)


class DetectionsFile:
    """The file of one run while it is written; it has its name only when it is finished."""

    def __init__(self, folder: Path) -> None:
        self._path = folder / FILE
        self._temporary = temporary_name(self._path)
        self._writer: pq.ParquetWriter | None = None
        self._rows: list[tuple[str, str, Objects, Detections]] = []

    def add(self, split: str, image: str, objects: Objects, found: Detections) -> None:
        """Add an image."""
        self._rows.append((split, image, objects, found))
        if len(self._rows) >= _BUFFERED:
            self._flush()

    def finish(self) -> None:
        """Write what is left and give the file its name."""
        self._flush()
        with clear_errors(self._path):
            if self._writer is not None:
                self._writer.close()
                put_in_place(self._temporary, self._path)

    def discard(self) -> None:
        """Leave nothing of a file that was not finished; raises nothing that would hide why it was not."""
        if self._writer is not None:
            with suppress(OSError):  # a full disk refuses the last bytes too
                self._writer.close()
        with suppress(OSError):
            self._temporary.unlink(missing_ok=True)

    def _flush(self) -> None:
        if not self._rows:
            return
        splits, images, objects, found = (list(column) for column in zip(*self._rows, strict=True))
        columns = [
            pa.array(splits).dictionary_encode().cast(_SCHEMA.field("split").type),
            pa.array(images),
            *(_lists([getattr(one, key) for one in found], _SCHEMA.field(key).type) for key in _FOUND),
            *(_lists([getattr(one, key) for one in objects], _SCHEMA.field(name).type) for name, key in _THERE.items()),
        ]
        with clear_errors(self._path):
            if self._writer is None:
                make_folder(self._path.parent)
                self._writer = pq.ParquetWriter(self._temporary, _SCHEMA, compression="zstd")
            self._writer.write_table(pa.table(columns, schema=_SCHEMA))
        self._rows = []


_FOUND = ("boxes", "labels", "scores")
_THERE = {"true_boxes": "boxes", "true_labels": "labels", "difficult": "difficult"}


def _lists(parts: Sequence[Any], kind: pa.ListType) -> pa.ListArray:
    """Lay the arrays of all images out as one list each."""
    ends = np.cumsum([0, *(part.size for part in parts)])
    values = np.concatenate([part.reshape(-1) for part in parts])
    return pa.ListArray.from_arrays(pa.array(ends, pa.int32()), pa.array(values, kind.value_type, safe=True))
