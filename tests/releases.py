"""Small imitations of official releases, written as their specifications say: paths, encodings, archives."""

import io
import tarfile
import zipfile
from collections.abc import Callable, Mapping
from pathlib import Path

import cv2
import numpy as np
from PIL import Image

SIZE = (12, 20)
URBAN = (
    "road", "sidewalk", "building", "wall", "fence", "pole", "traffic light", "traffic sign", "vegetation", "terrain",
    "sky", "person", "rider", "car", "truck", "bus", "train", "motorcycle", "bicycle",
)  # fmt: skip
CITYSCAPES_IDS = (7, 8, 11, 12, 13, 17, 19, 20, 21, 22, 23, 24, 25, 26, 27, 28, 31, 32, 33)
SYNTHIA_IDS = (3, 4, 2, 21, 5, 7, 15, 9, 6, 16, 1, 10, 17, 8, 18, 19, 20, 12, 11)
IGNORE = 255


def photo(seed: int, size: tuple[int, int] = SIZE) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, (*size, 3), dtype=np.uint8)


def classes(seed: int, count: int, size: tuple[int, int] = SIZE) -> np.ndarray:
    """Class indices with an ignored column on the left."""
    found = np.random.default_rng([seed, 7]).integers(0, count, size).astype(np.uint8)
    found[:, 0] = IGNORE
    return found


def encoded(wanted: np.ndarray, ids, void: int) -> np.ndarray:
    table = np.full(256, void, np.uint16)
    table[: len(ids)] = ids
    return table[wanted]


def picture(array: np.ndarray, form: str = "PNG", palette: bool = False) -> bytes:
    made = Image.fromarray(array)
    if palette:
        made = made.convert("L")
        made.putpalette([(37 * i) % 256 for i in range(768)])  # colours that say nothing
    stream = io.BytesIO()
    made.save(stream, format=form, **({"quality": 95} if form == "JPEG" else {}))
    return stream.getvalue()


def sixteen(ids: np.ndarray) -> bytes:
    """A PNG of three 16-bit channels, the ids in the red one."""
    rest = np.full_like(ids, 4711)
    return cv2.imencode(".png", np.stack([rest, rest, ids], axis=-1))[1].tobytes()  # blue, green, red


def coloured(wanted: np.ndarray, colours, void=(0, 0, 0), alpha: bool = False) -> np.ndarray:
    table = np.zeros((256, 3), np.uint8)
    table[:] = void
    table[: len(colours)] = colours
    found = table[wanted]
    return np.dstack([found, np.full(wanted.shape, 255, np.uint8)]) if alpha else found


def unpacked(root: Path, files: Mapping[str, bytes]) -> None:
    for name, content in files.items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)


def zipped(path: Path, files: Mapping[str, bytes], before: str = "") -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    with zipfile.ZipFile(path, "w") as archive:
        for name, content in files.items():
            archive.writestr(before + name, content)


def tarred(path: Path, files: Mapping[str, bytes]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(tar_bytes(files))


def tar_bytes(files: Mapping[str, bytes]) -> bytes:
    stream = io.BytesIO()
    with tarfile.open(fileobj=stream, mode="w:") as archive:
        for name, content in files.items():
            info = tarfile.TarInfo(name)
            info.size = len(content)
            archive.addfile(info, io.BytesIO(content))
    return stream.getvalue()


def by_top(files: Mapping[str, bytes], of: Callable[[str], str]) -> dict[str, dict[str, bytes]]:
    """Sort files into archives by a function of their path."""
    found: dict[str, dict[str, bytes]] = {}
    for name, content in files.items():
        found.setdefault(of(name), {})[name] = content
    return found
