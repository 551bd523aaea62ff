"""Looking at boxes before training on them: how many of which class, difficult ones, empty images, odd boxes."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from gkdbench.data.dataset import Dataset
from gkdbench.detection.box_dataset import BoxFilesDataset
from gkdbench.detection.stated import Settled

EXAMPLES = 5


@dataclass(frozen=True)
class BoxCounts:
    """What the boxes of an image were found to be; `noted` and `of_noted` bring it to a file and back."""

    classes: Mapping[int, int]
    """Class index -> boxes."""
    difficult: int = 0
    beyond: int = 0
    """Boxes that reach up to a pixel beyond the image."""
    clipped: int = 0
    dropped: int = 0

    def noted(self) -> list[Any]:
        """Return it as JSON."""
        classes = {str(label): count for label, count in self.classes.items()}
        return [classes, self.difficult, self.beyond, self.clipped, self.dropped]

    @classmethod
    def of_noted(cls, noted: Sequence[Any]) -> "BoxCounts":
        """Return what was noted."""
        classes, *others = noted
        return cls({int(label): count for label, count in classes.items()}, *others)


def box_counts(dataset: Dataset, index: int, size: tuple[int, int]) -> BoxCounts | None:
    """Count the boxes of an image of [height, width]; None for an unlabelled split, DataError for a bad box."""
    if isinstance(dataset, BoxFilesDataset):
        settled = dataset.examined(index, size)
    else:
        objects = dataset.objects(index)
        settled = None if objects is None else Settled(objects)
    if settled is None:
        return None
    classes: dict[int, int] = {}
    for label in settled.objects.labels.tolist():
        classes[label] = classes.get(label, 0) + 1
    return BoxCounts(
        classes, int(settled.objects.difficult.sum()), settled.beyond, settled.clipped, settled.dropped
    )


@dataclass
class BoxTally:
    """What the boxes of a split add up to."""

    images: int = 0
    objects: int = 0
    difficult: int = 0
    beyond: int = 0
    clipped: int = 0
    dropped: int = 0
    empty: int = 0
    """Images without an object."""
    empty_names: list[str] = field(default_factory=list)
    changed_names: list[str] = field(default_factory=list)
    """Images with a box that was cut or left out."""
    classes: dict[int, int] = field(default_factory=dict)

    def add(self, counts: BoxCounts, name: str) -> None:
        """Count the boxes of one image."""
        self.images += 1
        self.objects += sum(counts.classes.values())
        self.difficult += counts.difficult
        self.beyond += counts.beyond
        self.clipped += counts.clipped
        self.dropped += counts.dropped
        for label, count in counts.classes.items():
            self.classes[label] = self.classes.get(label, 0) + count
        if not counts.classes:
            self.empty += 1
            self.empty_names += [name] if len(self.empty_names) < EXAMPLES else []
        if counts.clipped or counts.dropped:
            self.changed_names += [name] if len(self.changed_names) < EXAMPLES else []

    def facts(self, classes: Sequence[str]) -> dict[str, Any]:
        """Return it as JSON."""
        return {
            "objects": self.objects,
            "difficult": self.difficult,
            "images_without_object": self.empty,
            "reaching_beyond": self.beyond,
            "clipped": self.clipped,
            "dropped": self.dropped,
            "by_class": {name: self.classes.get(index, 0) for index, name in enumerate(classes)},
        }

    def notes(self, classes: Sequence[str], *, whole: bool) -> list[str]:
        """Return what a user may want to know and need not mend; whole: all of the split was read."""
        said = []
        absent = [name for index, name in enumerate(classes) if not self.classes.get(index)]
        if whole and 0 < len(absent) < len(classes):
            said.append(f"classes without an object: {', '.join(absent)}")
        if 0 < self.empty < self.images:
            said.append(f"images without an object: {self.empty}, such as {self.empty_names[0]}")
        if self.beyond:
            said.append(f"boxes that reach up to a pixel beyond their image: {self.beyond}; left as they are")
        if self.clipped or self.dropped:
            said.append(
                f"boxes cut to their image: {self.clipped}, dropped: {self.dropped}, such as in {self.changed_names[0]}"
            )
        return said

    def fault(self) -> str | None:
        """Return what is wrong with the boxes read as a whole; None where nothing is."""
        if not self.images or self.objects:
            return None
        return f"none of the {self.images} images read, such as {self.empty_names[0]}, has an object of any class"
