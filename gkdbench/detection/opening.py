"""Opening a split of boxes: a dataset of the catalogue, a user's own VOC files, or a JSON as COCO has it."""

from collections.abc import Collection, Sequence
from itertools import islice
from pathlib import Path, PurePosixPath

from gkdbench.data.dataset import Opening
from gkdbench.data.files.archives import Member
from gkdbench.data.files.dataset import partners
from gkdbench.data.files.lists import chosen_by_lists
from gkdbench.data.files.opening import none_there, values_for
from gkdbench.data.files.tree import STEM, Key, Values, at, find, name_of, nearly
from gkdbench.data.readers import DatasetSplit
from gkdbench.detection.box_dataset import BoxFilesDataset
from gkdbench.detection.coco import read_coco
from gkdbench.detection.splits import CocoSplit, VocSplit
from gkdbench.detection.stated import ClassNames
from gkdbench.detection.voc import VocFiles
from gkdbench.errors import DataError, UsageError
from gkdbench.spec.box_labels import BoxLabels
from gkdbench.spec.dataset import PLACE, Layout
from gkdbench.spec.documents import nearest

SUFFIX = "suffix"
"""The placeholder that stands for what a picture's file name may end with."""
_MENTIONED = 5
"""Files that a message names at most."""
SUFFIXES = ("jpg", "jpeg", "png")


def open_layout(
    root: Path, layout: Layout, split: DatasetSplit, boxes: BoxLabels, opening: Opening, expected: str
) -> BoxFilesDataset | None:
    """Open the files of a layout of a dataset of the catalogue; None where it has no image of the split.

    expected: ends messages about what is missing.
    """
    stray = next((name for name in boxes.classes if name not in opening.labels.classes), None)
    if opening.labelled and stray is not None:
        raise UsageError(
            f"dataset {split.dataset!r}: class {stray!r} is none of the benchmark's"
            f"{nearest(stray, opening.labels.classes)}"
        )
    names = ClassNames.of(opening.labels.classes, boxes)
    annotations = layout.boxes if opening.labelled else None
    return _voc(
        root, layout.images, annotations, values_for(layout, split), layout.lists.get(split.split), names, boxes.clip,
        layout.bits, expected=expected,
    )  # fmt: skip


def open_voc(split: VocSplit, opening: Opening) -> BoxFilesDataset:
    """Pair images with annotations, which are read when an image is asked for; DataError where files are missing."""
    root, names = opening.root(split.root), ClassNames.of(opening.labels.classes, split)
    annotations = split.annotations if opening.labelled else None
    opened = _voc(
        root, split.images, annotations, split.only, split.listed, names, split.clip, split.bits, beside=opening.beside
    )
    if opened is None:
        raise DataError(f"{none_there(root, split.images, split.only)}; say in `images` where they lie")
    return opened


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
    if listing is not None:
        found = chosen_by_lists(found, root, listing, only, beside=beside, expected=expected)
    keys = [_without_suffix(key) for key in found]
    _each_once(keys, list(found.values()))
    files, without = None, 0
    if annotations is not None:
        wanted = only if listing is None else {**only, STEM: {dict(key)[STEM] for key in keys}}
        there = find(root, annotations, wanted)
        members, without = partners(root, annotations, keys, there, only, expected, what="annotation")
        files = VocFiles(members, names)
    shown = [name_of(key, only) for key in keys]
    return BoxFilesDataset(
        root, shown, list(found.values()), files, clip, (images, annotations, listing), shown,
        without_image=without if listing is None else 0, bits=bits,
    )  # fmt: skip


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


def open_coco(split: CocoSplit, opening: Opening) -> BoxFilesDataset:
    """Read the JSON whole, and find its images; DataError where files are missing."""
    root, names, labelled = opening.root(split.root), ClassNames.of(opening.labels.classes, split), opening.labelled
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
