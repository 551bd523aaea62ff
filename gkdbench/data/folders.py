"""Images and label PNGs in folders: pairs found and checked at opening, ids mapped on load.

A label file is one channel of ids (greyscale or palette: the palette's colours are never looked at). Every
problem is one line that names the file.
"""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image as Pillow
from PIL import UnidentifiedImageError

from gkdbench.data.files.archives import Member
from gkdbench.data.files.hashes import Contents
from gkdbench.errors import DataError
from gkdbench.spec.benchmark import FolderSplit
from gkdbench.spec.documents import read_text

SUFFIXES = (".png", ".jpg", ".jpeg")
ID_MODES = ("L", "P", "I;16", "I", "1")


@dataclass(frozen=True)
class FolderDataset:
    """Pairs of image and label files."""

    root: Path
    names: Sequence[str]
    images: Sequence[Path]
    label_files: Sequence[Path] | None
    lookup: NDArray[np.int32] = field(repr=False)
    """Label id -> class index, the ignore value, or -1 for an id outside the map; [65536]."""
    ignore: int

    @classmethod
    def open(
        cls,
        split: FolderSplit,
        *,
        data_root: Path | None,
        beside: Path,
        label_map: Mapping[int, int] | None,
        num_classes: int,
        ignore: int,
        limit: int | None,
        how_to_get: str,
    ) -> "FolderDataset":
        """Find all files of a split; a missing folder, image or label is an error now, not later."""
        root = _find_root(split, data_root, how_to_get)
        folder = _folder(root / split.images, "image folder", how_to_get)
        names, images = _images(split, root, folder, beside)
        label_files = None
        if split.labels is not None:
            labels = _folder(root / split.labels, "label folder", how_to_get)
            label_files = [labels / f"{name}.png" for name in names]
            missing = [path for path in label_files if not path.is_file()]
            if missing:
                raise DataError(
                    f"{missing[0]}: no label file for image {names[label_files.index(missing[0])]!r}"
                    f" ({len(missing)} of {len(names)} images of {split.labels!r} have none); add what is missing, or"
                    " name the others in a list"
                )
        cut = slice(limit)
        lookup = _lookup(label_map, num_classes, ignore)
        return cls(
            root, names[cut], images[cut], label_files and label_files[cut], lookup, ignore
        )

    def __len__(self) -> int:
        return len(self.names)

    def name(self, index: int) -> str:
        """Return the image's relative name without suffix."""
        return self.names[index]

    def identity(self, contents: Contents) -> list[object]:
        """Return what images and labels are, for a digest: names and sizes, what labels hold, and what it means."""
        images = [[name, path.stat().st_size] for name, path in zip(self.names, self.images, strict=True)]
        if self.label_files is None:
            return ["folders", images]
        labels = [Member(path.name, path.stat().st_size, path) for path in self.label_files]
        known = np.flatnonzero(self.lookup >= 0)
        return ["folders", images, contents(labels), known.tolist(), self.lookup[known].tolist(), self.ignore]

    def image(self, index: int) -> NDArray[np.uint8]:
        """Return an RGB image, uint8 [H, W, 3]."""
        path = self.images[index]
        picture = _read(path)
        if picture.mode.startswith(("I", "F")):
            # Pillow would cut everything above 255 to white
            raise DataError(f"{path}: images have 8 bits per channel, this one has mode {picture.mode!r}")
        return np.array(picture.convert("RGB"))

    def labels(self, index: int) -> NDArray[np.uint8] | None:
        """Return class indices or the ignore value, uint8 [H, W]; the size must equal the image's."""
        if self.label_files is None:
            return None
        path = self.label_files[index]
        picture = _read(path)
        if picture.mode not in ID_MODES:
            raise DataError(
                f"{path}: label files hold one id per pixel, this one has mode {picture.mode!r}: colours in place "
                "of ids? Write the class ids as a greyscale PNG"
            )
        ids = np.asarray(picture).astype(np.int64)
        width, height = _size(self.images[index])
        if ids.shape != (height, width):
            raise DataError(
                f"{path}: label of {ids.shape[1]}x{ids.shape[0]} pixels for an image of "
                f"{width}x{height} ({self.images[index]}); get both from one release"
            )
        mapped = self.lookup[ids] if ids.size and ids.min() >= 0 and ids.max() < 65536 else None
        if mapped is None or (mapped < 0).any():
            bad = ids[(ids < 0) | (ids > 65535)] if mapped is None else ids[mapped < 0]
            raise DataError(
                f"{path}: label id {bad.flat[0]} is not in the label map ({bad.size} pixels); "
                "add it to label_map, or map it to the ignore value"
            )
        return mapped.astype(np.uint8)


def _find_root(split: FolderSplit, data_root: Path | None, how_to_get: str) -> Path:
    hint = f"; {' '.join(how_to_get.split())}" if how_to_get else ""
    if data_root is None:
        raise DataError(
            f"this benchmark reads {split.root!r} below a data root: give --data-root DIR "
            f"or set GKDBENCH_DATA{hint}"
        )
    if not data_root.is_dir():
        raise DataError(f"--data-root {data_root}: no such folder{hint}")
    return _folder(data_root / split.root, "dataset folder", how_to_get)


def _folder(path: Path, what: str, how_to_get: str) -> Path:
    if not path.is_dir():
        hint = f"; {' '.join(how_to_get.split())}" if how_to_get else ""
        raise DataError(f"{path}: {what} not found{hint}")
    return path


def _images(
    split: FolderSplit, root: Path, folder: Path, beside: Path
) -> tuple[list[str], list[Path]]:
    """Return relative names without suffix and image files, in list order or sorted."""
    present: dict[str, Path] = {}
    for path in sorted(folder.rglob("*")):
        if path.suffix.lower() in SUFFIXES:
            name = path.relative_to(folder).with_suffix("").as_posix()
            if name in present:
                raise DataError(f"{path}: a second image named {name!r} beside {present[name].name}; keep one of them")
            present[name] = path
    if split.list is None:
        if not present:
            raise DataError(f"{folder}: no PNG or JPEG images; is the data unpacked there?")
        return list(present), list(present.values())
    list_file = next((d / split.list for d in (root, beside) if (d / split.list).is_file()), None)
    if list_file is None:
        raise DataError(f"{root / split.list}: list of images not found (nor beside the YAML)")
    lines = read_text(list_file).removeprefix("\ufeff").splitlines()
    names = [line.strip() for line in lines if line.strip() and not line.startswith("#")]
    twice = next((name for name in names if names.count(name) > 1), None) if len(set(names)) < len(names) else None
    if twice is not None:
        raise DataError(f"{list_file}: the list names {twice!r} twice")
    if not names:
        raise DataError(f"{list_file}: the list names no image")
    missing = [name for name in names if name not in present]
    if missing:
        raise DataError(
            f"{folder / missing[0]}: image named by {list_file} not found "
            f"({len(missing)} of {len(names)} missing)"
        )
    return names, [present[name] for name in names]


def _lookup(
    label_map: Mapping[int, int] | None, num_classes: int, ignore: int
) -> NDArray[np.int32]:
    table = np.full(65536, -1, np.int32)
    table[ignore] = ignore
    pairs = label_map if label_map is not None else {index: index for index in range(num_classes)}
    for label, index in pairs.items():
        table[label] = index
    return table


@contextmanager
def _clear_errors(path: Path) -> Iterator[None]:
    try:
        yield
    except (OSError, UnidentifiedImageError, SyntaxError, ValueError, Pillow.DecompressionBombError) as error:
        raise DataError(f"{path}: cannot be read as an image ({error}); get the file again") from error


def _read(path: Path) -> Pillow.Image:
    with _clear_errors(path), Pillow.open(path) as picture:
        picture.load()
        return picture


def _size(path: Path) -> tuple[int, int]:
    with _clear_errors(path), Pillow.open(path) as picture:
        return picture.size
