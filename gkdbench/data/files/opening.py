"""Opening a split of files: its root below the data root, the layout that lies there, what the labels mean."""

import os
from dataclasses import replace
from pathlib import Path
from posixpath import normpath

from gkdbench.data.dataset import Absent, Dataset, Opening
from gkdbench.data.files.archives import COMPRESSED_TARS
from gkdbench.data.files.dataset import FilesDataset, NoLabels, open_files, partners
from gkdbench.data.files.label_map import meaning
from gkdbench.data.files.lists import chosen_by_lists
from gkdbench.data.files.tiles import TiledDataset
from gkdbench.data.files.tree import Values, archives, find, find_below, name_of, others_there, values_of
from gkdbench.data.files.variants import HalvedDataset
from gkdbench.data.readers import DatasetSplit, FilesSplit, FolderSplit
from gkdbench.errors import DataError, UsageError
from gkdbench.spec.dataset import DatasetEntry, Layout
from gkdbench.spec.dataset_catalogue import DatasetSource, find_dataset
from gkdbench.spec.documents import nearest

IMAGES, LABELS = (".png", ".jpg", ".jpeg"), (".png",)
"""What counts below folders."""


def open_dataset(split: DatasetSplit, opening: Opening) -> Dataset:
    """Open a split of a dataset of the catalogue; DataError where it is not there or is another release."""
    source = find_dataset(split.dataset, opening.beside)
    entry = source.entry
    if entry.counts and split.split not in entry.counts:
        known = entry.counts
        raise UsageError(
            f"dataset {split.dataset!r} has no split {split.split!r}{nearest(split.split, known)} (known: "
            f"{', '.join(known)})"
        )
    root = _root(source, split, opening)
    layouts = [layout for layout in entry.layouts if split.split in layout.where]
    unlabelled: NoLabels | None = None
    for layout in layouts:
        try:
            opened = _open_layout(root, layout, split, entry, opening)
        except NoLabels as error:
            unlabelled = unlabelled or error
            continue
        if opened is not None:
            return opened.cut(split.first)
    only = values_for(layouts[0], split) if layouts else {}
    for template, said in entry.wrong.items():
        if find(root, template, only):
            raise DataError(f"{root}: {said}")
    if unlabelled is not None:
        raise unlabelled
    images = layouts[0].images if layouts else split.split
    said = f"{none_there(root, images, only)}{not_there(root, entry)}"
    raise Absent(f"{said}; for {split.dataset} {split.split} get {', '.join(entry.files) or 'it'} from {entry.home}")


def _open_layout(
    root: Path, layout: Layout, split: DatasetSplit, entry: DatasetEntry, opening: Opening
) -> Dataset | None:
    """Open the files of a layout; None where it has no image of the split."""
    if entry.boxes is not None:
        from gkdbench.detection.opening import open_layout

        boxed = open_layout(root, layout, split, entry.boxes, opening, not_there(root, entry))
        return boxed and replace(boxed, doubts=_doubts(root, split, entry, len(boxed), opening.beside))
    labels, whose = layout.means or entry.labels, f"dataset {split.dataset!r}"
    found = open_files(
        root,
        layout,
        values_for(layout, split),
        label_map=meaning(labels, opening.labels, whose) if labels and opening.labelled else None,
        listing=layout.lists.get(split.split),
        expected=not_there(root, entry),
    )
    if found is None:
        return None
    opened: FilesDataset | TiledDataset = found
    if layout.tile is not None:
        opened = TiledDataset.of(found, layout.tile, opening.place.cache_folder() / "decoded")
    opened = replace(opened, doubts=_doubts(root, split, entry, len(opened), opening.beside))
    return opened if layout.half is None else HalvedDataset(opened, layout.half.jpeg_quality)


def _doubts(root: Path, split: DatasetSplit, entry: DatasetEntry, count: int, beside: Path) -> list[str]:
    """Return what is wrong with the number of images of a whole split, if anything is."""
    expected = split.model_copy(update={"first": None}).expected(beside)
    if not expected or count in expected:
        return []
    return [
        f"{root}: {split.dataset} {split.split} has {count} images, expected {' or '.join(map(str, expected))}"
        f"{not_there(root, entry)}; "
        f"{'get or unpack the rest' if count < min(expected) else 'keep the files of one release alone'} ({entry.home})"
    ]


def values_for(layout: Layout, split: DatasetSplit) -> dict[str, list[str]]:
    """Return placeholder -> values of a split, or of the part that is asked for; UsageError for an unknown value."""
    only = dict(layout.where[split.split])
    for place, values in split.only.items():
        where = f"dataset {split.dataset!r}: only.{place}"
        if f"{{{place}}}" not in layout.images:
            raise UsageError(f"{where}: its layout {layout.name!r} has no placeholder {place!r} ({layout.images})")
        known = only.get(place, values)
        stray = next((value for value in values if value not in known), None)
        if stray is not None:
            raise UsageError(f"{where}: no {stray!r}{nearest(stray, known)} (known: {', '.join(known)})")
        only[place] = values
    return only


def open_own(split: FilesSplit, opening: Opening) -> FilesDataset:
    """Open files that a user's benchmark names; DataError where there are none."""
    root = opening.root(split.root)
    layout = Layout(name="files", images=split.images, labels=split.labels, bits=split.bits)
    wanted = split.labels is not None and opening.labelled
    label_map = meaning(split.means, opening.labels, f"means of {split.root}/{split.labels}") if wanted else None
    opened = open_files(root, layout, split.only, label_map=label_map)
    if opened is None:
        raise DataError(none_there(root, split.images, split.only) + opening.how)
    return opened


def open_folders(split: FolderSplit, opening: Opening) -> FilesDataset:
    """Pair all images below a folder, or those of a list, with labels of the same relative names."""
    root = opening.root(split.root)
    template = normpath(f"{split.images}/{{stem}}.png")
    images = find_below(_folder(root / split.images, "image folder", opening), IMAGES)
    if not images:
        there = others_there(root, template, {})
        raise DataError(f"{root / split.images}: no PNG or JPEG images{there}; is the data unpacked there?")
    if split.list is not None:
        images = chosen_by_lists(images, root, split.list, {}, beside=opening.beside)
    label_files, label_map, without = None, None, 0
    if split.labels is not None and opening.labelled:
        found = find_below(_folder(root / split.labels, "label folder", opening), LABELS)
        template = normpath(f"{split.labels}/{{stem}}.png")
        label_files, without = partners(root, template, list(images), found, {})
        label_map = meaning(None, opening.labels, split.root)
    return FilesDataset(
        root,
        [name_of(key, {}) for key in images],
        list(images.values()),
        label_files,
        label_map=label_map,
        without_image=without if split.list is None else 0,
        templates=("folders",),
        bits=split.bits,
    )


def _folder(path: Path, what: str, opening: Opening) -> Path:
    if not path.is_dir():
        raise DataError(f"{path}: {what} not found{opening.how}")
    return path


def none_there(root: Path, template: str, only: Values) -> str:
    """Say that a template finds no image, and what lies there instead."""
    for place, values in only.items():
        there = values_of(root, template, place)
        if there:
            asked = f"{root}: no image {template!r} with {place} {' or '.join(values)}"
            return f"{asked}; there it is {', '.join(there[:8])}{', ...' if len(there) > 8 else ''}"
    names = [path.name for path in archives(root)]
    packed = f"{', '.join(names[:4])}{', ...' if len(names) > 4 else ''}" if names else "an archive"
    closed = sorted(entry.name for entry in os.scandir(root) if entry.name.lower().endswith(COMPRESSED_TARS))
    advice = f"; unpack {closed[0]} first: it cannot be read in place" if closed else ""
    others = others_there(root, template, only)
    return f"{root}: no image {template!r}, neither unpacked nor in {packed}{others}{advice}"


def _root(source: DatasetSource, split: DatasetSplit, opening: Opening) -> Path:
    how = f"{source.entry.title}: get it from {source.entry.home}; gkdbench list datasets {source.name} says how"
    names = [split.root] if split.root is not None else source.entry.roots
    data_root = opening.place.root(f"dataset {source.name!r}", how)
    found = next((data_root / name for name in names if (data_root / name).is_dir()), None)
    if found is None:
        raise Absent(f"{data_root}: no folder {' or '.join(names)} for dataset {source.name!r}; {how}")
    return found


def not_there(root: Path, entry: DatasetEntry) -> str:
    """Say which official archives lie beside none of their names; empty where none does (all is unpacked)."""
    present = {path.name for path in archives(root)}
    absent = [name for name in entry.files if name not in present]
    return f"; not there: {', '.join(absent)}" if absent and len(absent) < len(entry.files) else ""
