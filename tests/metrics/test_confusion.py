"""Our counts and IoU equal those of cityscapesscripts and torchmetrics on the same predictions."""

from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from numpy.typing import NDArray
from PIL import Image
from torchmetrics.classification import MulticlassConfusionMatrix, MulticlassJaccardIndex

from gkdbench.metrics.confusion import RULES, Score, count, score, tally

CLASSES, IGNORE = 19, 255


def maps(seed: int, images: int = 3, absent: tuple[int, ...] = (), only_predicted: tuple[int, ...] = ()) -> Any:
    """Return truths (with ignored pixels) and predictions that are right two times in three."""
    rng = np.random.default_rng(seed)
    allowed = np.setdiff1d(np.arange(CLASSES), absent)
    in_truth = np.setdiff1d(allowed, only_predicted)
    truth = rng.choice(in_truth, (images, 20, 30))
    predicted = np.where(rng.random(truth.shape) < 0.67, truth, rng.choice(allowed, truth.shape))
    truth[rng.random(truth.shape) < 0.1] = IGNORE
    return truth.astype(np.uint8), predicted.astype(np.uint8)


CASES = {
    "all classes": maps(1),
    "absent classes": maps(2, absent=(3, 18)),
    "a class only predicted": maps(3, absent=(0,), only_predicted=(5, 7)),
    "one class": (np.full((1, 4, 4), 6, np.uint8), np.full((1, 4, 4), 6, np.uint8)),
}
case = pytest.mark.parametrize("truth, predicted", CASES.values(), ids=CASES)


@case
def test_iou_equals_cityscapesscripts(
    truth: NDArray[np.uint8], predicted: NDArray[np.uint8], cityscapes_evaluator: ModuleType, tmp_path: Path
) -> None:
    """Both sides read the same PNGs' worth of pixels: theirs as label ids, ours as train ids."""
    to_id = np.zeros(256, np.uint8)  # 0: unlabeled, ignored by the evaluator
    for label in cityscapes_evaluator.labels:
        if 0 <= label.trainId < CLASSES:
            to_id[label.trainId] = label.id
    names: dict[str, list[str]] = {"truth": [], "predicted": []}
    for kind, stack in (("truth", truth), ("predicted", predicted)):
        for number, one in enumerate(stack):
            path = tmp_path / f"{kind}_{number}.png"
            Image.fromarray(to_id[one]).save(path)
            names[kind].append(str(path))
    judge = cityscapes_evaluator
    result = judge.evaluateImgLists(names["predicted"], names["truth"], judge.args)
    by_class = {label.trainId: label.name for label in judge.labels if 0 <= label.trainId < CLASSES}
    expected = np.array([result["classScores"][by_class[index]] for index in range(CLASSES)])
    ours = score(count(truth, predicted, CLASSES, IGNORE), "skip_absent")
    np.testing.assert_array_equal(ours.iou, expected)  # nan where they have nan
    assert ours.mean == pytest.approx(result["averageScoreClasses"], rel=1e-12)


@case
def test_counts_and_iou_equal_torchmetrics(truth: NDArray[np.uint8], predicted: NDArray[np.uint8]) -> None:
    target, guess = torch.from_numpy(truth).long(), torch.from_numpy(predicted).long()
    matrix = MulticlassConfusionMatrix(CLASSES, ignore_index=IGNORE)(guess, target)
    counts = count(truth, predicted, CLASSES, IGNORE)
    assert counts.dtype == np.int64 and np.array_equal(counts, matrix.numpy())
    nan = float("nan")
    per_class = MulticlassJaccardIndex(CLASSES, average="none", ignore_index=IGNORE, zero_division=nan)(guess, target)
    ours = score(counts, "skip_absent")
    np.testing.assert_allclose(ours.iou, per_class.numpy(), rtol=1e-6)
    assert ours.mean == pytest.approx(float(np.nanmean(per_class.numpy().astype(np.float64))), rel=1e-6)
    assert ours.accuracy == pytest.approx(float((truth == predicted).sum() / (truth != IGNORE).sum()))


def test_the_two_rules_by_hand() -> None:
    """Class 0: 3 right, 1 missed. Class 1: 2 right. Class 2: absent. Class 3: only predicted."""
    counts = np.array([[3, 0, 0, 1], [0, 2, 0, 0], [0, 0, 0, 0], [0, 0, 0, 0]])
    both = score(counts, "skip_absent")
    np.testing.assert_array_equal(both.iou, [0.75, 1.0, np.nan, 0.0])
    assert both.mean == pytest.approx(1.75 / 3) and both.in_mean == 3
    present = score(counts, "present_in_truth")
    np.testing.assert_array_equal(present.iou, [0.75, 1.0, np.nan, np.nan])
    assert present.mean == pytest.approx(0.875) and present.in_mean == 2
    assert both.never_predicted == present.never_predicted == ()
    assert both.accuracy == present.accuracy == pytest.approx(5 / 6)


def test_what_is_predicted_on_ignored_pixels_is_an_error_by_one_rule() -> None:
    """Class 0: 3 right, 1 missed. Class 1: 2 right. Classes 2, 3: in no truth, 3 predicted where it is ignored."""
    truth = np.array([[0, 0, 0, 0, 1, 1], [255, 255, 255, 255, 255, 255]], np.uint8)
    predicted = np.array([[0, 0, 0, 1, 1, 1], [0, 0, 1, 1, 1, 3]], np.uint8)
    counts, void = tally(truth, predicted, 4, 255)
    np.testing.assert_array_equal(counts, [[3, 1, 0, 0], [0, 2, 0, 0], [0] * 4, [0] * 4])
    np.testing.assert_array_equal(void, [2, 3, 0, 1])
    result = score(counts, "void_is_error", void)
    np.testing.assert_array_equal(result.iou, [3 / 6, 2 / 6, np.nan, 0.0])
    assert result.mean == pytest.approx((3 / 6 + 2 / 6 + 0) / 3) and result.in_mean == 3
    assert result.accuracy == pytest.approx(5 / 6)  # of the pixels that have a truth
    plain = score(counts, "skip_absent", void)
    np.testing.assert_array_equal(plain.iou, [3 / 4, 2 / 3, np.nan, np.nan])
    np.testing.assert_array_equal(score(counts, "void_is_error", np.zeros(4, np.int64)).iou, plain.iou)
    with pytest.raises(ValueError, match="void_is_error needs the predictions on ignored pixels"):
        score(counts, "void_is_error")


def test_excluded_classes_have_an_iou_and_enter_no_mean() -> None:
    counts = np.array([[3, 1, 0], [0, 2, 0], [1, 0, 5]])
    whole = score(counts, "skip_absent")
    without = score(counts, "skip_absent", excluded=[2])
    np.testing.assert_array_equal(without.iou, whole.iou)
    assert without.mean == pytest.approx((3 / 5 + 2 / 3) / 2) and without.in_mean == 2
    assert whole.mean == pytest.approx((3 / 5 + 2 / 3 + 5 / 6) / 3) and whole.accuracy == without.accuracy
    assert np.isnan(score(counts, "skip_absent", excluded=[0, 1, 2]).mean)


@case
def test_only_present_classes_count_as_in_the_tool_of_bdd100k(
    truth: NDArray[np.uint8], predicted: NDArray[np.uint8]
) -> None:
    """That tool gives the ignored pixels an index of their own, and averages over the classes of the truth."""
    size = CLASSES + 1
    theirs = np.where(truth == IGNORE, CLASSES, truth).astype(np.int64).reshape(-1)
    known = theirs < CLASSES
    table = np.bincount(size * theirs[known] + predicted.reshape(-1)[known], minlength=size**2).reshape(size, size)
    union = table.sum(1) + table.sum(0) - table.diagonal()
    iou = np.array([table[k, k] / union[k] for k in np.unique(theirs[known])])
    counts, void = tally(truth, predicted, CLASSES, IGNORE)
    ours = score(counts, "present_in_truth", void)
    assert ours.mean == pytest.approx(iou.mean(), rel=1e-12) and ours.in_mean == len(iou)


def of_rule(counts: NDArray[np.int64], rule: str) -> Score:
    """Score counts by any rule, with nothing predicted on ignored pixels."""
    return score(counts, rule, np.zeros(len(counts), np.int64))


def test_a_class_that_is_never_predicted_scores_nought_and_is_named() -> None:
    for rule in RULES:
        result = of_rule(np.array([[4, 0], [2, 0]]), rule)
        assert result.never_predicted == (1,)
        np.testing.assert_allclose(result.iou, [4 / 6, 0.0])
        assert result.mean == pytest.approx(1 / 3) and result.in_mean == 2


@pytest.mark.parametrize("rule", RULES)
def test_nothing_counted(rule: str) -> None:
    truth = np.full((3, 3), IGNORE, np.uint8)
    counts = count(truth, np.zeros_like(truth), 2, IGNORE)
    assert counts.sum() == 0
    result = of_rule(counts, rule)
    assert np.isnan(result.iou).all() and np.isnan(result.mean) and np.isnan(result.accuracy)
    assert result.in_mean == 0 and result.never_predicted == ()


def test_large_counts_do_not_overflow() -> None:
    result = score(np.array([[2**40, 1], [1, 2**40]], np.int64), "skip_absent")
    assert result.mean == pytest.approx(1.0, abs=1e-11) and result.mean < 1.0


def test_what_does_not_fit_is_refused() -> None:
    with pytest.raises(ValueError, match=r"truth \(2, 3\) and prediction \(3, 2\) differ in shape"):
        count(np.zeros((2, 3), np.uint8), np.zeros((3, 2), np.uint8), 2, IGNORE)
    for stray in (2, 254):
        with pytest.raises(ValueError, match="truth holds a value that is neither one of 2 classes nor 255"):
            count(np.full((2, 3), stray, np.uint8), np.zeros((2, 3), np.uint8), 2, IGNORE)
    with pytest.raises(ValueError, match="truth holds a value that is neither one of 2 classes nor 100"):
        count(np.full((2, 3), 255, np.uint8), np.zeros((2, 3), np.uint8), 2, 100)
    with pytest.raises(ValueError, match="unknown rule of the mean 'median'"):
        score(np.eye(2, dtype=np.int64), "median")


@pytest.mark.parametrize("stray", [2, 3, 254, 255, -1, 2**40, 2**62, -(2**62)])
def test_a_prediction_that_is_no_class_is_refused_and_never_counted_as_another(stray: int) -> None:
    truth, predicted = np.array([[0, 1, IGNORE]]), np.zeros((1, 3), np.int64)
    for place in range(3):  # on ignored pixels too
        bad = predicted.copy()
        bad[0, place] = stray
        with pytest.raises(ValueError, match="prediction holds a value that is none of 2 classes"):
            tally(truth, bad, 2, IGNORE)


@pytest.mark.parametrize("stray", [-1, -2, 2**62, 2**63 - 1, -(2**63)])
def test_a_truth_that_would_overflow_or_reach_another_row_is_refused(stray: int) -> None:
    truth = np.array([0, stray, 1])
    with pytest.raises(ValueError, match="truth holds a value that is neither one of 4 classes nor 255"):
        tally(truth, np.array([0, 3, 1]), 4, IGNORE)


@pytest.mark.parametrize("kind", [np.float32, np.float64, np.bool_, np.complex64])
def test_classes_are_whole_numbers(kind: type) -> None:
    whole = np.zeros((2, 2), np.uint8)
    for truth, predicted in ((whole, whole.astype(kind)), (whole.astype(kind), whole)):
        with pytest.raises(ValueError, match="classes are whole numbers"):
            tally(truth, predicted, 2, IGNORE)


@pytest.mark.parametrize("kind", [np.uint8, np.int16, np.uint16, np.int32, np.uint32, np.int64, np.uint64])
def test_every_type_of_whole_numbers_counts_alike(kind: type) -> None:
    truth, predicted = np.array([[0, 1, 1, IGNORE]]), np.array([[0, 0, 1, 1]])
    for one, other in ((truth.astype(np.uint8), predicted.astype(kind)), (truth.astype(np.int16), predicted)):
        counts, void = tally(one, other, 2, IGNORE)
        np.testing.assert_array_equal(counts, [[1, 0], [1, 1]])
        np.testing.assert_array_equal(void, [0, 1])


K = 4
PIXELS = arrays(np.uint8, (5, 6), elements=st.sampled_from([0, 1, 2, 3, IGNORE]))
GUESSES = arrays(np.uint8, (5, 6), elements=st.integers(0, K - 1))
COUNTS = arrays(np.int64, (K, K), elements=st.integers(0, 1000))
rules = st.sampled_from(sorted(RULES))


@given(PIXELS, GUESSES)
def test_every_known_pixel_is_counted_once(truth: NDArray[np.uint8], predicted: NDArray[np.uint8]) -> None:
    counts, void = tally(truth, predicted, K, IGNORE)
    assert np.array_equal(counts, count(truth, predicted, K, IGNORE)) and counts.dtype == void.dtype == np.int64
    assert np.array_equal(void, [((predicted == k) & (truth == IGNORE)).sum() for k in range(K)])
    assert counts.sum() == (truth != IGNORE).sum()
    assert np.array_equal(counts.sum(1), [(truth == k).sum() for k in range(K)])
    assert np.array_equal(counts.sum(0), [((predicted == k) & (truth != IGNORE)).sum() for k in range(K)])


@given(PIXELS, GUESSES, st.integers(0, 5))
def test_counts_of_parts_add_up(truth: NDArray[np.uint8], predicted: NDArray[np.uint8], cut: int) -> None:
    whole = count(truth, predicted, K, IGNORE)
    parts = count(truth[:cut], predicted[:cut], K, IGNORE) + count(truth[cut:], predicted[cut:], K, IGNORE)
    assert np.array_equal(whole, parts)


@given(COUNTS, rules)
def test_iou_is_a_share(counts: NDArray[np.int64], rule: str) -> None:
    result = of_rule(counts, rule)
    known = result.iou[~np.isnan(result.iou)]
    assert ((known >= 0) & (known <= 1)).all() and len(known) == result.in_mean
    if len(known):
        assert known.min() - 1e-12 <= result.mean <= known.max() + 1e-12


@given(COUNTS, rules, st.permutations(range(K)))
def test_renaming_classes_renames_the_scores(counts: NDArray[np.int64], rule: str, order: list[int]) -> None:
    one, other = of_rule(counts, rule), of_rule(counts[np.ix_(order, order)], rule)
    np.testing.assert_array_equal(one.iou[order], other.iou)
    assert one.in_mean == other.in_mean
    np.testing.assert_allclose(one.mean, other.mean, rtol=1e-12)
    assert {order[k] for k in other.never_predicted} == set(one.never_predicted)


@given(COUNTS)
def test_a_perfect_prediction_scores_one(counts: NDArray[np.int64]) -> None:
    counts = np.diag(counts.diagonal())
    result = score(counts, "skip_absent")
    assert (result.iou[counts.diagonal() > 0] == 1).all() and result.in_mean == (counts.diagonal() > 0).sum()


@given(COUNTS, st.integers(2, 9))
def test_scores_depend_on_shares_alone(counts: NDArray[np.int64], factor: int) -> None:
    np.testing.assert_allclose(score(counts, "skip_absent").iou, score(factor * counts, "skip_absent").iou)
