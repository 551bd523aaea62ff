"""Seconds of average precision on a split of VOC's size, beside pycocotools' on the same boxes.

`python tools/perf/average_precision.py [--images 4952] [--classes 20] [--detections 100] [--without-pycocotools]`.
Draws objects (2.4 an image, an eighth of them difficult) and detections (jittered objects, duplicates and clutter), and
prints what collecting, VOC's AP50 by both rules and COCO's figures take, and both tools' AP.
"""

import argparse
import contextlib
import io
import time
from collections.abc import Iterator
from typing import Any

import numpy as np

from gkdbench.detection.average_precision import coco_score, voc_score
from gkdbench.detection.overlaps import BoxCollection
from gkdbench.spec.objects import Detections, Objects

Image = tuple[Objects, Detections]
WIDTH, HEIGHT = 500, 375


def draw(images: int, classes: int, detections: int, seed: int = 0) -> Iterator[Image]:
    """Draw images' objects and detections, in whole pixels of objects and fractions of detections."""
    rng = np.random.default_rng(seed)
    for _ in range(images):
        count = int(rng.poisson(2.4))
        truths = _boxes(rng, count).round()
        labels = rng.integers(0, classes, count)
        copies = rng.integers(0, 6, count)
        near = np.repeat(truths, copies, 0)
        sides = near[:, 2:] - near[:, :2]
        near = near + rng.normal(0, 0.12, near.shape) * np.hstack([sides, sides])
        near = np.hstack([np.minimum(near[:, :2], near[:, 2:] - 1), near[:, 2:]])
        clutter = max(detections - len(near), 0)
        boxes = np.vstack([near, _boxes(rng, clutter)]).astype(np.float32)
        found = np.concatenate([np.repeat(labels, copies), rng.integers(0, classes, clutter)])
        scores = np.concatenate([rng.beta(4, 2, len(near)), rng.beta(1, 6, clutter)]).astype(np.float32)
        difficult = rng.random(count) < 0.125
        yield Objects(truths.astype(np.float32), labels, difficult), Detections(boxes, found, scores)


def _boxes(rng: np.random.Generator, count: int) -> np.ndarray[Any, Any]:
    side = np.exp(rng.uniform(np.log(10), np.log(330), (count, 2)))
    corner = rng.random((count, 2)) * np.maximum([WIDTH, HEIGHT] - side, 1)
    return np.hstack([corner, corner + side])


def pycocotools_stats(images: list[Image], classes: int) -> tuple[np.ndarray[Any, Any], float]:
    """Return pycocotools' twelve figures, difficult objects as crowds, and the seconds of its evaluation alone."""
    from pycocotools.coco import COCO
    from pycocotools.cocoeval import COCOeval

    truths: list[dict[str, Any]] = []
    found: list[dict[str, Any]] = []
    for number, (objects, detections) in enumerate(images):
        corners, sizes = _coco_boxes(objects.boxes)
        for corner, size, label, crowd in zip(corners, sizes, objects.labels, objects.difficult, strict=True):
            box = {"bbox": [*corner, *size], "area": size[0] * size[1], "iscrowd": int(crowd)}
            truths.append({"id": len(truths) + 1, "image_id": number, "category_id": int(label)} | box)
        corners, sizes = _coco_boxes(detections.boxes)
        for corner, size, label, score in zip(corners, sizes, detections.labels, detections.scores, strict=True):
            box = {"bbox": [*corner, *size], "score": float(score)}
            found.append({"image_id": number, "category_id": int(label)} | box)
    with contextlib.redirect_stdout(io.StringIO()):
        truth = COCO()
        truth.dataset = {
            "images": [{"id": number} for number in range(len(images))],
            "annotations": truths,
            "categories": [{"id": label} for label in range(classes)],
        }
        truth.createIndex()
        evaluation = COCOeval(truth, truth.loadRes(found), "bbox")
        began = time.perf_counter()
        evaluation.evaluate()
        evaluation.accumulate()
        evaluation.summarize()
        return evaluation.stats, time.perf_counter() - began


def _coco_boxes(boxes: np.ndarray[Any, Any]) -> tuple[list[list[float]], list[list[float]]]:
    exact = boxes.astype(np.float64)
    return exact[:, :2].tolist(), (exact[:, 2:] - exact[:, :2]).tolist()


def main() -> None:
    """Print the seconds."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--images", type=int, default=4952)
    parser.add_argument("--classes", type=int, default=20)
    parser.add_argument("--detections", type=int, default=100, help="per image")
    parser.add_argument("--without-pycocotools", action="store_true")
    options = parser.parse_args()
    images = list(draw(options.images, options.classes, options.detections))
    clock = [time.perf_counter()]

    def lap(text: str) -> None:
        clock.append(time.perf_counter())
        print(f"{clock[-1] - clock[-2]:8.2f} s  {text}", flush=True)

    collection = BoxCollection(options.classes)
    for objects, detections in images:
        collection.add(objects, detections)
    overlaps = collection.overlaps()
    lap(f"collecting {len(overlaps.label)} detections, {len(overlaps.difficult)} objects, {len(overlaps.found)} pairs")
    voc = voc_score(overlaps)
    lap(f"VOC AP50: area {voc.mean:.6f}, 11 points {voc.mean_11_point:.6f}")
    coco = coco_score(overlaps)
    lap(f"COCO AP {coco.ap:.6f}, AP50 {coco.ap50:.6f}")
    ours = clock[-1] - clock[0]
    if not options.without_pycocotools:
        stats, theirs = pycocotools_stats(images, options.classes)
        print(f"{theirs:8.2f} s  pycocotools, evaluation alone: AP {stats[0]:.6f}, AP50 {stats[1]:.6f}")
        print(f"collecting and both of ours {ours:.2f} s: {theirs / ours:.1f} times as fast as pycocotools")


if __name__ == "__main__":
    main()
