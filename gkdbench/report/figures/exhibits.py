"""Which runs and images the figures of examples show, and what is said of them."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TypeVar

from gkdbench.errors import DataError
from gkdbench.report.comparison import IN_DOMAIN, Comparison
from gkdbench.report.examples import FOLDER, INDEX, VAL, Example, Examples, Picture, read_examples
from gkdbench.report.figures.captions import listed, sentences
from gkdbench.report.figures.series import Series
from gkdbench.report.figures.style import one_name
from gkdbench.report.figures.wall import reduced
from gkdbench.runs.record import Record

MOST_SPLITS = 8
MOST_CORRUPTED = 2
"""Of them corruptions, where there are other splits enough."""
_MOST_READ = 64
"""Rows whose examples are looked at, those that figures show first."""


Found = TypeVar("Found")


@dataclass(frozen=True)
class Exhibit:
    """One run of a row, with its examples."""

    one: Series
    record: Record
    examples: Examples


@dataclass
class Exhibition:
    """What a figure of examples can show of a comparison."""

    exhibits: tuple[Exhibit, ...]
    """A run per row, in the order in which figures show rows first."""
    without: tuple[str, ...]
    """Rows none of whose runs left examples."""
    faults: list[str] = field(default_factory=list)
    """What could not be read."""

    def attempt(self, read: Callable[[Example, str], Found], example: Example, kind: str) -> Found | None:
        """Return an example's picture, or its boxes; None, and a fault more, where they cannot be read."""
        try:
            return read(example, kind)
        except DataError as error:
            if str(error) not in self.faults:
                self.faults.append(str(error))
            return None


def exhibition(comparison: Comparison, series: Sequence[Series], folders: Mapping[str, Path]) -> Exhibition:
    """Find each row's first run, by seed, that left examples of the comparison's classes."""
    exhibits: list[Exhibit] = []
    without: list[str] = []
    faults: list[str] = []
    ordered = sorted(series, key=lambda one: one.place)
    for one in ordered:
        runs = sorted(one.row.records, key=lambda record: record.spec.seed)
        left = [(record, home) for record in runs if (home := folders.get(record.run_id)) and _any(home)]
        if not left:
            without.append(one.name)
            continue
        for record, home in left if len(exhibits) < _MOST_READ else ():
            examples, why = read_examples(home)
            if examples is not None and examples.classes != comparison.classes:
                examples, why = None, f"{home / FOLDER / INDEX}: not the run's classes; its examples are left out"
            if examples is not None:
                exhibits.append(Exhibit(one, record, examples))
                break
            faults.append(why)
    return Exhibition(tuple(exhibits), tuple(without), faults)


def _any(folder: Path) -> bool:
    return (folder / FOLDER / INDEX).is_file()


def images_shown(comparison: Comparison, exhibits: Sequence[Exhibit]) -> list[tuple[str, str]]:
    """Return split and image of each line: of every split the rule's first image that most of the runs have."""
    found = []
    for split in comparison.splits:
        names = [[example.image for example in one.examples.of(_left_as(split))] for one in exhibits]
        every = [name for group in names for name in group]
        if every:
            # max keeps the first of equals
            found.append((split, max(every, key=lambda name: sum(name in group for group in names))))
    corrupted = [line for line in found if line[0] in comparison.corruptions]
    others = [line for line in found if line not in corrupted]
    # corruptions are the same images again: a few stand for all
    corrupted = _spread(corrupted, max(MOST_CORRUPTED, MOST_SPLITS - len(others)))
    return [*_spread(others, MOST_SPLITS - len(corrupted)), *corrupted]


def _spread(lines: list[tuple[str, str]], most: int) -> list[tuple[str, str]]:
    """Return at most so many lines, evenly spaced."""
    if len(lines) <= most:
        return lines
    return [lines[step * (len(lines) - 1) // max(most - 1, 1)] for step in range(most)]


def _left_as(split: str) -> str:
    return VAL if split == IN_DOMAIN else split


def example_of(exhibit: Exhibit, split: str, image: str) -> Example | None:
    """Return a run's example of an image; None where it has none."""
    return next((one for one in exhibit.examples.of(_left_as(split)) if one.image == image), None)


def first_picture(whole: Exhibition, exhibits: Sequence[Exhibit], line: tuple[str, str], kind: str) -> Picture | None:
    """Return a line's image or truth, at the size of figures, as the first run left it that has it."""
    for exhibit in exhibits:
        example = example_of(exhibit, *line)
        if example is None:
            continue
        image = kind == "image"
        found = whole.attempt(exhibit.examples.colours if image else exhibit.examples.labels, example, kind)
        if found is not None:
            return reduced(found, smooth=image)
    return None


def told(comparison: Comparison, shown: Sequence[Exhibit], lines: Sequence[tuple[str, str]]) -> str:
    """Say in a caption which images and which runs are shown, and by which rule."""
    splits = len(comparison.splits)
    of = "each split" if len(lines) == splits else f"{len(lines)} of {splits} splits"
    seeds = [f"{one.one.name} seed {one.record.spec.seed}" for one in shown]
    return sentences(
        f"Images are chosen by rule, by their names alone: {one_name(shown[0].examples.rule, 240)}; the first of {of} "
        "is shown.",
        f"Runs: {listed(seeds, 8)}.",
    )


def particulars_of(whole: Exhibition, shown: Sequence[Exhibit], lines: Sequence[tuple[str, str]]) -> tuple[str, ...]:
    """Return what the caption file adds: images, runs, and what could not be read."""
    runs = ", ".join(f"{one.record.run_id} ({one.one.name})" for one in shown)
    return (
        f"Images: {'; '.join(f'{one_name(split)}: {one_name(image, 120)}' for split, image in lines)}.",
        f"Runs shown: {runs}.",
        *whole.faults,
    )
