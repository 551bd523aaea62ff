"""The corrupted images of a benchmark: which there are, which of them are on disk, and writing the others there."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from gkdbench.data.checking.health import Display, Health
from gkdbench.data.corruptions.kept import KeptImages, materialise, outstanding
from gkdbench.data.dataset import DataPlace, Dataset, open_split


@dataclass(frozen=True)
class Corrupted:
    """Images of one split under several kinds and severities."""

    of: str
    """Name of the split."""
    dataset: Dataset
    digest: str
    """Of the split without its labels."""
    kinds: Sequence[str]
    severities: Sequence[int]
    place: DataPlace

    @property
    def images(self) -> int:
        """How many there are."""
        return len(self.dataset) * len(self.kinds) * len(self.severities)

    @property
    def kept(self) -> int:
        """How many of them are on disk."""
        store = self.place.corrupted_folder()
        folders = [KeptImages(store, self.digest, kind, at) for kind in self.kinds for at in self.severities]
        wanted = {folders[0].file(self.dataset.name(index)).name for index in range(len(self.dataset))}
        return sum(len(wanted & folder.present()) for folder in folders if folder.usable())

    def write(self, workers: int, pause: Callable[[], None], display: Display) -> None:
        """Write those that are missing; DataError where the disk cannot hold them, UsageError without the library."""
        display.begin(f"corrupting {self.of}")
        work = outstanding(self.dataset, self.kinds, self.severities, self.place.corrupted_folder(), self.digest)
        materialise(work, workers, pause=pause, progress=display.progress)

    def facts(self) -> dict[str, Any]:
        """Return all about it, as JSON."""
        facts = {"of": self.of, "kinds": list(self.kinds), "severities": list(self.severities)}
        return {**facts, "images": self.images, "kept": self.kept}

    def told(self) -> str:
        """Return a line for people."""
        count, kept = len(self.kinds) * len(self.severities), self.kept
        where = f"{kept:,} of {self.images:,} images are in {self.place.corrupted_folder()}" if kept else "nothing kept"
        return (
            f"{count} targets are {self.of} corrupted ({', '.join(self.kinds)}; severities "
            f"{', '.join(map(str, self.severities))}), computed as they are read unless kept: {where}"
        )


def kept_images(health: Health, place: DataPlace) -> list[Corrupted]:
    """Return the corrupted images of the splits that could be opened, those of the same severities together."""
    subject = health.subject
    found: list[Corrupted] = []
    for split in health.splits:
        if split.dataset is None or not split.part.labelled:
            continue
        severities: dict[str, list[int]] = {}
        for one in subject.corrupted.values():
            if one.corruption is not None and one.original == split.part.split:
                severities.setdefault(one.corruption.kind, []).append(one.corruption.severity)
        kinds: dict[tuple[int, ...], list[str]] = {}
        for kind, of_kind in severities.items():
            kinds.setdefault(tuple(sorted(of_kind)), []).append(kind)
        if kinds:
            images = open_split(split.part.split, subject.labels, subject.folder, place, labelled=False)
            digest = images.digest(place.hashes().identities)
            name, dataset = split.part.name, split.dataset
            found += [Corrupted(name, dataset, digest, alike, levels, place) for levels, alike in kinds.items()]
    return found
