"""Whether the data of a benchmark or dataset is what it should be: counts, files, labels, images that splits share."""

import re
from collections.abc import Iterable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, Protocol

from gkdbench.data.checking.full_reading import WHOLE, Effort, read_all
from gkdbench.data.checking.inspection import Reading, Tally, reading, spread
from gkdbench.data.checking.overlap import SAMPLED_BYTES, Comparison, compare, hash_with
from gkdbench.data.checking.stored import stored
from gkdbench.data.checking.subject import Part, Subject
from gkdbench.data.dataset import Absent, DataPlace, Dataset, open_split
from gkdbench.data.files.archives import Member
from gkdbench.data.files.pictures import is_turned
from gkdbench.data.kept_results import KeptResults
from gkdbench.errors import DataError

Kind = Literal["opening", "count", "file", "labels", "overlap"]
_OF_ONE_FILE = re.compile(r"\S*/\S*|'[^']*'|\d+")
"""Paths, quoted names and numbers in a message."""
UNREAD: dict[str, Any] = {
    "images": None, "read": 0, "size": "", "labelled": None, "ignored_pixels": 0, "classes_seen": 0, "frequencies": {},
    "without_labelled_pixel": 0, "boxes": None,
}  # fmt: skip


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

    @property
    def fault(self) -> tuple[str, str]:
        """What is equal where the same is wrong with several files of a split: all but names and numbers."""
        return self.split, _OF_ONE_FILE.sub("", self.message)


def by_fault(problems: Iterable[Problem]) -> list[tuple[Problem, int]]:
    """Return the first problem of every fault, and in how many files it is."""
    found: dict[tuple[str, str], list[Problem]] = {}
    for problem in problems:
        found.setdefault(problem.fault, []).append(problem)
    return [(alike[0], len(alike)) for alike in found.values()]


@dataclass
class SplitHealth:
    """What is known about a split."""

    part: Part
    status: Literal["ok", "failed", "absent"] = "ok"
    """absent: a split of a dataset that is not on this machine."""
    expected: list[int] = field(default_factory=list)
    """Images it may have; empty where nothing is expected."""
    dataset: Dataset | None = None
    digest: str | None = None
    tally: Tally | None = None
    problems: list[Problem] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    """What a user may want to know and need not mend."""
    labels_without_image: int = 0

    def fault(self, kind: Kind, message: str) -> None:
        """Add a problem, once."""
        problem = Problem(self.part.name, kind, message)
        if problem not in self.problems:
            self.problems.append(problem)
        self.status = "failed"

    def facts(self) -> dict[str, Any]:
        """Return all about it, as JSON."""
        facts = self.tally.facts() if self.tally else {**UNREAD, "images": self.dataset and len(self.dataset)}
        return {
            "status": self.status,
            **facts,
            "expected": self.expected,
            "labels_without_image": self.labels_without_image,
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
    health = Health(subject, [opened(subject, part, place, display) for part in subject.parts])
    if all(split.status == "absent" for split in health.splits):
        raise DataError(health.splits[0].notes[0])
    for split in health.splits:
        if split.dataset is not None:
            display.begin(f"reading {split.part.name}")
            look_at(split, subject, place, effort, display)
    here = [(split.part, split.dataset) for split in health.splits if split.dataset is not None]
    if len(here) > 1:
        display.begin("comparing splits")
        health.comparison = _compared(health, here, place, effort, display)
    return health


def opened(subject: Subject, part: Part, place: DataPlace, display: Display) -> SplitHealth:
    """Open a split and count its images."""
    health = SplitHealth(part, expected=part.split.expected(subject.folder))
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
            health.status = "absent"
            health.notes.append(str(error))
        else:
            health.fault("opening", str(error))
        return health
    health.labels_without_image = dataset.without_image if part.labelled else 0
    if health.labels_without_image:
        health.notes.append(f"label files without an image: {health.labels_without_image}")
    return health


def look_at(split: SplitHealth, subject: Subject, place: DataPlace, effort: Effort, display: Display) -> None:
    """Read a split's images, a sample or all, and say what is wrong with them."""
    dataset, name = split.dataset, split.part.name
    assert dataset is not None
    tally = split.tally = Tally(dataset, subject.labels.classes, subject.labels.ignore)
    kept = _memory(split, place)
    if len(dataset) <= effort.whole and (split.part.labelled or effort.full):
        total, readings = len(dataset), read_all(dataset, kept, effort, labelled=split.part.labelled)
    else:
        chosen = spread(len(dataset), effort.sample)
        total, readings = len(chosen), _sampled(dataset, chosen, effort, labelled=split.part.labelled)
        if split.part.labelled and len(KeptResults(kept).load()) < len(dataset):
            split.notes.append(f"{total} of {len(dataset):,} labels were read, never all of them (check data --full)")
    if effort.full:
        _verify_bytes(split, dataset, kept.with_name(f"{kept.stem}-images.jsonl"), place, effort, display)
    for found in readings:
        tally.add(found)
        if found.problem is not None:
            split.fault("file", found.problem)
        display.progress(tally.read, total)
    turned, looked_at = _turned(split, dataset)
    if turned:
        split.notes.append(f"images stored turned, which are read upright: {turned} of {looked_at} looked at")
    if tally.boxes.images:
        said = tally.boxes.fault()
        if said is not None:
            split.fault("labels", said)
        split.notes += tally.boxes.notes(subject.labels.classes, whole=tally.read == len(dataset))
    elif split.part.labelled and tally.sizes and not tally.labelled:
        split.fault("labels", f"{name} has no labels, and something is trained or judged with them; say where they lie")
    elif tally.all_empty:
        split.fault(
            "labels",
            f"none of the {tally.labelled} labels read, such as that of {tally.empty_names[0]}, has a pixel of any "
            "class; is this the label map of these files?",
        )
    elif tally.empty:
        split.notes.append(f"labels without a labelled pixel: {tally.empty}, such as that of {tally.empty_names[0]}")


def _turned(split: SplitHealth, dataset: Dataset) -> tuple[int, int]:
    """Return how many of a split's pictures are stored turned, and how many were looked at."""
    pictures = list(dataset.pictures())
    chosen = [pictures[index] for index in spread(len(pictures), WHOLE)]
    turned = 0
    for picture in chosen:
        with suppress(DataError):  # reading it says so
            turned += is_turned(picture)
    return turned, len(chosen)


def _memory(split: SplitHealth, place: DataPlace) -> Path:
    """Return where readings of a split are kept, whatever its labels hold: each file's times say whether it is new."""
    assert split.dataset is not None
    name = split.dataset.digest(lambda members: [one.size for one in members])
    return checks_folder(place) / f"{name[:24]}.jsonl"


def _verify_bytes(
    split: SplitHealth, dataset: Dataset, first: Path, place: DataPlace, effort: Effort, display: Display
) -> None:
    """Compare every image with what it was when it was first hashed: identity takes images by name and size."""
    kept = KeptResults(first)
    if effort.fresh:
        kept.forget()
    known = kept.load()
    images = list(dataset.pictures())
    hashes = place.hashes(fresh=effort.fresh).each(images, effort.pause, display.progress)
    now = {str(number): one for number, one in enumerate(hashes) if isinstance(one, str)}
    kept.add({number: one} for number, one in now.items() if number not in known)
    changed = [images[int(number)] for number, one in now.items() if known.get(number, one) != one]
    if changed:
        split.fault(
            "file",
            f"{changed[0]}: holds another picture than at the first full check, of equal size ({len(changed)} such "
            "images): what was made of the old ones would count as made of these; put them back, or take the new ones "
            "for good with check data --full --fresh and run --fresh",
        )


def checks_folder(place: DataPlace) -> Path:
    """Return where results of full checks are kept."""
    return place.cache_folder() / "checks"


def _sampled(dataset: Dataset, indices: Sequence[int], effort: Effort, *, labelled: bool) -> Iterator[Reading]:
    for index in indices:
        effort.pause()
        yield reading(dataset, index, labelled=labelled)


def _compared(
    health: Health, here: Sequence[tuple[Part, Dataset]], place: DataPlace, effort: Effort, display: Display
) -> Comparison:
    def unreadable(item: Member, message: str) -> None:
        if message in (problem.message for split in health.splits for problem in split.problems):
            return  # reading it has said so
        for split in health.splits:
            if split.dataset is not None and any(one == item for _, one in stored(split.part.split, split.dataset)):
                split.fault("file", message)

    hasher = hash_with(place.hashes(), unreadable, effort.pause, display.progress)
    return compare(here, None if effort.full else SAMPLED_BYTES, hasher)
