"""What a finished run's detector finds in a split, as COCO's JSON, and overlays to look at.

    results.json   list of {image_id, category_id, bbox [x, y, width, height], score}
    images.json    images, categories and, where the split is labelled, annotations: what pycocotools opens first

Ids are those of the split's own JSON where it has one; else images are numbered from 1 in their order, and classes from
1 in that of the benchmark. Difficult objects are crowds, which COCO's evaluation ignores.
"""

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw

from gkdbench.data.checking.sheet import with_boxes
from gkdbench.data.dataset import Dataset
from gkdbench.detection.box_dataset import BoxFilesDataset
from gkdbench.detection.detector import Detector
from gkdbench.detection.finding import find_boxes
from gkdbench.errors import DataError
from gkdbench.runs.files import write_atomically, write_json, write_png
from gkdbench.runs.task import Asked, Predicted
from gkdbench.spec.benchmark import Benchmark
from gkdbench.spec.objects import Detections, Objects

RESULTS, IMAGES = "results.json", "images.json"
SURE = 0.5
"""Score from which on an overlay shows a box; the JSON has all of them."""
SMALLEST_PX = 640
"""Longer side of an overlay at least: labels on a smaller one could not be read."""


@dataclass(frozen=True)
class FoundFiles(Predicted):
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

    def facts(self) -> dict[str, Any]:
        """Return it as JSON."""
        return {
            "images": self.count,
            "boxes": self.boxes,
            "results": str(self.results),
            "images_file": str(self.images),
            "overlays": self.overlays and str(self.overlays),
            "categories": dict(self.categories),
            "without_truth": self.without_truth or None,
        }

    def table(self) -> list[list[str]]:
        """Return the classes' ids."""
        return [["class", "category_id"], *([name, str(value)] for name, value in self.categories.items())]

    def lines(self) -> list[str]:
        """Return it in two sentences."""
        drawn = f"; overlays: {self.overlays}" if self.overlays else ""
        truth = "images, categories and annotations, for pycocotools"
        if self.without_truth:
            truth = f"images and categories, no annotations ({self.without_truth})"
        return [f"{self.boxes} boxes in {self.count} images: {self.results}{drawn}", f"{self.images}: {truth}"]


def write_found(detector: Detector, dataset: Dataset, asked: Asked, *, without_truth: str = "") -> FoundFiles:
    """Look for boxes in every image of a split and write the files; the first images are drawn as well."""
    benchmark, out = asked.benchmark, asked.out
    document = _Document(dataset, benchmark, without_truth)
    drawn, count = out / "overlays", 0

    def write(stream: BinaryIO) -> None:
        nonlocal count
        stream.write(b"[")
        for number, image, found in _finds(detector, dataset, asked):
            for row in document.add(number, image, found):
                stream.write((",\n" if count else "").encode() + json.dumps(row).encode())
                count += 1
            if number < asked.overlays:
                write_png(drawn / f"{dataset.name(number)}.png", overlay(image, found, benchmark))
            asked.meter(number + 1, len(dataset))
        stream.write(b"]\n")

    write_atomically(out / RESULTS, write)
    write_json(out / IMAGES, document.content())
    return FoundFiles(
        out / RESULTS, out / IMAGES, drawn if asked.overlays else None, len(dataset), count,
        {name: document.categories[index] for index, name in enumerate(benchmark.classes)}, document.without_truth,
    )  # fmt: skip


def _finds(detector: Detector, dataset: Dataset, asked: Asked) -> Iterator[tuple[int, NDArray[np.uint8], Detections]]:
    """Yield number, image and finds, in the batches in which runs are judged: others round differently."""
    detector.eval()
    batch = asked.inference.batch
    for first in range(0, len(dataset), batch):
        numbers = range(first, min(first + batch, len(dataset)))
        images = [dataset.image(number) for number in numbers]
        found = find_boxes(detector, images, asked.inference, asked.device, asked.precision)
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
