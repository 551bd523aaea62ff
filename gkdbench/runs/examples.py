"""A few images of every split with their truth, prediction and features, as small files beside the record.

    examples/examples.json      what the files are, by which rule the images were chosen, classes and colours
    examples/NN-image.png       the image (.jpg where it is large)
    examples/NN-truth.png       class ids as a palette PNG, the ignore value included
    examples/NN-prediction.png  likewise
    examples/NN-features.png    the encoder's last feature map of the image, three main directions as RGB

Of a detector the index holds truth and prediction itself, as `boxes` of each example: lists of x0, y0, x1, y1 in the
image's own pixels, class number, and whether it is difficult (truth) or its score (prediction).

Images are chosen before anything is predicted, by their names alone: every run on the same splits shows the same ones.
The index is written last and taken away first: where it is, all files are.
"""

import hashlib
import io
import re
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from gkdbench.data.dataset import Dataset
from gkdbench.models.encoder import Encoder
from gkdbench.models.feature_picture import fitted, token_colours
from gkdbench.runs.files import clear_errors, make_folder, write_atomically, write_json
from gkdbench.runs.scoring import corruptions
from gkdbench.runs.tasks import room_of
from gkdbench.spec.benchmark import Benchmark

FOLDER, INDEX = "examples", "examples.json"
SCHEMA = 1
PER_SPLIT = 2
MOST = 24
"""Images of a run: with more splits than half of it each shows one, with more than that only some do."""
MOST_CORRUPTED = 4
"""Of targets that are the in-domain images, corrupted, so many show any: they may be 75 and show the same images."""
LONGEST_PX = 512
"""Longer side of a picture."""
SMALL_PX = 2**15
"""Pixels of a picture up to which it is written without loss."""
_JPEG_QUALITY = 88
_IGNORED = (255, 255, 255)
_OWN = re.compile(r"[0-9]{2,}-(image|truth|prediction|features)\.(png|jpg)")
"""Names that this module gives its files."""
FEATURES = (
    "patch tokens after the encoder's last norm (the last feature map of a hierarchical encoder) of the whole image, "
    "resized to what the encoder is fitted to; projected on the three main directions of the tokens of all images "
    "here, each direction's largest loading positive, its middle 98 % stretched to 0..255"
)


@dataclass
class _Example:
    split: str
    image: str
    size: tuple[int, int]
    """Height and width of the image itself."""
    seen: NDArray[np.uint8]
    """The image at the encoder's size."""
    files: dict[str, tuple[str, bytes]] = field(default_factory=dict)
    """By what they show: suffix and content."""
    facts: dict[str, Any] = field(default_factory=dict)
    """What the index says besides."""


class Examples:
    """The examples of one run, gathered split by split while it is judged."""

    def __init__(self, benchmark: Benchmark, splits: Sequence[str]) -> None:
        self._benchmark = benchmark
        made = corruptions(benchmark.targets, benchmark)
        self._shares = shares(splits, [split for split in splits if split in made])
        self._rule = _rule(self._shares, splits, made)
        self._found: list[_Example] = []

    def choose(self, split: str, dataset: Dataset) -> list[int]:
        """Return the numbers of the images that a split shows, those of the smallest hashes of their names."""
        count = self._shares.get(split, 0)
        if not count:
            return []
        return _by_name(range(len(dataset)), dataset)[:count]

    def add(
        self, split: str, dataset: Dataset, predictions: Mapping[int, Any], encoder: Encoder
    ) -> None:
        """Take in a split's chosen images with what was predicted for them, by number."""
        for index in _by_name(predictions, dataset):
            image, found = dataset.image(index), predictions[index]
            height, width = image.shape[:2]
            example = _Example(split, dataset.name(index), (height, width), self._seen(image, encoder))
            example.files["image"] = _image_file(image)
            shown = room_of(self._benchmark).shown(dataset, index, found)
            example.files |= {what: self._label_file(labels) for what, labels in shown.maps.items()}
            example.facts |= shown.facts
            self._found.append(example)

    def draw_features(self, encoder: Encoder) -> None:
        """Add the pictures of the encoder's features: one pass over the chosen images.

        Raises ValueError where the encoder's output cannot be drawn.
        """
        drawn = token_colours(encoder, (one.seen for one in self._found))
        for example, colours in zip(self._found, drawn, strict=True):
            example.files["features"] = ("png", _encoded(Image.fromarray(colours)))

    def write(self, folder: Path, *, model: str, trained: bool) -> None:
        """Write all files to a run's folder.

        Args:
            folder: the run's.
            model: student or teacher, whichever the run judged.
            trained: whether the run trained the model's encoder.
        """
        home = make_folder(folder / FOLDER)
        index = home / INDEX
        with clear_errors(index):
            index.unlink(missing_ok=True)
            for old in list(home.iterdir()):
                if _OWN.fullmatch(old.name):
                    old.unlink()
        entries = []
        for number, example in enumerate(self._found):
            names = {}
            for kind, (suffix, content) in example.files.items():
                names[kind] = f"{number:02}-{kind}.{suffix}"
                _write(home / names[kind], content)
            about = {"split": example.split, "image": example.image, "size": list(example.size)}
            entries.append({**about, "files": names, **example.facts})
        write_json(index, {**self._description(model, trained), "examples": entries})

    def _description(self, model: str, trained: bool) -> dict[str, Any]:
        benchmark = self._benchmark
        return {
            "schema": SCHEMA,
            "task": benchmark.task,
            "rule": self._rule,
            "features": FEATURES,
            "encoder": {"model": model, "trained": trained},
            "classes": list(benchmark.classes),
            "palette": [list(colour) for colour in benchmark.palette],
            "ignore": benchmark.ignore,
        }

    def _seen(self, image: NDArray[np.uint8], encoder: Encoder) -> NDArray[np.uint8]:
        return np.asarray(fitted(encoder, Image.fromarray(np.ascontiguousarray(image))))

    def _label_file(self, labels: NDArray[np.uint8]) -> tuple[str, bytes]:
        """Return class ids as a palette PNG: whoever opens it sees the benchmark's colours."""
        picture = Image.fromarray(np.ascontiguousarray(labels))
        picture = picture.resize(_bounded(picture.size), Image.Resampling.NEAREST)
        colours = [_IGNORED] * 256
        colours[: len(self._benchmark.palette)] = self._benchmark.palette
        last = int(np.asarray(picture).max(initial=0))
        picture.putpalette([channel for colour in colours[: last + 1] for channel in colour])
        return "png", _encoded(picture)


def shares(splits: Sequence[str], corrupted: Collection[str] = ()) -> dict[str, int]:
    """Return how many images each split shows; those that are corruptions show few between them."""
    few = _spread([split for split in splits if split in corrupted], MOST_CORRUPTED)
    chosen = [split for split in splits if split not in corrupted or split in few]
    if len(chosen) * PER_SPLIT <= MOST:
        return dict.fromkeys(chosen, PER_SPLIT)
    return dict.fromkeys(_spread(chosen, MOST), 1)


def _spread(splits: Sequence[str], most: int) -> Sequence[str]:
    """Return at most so many, evenly spaced, the first and the last among them."""
    if len(splits) <= most:
        return splits
    return [splits[step * (len(splits) - 1) // (most - 1)] for step in range(most)]


def _rule(shown: Mapping[str, int], splits: Sequence[str], corrupted: Collection[str]) -> str:
    """Say how the images were chosen."""
    others = [split for split in splits if split not in corrupted]
    few = sum(split in corrupted for split in shown)
    where = f"of {len(shown)} of the {len(splits)} splits, evenly spaced,"
    if len(shown) == len(splits):
        where = "of every split"
    elif len(shown) == len(others) + few:
        where = f"of every split that is no corruption, and of {few} of the {len(splits) - len(others)} that are one,"
    several = max(shown.values()) > 1
    what = f"the {PER_SPLIT} images whose names have" if several else "the image whose name has"
    return f"{where} {what} the smallest SHA-256 among the images judged"


def _by_name(numbers: Iterable[int], dataset: Dataset) -> list[int]:
    """Return numbers of images by the SHA-256 of the images' names."""

    def place(number: int) -> tuple[str, int]:
        name = dataset.name(number).encode("utf-8", "surrogateescape")
        return hashlib.sha256(name).hexdigest(), number

    return sorted(numbers, key=place)


def _bounded(size: tuple[int, int]) -> tuple[int, int]:
    """Return width and height with the longer side at most LONGEST_PX."""
    scale = min(LONGEST_PX / max(size), 1.0)
    return max(round(size[0] * scale), 1), max(round(size[1] * scale), 1)


def _image_file(image: NDArray[np.uint8]) -> tuple[str, bytes]:
    picture = Image.fromarray(np.ascontiguousarray(image))
    picture = picture.resize(_bounded(picture.size), Image.Resampling.BOX)
    if picture.width * picture.height <= SMALL_PX:
        return "png", _encoded(picture)
    content = io.BytesIO()
    picture.save(content, format="JPEG", quality=_JPEG_QUALITY)
    return "jpg", content.getvalue()


def _encoded(picture: Image.Image) -> bytes:
    content = io.BytesIO()
    picture.save(content, format="PNG", optimize=True)
    return content.getvalue()


def _write(path: Path, content: bytes) -> None:
    write_atomically(path, lambda stream: stream.write(content))
