"""Reading many images, in several processes, going on where an interrupted reading ended.

What was read is remembered, an image a line, in a file that is named by the place, names and sizes of all images; both
times of every file say whether it is the one that was read. What could not be read is read again.
"""

from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from math import inf
from pathlib import Path

from gkdbench.data.checking.counts import Reading, changed, reading
from gkdbench.data.checking.reading_processes import results_of
from gkdbench.data.dataset import Dataset

PARALLEL_FROM = 64
"""Images; below, starting processes takes longer than reading."""
WHOLE = 500
"""A wrong label among this many weighs, and reading them all takes seconds, once."""
SAMPLE = 12


@dataclass(frozen=True)
class Effort:
    """How much is read, and how."""

    whole: float = WHOLE
    """Images of the largest labelled split that is read whole; inf: all splits, and all images are compared."""
    sample: int = SAMPLE
    """Images read of every other split."""
    workers: int = 1
    fresh: bool = False
    """Read again what an earlier check has read."""
    pause: Callable[[], None] = lambda: None
    """Called between images; raises where the work is to stop."""

    @property
    def full(self) -> bool:
        """Whether everything is read."""
        return self.whole == inf


def read_images(
    dataset: Dataset, indices: Sequence[int], memory: Path, effort: Effort, *, labelled: bool
) -> Iterator[Reading]:
    """Yield a reading of every image asked for, those that are remembered first."""
    if effort.fresh:
        with suppress(OSError):
            memory.unlink(missing_ok=True)
    known, missing = remembered(memory), []
    for index in indices:
        if index in known and known[index].changed == changed(dataset, index):
            yield known[index]
        else:
            missing.append(index)
    # what is rendered would be copied to every process, and is read in no time
    alone = dataset.rendered or len(missing) < PARALLEL_FROM
    task = partial(reading, dataset, labelled=labelled)
    for found in results_of(task, missing, 1 if alone else effort.workers, effort.pause):
        first = known.get(found.index)
        if first is not None and found.size is not None and found.content != first.content:
            yield found.model_copy(update={"problem": _exchanged(dataset, found.index)})
            continue
        if found.changed and not dataset.rendered:
            _remember(memory, found)
        yield found


def remembered(memory: Path) -> dict[int, Reading]:
    """Return what a memory holds; a line that a killed process left unfinished does not count."""
    found = {}
    with suppress(OSError):
        for line in memory.read_bytes().splitlines():
            with suppress(ValueError):
                one = Reading.model_validate_json(line)
                found[one.index] = one
    return found


def _remember(memory: Path, found: Reading) -> None:
    with suppress(OSError):  # a memory that cannot be written costs time and changes no answer
        memory.parent.mkdir(parents=True, exist_ok=True)
        with memory.open("a") as stream:
            stream.write(f"\n{found.model_dump_json()}")


def _exchanged(dataset: Dataset, index: int) -> str:
    """Say that the image is another than before: identity takes images by name and size."""
    return (
        f"{dataset.files(index)[0]}: holds another picture than when it was first checked, of equal size: what was made"
        " of the old one would count as made of this; put it back, or take the new one for good with check data --fresh"
        " and run --fresh"
    )
