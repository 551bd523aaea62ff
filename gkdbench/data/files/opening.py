"""Opening a split of files: its root below the data root, the layout that lies there, what the labels mean."""

from collections.abc import Mapping, Sequence, Sized
from pathlib import Path

from gkdbench.data.files.dataset import FilesDataset, Kind, NoLabels, open_files, packed_otherwise
from gkdbench.data.files.label_map import LabelMap
from gkdbench.data.files.tiles import TiledDataset
from gkdbench.data.files.tree import archives, clear_errors, find, others_there, values_of
from gkdbench.data.files.variants import HalvedDataset
from gkdbench.errors import DataError, UsageError
from gkdbench.spec.dataset import DatasetEntry, DatasetSplit, FilesSplit, Labels, Layout
from gkdbench.spec.dataset_catalogue import DatasetSource, find_dataset
from gkdbench.spec.documents import nearest

Opened = FilesDataset | TiledDataset | HalvedDataset


class Meaning:
    """What labels are to a benchmark: its classes, its ignore value, and its own map where a dataset brings none."""

    def __init__(self, classes: Sequence[str], ignore: int, label_map: Mapping[int, int] | None) -> None:
        self.classes, self.ignore, self.label_map = classes, ignore, label_map

    def of(self, labels: Labels | None, whose: str) -> tuple[Kind, LabelMap]:
        """Return how label files are read, and their map to class indices."""
        if labels is not None:
            return labels.kind, LabelMap.of(labels, self.classes, self.ignore, whose)
        pairs = dict(self.label_map) if self.label_map is not None else {i: i for i in range(len(self.classes))}
        pairs.setdefault(self.ignore, self.ignore)
        return "ids", LabelMap.from_pairs(pairs, self.ignore, colours=False, lenient=False)


def open_dataset(
    split: DatasetSplit, meaning: Meaning, *, beside: Path, data_root: Path | None, cache: Path, labelled: bool
) -> Opened:
    """Open a split of a dataset of the catalogue; DataError where it is not there or is another release."""
    source, root = find_split(split, beside, data_root)
    entry = source.entry
    unlabelled: NoLabels | None = None
    for layout in entry.layouts:
        if split.split not in layout.where:
            continue
        try:
            opened = _open(root, layout, split, entry, meaning, labelled)
        except NoLabels as error:
            unlabelled = unlabelled or error
            continue
        if opened is None:
            continue
        if layout.tile is not None:
            return TiledDataset.of(opened, layout.tile, cache / "decoded")
        return HalvedDataset(opened, layout.half.jpeg_quality) if layout.half is not None else opened
    refuse_other_release(root, entry, split)
    raise unlabelled or DataError(absent(root, source, split))


def refuse_other_release(root: Path, entry: DatasetEntry, split: DatasetSplit) -> None:
    """Raise DataError where files tell that another release of a split lies there."""
    only = next((values_for(layout, split) for layout in entry.layouts if split.split in layout.where), {})
    for template, said in entry.wrong.items():
        if find(root, template, only):
            raise DataError(f"{root}: {said}")


def find_split(split: DatasetSplit, beside: Path | None, data_root: Path | None) -> tuple[DatasetSource, Path]:
    """Return the dataset that a split is of, and its root; UsageError or DataError where there is none."""
    source = find_dataset(split.dataset, beside)
    known = source.entry.counts
    if known and split.split not in known:
        raise UsageError(
            f"dataset {split.dataset!r} has no split {split.split!r}{nearest(split.split, known)} (known: "
            f"{', '.join(known)})"
        )
    return source, _root(source, split, data_root)


def _open(
    root: Path, layout: Layout, split: DatasetSplit, entry: DatasetEntry, meaning: Meaning, labelled: bool
) -> FilesDataset | None:
    only = values_for(layout, split)
    labels = layout.means or entry.labels
    held = meaning.of(labels, f"dataset {split.dataset!r}") if labels and labelled else None
    resizes = labels is not None and labels.other_size == "resize"
    return open_files(
        root, layout, only, held=held, resizes_labels=resizes, listing=layout.lists.get(split.split),
        expected=not_there(root, entry),
    )  # fmt: skip


def values_for(layout: Layout, split: DatasetSplit) -> dict[str, list[str]]:
    """Return placeholder -> values of a split, or of the part that is asked for; UsageError for an unknown value."""
    only = dict(layout.where[split.split])
    for place, values in split.only.items():
        if f"{{{place}}}" not in layout.images:
            raise UsageError(
                f"dataset {split.dataset!r}: only.{place}: its layout {layout.name!r} has no placeholder {place!r} "
                f"({layout.images})"
            )
        known = only.get(place)
        stray = next((value for value in values if known is not None and value not in known), None)
        if stray is not None:
            raise UsageError(
                f"dataset {split.dataset!r}: only.{place}: no {stray!r}{nearest(stray, known or ())} (known: "
                f"{', '.join(known or ())})"
            )
        only[place] = values
    return only


def open_own(split: FilesSplit, meaning: Meaning, *, data_root: Path | None, labelled: bool, how: str) -> FilesDataset:
    """Open files that a user's benchmark names; DataError where there are none."""
    root = below(data_root, split.root, how)
    layout = Layout(name="files", images=split.images, labels=split.labels, bits=split.bits)
    held = meaning.of(split.means, f"means of {split.root}/{split.labels}") if split.labels and labelled else None
    resizes = split.means is not None and split.means.other_size == "resize"
    opened = open_files(root, layout, split.only, held=held, resizes_labels=resizes)
    if opened is None:
        for place, values in split.only.items():
            there = values_of(root, split.images, place)
            if there:
                raise DataError(
                    f"{root}: no image {split.images!r} with {place} {' or '.join(values)}; there it is "
                    f"{', '.join(there[:8])}{', ...' if len(there) > 8 else ''}"
                )
        others, packed = others_there(root, split.images, split.only), _archives_in(root)
        raise DataError(f"{root}: no image {split.images!r}, neither unpacked nor in {packed}{others}{_hint(how)}")
    return opened


def _root(source: DatasetSource, split: DatasetSplit, data_root: Path | None) -> Path:
    hint = f"{source.entry.title}: get it from {source.entry.home}; gkdbench list datasets {source.name} says how"
    names = [split.root] if split.root is not None else source.entry.roots
    if data_root is None:
        raise DataError(
            f"dataset {source.name!r} is read below a data root: give --data-root DIR or set GKDBENCH_DATA ({hint})"
        )
    if not data_root.is_dir():
        raise DataError(f"--data-root {data_root}: no such folder ({hint})")
    for name in names:
        if (data_root / name).is_dir():
            return data_root / name
    raise DataError(f"{data_root}: no folder {' or '.join(names)} for dataset {source.name!r} ({hint})")


def below(data_root: Path | None, name: str, how: str) -> Path:
    """Return a folder below the data root; DataError, with how to get the data, where it is not there."""
    if data_root is None:
        raise DataError(
            f"this benchmark reads {name!r} below a data root: give --data-root DIR or set GKDBENCH_DATA{_hint(how)}"
        )
    with clear_errors(data_root):
        if not data_root.is_dir():
            raise DataError(f"--data-root {data_root}: no such folder{_hint(how)}")
        if not (data_root / name).is_dir():
            raise DataError(f"{data_root / name}: dataset folder not found{_hint(how)}")
    return data_root / name


def _hint(how: str) -> str:
    return f"; {' '.join(how.split())}" if how else ""


def _archives_in(root: Path) -> str:
    names = [path.name for path in archives(root)]
    return f"{', '.join(names[:4])}{', ...' if len(names) > 4 else ''}" if names else "an archive"


def not_there(root: Path, entry: DatasetEntry) -> str:
    """Say which official archives lie beside none of their names; empty where none does (all is unpacked)."""
    present = {path.name for path in archives(root)}
    absent = [name for name in entry.files if name not in present]
    return f"; not there: {', '.join(absent)}" if absent and len(absent) < len(entry.files) else ""


def absent(root: Path, source: DatasetSource, split: DatasetSplit) -> str:
    """Say that a split has no image at all, where they were expected, and what to do."""
    expected = list(dict.fromkeys(layout.images for layout in source.entry.layouts if split.split in layout.where))
    packed = packed_otherwise(root)
    advice = (
        f"unpack {packed[0]} first: it cannot be read in place"
        if packed
        else f"get {', '.join(source.entry.files) or 'it'} from {source.entry.home}"
    )
    layout = next(layout for layout in source.entry.layouts if split.split in layout.where)
    there = others_there(root, layout.images, values_for(layout, split))
    return (
        f"{root}: no image of {split.dataset} {split.split}; expected {' or '.join(expected)}, unpacked or in an "
        f"archive{there}{not_there(root, source.entry)}; {advice}"
    )


def expected_counts(entry: DatasetEntry, split: DatasetSplit) -> list[int]:
    """Return how many images a split, or a part of it, should have; empty where nothing is known."""
    counts = entry.counts.get(split.split, [])
    if len(split.only) == 1:
        ((place, values),) = split.only.items()
        known = entry.counts_of.get(split.split, {}).get(place, {})
        counts = [sum(known[value] for value in values)] if all(value in known for value in values) else []
    elif split.only:
        counts = []
    return counts if split.first is None else [min(count, split.first) for count in counts]


def shortfall(split: DatasetSplit, dataset: Sized, beside: Path, data_root: Path | None) -> str | None:
    """Return what is wrong with the number of images of a split; None where it is right or nothing is expected."""
    source = find_dataset(split.dataset, beside)
    expected = expected_counts(source.entry, split)
    if not expected or len(dataset) in expected:
        return None
    root = _root(source, split, data_root)
    return (
        f"{root}: {split.dataset} {split.split} has {len(dataset)} images, expected "
        f"{' or '.join(map(str, expected))}{not_there(root, source.entry)}"
    )
