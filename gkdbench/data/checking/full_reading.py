"""Reading every image of a split, in several processes, going on where an interrupted reading ended."""

from collections.abc import Callable, Iterator
from contextlib import nullcontext, suppress
from dataclasses import dataclass
from itertools import groupby
from math import inf
from pathlib import Path
from typing import Any

from gkdbench.data.checking.boxes import BoxCounts
from gkdbench.data.checking.inspection import Reading, reading
from gkdbench.data.checking.reading_processes import results_of
from gkdbench.data.dataset import Dataset
from gkdbench.data.files.tiles import TiledDataset
from gkdbench.data.kept_results import KeptResults
from gkdbench.errors import DataError

CHUNK = 8
PARALLEL_FROM = 64
"""Images; below, starting processes takes longer than reading."""

WHOLE = 500
"""A wrong label among this many weighs, and reading them all takes seconds, once."""

Stamp = list[int]


@dataclass(frozen=True)
class Effort:
    """How much is read, and how."""

    whole: float = WHOLE
    """Images of the largest labelled split that is read whole; inf: all splits, with every byte of their images."""
    sample: int = 12
    """Images read of every other split."""
    workers: int = 1
    fresh: bool = False
    """Read again what an earlier check of all images has read."""
    pause: Callable[[], None] = lambda: None
    """Called between images; raises where the work is to stop."""

    @property
    def full(self) -> bool:
        """Whether everything is read."""
        return self.whole == inf


@dataclass(frozen=True)
class ReadImages:
    """Reads images of a dataset, in whatever process."""

    dataset: Dataset
    labelled: bool

    def __call__(self, indices: list[int]) -> list[tuple[Stamp, Reading]]:
        """Return readings, each with when its files were last changed."""
        return [(stamp(self.dataset, i), reading(self.dataset, i, labelled=self.labelled)) for i in indices]


def read_all(dataset: Dataset, kept: Path, effort: Effort, *, labelled: bool) -> Iterator[Reading]:
    """Yield a reading of every image; those kept in a file count where image and label have not changed since.

    What could not be read is read again: it may have been put right.
    """
    results = KeptResults(kept)
    if effort.fresh:
        results.forget()
    known = results.load()
    missing = []
    for index in range(len(dataset)):
        entry = known.get(str(index))
        if entry is not None and entry["t"] == stamp(dataset, index):  # an image that lost its file is read, and named
            yield _restored(index, entry)
        else:
            missing.append(index)
    # a mapped split would be copied to every process, and is read in no time
    alone = dataset.rendered or len(missing) < PARALLEL_FROM
    jobs = [[index] for index in missing] if alone else _chunks(dataset, missing)
    task = ReadImages(dataset, labelled)
    for found in results_of(task, jobs, 1 if alone else effort.workers, effort.pause):
        good = [(when, one) for when, one in found if one.problem is None]
        if not dataset.rendered:
            with nullcontext() if effort.full else suppress(DataError):  # what cannot be kept is read again next time
                results.add({str(one.index): _entry(when, one)} for when, one in good)
        yield from (one for _, one in found)


def _chunks(dataset: Dataset, indices: list[int]) -> list[list[int]]:
    if isinstance(dataset, TiledDataset):  # the tiles of a picture together: it is decoded once
        return [list(tiles) for _, tiles in groupby(indices, lambda index: dataset.tiles[index].picture)]
    return [indices[start : start + CHUNK] for start in range(0, len(indices), CHUNK)]


def stamp(dataset: Dataset, index: int) -> Stamp:
    """Return when the files of an image were last changed, in nanoseconds; empty where one is gone."""
    try:
        states = [path.stat() for path in dataset.files(index)]
        return [when for state in states for when in (state.st_mtime_ns, state.st_ctime_ns)]
    except OSError:
        return []


def _entry(when: Stamp, found: Reading) -> dict[str, Any]:
    pixels = None if found.pixels is None else {str(value): count for value, count in found.pixels.items()}
    boxes = None if found.boxes is None else found.boxes.noted()
    return {"t": when, "s": found.size, "c": pixels, **({} if boxes is None else {"b": boxes})}


def _restored(index: int, entry: dict[str, Any]) -> Reading:
    pixels = entry["c"]
    return Reading(
        index,
        (entry["s"][0], entry["s"][1]),
        None if pixels is None else {int(value): count for value, count in pixels.items()},
        boxes=BoxCounts.of_noted(entry["b"]) if "b" in entry else None,
    )
