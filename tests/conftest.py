"""A benchmark of generated photographs in the layout of CamVid, small enough to train on in seconds."""

import importlib
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest
import yaml
from hypothesis import settings
from numpy.typing import NDArray
from PIL import Image

# The same examples every time, and no failure because the machine was busy.
settings.register_profile("repeatable", derandomize=True, deadline=None)
settings.load_profile("repeatable")

TINY_SIZE = (32, 48)
"""Height and width of the generated images."""
TINY_CLASSES = ("sky", "road", "car")
TINY_IGNORED_ID = 11


@dataclass(frozen=True)
class TinyBenchmark:
    """A user's benchmark on disk: its YAML, the data it reads, and a way to write a changed YAML."""

    yaml: Path
    data_root: Path
    content: dict[str, Any]

    def rewrite(self, **changes: Any) -> Path:
        """Write the YAML anew with some keys replaced and return its path."""
        self.yaml.write_text(yaml.safe_dump({**self.content, **changes}, sort_keys=False))
        return self.yaml

    def image(self, name: str) -> Path:
        """Return the file of a labelled image, such as `train/0`."""
        return self.data_root / "town" / "images" / f"{name}.png"

    def label(self, name: str) -> Path:
        """Return the file of its labels."""
        return self.data_root / "town" / "labels" / f"{name}.png"


def save_ids(path: Path, ids: NDArray[np.integer], mode: str = "L") -> None:
    """Write label ids as a greyscale (L), palette (P) or 16-bit (I;16) PNG."""
    path.parent.mkdir(parents=True, exist_ok=True)
    if mode == "I;16":
        Image.fromarray(ids.astype(np.uint16)).save(path)
        return
    picture = Image.fromarray(ids.astype(np.uint8))
    if mode == "P":
        picture = picture.copy()
        # colours that have nothing to do with the ids: decoding to them would destroy the labels
        picture.putpalette([(37 * i + 5) % 256 for i in range(768)])
    picture.save(path)


@pytest.fixture(scope="session")
def write_ids() -> Callable[..., None]:
    """Return the writer of label files."""
    return save_ids


@pytest.fixture(scope="session")
def cityscapes_evaluator() -> ModuleType:
    """Return the official pixel-level evaluator of Cityscapes."""
    if not hasattr(np, "in1d"):  # removed from NumPy 2.4; the evaluator still asks for it
        np.in1d = np.isin  # type: ignore[attr-defined]
    judge = importlib.import_module("cityscapesscripts.evaluation.evalPixelLevelSemanticLabeling")
    judge.args.quiet, judge.args.JSONOutput, judge.args.evalInstLevelScore = True, False, False
    return judge


def _scene(rng: np.random.Generator) -> tuple[NDArray[np.uint8], NDArray[np.uint8]]:
    """Return an image and its ids: sky above, road below, a car somewhere, one ignored corner."""
    height, width = TINY_SIZE
    ids = np.zeros((height, width), np.uint8)
    ids[height // 2 :] = 1
    left = int(rng.integers(0, width - 10))
    ids[20:28, left : left + 10] = 2
    ids[:2, :2] = TINY_IGNORED_ID
    colours = np.array([[120, 160, 220], [90, 90, 90], [200, 40, 40]], np.int64)
    base = colours[np.minimum(ids, 2)] + rng.integers(-30, 30, (height, width, 3))
    return base.clip(0, 255).astype(np.uint8), ids


def _stage(**changes: Any) -> dict[str, Any]:
    return {
        "steps": 2, "batch": 2, "lr": 1.0e-3, "encoder_lr": 5.0e-4, "warmup": 1, "clip": 1.0,
        "size": list(TINY_SIZE), **changes,
    }  # fmt: skip


def make_content() -> dict[str, Any]:
    """Return the YAML content of the tiny benchmark."""
    labelled = {"reader": "folders", "root": "town", "images": "images", "labels": "labels"}
    preset = {
        "description": "seconds",
        "limits": {"proxy": 4},
        **{name: _stage() for name in ("proxy", "source", "task", "joint", "teacher")},
    }
    return {
        "name": "tiny",
        "version": 1,
        "title": "tiny town",
        "description": "generated images in folders",
        "task": "segmentation",
        "classes": list(TINY_CLASSES),
        "palette": [[0, 0, 255], [128, 128, 128], [255, 0, 0]],
        "label_map": {0: 0, 1: 1, 2: 2, TINY_IGNORED_ID: 255},
        "source": {
            "train": {**labelled, "list": "lists/train.txt"},
            "val": {**labelled, "list": "lists/val.txt"},
        },
        "proxy": {"reader": "folders", "root": "photos"},
        "targets": {
            "dusk": {**labelled, "list": "lists/dusk.txt"},
            "dawn": {**labelled, "list": "lists/dawn.txt"},
        },
        "how_to_get": "Nowhere: the tests draw it.",
        "default_setting": "f2l",
        "settings": {
            "f2l": {
                "description": "wide teaches narrow",
                "pairs": ["tiny-wide:tiny-narrow"],
                "teacher_method": "teacher",
            }
        },
        "decoder": {"name": "context", "width": 16, "reads": [0.5, 1.0]},
        "inference": {"size": list(TINY_SIZE), "batch": 2},
        "default_preset": "smoke",
        "presets": {"smoke": preset, "quick": {**preset, "joint": _stage(steps=4)}},
    }


def make_models() -> dict[str, Any]:
    """Return the content of the models.yaml beside it: two random ViTs of different width."""

    def vit(role: str, width: int) -> dict[str, Any]:
        return {
            "description": f"random ViT, {width} wide",
            "role": role,
            "timm": "vit_tiny_patch16_224",
            "arguments": {
                "embed_dim": width, "depth": 2, "num_heads": 2, "patch_size": 8, "img_size": list(TINY_SIZE),
            },
            "patch": 8,
            "weights": None,
            "licence": "none",
        }  # fmt: skip

    return {"models": {"tiny-wide": vit("foundation", 48), "tiny-narrow": vit("local", 32)}}


TINY_SPLITS = {
    "train": [f"train/{i}" for i in range(5)],
    "val": ["val/0", "val/1"],
    "dusk": ["test/0", "test/1", "test/2"],
    "dawn": ["test/3"],
}


@pytest.fixture
def tiny_content() -> dict[str, Any]:
    """Return the YAML content of the tiny benchmark, free to be changed."""
    return make_content()


@pytest.fixture
def tiny_benchmark(tmp_path: Path) -> TinyBenchmark:
    """Write the tiny benchmark: YAML, lists, models.yaml, labelled images and unlabelled photographs."""
    home, data = tmp_path / "benchmark", tmp_path / "data"
    (home / "lists").mkdir(parents=True)
    rng = np.random.default_rng(7)
    made = TinyBenchmark(home / "tiny.yaml", data, make_content())
    made.rewrite()
    (home / "models.yaml").write_text(yaml.safe_dump(make_models(), sort_keys=False))
    for split, names in TINY_SPLITS.items():
        (home / "lists" / f"{split}.txt").write_text("".join(f"{name}\n" for name in names))
        for name in names:
            image, ids = _scene(rng)
            made.image(name).parent.mkdir(parents=True, exist_ok=True)
            Image.fromarray(image).save(made.image(name))
            save_ids(made.label(name), ids, "P" if name.startswith("train") else "L")
    (data / "photos" / "more").mkdir(parents=True)
    for number in range(6):
        photograph = rng.integers(0, 255, (40, 56, 3)).astype(np.uint8)
        folder = data / "photos" / ("more" if number % 2 else "")
        Image.fromarray(photograph).save(folder / f"photo{number}.jpg")
    return made
