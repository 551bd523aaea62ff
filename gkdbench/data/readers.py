"""The readers that come with gkdbench, boxes aside, and what a YAML may say to each; opening imports what it needs."""

from collections.abc import Sequence
from itertools import product
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, ClassVar

from pydantic import Field, field_validator, model_validator

from gkdbench.spec.corruption import Kind, Severity
from gkdbench.spec.dataset import Bits, Labels, Name, check_places, check_templates, inside
from gkdbench.spec.dataset_catalogue import find_dataset
from gkdbench.spec.documents import Names
from gkdbench.spec.split import AnySplit, Corruption, Split

if TYPE_CHECKING:
    from gkdbench.data.dataset import Dataset, Opening


class FolderSplit(Split):
    """Images, and where given labels, in folders below the data root."""

    root: str
    """Folder below --data-root."""
    images: str = "."
    """Folder of the images below `root`; all PNG and JPEG files below it, in order of their paths."""
    labels: str | None = None
    """Folder of the label PNGs below `root`, same relative names as the images; None: unlabelled."""
    list: str | None = None
    """Text file of relative names without suffix, one per line: below `root`, or beside the YAML."""
    bits: Bits = None

    @model_validator(mode="after")
    def _inside(self) -> "FolderSplit":
        for key in ("root", "images", "labels", "list"):
            inside(key, getattr(self, key) or ".")
        return self

    def open(self, opening: "Opening") -> "Dataset":
        """Find all files; a missing folder, image or label is an error now, not later."""
        from gkdbench.data.files.opening import open_folders

        return open_folders(self, opening)


class FilesSplit(Split):
    """Files of a user's own, unpacked or in archives below a root, found by path templates."""

    root: str
    """Folder below the data root."""
    images: str
    """Such as `images/{city}/{stem}.jpg`."""
    labels: str | None = None
    """Such as `labels/{city}/{stem}.png`; None: unlabelled."""
    only: dict[str, Names] = {}
    """Placeholder -> the values it may take."""
    means: Labels | None = None
    """What the label files hold; None: the benchmark's label_map."""
    bits: Bits = None

    @model_validator(mode="after")
    def _layout(self) -> "FilesSplit":
        check_templates(self.images, self.labels)
        check_places("only", self.only, self.images)
        inside("root", self.root)
        return self

    def held(self, beside: Path) -> Labels | None:
        """Return what the label files hold."""
        return self.means

    def open(self, opening: "Opening") -> "Dataset":
        """Find images and labels; DataError where there are none."""
        from gkdbench.data.files.opening import open_own

        return open_own(self, opening)


class DatasetSplit(Split):
    """A split of a dataset in the catalogue (`gkdbench list datasets`)."""

    catalogued: ClassVar[bool] = True

    dataset: Name
    split: Name
    only: dict[str, Names] = {}
    """Placeholder -> values: a part of the split, such as one condition."""
    first: Annotated[int, Field(gt=0)] | None = None
    """Only the first images of the split."""
    root: str | None = None
    """Folder below the data root, if other than the dataset's own."""

    @model_validator(mode="after")
    def _inside(self) -> "DatasetSplit":
        inside("root", self.root or ".")
        return self

    @property
    def title(self) -> str:
        """Name of the dataset."""
        return self.dataset

    def held(self, beside: Path) -> Labels | None:
        """Return what the dataset's label files hold."""
        return find_dataset(self.dataset, beside).entry.labels

    def expected(self, beside: Path) -> list[int]:
        """Return how many images the split, or a part of it, should have; several where releases differ."""
        entry = find_dataset(self.dataset, beside).entry
        counts = entry.counts.get(self.split, [])
        if self.only:
            place, values = next(iter(self.only.items()))
            known = entry.counts_of.get(self.split, {}).get(place, {})
            whole = len(self.only) == 1 and all(value in known for value in values)
            counts = [sum(known[value] for value in values)] if whole else []
        return list(dict.fromkeys(counts if self.first is None else [min(count, self.first) for count in counts]))

    def open(self, opening: "Opening") -> "Dataset":
        """Find the files of the layout that lies there; DataError where none does or it is another release."""
        from gkdbench.data.files.opening import open_dataset

        return open_dataset(self, opening)


class JoinedSplit(Split):
    """Several domains as one: all images in a row, without balancing."""

    parts: list[AnySplit] = Field(min_length=2)

    @property
    def pieces(self) -> Sequence[Split]:
        """The domains."""
        return self.parts

    def expected(self, beside: Path) -> list[int]:
        """Return what the parts may add up to."""
        return list(dict.fromkeys(map(sum, product(*(part.expected(beside) for part in self.parts)))))

    def open(self, opening: "Opening") -> "Dataset":
        """Open every part."""
        from gkdbench.data.files.variants import JoinedDataset

        return JoinedDataset([opening.open(part) for part in self.parts], [part.title for part in self.parts])


class CorruptedSplit(Split):
    """The images of another split, each corrupted in its own repeatable way; labels are those of the other split."""

    kind: Kind
    severity: Severity
    of: AnySplit

    @field_validator("of")
    @classmethod
    def _once(cls, of: Split) -> Split:
        if of.corruption is not None:
            raise ValueError("images are corrupted once; name the split that they come from")
        return of

    @property
    def corruption(self) -> Corruption:
        """Kind and severity."""
        return Corruption(self.kind, self.severity)

    @property
    def original(self) -> Split:
        """The other split."""
        return self.of

    def expected(self, beside: Path) -> list[int]:
        """Return how many images the other split may have."""
        return self.of.expected(beside)

    def held(self, beside: Path) -> Labels | None:
        """Return what label files of the other split hold."""
        return self.of.held(beside)

    def open(self, opening: "Opening") -> "Dataset":
        """Open the other split; UsageError where what a kind needs is not installed."""
        from gkdbench.data.corruptions.dataset import open_corrupted

        return open_corrupted(self, opening)
