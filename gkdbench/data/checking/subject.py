"""What a check of data looks at: the splits of a benchmark, or those of a dataset of the catalogue."""

import colorsys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Literal

from gkdbench.data.dataset import LabelSpace
from gkdbench.data.readers import DatasetSplit
from gkdbench.spec.benchmark import Benchmark
from gkdbench.spec.catalogue import BenchmarkSource
from gkdbench.spec.dataset import Colour, DatasetEntry, Labels
from gkdbench.spec.dataset_catalogue import DatasetSource, datasets
from gkdbench.spec.split import Split

Role = Literal["train", "proxy", "val", "target", "part"]
_GOLDEN = 0.618034
"""Hues that far apart stay apart, however many there are."""


@dataclass(frozen=True)
class Part:
    """One split."""

    name: str
    split: Split
    role: Role
    """part: of a dataset by itself, which nothing is trained or judged on."""
    labelled: bool = True
    """Whether labels are wanted; the proxy pool is unlabelled by definition, even where the renderer knows better."""
    may_be_trained: bool = False
    """Whether images that are trained on may be judged here, as the benchmark says."""

    @property
    def trained(self) -> bool:
        """Whether it is trained on, with labels or without."""
        return self.role in ("train", "proxy")


@dataclass(frozen=True)
class Subject:
    """What is checked."""

    kind: Literal["benchmark", "dataset"]
    version: int | None
    labels: Benchmark | LabelSpace
    palette: Sequence[Colour]
    folder: Path
    """Where lists, and datasets of a user's own, are looked for."""
    parts: Sequence[Part]
    """Splits that lie somewhere: of corrupted ones, what they are made of."""
    corrupted: Mapping[str, Split] = field(default_factory=dict)
    """Targets whose images are those of a part, corrupted as they are read."""

    @property
    def name(self) -> str:
        """Name of the benchmark or dataset."""
        return self.labels.name


def benchmark_subject(
    source: BenchmarkSource, targets: Mapping[str, Split] | None = None, *, proxy: bool = True
) -> Subject:
    """Return the splits of a benchmark: its own targets, or those given; with or without the proxy pool."""
    benchmark = source.benchmark
    parts = [
        Part("source train", benchmark.source.train, "train"),
        Part("source val", benchmark.source.val, "val", may_be_trained=benchmark.in_domain == "train"),
        *([Part("proxy", benchmark.proxy, "proxy", labelled=False)] if proxy else []),
    ]
    corrupted = {}
    for name, split in (benchmark.targets if targets is None else targets).items():
        if split.corruption is not None:
            corrupted[name] = split
        else:
            parts.append(Part("target proxy" if name == "proxy" else name, split, "target"))
    for name, split in corrupted.items():
        if split.original not in [part.split for part in parts if part.labelled]:
            parts.append(Part(f"images of {name}", split.original, "target"))
    return Subject("benchmark", benchmark.version, benchmark, benchmark.palette, source.folder, parts, corrupted)


def corruptions_of(subject: Subject) -> Subject:
    """Return of a benchmark what its corrupted targets need."""
    wanted = [split.original for split in subject.corrupted.values()]
    return replace(subject, parts=[part for part in subject.parts if part.labelled and part.split in wanted])


def dataset_subject(source: DatasetSource) -> Subject:
    """Return the splits of a dataset, with its own classes and the colours of its release or generated ones."""
    boxes = source.entry.boxes.classes if source.entry.boxes else []
    classes = boxes or list(dict.fromkeys(name for labels in _meanings(source.entry) for name in labels.classes))
    splits = source.entry.counts or dict.fromkeys(name for one in source.entry.layouts for name in one.where)
    parts = [
        Part(name, DatasetSplit(reader="dataset", dataset=source.name, split=name), "part", labelled=bool(classes))
        for name in splits
    ]
    folder = source.file.parent.parent
    labels = LabelSpace(source.name, classes)
    return Subject("dataset", None, labels, _palette(source.entry, classes, folder), folder, parts)


def _meanings(entry: DatasetEntry) -> Iterator[Labels]:
    found = (entry.labels, *(layout.means for layout in entry.layouts))
    yield from (labels for labels in found if labels is not None)


def _palette(entry: DatasetEntry, classes: Sequence[str], folder: Path) -> list[Colour]:
    """Return colours of classes: of a release with colours for all of them, this one's or another's, else generated."""
    for one in (entry, *(source.entry for source in datasets(folder).values())):
        for labels in _meanings(one):
            given = {name: value for name, value in labels.values() if name is not None and isinstance(value, tuple)}
            if classes and given.keys() >= set(classes):
                return [given[name] for name in classes]
    return [_generated(number) for number in range(len(classes))]


def _generated(number: int) -> Colour:
    red, green, blue = colorsys.hsv_to_rgb(number * _GOLDEN % 1, (0.9, 0.55)[number % 2], (0.95, 0.75)[number // 2 % 2])
    return round(255 * red), round(255 * green), round(255 * blue)
