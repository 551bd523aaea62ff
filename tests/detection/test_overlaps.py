"""What is collected of each image: overlaps by half, and nothing that is not a number."""

import numpy as np
import pytest
from collected import collect

from gkdbench.detection.overlaps import BoxCollection
from gkdbench.spec.objects import Detections, Objects


def objects(boxes=(), labels=(), difficult=()) -> Objects:
    flags = np.array(difficult if len(difficult) else [False] * len(labels), bool)
    return Objects(np.array(boxes, np.float32).reshape(-1, 4), np.array(labels, np.int64), flags)


def detections(boxes=(), labels=(), scores=()) -> Detections:
    boxes = np.array(boxes, np.float32).reshape(-1, 4)
    return Detections(boxes, np.array(labels, np.int64), np.array(scores, np.float32))


SQUARE = (0, 0, 10, 10)


def test_pairs_are_of_one_image_and_class_and_overlap_by_half() -> None:
    truth = objects([SQUARE, (100, 0, 110, 10)], [0, 1])
    found = detections([(0, 0, 10, 5), SQUARE, (0, 0, 10, 4.9), (102, 0, 112, 10)], [0, 1, 0, 1], [0.9, 0.8, 0.7, 0.6])
    held = collect([(objects(), detections()), (truth, found), (truth, detections())], 2)
    assert held.images == 3 and held.image.tolist() == [1] * 4
    assert list(zip(held.found, held.truth, strict=True)) == [(0, 0), (3, 1)]
    assert held.iou.tolist() == [0.5, 80 / 120]
    assert held.positives().tolist() == [2, 2]


def test_a_pair_with_a_difficult_object_may_overlap_by_half_of_the_detection() -> None:
    truth = objects([SQUARE, SQUARE], [0, 0], [True, False])
    held = collect([(truth, detections([(0, 0, 2, 2)], [0], [1]))], 1)
    assert held.truth.tolist() == [0] and held.inside.tolist() == [1.0] and held.iou.tolist() == [0.04]


def test_detections_stand_from_the_highest_score_down_and_equal_ones_as_given() -> None:
    found = detections([(0, 0, i + 1, 1) for i in range(5)], [0] * 5, [0.1, 0.9, 0.5, 0.9, 0.5])
    held = collect([(objects(), found)], 1)
    assert held.score == pytest.approx([0.9, 0.9, 0.5, 0.5, 0.1]) and held.area.tolist() == [2, 4, 3, 5, 1]


def test_nothing_at_all() -> None:
    held = collect([], 3)
    assert held.images == 0 and held.positives().tolist() == [0, 0, 0] and held.never_detected() == ()


def test_classes_without_a_detection_are_named() -> None:
    truth = objects([SQUARE] * 3, [0, 1, 2], [False, False, True])
    assert collect([(truth, detections([SQUARE], [0], [1]))], 4).never_detected() == (1,)


@pytest.mark.parametrize(
    "truth, found, said",
    [
        (objects([SQUARE], [2]), detections(), "labels 2 to 2 for 2 classes"),
        (objects(), detections([SQUARE], [-1], [0.5]), "labels -1 to -1"),
        (objects(), detections([SQUARE], [0], [float("nan")]), "image 1: a box or a score is not a number"),
        (objects(), detections([(0, 0, np.inf, 1)], [0], [0.5]), "not a number"),
    ],
)
def test_what_is_no_class_or_no_number_is_refused(truth: Objects, found: Detections, said: str) -> None:
    collection = BoxCollection(2)
    collection.add(objects(), detections())
    with pytest.raises(ValueError, match=said):
        collection.add(truth, found)


def test_what_is_collected_does_not_hold_on_to_the_images_arrays() -> None:
    truth, found = objects([SQUARE], [0]), detections([SQUARE], [0], [0.5])
    collection = BoxCollection(1)
    collection.add(truth, found)
    for array in (truth.boxes, truth.difficult, found.boxes, found.scores):
        array[:] = 1
    held = collection.overlaps()
    assert held.score.tolist() == [0.5] and not held.difficult.any() and held.iou.tolist() == [1.0]
