"""What detectors found, as files that others read: COCO's list of results, and VOC's text files by class.

COCO's boxes are [x, y, width, height]. VOC's files, one per class, have lines `image score xmin ymin xmax ymax`, count
pixels from 1 and name the last one inside; see `gkdbench.spec.objects`.
"""

import math
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from gkdbench.errors import DataError, UsageError
from gkdbench.spec.documents import nearest, read_text
from gkdbench.spec.objects import Detections

COMPETITION = "comp4_det"
"""What VOC calls detection by means of any data."""
_NUMBER = re.compile(r"[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d+)?", re.ASCII)
_UNFIT = re.compile(r"[/\\\0\n\r]")
Found = Iterable[tuple[int | str, Detections]]


def coco_results(found: Found, categories: Mapping[int, int] | None = None) -> list[dict[str, Any]]:
    """Return COCO's list of results of (image id, detections) pairs, in their order.

    categories: class index -> category id; None, or a class that is not among them: the class index and 1.
    """
    known = categories or {}
    return [
        {
            "image_id": image,
            "category_id": known.get(label, label + 1),
            "bbox": [x0, y0, x1 - x0, y1 - y0],
            "score": score,
        }
        for image, one in found
        for (x0, y0, x1, y1), label, score in zip(
            one.boxes.astype(np.float64).tolist(), one.labels.tolist(), one.scores.tolist(), strict=True
        )
    ]


def voc_result_file(class_name: str, split: str = "test") -> str:
    """Return the name of the file that holds what was found of a class."""
    if _UNFIT.search(class_name):
        raise UsageError(f"class {class_name!r}: VOC's result files carry it in their names, where it cannot stand")
    return f"{COMPETITION}_{split}_{class_name}.txt"


def voc_results(found: Found, classes: Sequence[str], split: str = "test") -> dict[str, str]:
    """Return file name -> content of VOC's result files: one for every class, empty where nothing was found of it.

    Numbers are written in as many digits as bring the same ones back.
    """
    lines: list[list[str]] = [[] for _ in classes]
    for image, one in found:
        # VOC counts from 1, in the numbers' own precision: 32 bits would lose a digit
        boxes = one.boxes.astype(np.float64) + np.array([1, 1, 0, 0])
        for box, label, score in zip(boxes.tolist(), one.labels.tolist(), one.scores.tolist(), strict=True):
            lines[label].append(" ".join([str(image), f"{score:.9g}", *(f"{number:.10g}" for number in box)]) + "\n")
    return {voc_result_file(name, split): "".join(of_class) for name, of_class in zip(classes, lines, strict=True)}


def read_voc_results(
    folder: Path, classes: Sequence[str], names: Sequence[str], split: str = "test"
) -> list[Detections]:
    """Return what VOC's result files say about images, in the order of `names`; of a class in the order of its file.

    DataError, with file and line, where a class has no file, a line is none, or an image is not among `names`.
    """
    number = {name: index for index, name in enumerate(names)}
    rows: list[list[tuple[list[float], int, float]]] = [[] for _ in names]
    for label, name in enumerate(classes):
        path = folder / voc_result_file(name, split)
        if not path.is_file():
            raise DataError(f"{path}: results of class {name!r} not found; an empty file says that nothing was found")
        for where, image, numbers in _lines(path):
            if image not in number:
                raise DataError(f"{where}: image {image!r} is not of this split{nearest(image, number)}")
            score, xmin, ymin, xmax, ymax = numbers
            rows[number[image]].append(([xmin - 1, ymin - 1, xmax, ymax], label, score))
    return [
        Detections(
            np.array([box for box, _, _ in of_image], np.float32).reshape(-1, 4),
            np.array([label for _, label, _ in of_image], np.int64),
            np.array([score for _, _, score in of_image], np.float32),
        )
        for of_image in rows
    ]


def _lines(path: Path) -> Iterator[tuple[str, str, list[float]]]:
    for line_number, line in enumerate(read_text(path).splitlines(), start=1):
        if not line.strip():
            continue
        where = f"{path}:{line_number}"
        words = line.split()
        # names may hold spaces; the last five words are numbers
        numbers = [float(word) if _NUMBER.fullmatch(word) else math.nan for word in words[-5:]]
        if len(words) < 6 or not all(map(math.isfinite, numbers)):
            raise DataError(f"{where}: a line is `image score xmin ymin xmax ymax`, and this one {line.strip()[:80]!r}")
        yield where, " ".join(words[:-5]), numbers
