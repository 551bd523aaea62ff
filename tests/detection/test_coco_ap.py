"""COCO's figures equal pycocotools' and torchmetrics', and hand-computed cases."""

import importlib
import sys
from dataclasses import astuple
from pathlib import Path

import numpy as np
import pytest
from collected import collect
from hypothesis import given, settings
from hypothesis import strategies as st

from gkdbench.detection.average_precision import CocoScore, coco_score
from gkdbench.spec.objects import Detections, Objects

sys.path.insert(0, str(Path(__file__).parents[2] / "tools" / "perf"))  # as running the script does
tool = importlib.import_module("average_precision")

Image = tuple[Objects, Detections]
FIGURES = [0, 1, 2, 3, 4, 5, 8]
"""Where pycocotools has what CocoScore names, in that order."""


def ours(images: list[Image], classes: int) -> CocoScore:
    return coco_score(collect(images, classes))


def assert_equals_pycocotools(images: list[Image], classes: int) -> CocoScore:
    score = ours(images, classes)
    theirs, _ = tool.pycocotools_stats(images, classes)
    theirs = theirs[FIGURES]
    np.testing.assert_allclose(astuple(score), np.where(theirs < 0, np.nan, theirs), rtol=0, atol=1e-9)
    return score


def rough(seed: int, images: int = 25, classes: int = 3, many: int = 12) -> list[Image]:
    """Draw whole boxes around the borders of the ranges of area, with ties of scores and of IoU, and crowds."""
    rng = np.random.default_rng(seed)
    result = []
    for _ in range(images):
        count = int(rng.integers(0, 6))
        corners = rng.integers(0, 60, (count, 2))
        truths = np.hstack([corners, corners + rng.choice([4, 31, 32, 33, 95, 96, 97], (count, 2))]).astype(np.float32)
        truths = np.repeat(truths, rng.integers(1, 3, count), 0)
        count = len(truths)
        labels, crowd = rng.integers(0, classes, count), rng.random(count) < 0.25
        near = rng.integers(0, max(count, 1), int(rng.integers(0, many)) if count else 0)
        shift = rng.integers(-3, 4, (len(near), 4))
        boxes = truths[near] + np.where(rng.random((len(near), 1)) < 0.3, 0, shift)
        boxes[:, 2:] = np.maximum(boxes[:, 2:], boxes[:, :2] + 1)
        clutter = np.hstack([c := rng.integers(0, 90, (4, 2)), c + rng.integers(1, 60, (4, 2))])
        boxes = np.vstack([boxes, clutter]).astype(np.float32)
        found = np.concatenate([labels[near], rng.integers(0, classes, 4)])
        scores = (rng.integers(0, 8, len(boxes)) / 8).astype(np.float32)
        result.append((Objects(truths, labels, crowd), Detections(boxes, found, scores)))
    return result


@pytest.mark.parametrize("seed", range(12))
def test_equals_pycocotools_on_rough_input(seed: int) -> None:
    assert_equals_pycocotools(rough(seed), 3)


def test_equals_pycocotools_on_lifelike_input() -> None:
    score = assert_equals_pycocotools(list(tool.draw(150, 6, 60)), 8)
    assert 0.1 < score.ap < 0.9


def test_equals_pycocotools_beyond_a_hundred_detections_of_a_class() -> None:
    assert_equals_pycocotools(rough(3, images=4, classes=1, many=400), 1)


def test_equals_torchmetrics() -> None:
    torch = pytest.importorskip("torch")
    detection = pytest.importorskip("torchmetrics.detection")
    images = rough(7)
    metric = detection.MeanAveragePrecision(iou_type="bbox")
    for objects, found in images:
        truth = {"boxes": objects.boxes, "labels": objects.labels, "iscrowd": objects.difficult.astype(int)}
        guess = {"boxes": found.boxes, "labels": found.labels, "scores": found.scores}
        metric.update(*([{key: torch.as_tensor(v) for key, v in d.items()}] for d in (guess, truth)))
    theirs, score = metric.compute(), ours(images, 3)
    names = ["map", "map_50", "map_75", "map_small", "map_medium", "map_large"]
    names += ["mar_100"]
    assert astuple(score) == pytest.approx([float(theirs[name]) for name in names], abs=1e-6)


def image(truths, found, difficult=()) -> Image:
    """Return an image of class 0: boxes of objects; boxes and scores of detections."""
    boxes = np.array(truths, np.float32).reshape(-1, 4)
    flags = np.array(difficult if len(difficult) else [False] * len(boxes), bool)
    guesses = np.array([box for box, _ in found], np.float32).reshape(-1, 4)
    scores = np.array([score for _, score in found], np.float32)
    zeros = np.zeros(len(guesses), np.int64)
    return Objects(boxes, np.zeros(len(boxes), np.int64), flags), Detections(guesses, zeros, scores)


BOX, FAR = (0, 0, 40, 40), (200, 200, 240, 240)


@pytest.mark.parametrize(
    "found, ap, ap50, ap75",
    [
        ([(BOX, 0.9)], 1, 1, 1),
        ([((0, 0, 40, 20), 0.9)], 0.1, 1, 0),  # IoU exactly 0.5
        ([((0, 0, 40, 31), 0.9)], 0.6, 1, 1),  # 0.775: thresholds .50 to .75
        ([(BOX, 0.9), (BOX, 0.8)], 1, 1, 1),
        ([(FAR, 0.9), (BOX, 0.8)], 0.5, 0.5, 0.5),
        ([], 0, 0, 0),
    ],
)
def test_one_object(found, ap: float, ap50: float, ap75: float) -> None:
    score = ours([image([BOX], found), image([], [])], 2)
    assert (score.ap, score.ap50, score.ap75) == pytest.approx((ap, ap50, ap75))
    assert score.ap_medium == pytest.approx(ap) and np.isnan(score.ap_small) and np.isnan(score.ap_large)


def test_a_hundred_detections_per_image_and_class_are_looked_at() -> None:
    clutter = [(FAR, 0.9)] * 99
    assert ours([image([BOX], [*clutter, (BOX, 0.8)])], 1).ar_100 == 1.0
    assert ours([image([BOX], [*clutter, (FAR, 0.9), (BOX, 0.8)])], 1).ar_100 == 0.0


def test_a_crowd_takes_any_number_of_detections_inside_it() -> None:
    found = [((0, 0, 10, 10), 0.9), ((10, 10, 30, 30), 0.8), (FAR, 0.7)]
    assert ours([image([BOX, FAR], found, [True, False])], 1).ap == 1.0
    assert ours([image([BOX, FAR], found)], 1).ap50 == pytest.approx(51 / 101 / 3)


def test_nothing_to_find_has_no_figures() -> None:
    for images in ([], [image([], [])], [image([], [(BOX, 0.5)])], [image([BOX], [(BOX, 0.5)], [True])]):
        assert np.isnan(astuple(ours(images, 2))).all()


def test_ranges_of_area_ignore_what_lies_outside() -> None:
    small = (100, 100, 110, 110)
    score = ours([image([BOX, small], [(BOX, 0.9), ((300, 300, 340, 340), 0.8), (small, 0.7)])], 1)
    assert (score.ap_small, score.ap_medium) == (1.0, 1.0)
    assert score.ap == pytest.approx((51 + 50 * 2 / 3) / 101)


@settings(max_examples=25, deadline=None)
@given(st.integers(0, 10_000), st.randoms(use_true_random=False))
def test_neither_order_nor_scale_of_scores_matters_and_late_errors_never_help(seed: int, random) -> None:
    images = rough(seed, images=6, classes=2)
    total = sum(len(found) for _, found in images)
    scores = np.split(
        np.random.default_rng(seed).permutation(total) / 1024 + 0.25, np.cumsum([len(f) for _, f in images])[:-1]
    )
    images = [
        (o, Detections(f.boxes, f.labels, s.astype(np.float32))) for (o, f), s in zip(images, scores, strict=True)
    ]
    figures = np.array(astuple(ours(images, 2)))
    assert ((figures >= 0) & (figures <= 1) | np.isnan(figures)).all()
    np.testing.assert_allclose(astuple(ours(random.sample(images, 6), 2)), figures, rtol=0, atol=1e-12)
    squared = [(o, Detections(f.boxes, f.labels, f.scores**2)) for o, f in images]
    np.testing.assert_array_equal(astuple(ours(squared, 2)), figures)
    far = np.array([[900, 900, 950, 950]], np.float32)
    o, f = images[-1]
    late = Detections(np.vstack([f.boxes, far]), np.append(f.labels, 0), np.append(f.scores, np.float32(0)))
    np.testing.assert_array_equal(astuple(ours([*images[:-1], (o, late)], 2)), figures)
