"""Whether the data of a benchmark or dataset is what it should be: counts, files, labels, images that splits share."""

import re
from collections.abc import Iterable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any, Literal, Protocol

from gkdbench.data.checking.counts import Counts, Reading, spread
from gkdbench.data.checking.overlap import SAMPLED_BYTES, Comparison, compare
from gkdbench.data.checking.reading import WHOLE, Effort, read_images, remembered
from gkdbench.data.checking.subject import Part, Subject
from gkdbench.data.dataset import Absent, DataPlace, Dataset, LabelSpace, open_split
from gkdbench.data.files.archives import Member
from gkdbench.data.files.pictures import is_turned
from gkdbench.errors import DataError
from gkdbench.identity.digest import digest
from gkdbench.spec.benchmark import Benchmark

Kind = Literal["opening", "count", "file", "labels", "overlap"]
_OF_ONE_FILE = re.compile(r"\S*/\S*|'[^']*'|\d+")
"""Paths, quoted names and numbers in a message."""


class Display(Protocol):
    """Where progress goes."""

    def begin(self, title: str) -> None:
        """Name the work whose progress follows."""
        ...

    def progress(self, done: int, total: int, text: str = "") -> None:
        """Show how far the work is."""
        ...


@dataclass(frozen=True)
class Problem:
    """What is wrong: in which split, of what kind, and the line that names file, expectation and advice."""

    split: str
    kind: Kind
    message: str


def by_fault(problems: Iterable[Problem]) -> list[tuple[Problem, int]]:
    """Return the first problem of every fault, and in how many files it is: all but names and numbers is equal."""
    found: dict[tuple[str, str], list[Problem]] = {}
    for problem in problems:
        found.setdefault((problem.split, _OF_ONE_FILE.sub("", problem.message)), []).append(problem)
    return [(alike[0], len(alike)) for alike in found.values()]


@dataclass
class SplitHealth:
    """What is known about a split."""

    part: Part
    labels: Benchmark | LabelSpace
    expected: list[int]
    """Images it may have; empty where nothing is expected."""
    dataset: Dataset | None = None
    digest: str | None = None
    absent: bool = False
    """Whether it is a split of a dataset that is not on this machine."""
    readings: list[Reading] = field(default_factory=list)
    problems: list[Problem] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    """What a user may want to know and need not mend."""

    @property
    def status(self) -> Literal["ok", "failed", "absent"]:
        """How it is."""
        return "absent" if self.absent else "failed" if self.problems else "ok"

    @property
    def without_image(self) -> int:
        """How many label files no image goes with."""
        return self.dataset.without_image if self.dataset is not None and self.part.labelled else 0

    def fault(self, kind: Kind, message: str) -> None:
        """Add a problem."""
        self.problems.append(Problem(self.part.name, kind, message))

    def facts(self) -> dict[str, Any]:
        """Return all about it, as JSON."""
        return {
            "status": self.status,
            **Counts(self.dataset, self.labels, self.readings).facts(),
            "expected": self.expected,
            "labels_without_image": self.without_image,
            "digest": self.digest,
            "notes": self.notes,
        }


@dataclass
class Health:
    """What is known about all splits."""

    subject: Subject
    splits: list[SplitHealth]
    comparison: Comparison | None = None

    @property
    def problems(self) -> list[Problem]:
        """All problems, in the order of the splits, and what they share."""
        overlaps = self.comparison.overlaps if self.comparison else ()
        shared = [Problem(one.splits[1], "overlap", one.message) for one in overlaps if one.reason is None]
        return [*(problem for split in self.splits for problem in split.problems), *shared]


def examine(subject: Subject, place: DataPlace, effort: Effort, display: Display) -> Health:
    """Open every split, read a sample or all of it, and compare splits with each other.

    A split that cannot be opened is a problem and the others are still looked at; DataError only where there is nothing
    at all to look at.
    """
    health = Health(subject, [_opened(subject, part, place, display) for part in subject.parts])
    if all(split.absent for split in health.splits):
        raise DataError(health.splits[0].notes[0])
    here = [(split, split.dataset) for split in health.splits if split.dataset is not None]
    for split, dataset in here:
        _look_at(split, dataset, place, effort, display)
    if len(here) > 1:
        display.begin("comparing splits")
        parts = [(split.part, dataset) for split, dataset in here]
        budget = None if effort.full else SAMPLED_BYTES
        health.comparison = compare(parts, budget, place.hashes(), effort.pause, display.progress)
        for split, _ in here:
            said = {problem.message for problem in split.problems}  # by whoever read the file
            for message in health.comparison.unreadable.get(split.part.name, ()):
                if message not in said:
                    split.fault("file", message)
    return health


def _opened(subject: Subject, part: Part, place: DataPlace, display: Display) -> SplitHealth:
    health = SplitHealth(part, subject.labels, part.split.expected(subject.folder))
    display.begin(f"opening {part.name}")
    try:
        dataset = open_split(
            part.split, subject.labels, subject.folder, place, labelled=part.labelled, progress=display.progress
        )
        for said in dataset.doubts:
            health.fault("count", said)
        health.digest = dataset.digest(place.hashes().identities)
        health.dataset = dataset
    except DataError as error:
        if place.data_root is None or not place.data_root.is_dir():
            raise
        if part.role == "part" and isinstance(error, Absent):
            health.absent = True
            health.notes.append(str(error))
        else:
            health.fault("opening", str(error))
    if health.without_image:
        health.notes.append(f"label files without an image: {health.without_image}")
    return health


def _look_at(split: SplitHealth, dataset: Dataset, place: DataPlace, effort: Effort, display: Display) -> None:
    """Read images of a split, a sample or all, and say what is wrong with them."""
    display.begin(f"reading {split.part.name}")
    labelled, count = split.part.labelled, len(dataset)
    whole = count <= effort.whole and (labelled or effort.full)
    indices = range(count) if whole else spread(count, effort.sample)
    by_size = dataset.digest(lambda members: [one.size for one in members])
    # others may be alike in names and sizes: two splits of a small benchmark, or the same benchmark elsewhere
    own = digest([by_size, *(str(path.absolute()) for path in dataset.files(0)[:1])])
    memory = place.cache_folder() / "checks" / f"{own[:24]}.jsonl"
    for found in read_images(dataset, indices, memory, effort, labelled=labelled):
        split.readings.append(found)
        if found.problem is not None:
            split.fault("file", found.problem)
        display.progress(len(split.readings), len(indices))
    if labelled and not whole and len(remembered(memory)) < count:
        split.notes.append(f"{len(indices)} of {count:,} labels were read, never all of them (check data --full)")
    pictures = list(dataset.pictures())
    looked_at = [pictures[index] for index in spread(len(pictures), WHOLE)]
    turned = _turned(looked_at)
    if turned:
        split.notes.append(f"images stored turned, which are read upright: {turned} of {len(looked_at)} looked at")
    counts = Counts(dataset, split.labels, split.readings)
    fault = counts.fault(split.part.name) if labelled else None
    if fault is None:
        split.notes += counts.notes()
    else:
        split.fault("labels", fault)


def _turned(pictures: Sequence[Member]) -> int:
    count = 0
    for picture in pictures:
        with suppress(DataError):  # reading it says so
            count += is_turned(picture)
    return count
