"""Statistics against scipy, against cases worked by hand, and their intervals against simulation."""

import math
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from gkdbench.metrics.confusion import score
from gkdbench.metrics.statistics import (
    average_ranks,
    holm,
    paired_bootstrap,
    paired_class_bootstrap,
    signed_ranks,
    t_interval,
)


def test_the_interval_is_scipys():
    values = [61.9, 62.4, 60.7, 63.0]
    found = t_interval(values)
    low, high = stats.t.interval(0.95, 3, np.mean(values), stats.sem(values))
    assert (found.mean, found.low, found.high, found.n) == pytest.approx((np.mean(values), low, high, 4))
    assert found.holds(62.0) and not found.holds(70.0)
    single = t_interval([5.0])
    assert single.mean == 5.0 and math.isnan(single.low) and not single.holds(5.0)
    with pytest.raises(ValueError, match="at least one value"):
        t_interval([])


def test_the_interval_holds_the_mean_as_often_as_it_says():
    rng = np.random.default_rng(0)
    inside = [t_interval(rng.normal(50, 3, 5).tolist()).holds(50) for _ in range(2000)]
    assert np.mean(inside) == pytest.approx(0.95, abs=0.015)


def counts_of(rng, images: int, classes: int, right: float) -> np.ndarray:
    """Confusion counts of images whose pixels are classified rightly with a probability of their own."""
    found = np.zeros((images, classes, classes), np.int64)
    for n in range(images):
        chance = np.clip(rng.normal(right, 0.1), 0.05, 0.95)
        for truth in range(classes):
            pixels = int(rng.integers(20, 200))
            hits = rng.binomial(pixels, chance)
            found[n, truth, truth] = hits
            found[n, truth, (truth + 1) % classes] = pixels - hits
    return found


@pytest.mark.parametrize("rule", ["skip_absent", "present_in_truth"])
def test_the_difference_is_that_of_the_scores(rule):
    rng = np.random.default_rng(1)
    first, second = counts_of(rng, 30, 4, 0.6), counts_of(rng, 30, 4, 0.7)
    first[:, 3], second[:, 3] = 0, 0  # a class that the truth lacks
    second[:, :, 3] += 5
    found = paired_bootstrap(first, second, rule, resamples=500)
    wanted = score(second.sum(0), rule).mean - score(first.sum(0), rule).mean
    assert found.value == pytest.approx(wanted) and found.low < found.value < found.high and found.images == 30
    without = paired_bootstrap(first, second, rule, resamples=10, excluded=[3])
    kept = score(second.sum(0), rule, excluded=[3]).mean - score(first.sum(0), rule, excluded=[3]).mean
    assert without.value == pytest.approx(kept)


def test_classes_have_differences_of_their_own():
    rng = np.random.default_rng(5)
    first, second = counts_of(rng, 40, 3, 0.5), counts_of(rng, 40, 3, 0.5)
    first, second = (np.pad(counts, ((0, 0), (0, 1), (0, 1))) for counts in (first, second))  # a class nobody has
    second[:, 0, 0] += second[:, 0, 1]
    second[:, 0, 1] = 0
    found = paired_class_bootstrap(first, second, "skip_absent", resamples=400)
    wanted = score(second.sum(0), "skip_absent").iou - score(first.sum(0), "skip_absent").iou
    assert [one.value for one in found] == pytest.approx(wanted.tolist(), nan_ok=True)
    assert found[0].low > 0 and found[0].p == 1 / 400 and math.isnan(found[3].low) and math.isnan(found[3].p)
    mean = paired_bootstrap(first, second, "skip_absent", resamples=400)
    assert mean.value == pytest.approx(np.nanmean(wanted))


def test_resamples_are_those_of_a_plain_loop():
    rng = np.random.default_rng(2)
    first, second = counts_of(rng, 12, 3, 0.5), counts_of(rng, 12, 3, 0.55)
    drawn = np.random.default_rng(0).multinomial(12, np.full(12, 1 / 12), size=200)
    plain = []
    for times in drawn:
        rows = np.repeat(np.arange(12), times)
        plain.append(score(second[rows].sum(0), "skip_absent").mean - score(first[rows].sum(0), "skip_absent").mean)
    found = paired_bootstrap(first, second, "skip_absent", resamples=200)
    assert (found.low, found.high) == pytest.approx(tuple(np.quantile(plain, [0.025, 0.975])))
    tail = min(np.mean(np.array(plain) <= 0), np.mean(np.array(plain) >= 0))
    assert found.p == pytest.approx(max(2 * tail, 1 / 200))


def test_pairing_sees_what_unpaired_noise_hides():
    """One method is a little better on every image, while images differ far more among themselves."""
    rng = np.random.default_rng(3)
    first = counts_of(rng, 80, 3, 0.5)
    second = first.copy()
    for k in range(3):
        moved = np.minimum(second[:, k, (k + 1) % 3], 2)
        second[:, k, k] += moved
        second[:, k, (k + 1) % 3] -= moved
    found = paired_bootstrap(first, second, "skip_absent", resamples=2000)
    assert found.low > 0 and found.p == 1 / 2000
    same = paired_bootstrap(first, first, "skip_absent", resamples=100)
    assert (same.value, same.low, same.high, same.p) == (0, 0, 0, 1)


def test_the_bootstraps_interval_holds_the_true_difference_about_as_often_as_it_says():
    rng = np.random.default_rng(4)
    # the difference over very many images of the same making
    truth = np.mean([
        score(counts_of(rng, 2000, 3, 0.7).sum(0), "skip_absent").mean
        - score(counts_of(rng, 2000, 3, 0.6).sum(0), "skip_absent").mean
    ])  # fmt: skip
    inside = 0
    for seed in range(150):
        first, second = counts_of(rng, 60, 3, 0.6), counts_of(rng, 60, 3, 0.7)
        found = paired_bootstrap(first, second, "skip_absent", resamples=300, seed=seed)
        inside += found.low <= truth <= found.high
    assert 0.88 <= inside / 150 <= 1.0


def test_counts_that_do_not_pair_are_refused():
    with pytest.raises(ValueError, match="paired counts of one shape"):
        paired_bootstrap(np.zeros((3, 2, 2), int), np.zeros((4, 2, 2), int), "skip_absent")
    with pytest.raises(ValueError, match="knows no rule 'void_is_error'"):
        paired_bootstrap(np.ones((3, 2, 2), int), np.ones((3, 2, 2), int), "void_is_error")


def test_signed_ranks_are_scipys():
    first, second = [30.0, 41.0, 25.0, 60.0, 51.0, 44.0], [33.0, 40.5, 29.0, 66.0, 50.0, 51.0]
    found = signed_ranks(first, second)
    assert found.p == pytest.approx(stats.wilcoxon(second, first).pvalue) and found.pairs == 6
    assert found.median == pytest.approx(3.5)
    assert math.isnan(signed_ranks([1.0, 2.0], [1.0, 2.0]).p) and math.isnan(signed_ranks([], []).p)
    with pytest.raises(ValueError, match="cannot be paired"):
        signed_ranks([1.0], [1.0, 2.0])


def test_holm_by_hand():
    # 4 * 0.01, 3 * 0.012, 2 * 0.03, 1 * 0.04, none smaller than the one before
    found = holm({"d": 0.04, "a": 0.01, "c": 0.03, "b": 0.012, "none": math.nan})
    assert list(found) == ["d", "a", "c", "b", "none"] and math.isnan(found.pop("none"))
    assert found == pytest.approx({"a": 0.04, "b": 0.04, "c": 0.06, "d": 0.06})


@given(st.lists(st.floats(0, 1), min_size=1, max_size=8))
def test_holm_never_lowers_a_value_and_keeps_the_order(values):
    given_values = {str(n): p for n, p in enumerate(values)}
    found = holm(given_values)
    assert all(min(p, 1.0) <= found[name] <= 1.0 for name, p in given_values.items())
    ordered = sorted(given_values, key=lambda name: given_values[name])
    assert all(found[a] <= found[b] for a, b in pairwise(ordered))


def test_ranks_and_the_critical_difference():
    scores = {"a": [3.0, 3.0, 3.0, 2.0], "b": [2.0, 2.0, 1.0, 2.0], "c": [1.0, 1.0, 2.0, 1.0]}
    found = average_ranks(scores)
    assert found.ranks == {"a": (1 + 1 + 1 + 1.5) / 4, "b": (2 + 2 + 3 + 1.5) / 4, "c": (3 + 3 + 2 + 3) / 4}
    # Demsar's table: q of 2.343 for three methods at 5 %
    assert found.critical == pytest.approx(2.343 * math.sqrt(3 * 4 / (6 * 4)), abs=2e-3)
    assert found.p == pytest.approx(stats.friedmanchisquare(*scores.values()).pvalue) and found.blocks == 4
    assert found.alike() == [("a", "b", "c")]
    many = average_ranks({name: [v] * 30 for name, v in (("a", 3.0), ("b", 2.0), ("c", 1.0))})
    assert many.alike() == [] and many.ranks == {"a": 1.0, "b": 2.0, "c": 3.0}
    assert math.isnan(average_ranks({"a": [1.0], "b": [2.0]}).critical)
