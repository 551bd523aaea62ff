"""Opening a split of boxes: a dataset of the catalogue, a user's own VOC files, or a JSON as COCO has it."""

from collections.abc import Collection, Sequence
from itertools import islice
from pathlib import Path, PurePosixPath

from gkdbench.data.files.archives import Member
from gkdbench.data.files.dataset import filled
from gkdbench.data.files.lists import Listed, read_lists
from gkdbench.data.files.opening import absent, below, find_split, not_there, refuse_other_release, values_for
from gkdbench.data.files.tree import STEM, Key, Values, at, find, name_of, nearly, others_there, values_of
from gkdbench.data.objects.box_dataset import BoxFilesDataset
from gkdbench.data.objects.coco import read_coco
from gkdbench.data.objects.stated import ClassNames
from gkdbench.data.objects.voc import VocFiles
from gkdbench.errors import DataError, UsageError
from gkdbench.spec.box_splits import CocoSplit, VocSplit
from gkdbench.spec.dataset import PLACE, DatasetSplit
from gkdbench.spec.dataset_catalogue import find_dataset
from gkdbench.spec.documents import nearest

SUFFIX = "suffix"
"""The placeholder that stands for what a picture's file name may end with."""
_MENTIONED = 5
"""Files that a message names at most."""
SUFFIXES = ("jpg", "jpeg", "png")


def open_boxes(
    split: VocSplit | CocoSplit | DatasetSplit,
    classes: Sequence[str],
    *,
    beside: Path,
    data_root: Path | None,
    how: str = "",
    labelled: bool = True,
) -> BoxFilesDataset:
    """Open a split whose files hold boxes of a benchmark's classes; DataError where files are missing.

    Annotations are paired with images and counted now, and read when an image is asked for; only a JSON is read whole.

    Args:
        split: what the benchmark says.
        classes: the benchmark's, in the order of their indices.
        beside: folder of the benchmark's YAML, where lists and datasets of a user's own may lie.
        data_root: folder of downloaded data.
        how: where a user finds the data; ends messages about missing folders.
        labelled: False leaves annotations alone, which then need not be there.
    """
    if isinstance(split, DatasetSplit):
        return _of_catalogue(split, classes, beside, data_root, labelled)
    root = below(data_root, split.root, how)
    names = ClassNames.of(classes, split)
    if isinstance(split, CocoSplit):
        return _coco(root, split, names, labelled)
    annotations = split.annotations if labelled else None
    opened = _voc(
        root, split.images, annotations, split.only, split.listed, names, split.clip, split.bits, beside=beside
    )
    if opened is None:
        raise DataError(_none_there(root, split))
    return opened


def has_boxes(split: DatasetSplit, beside: Path) -> bool:
    """Say whether a dataset of the catalogue holds boxes."""
    return find_dataset(split.dataset, beside).entry.boxes is not None


def _of_catalogue(
    split: DatasetSplit, classes: Sequence[str], beside: Path, data_root: Path | None, labelled: bool
) -> BoxFilesDataset:
    source, root = find_split(split, beside, data_root)
    entry = source.entry
    if entry.boxes is None:
        raise UsageError(f"dataset {split.dataset!r} has no boxes (gkdbench list datasets shows which has)")
    stray = next((name for name in entry.boxes.classes if name not in classes), None)
    if labelled and stray is not None:
        raise UsageError(
            f"dataset {split.dataset!r}: class {stray!r} is none of the benchmark's{nearest(stray, classes)}"
        )
    names = ClassNames.of(classes, entry.boxes)
    for layout in entry.layouts:
        if split.split not in layout.where:
            continue
        opened = _voc(
            root, layout.images, layout.boxes if labelled else None, values_for(layout, split),
            layout.lists.get(split.split), names, entry.boxes.clip, layout.bits, expected=not_there(root, entry),
        )  # fmt: skip
        if opened is not None:
            return opened.cut(split.first)
    refuse_other_release(root, entry, split)
    raise DataError(absent(root, source, split))


def _voc(
    root: Path,
    images: str,
    annotations: str | None,
    only: Values,
    listing: str | None,
    names: ClassNames,
    clip: bool,
    bits: int | None,
    *,
    beside: Path | None = None,
    expected: str = "",
) -> BoxFilesDataset | None:
    """Open the files of templates; None where there is no image at all."""
    if SUFFIX in PLACE.findall(images):
        only = {SUFFIX: SUFFIXES, **only}
    found = find(root, images, only)
    if not found:
        return None
    listed = None if listing is None else read_lists(root, listing, only, beside=beside, expected=expected)
    if listed is not None:
        found = listed.chosen(found, root)
    keys = [_without_suffix(key) for key in found]
    _each_once(keys, list(found.values()))
    files, without = None, 0
    if annotations is not None:
        wanted = only if listed is None else {**only, STEM: listed.stems}
        members, without = _annotations(root, annotations, wanted, keys, listed, expected)
        files = VocFiles(members, names)
    shown = [name_of(key, only) for key in keys]
    return BoxFilesDataset(
        root, shown, list(found.values()), files, clip, (images, annotations, listing), shown,
        without_image=without, bits=bits,
    )  # fmt: skip


def _annotations(
    root: Path, template: str, only: Values, keys: Sequence[Key], listed: Listed | None, expected: str
) -> tuple[list[Member], int]:
    """Return the annotation of every image, and how many there are without an image."""
    places = set(PLACE.findall(template))
    found = {frozenset(key): member for key, member in find(root, template, only).items()}
    wanted = [frozenset(pair for pair in key if pair[0] in places) for key in keys]
    missing = [key for key, pairs in zip(keys, wanted, strict=True) if pairs not in found]
    if missing:
        where = f"{root}" if listed is None else listed.line(missing[0])
        path = filled(template, dict(missing[0]))
        near = nearly(path, {filled(template, dict(pairs)): found[pairs] for pairs in found})
        there = others_there(root, template, only) if near is None else f"; {near} differs in case"
        raise DataError(
            f"{where}: no annotation for image {name_of(missing[0], only)!r} ({len(missing)} of {len(keys)} images "
            f"have none; expected {path} below {root}{there}){expected}; add what is missing, or take the images out"
        )
    return [found[pairs] for pairs in wanted], 0 if listed is not None else len(found.keys() - set(wanted))


def _without_suffix(key: Key) -> Key:
    return tuple(pair for pair in key if pair[0] != SUFFIX)


def _each_once(keys: Sequence[Key], members: Sequence[Member]) -> None:
    if len(set(keys)) == len(keys):
        return
    known: dict[Key, Member] = {}
    for key, member in zip(keys, members, strict=True):
        if key in known:
            name = name_of(key, {})
            raise DataError(f"{member}: a second image named {name!r}, besides {known[key]}; keep one of them")
        known[key] = member


def _none_there(root: Path, split: VocSplit) -> str:
    for place, values in split.only.items():
        there = values_of(root, split.images, place)
        if there:
            asked = f"{root}: no image {split.images} with {place} {' or '.join(values)}"
            return f"{asked}; there it is {', '.join(there[:8])}"
    others = others_there(root, split.images, split.only)
    where = f"neither unpacked nor in an archive{others}"
    return f"{root}: no image {split.images}, {where}; say in `images` where they lie"


def _coco(root: Path, split: CocoSplit, names: ClassNames, labelled: bool) -> BoxFilesDataset:
    document = at(root, [split.annotations]).get(split.annotations)
    if document is None:
        there = ", ".join(sorted(str(path.relative_to(root)) for path in islice(root.rglob("*.json"), _MENTIONED)))
        raise DataError(
            f"{root / split.annotations}: file of annotations not found, neither unpacked nor in an archive; say in "
            "`annotations` where it lies" + (f" (there is {there})" if there else "")
        )
    read = read_coco(document, names, labelled=labelled)
    paths = [str(PurePosixPath(split.images) / image.file) for image in read.images]
    found = at(root, paths)
    missing = [number for number, path in enumerate(paths) if path not in found]
    if missing:
        image, path = read.images[missing[0]], PurePosixPath(paths[missing[0]])
        beside = find(root, str(path.parent / "{file}"), {})
        near = nearly(path.name, {dict(key)["file"]: member for key, member in beside.items()})
        advice = "say in `images` where file names begin" if near is None else f"{near} differs in case"
        raise DataError(
            f"{image.place}: image {image.file!r} not found below {root / split.images} ({len(missing)} of "
            f"{len(paths)} missing); {advice}"
        )
    table = read.table if labelled else None
    return BoxFilesDataset(
        root, _short([image.file for image in read.images]), [found[path] for path in paths], table, split.clip,
        (split.images, split.annotations), [image.id for image in read.images], read.categories,
        bits=split.bits,
    )  # fmt: skip


def _short(files: Collection[str]) -> list[str]:
    """Return file names without their suffix, where that leaves them different."""
    short = [str(PurePosixPath(file).with_suffix("")) for file in files]
    return short if len(set(short)) == len(short) else list(files)
