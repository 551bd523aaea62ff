"""VOC's AP50 equals the kit's definition in the kit's coordinates, hand-computed cases, and repeated images."""

import numpy as np
import pytest
from collected import collect
from hypothesis import given, settings
from hypothesis import strategies as st

from gkdbench.detection.average_precision import VocScore, voc_score
from gkdbench.spec.objects import Detections, Objects

Row = tuple[list[float], int, float]
"""A VOC box (pixels from 1, the last one inside), a class, and a score or whether it is difficult."""
Image = tuple[list[Row], list[Row]]


def converted(image: Image) -> tuple[Objects, Detections]:
    """Bring a VOC image's objects and detections to continuous coordinates."""

    def columns(rows: list[Row]) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        boxes = np.array([row[0] for row in rows], np.float32).reshape(-1, 4) - np.array([1, 1, 0, 0], np.float32)
        return boxes, np.array([row[1] for row in rows], np.int64), np.array([row[2] for row in rows])

    truths, labels, difficult = columns(image[0])
    found, classes, scores = columns(image[1])
    return Objects(truths, labels, difficult.astype(bool)), Detections(found, classes, scores.astype(np.float32))


def by_the_kit(images: list[Image], label: int, rule: str) -> float:
    """Compute one class's AP in VOC's own coordinates, detection by detection, as the kit's text says."""
    lines = [(score, i, box) for i, (_, found) in enumerate(images) for box, k, score in found if k == label]
    truths = [[(box, bool(hard)) for box, k, hard in objects if k == label] for objects, _ in images]
    positives = sum(not hard for rows in truths for _, hard in rows)
    if not positives:
        return float("nan")
    used: set[tuple[int, int]] = set()
    tp, fp, curve = 0, 0, []
    for score, i, box in sorted(lines, key=lambda line: -np.float32(line[0])):
        del score
        best, at = -1.0, -1
        for j, (truth, _) in enumerate(truths[i]):
            width = min(box[2], truth[2]) - max(box[0], truth[0]) + 1
            height = min(box[3], truth[3]) - max(box[1], truth[1]) + 1
            if width > 0 and height > 0:
                sizes = [(b[2] - b[0] + 1) * (b[3] - b[1] + 1) for b in (box, truth)]
                overlap = width * height / (sum(sizes) - width * height)
                if overlap > best:
                    best, at = overlap, j
        if best >= 0.5:
            if truths[i][at][1]:
                continue
            tp, fp = (tp + 1, fp) if (i, at) not in used else (tp, fp + 1)
            used.add((i, at))
        else:
            fp += 1
        curve.append((tp / positives, tp / (tp + fp)))
    if rule == "11_point":
        return sum(max((p for r, p in curve if r >= 0.1 * t), default=0.0) for t in range(11)) / 11
    total, before = 0.0, 0.0
    for place, (recall, _) in enumerate(curve):
        total += (recall - before) * max(p for _, p in curve[place:])
        before = recall
    return total


def drawn(seed: int, images: int = 30, classes: int = 3, exact_scores: bool = False) -> list[Image]:
    """Draw objects in small images, and detections near them, so that overlaps of every kind occur."""
    rng = np.random.default_rng(seed)
    result: list[Image] = []
    for _ in range(images):
        objects: list[Row] = []
        for _ in range(rng.integers(0, 5)):
            corner, size = rng.integers(1, 20, 2), rng.integers(1, 25, 2)
            objects.append(([*corner, *(corner + size)], int(rng.integers(classes)), float(rng.random() < 0.3)))
        found: list[Row] = []
        for _ in range(rng.integers(0, 12)):
            score = float(rng.integers(0, 6) / 5) if exact_scores else float(rng.random())
            label = int(rng.integers(classes))
            if objects and rng.random() < 0.8:
                box, label, _ = objects[rng.integers(len(objects))]
                shift = np.array(box) + rng.integers(-3, 4, 4)
                box = [*np.minimum(shift[:2], shift[2:]), *np.maximum(shift[:2], shift[2:])]
            else:
                corner = rng.integers(1, 40, 2)
                box = [*corner, *(corner + rng.integers(0, 15, 2))]
            found.append((box, label, score))
        result.append((objects, found))
    return result


def scored(images: list[Image], classes: int = 1) -> VocScore:
    return voc_score(collect(map(converted, images), classes))


@pytest.mark.parametrize("ties", [False, True])
@pytest.mark.parametrize("seed", range(8))
def test_equals_the_kits_definition_in_its_own_coordinates(seed: int, ties: bool) -> None:
    images = drawn(seed, exact_scores=ties)
    expected = {rule: [by_the_kit(images, label, rule) for label in range(4)] for rule in ("area", "11_point")}
    score = scored(images, 4)
    np.testing.assert_allclose(score.ap, expected["area"], rtol=0, atol=1e-12)
    assert np.isnan(score.ap[3]) and score.in_mean == 3
    assert score.mean == pytest.approx(np.mean(expected["area"][:3]), abs=1e-12)
    assert score.mean_11_point == pytest.approx(np.mean(expected["11_point"][:3]), abs=1e-12)


BOX = [11, 11, 20, 20]
"""Ten pixels wide and high, as VOC counts."""
FAR = [101, 101, 110, 110]
HALF = [11, 11, 20, 15]


def test_hand_computed_curve() -> None:
    """Hits at ranks 1, 3 and 4 of four objects: precision 1, 2/3 and 3/4, which the envelope makes 1, 3/4 and 3/4."""
    images = [
        ([(BOX, 0, 0), (FAR, 0, 0)], [(BOX, 0, 0.9), ([50, 50, 60, 60], 0, 0.8), (FAR, 0, 0.7)]),
        ([(BOX, 0, 0), (FAR, 0, 0)], [(BOX, 0, 0.6), (BOX, 0, 0.5)]),
    ]
    assert scored(images).ap[0] == pytest.approx((1 + 0.75 + 0.75) / 4)
    # recall 0, .1, .2 reach precision 1; .3 to .7 reach 3/4; .8 to 1 nothing
    assert scored(images).mean_11_point == pytest.approx((3 * 1 + 5 * 0.75) / 11)


@pytest.mark.parametrize(
    "found, area",
    [
        ([(HALF, 0, 0.9)], 1.0),  # IoU exactly 0.5 is a hit by the kit's >=
        ([([11, 11, 20, 14], 0, 0.9)], 0.0),
        ([(BOX, 0, 0.9), (BOX, 0, 0.8)], 1.0),  # the duplicate comes after full recall
        ([(BOX, 1, 0.9), (BOX, 0, 0.8)], 1.0),  # another class's detection is none of this one's
        ([(FAR, 0, 0.9), (BOX, 0, 0.8)], 0.5),
        ([(FAR, 0, 0.5), (BOX, 0, 0.5)], 0.5),  # of equal scores, the first given stands first
        ([(BOX, 0, 0.5), (FAR, 0, 0.5)], 1.0),
        ([], 0.0),
    ],
)
def test_one_object(found: list[Row], area: float) -> None:
    score = scored([([(BOX, 0, 0)], found)], 2)
    assert score.ap[0] == area and np.isnan(score.ap[1])
    assert (score.mean, score.in_mean) == (area, 1)


def test_a_box_of_one_pixel_has_an_area() -> None:
    pixel = [5, 5, 5, 5]
    assert scored([([(pixel, 0, 0)], [(pixel, 0, 0.5)])]).ap[0] == 1.0


def test_a_duplicate_is_a_false_positive_even_beside_a_free_object() -> None:
    """Both detections lie nearest to the first object; the second object would be near enough."""
    near = [12, 11, 21, 20]
    found = [(BOX, 0, 0.9), (BOX, 0, 0.8), (near, 0, 0.7)]
    assert scored([([(BOX, 0, 0), (near, 0, 0)], found)]).ap[0] == pytest.approx((1 + 2 / 3) / 2)


def test_matches_of_difficult_objects_count_as_nothing() -> None:
    objects = [(BOX, 0, 1), (FAR, 0, 0)]
    found = [(BOX, 0, 0.9), (BOX, 0, 0.8), (HALF, 0, 0.7), (FAR, 0, 0.6)]
    assert scored([(objects, found)]).ap[0] == 1.0
    # inside a difficult object, but no match of it: a false positive
    assert scored([(objects, [([11, 11, 12, 12], 0, 0.9), (FAR, 0, 0.6)])]).ap[0] == 0.5


def test_a_class_of_difficult_objects_alone_has_no_ap() -> None:
    score = scored([([(BOX, 0, 1), (FAR, 1, 0)], [(BOX, 0, 0.9), (FAR, 1, 0.8)])], 3)
    assert np.isnan(score.ap[[0, 2]]).all() and score.mean == 1.0 and score.in_mean == 1


def test_only_a_difficult_match_is_no_precision_at_all() -> None:
    images = [([(BOX, 0, 1), (FAR, 0, 0)], [(BOX, 0, 0.9)])]
    assert (scored(images).ap[0], scored(images).mean_11_point) == (0.0, 0.0)


def test_a_detection_of_an_image_without_objects_is_a_false_positive() -> None:
    images = [([], [(BOX, 0, 0.9)]), ([(BOX, 0, 0)], [(BOX, 0, 0.8)]), ([(BOX, 0, 0)], [])]
    assert scored(images).ap[0] == 0.25


def test_nothing_to_find_has_no_mean() -> None:
    for images in ([], [([], [])], [([], [(BOX, 0, 0.5)])]):
        score = scored(images)
        assert np.isnan(score.mean) and score.in_mean == 0


@pytest.mark.parametrize("positives", [5, 10, 20])
@pytest.mark.parametrize("share", [0.3, 0.6, 0.7])
def test_recalls_that_meet_a_point_but_for_a_rounding_are_read_as_the_kit_does(positives: int, share: float) -> None:
    hits = round(positives * share)
    images: list[Image] = [([(BOX, 0, 0)], [(BOX, 0, 0.5)] if i < hits else []) for i in range(positives)]
    assert scored(images).mean_11_point == pytest.approx(by_the_kit(images, 0, "11_point"))


def distinct(images: list[Image]) -> list[Image]:
    """Give every detection a score of its own, in the order of the old ones."""
    order = {}
    for number, line in enumerate(sorted((row[2], i, j) for i, (_, f) in enumerate(images) for j, row in enumerate(f))):
        order[line[1:]] = (number + 1) / 4096
    return [(o, [(b, k, order[i, j]) for j, (b, k, _) in enumerate(f)]) for i, (o, f) in enumerate(images)]


seeds = st.integers(0, 10_000)


@settings(max_examples=40, deadline=None)
@given(seeds, st.randoms(use_true_random=False))
def test_neither_order_nor_scale_of_scores_matters_and_late_errors_never_help(seed: int, random) -> None:
    images = distinct(drawn(seed, images=8, classes=2))
    ap = scored(images, 2).ap
    assert ((ap >= 0) & (ap <= 1) | np.isnan(ap)).all()
    shuffled = random.sample(images, len(images))
    np.testing.assert_allclose(scored(shuffled, 2).ap, ap, rtol=0, atol=1e-12)
    squared = [(objects, [(box, k, score**2) for box, k, score in found]) for objects, found in images]
    np.testing.assert_array_equal(scored(squared, 2).ap, ap)
    late = [*images[:-1], (images[-1][0], [*images[-1][1], ([900, 900, 901, 901], 0, 0.0)])]
    np.testing.assert_array_equal(scored(late, 2).ap, ap)
    early = [*images[:-1], (images[-1][0], [*images[-1][1], ([900, 900, 901, 901], 0, 1.5)])]
    worse = scored(early, 2).ap
    assert np.isnan(ap[0]) or worse[0] <= ap[0]
