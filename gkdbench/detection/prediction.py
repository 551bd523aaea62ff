"""What a finished run's detector finds in a split, as COCO's JSON, and overlays to look at.

    results.json   list of {image_id, category_id, bbox [x, y, width, height], score}
    images.json    images, categories and, where the split is labelled, annotations: what pycocotools opens first

Ids are those of the split's own JSON where it has one; else images are numbered from 1 in their order, and classes from
1 in that of the benchmark. Difficult objects are crowds, which COCO's evaluation ignores.
"""

import json
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image, ImageDraw

from gkdbench.data.checking.box_sheet import with_boxes
from gkdbench.data.dataset import DataPlace, Dataset, open_split
from gkdbench.data.objects.box_dataset import BoxFilesDataset
from gkdbench.detection.detector import Detector
from gkdbench.detection.finding import find_boxes
from gkdbench.errors import DataError
from gkdbench.run.files import write_atomically, write_json
from gkdbench.spec.benchmark import Benchmark
from gkdbench.spec.inference import Inference
from gkdbench.spec.objects import Detections, Objects
from gkdbench.spec.split import Split

RESULTS, IMAGES = "results.json", "images.json"
SURE = 0.5
"""Score from which on an overlay shows a box; the JSON has all of them."""
SMALLEST_PX = 640
"""Longer side of an overlay at least: labels on a smaller one could not be read."""
Meter = Callable[[int, int], None]


@dataclass(frozen=True)
class FoundFiles:
    """What was written."""

    results: Path
    images: Path
    overlays: Path | None
    count: int
    boxes: int
    categories: Mapping[str, int]
    """Category id of every class in the files."""
    without_truth: str
    """Why images.json has no annotations; empty: it has some."""


@dataclass(frozen=True)
class Conditions:
    """What a detector is shown and how it computes."""

    inference: Inference
    device: torch.device
    precision: str


def open_for_finding(
    split: Split, benchmark: Benchmark, folder: Path, place: DataPlace, meter: Meter
) -> tuple[Dataset, str]:
    """Open a split with its boxes, without them where they cannot be had; and say why, if so."""
    try:
        return open_split(split, benchmark, folder, place, progress=meter), ""
    except DataError as error:
        # where images are missing, this fails the same way
        return open_split(split, benchmark, folder, place, labelled=False, progress=meter), str(error)


def write_found(
    detector: Detector,
    dataset: Dataset,
    benchmark: Benchmark,
    out: Path,
    conditions: Conditions,
    *,
    overlays: int,
    without_truth: str = "",
    meter: Meter,
) -> FoundFiles:
    """Look for boxes in every image of a split and write the files; the first `overlays` images are drawn as well."""
    document = _Document(dataset, benchmark, without_truth)
    drawn, count = out / "overlays", 0

    def write(stream: BinaryIO) -> None:
        nonlocal count
        stream.write(b"[")
        for number, image, found in _finds(detector, dataset, conditions):
            for row in document.add(number, image, found):
                stream.write((",\n" if count else "").encode() + json.dumps(row).encode())
                count += 1
            if number < overlays:
                _save(overlay(image, found, benchmark), drawn / f"{dataset.name(number)}.png")
            meter(number + 1, len(dataset))
        stream.write(b"]\n")

    write_atomically(out / RESULTS, write)
    write_json(out / IMAGES, document.content())
    return FoundFiles(
        out / RESULTS, out / IMAGES, drawn if overlays else None, len(dataset), count,
        {name: document.categories[index] for index, name in enumerate(benchmark.classes)}, document.without_truth,
    )  # fmt: skip


def _finds(
    detector: Detector, dataset: Dataset, conditions: Conditions
) -> Iterator[tuple[int, NDArray[np.uint8], Detections]]:
    """Yield number, image and finds, in the batches in which runs are judged: others round differently."""
    detector.eval()
    batch = conditions.inference.batch
    for first in range(0, len(dataset), batch):
        numbers = range(first, min(first + batch, len(dataset)))
        images = [dataset.image(number) for number in numbers]
        found = find_boxes(detector, images, conditions.inference, conditions.device, conditions.precision)
        yield from zip(numbers, images, found, strict=True)


class _Document:
    """images.json while it grows."""

    def __init__(self, dataset: Dataset, benchmark: Benchmark, without_truth: str) -> None:
        self._dataset, self._benchmark = dataset, benchmark
        self.without_truth = without_truth
        files = dataset if isinstance(dataset, BoxFilesDataset) else None
        ids = list(files.ids) if files is not None else []
        # tools count on whole numbers; VOC's names are none
        self._ids = ids if ids and all(isinstance(one, int) for one in ids) else list(range(1, len(dataset) + 1))
        own = files.categories if files is not None else {}
        every = range(len(benchmark.classes))
        self.categories = dict(own) if all(index in own for index in every) else {index: index + 1 for index in every}
        self._images: list[dict[str, Any]] = []
        self._annotations: list[dict[str, Any]] = []

    def add(self, number: int, image: NDArray[np.uint8], found: Detections) -> Iterator[dict[str, Any]]:
        """Add an image with its objects, if they are known; yield its rows of results.json."""
        height, width = image.shape[:2]
        one = self._ids[number]
        self._images.append({"id": one, "file_name": self._dataset.name(number), "height": height, "width": width})
        objects = None if self.without_truth else self._objects(number)
        if objects is not None:
            for (box, label), difficult in zip(self._boxes(objects), objects.difficult.tolist(), strict=True):
                row = {"id": len(self._annotations) + 1, "image_id": one, "category_id": label, "bbox": box}
                self._annotations.append({**row, "area": box[2] * box[3], "iscrowd": int(difficult)})
        for (box, label), score in zip(self._boxes(found), found.scores.tolist(), strict=True):
            yield {"image_id": one, "category_id": label, "bbox": box, "score": score}

    def content(self) -> dict[str, Any]:
        """Return the document."""
        names = self._benchmark.classes
        return {
            "images": self._images,
            "categories": [{"id": self.categories[index], "name": name} for index, name in enumerate(names)],
            **({} if self.without_truth else {"annotations": self._annotations}),
        }

    def _objects(self, number: int) -> Objects | None:
        found = None
        try:
            found = self._dataset.objects(number)
        except DataError as error:
            self.without_truth = str(error)
        if found is None:
            self.without_truth = self.without_truth or "the split is not labelled"
        return found

    def _boxes(self, given: Objects | Detections) -> Iterator[tuple[list[float], int]]:
        """Yield [x, y, width, height] and the category's id of each box."""
        for (x0, y0, x1, y1), label in zip(given.boxes.astype(np.float64).tolist(), given.labels.tolist(), strict=True):
            yield [x0, y0, x1 - x0, y1 - y0], self.categories[label]


def overlay(image: NDArray[np.uint8], found: Detections, benchmark: Benchmark) -> Image.Image:
    """Return an image [H, W, 3], enlarged where it is small, with what was found for sure, classes and scores."""
    kept = found.scores >= SURE
    objects = Objects(found.boxes[kept], found.labels[kept], np.zeros(int(kept.sum()), np.bool_))
    longest = max(SMALLEST_PX, *image.shape[:2])
    palette = np.array(benchmark.palette, np.uint8)
    picture = Image.fromarray(with_boxes(image, objects, palette, (longest, longest)))
    scale = picture.width / image.shape[1]
    pen = ImageDraw.Draw(picture)
    for box, label, score in zip(objects.boxes * scale, objects.labels.tolist(), found.scores[kept], strict=True):
        text = f"{benchmark.classes[label]} {score:.2f}"
        colour = tuple(palette[label].tolist())
        left, top, right, bottom = pen.textbbox((0, 0), text)
        x, y = max(float(box[0]), 0.0), float(box[1]) - (bottom - top) - 5
        y = y if y >= 0 else float(box[1]) + 1  # inside, where there is no room above
        x = min(x, max(picture.width - (right - left) - 4.0, 0.0))
        pen.rectangle((x, y, x + right - left + 4, y + bottom - top + 4), fill=colour)
        light = float(np.dot(palette[label], (0.299, 0.587, 0.114))) > 120
        pen.text((x + 2 - left, y + 2 - top), text, fill=(0, 0, 0) if light else (255, 255, 255))
    return picture


def _save(picture: Image.Image, path: Path) -> None:
    write_atomically(path, lambda stream: picture.save(stream, format="PNG"))
