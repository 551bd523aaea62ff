"""A dataset of a user's own catalogue: two parts of generated images, as files or archives."""

import io
import zipfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import yaml
from PIL import Image

SIZE = (16, 24)
COUNTS = {"train": 4, "val": 3}
ENTRY: dict[str, Any] = {
    "title": "towns",
    "home": "https://towns.invalid",
    "licence": "none",
    "files": {"images.zip": "", "labels.zip": ""},
    "roots": ["towns"],
    "labels": {"classes": {"sky": [0], "road": [1], "car": [2]}, "ignored": [11]},
    "layouts": [
        {
            "name": "official",
            "images": "images/{part}/{stem}.png",
            "labels": "labels/{part}/{stem}.png",
            "where": {name: {"part": [name]} for name in COUNTS},
        }
    ],
    "counts": {name: [count] for name, count in COUNTS.items()},
}


def png(array: np.ndarray) -> bytes:
    stream = io.BytesIO()
    Image.fromarray(array).save(stream, format="PNG")
    return stream.getvalue()


def image(seed: int, size: tuple[int, int] = SIZE) -> bytes:
    return png(np.random.default_rng(seed).integers(0, 256, (*size, 3), dtype=np.uint8))


def label(seed: int, size: tuple[int, int] = SIZE, value: int | None = None) -> bytes:
    ids = np.random.default_rng([seed, 1]).integers(0, 3, size, dtype=np.uint8)
    return png(ids if value is None else np.full_like(ids, value))


@dataclass(frozen=True)
class Towns:
    """The catalogue's file and the data."""

    catalogue: Path
    data_root: Path

    @property
    def root(self) -> Path:
        """Where the data lies."""
        return self.data_root / "towns"

    def file(self, kind: str, name: str) -> Path:
        """Return a file, such as ("labels", "val/1")."""
        return self.root / kind / f"{name}.png"

    def define(self, **changes: Any) -> None:
        """Write the entry anew with some keys replaced."""
        self.catalogue.parent.mkdir(parents=True, exist_ok=True)
        self.catalogue.write_text(yaml.safe_dump({"datasets": {"towns": {**ENTRY, **changes}}}, sort_keys=False))


def files() -> dict[str, bytes]:
    """Return the content of every file."""
    found = {}
    for number, (part, count) in enumerate(COUNTS.items()):
        for n in range(count):
            found[f"images/{part}/{n}.png"] = image(10 * number + n)
            found[f"labels/{part}/{n}.png"] = label(10 * number + n)
    return found


def make_towns(folder: Path, content: Mapping[str, bytes] | None = None) -> Towns:
    """Write entry and data below a folder, the entry where a benchmark in `folder / "benchmark"` finds it."""
    made = Towns(folder / "benchmark" / "datasets" / "towns.yaml", folder / "data")
    made.define()
    for name, one in (files() if content is None else content).items():
        path = made.root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(one)
    made.root.mkdir(parents=True, exist_ok=True)
    return made


def zipped(path: Path, content: Mapping[str, bytes]) -> None:
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, one in content.items():
            archive.writestr(name, one)
