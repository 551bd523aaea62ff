"""Images and label PNGs in folders: all images below one folder, or those of a list, paired by relative name."""

from collections.abc import Mapping
from pathlib import Path

from gkdbench.data.dataset import Opening
from gkdbench.data.files.archives import Member
from gkdbench.data.files.dataset import FilesDataset
from gkdbench.data.files.label_map import meaning
from gkdbench.data.files.tree import files_below, nearly, normal, others_said
from gkdbench.data.readers import FolderSplit
from gkdbench.errors import DataError
from gkdbench.spec.documents import read_text

SUFFIXES = (".png", ".jpg", ".jpeg")
LABEL_SUFFIXES = (".png",)


def open_folders(split: FolderSplit, opening: Opening) -> FilesDataset:
    """Find all files of a split; a missing folder, image or label is an error now, not later."""
    root, hint = opening.root(split.root), opening.how
    images = _chosen(split, root, _folder(root / split.images, "image folder", hint), opening.beside)
    label_files, label_map, without = None, None, 0
    if split.labels is not None and opening.labelled:
        found = _below(_folder(root / split.labels, "label folder", hint), LABEL_SUFFIXES)
        label_files = _labels(root, split.labels, images, found)
        _, label_map = meaning(None, opening.labels, split.root)
        without = len(found.keys() - images.keys()) if split.list is None else 0
    return FilesDataset(
        root, list(images), list(images.values()), label_files, "ids", label_map, without_image=without,
        templates=("folders",), bits=split.bits,
    )  # fmt: skip


def _folder(path: Path, what: str, hint: str) -> Path:
    if path.is_dir():
        return path
    beside = path.parent.iterdir() if path.parent.is_dir() else ()
    near = next((one for one in beside if normal(one.name).casefold() == normal(path.name).casefold()), None)
    raise DataError(f"{path}: {what} not found{f'; there is {near.name!r}' if near is not None else ''}{hint}")


def _below(folder: Path, suffixes: tuple[str, ...]) -> dict[str, Member]:
    """Return the files of these kinds below a folder by their relative names without suffix."""
    found: dict[str, Member] = {}
    for member in files_below(folder):
        path = Path(member.path)
        if path.suffix.lower() in suffixes:
            name = normal(path.with_suffix("").as_posix())
            if name in found:
                raise DataError(f"{member}: a second file named {name!r}, besides {found[name]}; keep one of them")
            found[name] = member
    return found


def _labels(root: Path, folder: str, images: Mapping[str, Member], found: Mapping[str, Member]) -> list[Member]:
    """Return the label file of every image."""
    missing = [name for name in images if name not in found]
    if missing:
        near = nearly(missing[0], found)
        there = others_said(root / folder, LABEL_SUFFIXES) if near is None else f"; {near} differs in case"
        raise DataError(
            f"{root / folder / missing[0]}.png: no label file for image {missing[0]!r} ({len(missing)} of "
            f"{len(images)} images of {folder!r} have none){there}; add what is missing, or name the others in a list"
        )
    return [found[name] for name in images]


def _chosen(split: FolderSplit, root: Path, folder: Path, beside: Path) -> dict[str, Member]:
    """Return the images by name: those below the folder in order of their paths, or the list's in its order."""
    present = _below(folder, SUFFIXES)
    if split.list is None:
        if not present:
            said = others_said(folder, SUFFIXES)
            raise DataError(f"{folder}: no PNG or JPEG images{said}; is the data unpacked there?")
        return present
    list_file = next((d / split.list for d in (root, beside) if (d / split.list).is_file()), None)
    if list_file is None:
        raise DataError(f"{root / split.list}: list of images not found (nor beside the YAML)")
    lines = [normal(line.strip()) for line in read_text(list_file).splitlines() if not line.startswith("#")]
    names = [line for line in lines if line]
    twice = next((name for name in names if names.count(name) > 1), None) if len(set(names)) < len(names) else None
    if twice is not None:
        raise DataError(f"{list_file}: the list names {twice!r} twice")
    if not names:
        raise DataError(f"{list_file}: the list names no image")
    missing = [name for name in names if name not in present]
    if missing:
        near = nearly(missing[0], present)
        raise DataError(
            f"{folder / missing[0]}: image named by {list_file} not found ({len(missing)} of {len(names)} missing)"
            f"{f'; {near} differs in case' if near is not None else ''}"
        )
    return {name: present[name] for name in names}
