"""Opening splits as benchmarks do, without a benchmark."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from gkdbench.data.dataset import DataPlace, LabelSpace, open_split
from gkdbench.spec.benchmark import Benchmark
from gkdbench.spec.split import Split

IGNORE = 255


def open_in(
    folder: Path, split: Split, classes: Sequence[str], *, data: Path | None = None, how: str = "",
    labelled: bool = True
) -> Any:  # fmt: skip
    """Open a split whose data lie in `data`, else in the folder `data` of a folder, which has the cache too."""
    space = LabelSpace("mine", classes, IGNORE, how_to_get=how)
    return open_split(split, space, folder, DataPlace(data or folder / "data", folder / "cache"), labelled=labelled)


def digest_of(
    split: Split, labels: Benchmark | LabelSpace, beside: Path, place: DataPlace, limit: int | None = None,
    *, labelled: bool = True
) -> str:  # fmt: skip
    """Return the digest of a split."""
    opened = open_split(split, labels, beside, place, limit=limit, labelled=labelled)
    return opened.digest(place.hashes().identities)
