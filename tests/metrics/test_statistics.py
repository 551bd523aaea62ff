"""Statistics against scipy, against cases worked by hand, and their intervals against simulation."""

import math
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from gkdbench.metrics import statistics
from gkdbench.metrics.confusion import score
from gkdbench.metrics.statistics import (
    Pixels,
    average_ranks,
    holm,
    paired_bootstrap,
    paired_class_bootstrap,
    paired_difference,
    resampled_means,
    shared_ranks,
    signed_ranks,
    t_interval,
)


def test_the_interval_is_scipys():
    values = [61.9, 62.4, 60.7, 63.0]
    found = t_interval(values)
    low, high = stats.t.interval(0.95, 3, np.mean(values), stats.sem(values))
    assert (found.mean, found.low, found.high, found.n) == pytest.approx((np.mean(values), low, high, 4))
    assert found.holds(62.0) and not found.holds(70.0)
    assert found.half == pytest.approx(high - np.mean(values))
    single = t_interval([5.0])
    assert single.half is None and single.mean == 5.0 and math.isnan(single.low) and not single.holds(5.0)
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
    assert (found.low, found.high) == pytest.approx(tuple(np.quantile(plain, [0.025, 0.975])), abs=1e-6)
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


def averaged(firsts: list, seconds: list, **options):
    """Return the difference averaged over seeds, as a report computes it."""
    before, after = (
        resampled_means([Pixels.of(one) for one in of], "skip_absent", **options) for of in (firsts, seconds)
    )
    return paired_difference(before, after)


def test_seeds_are_averaged_on_the_same_resamples():
    rng = np.random.default_rng(6)
    firsts, seconds = ([counts_of(rng, 15, 3, right) for _ in range(3)] for right in (0.5, 0.56))
    found = averaged(firsts, seconds, resamples=200)
    drawn = np.random.default_rng(0).multinomial(15, np.full(15, 1 / 15), size=200)
    plain = []
    for times in [np.ones(15, int), *drawn]:
        rows = np.repeat(np.arange(15), times)
        means = [[score(one[rows].sum(0), "skip_absent").mean for one in of] for of in (firsts, seconds)]
        plain.append(np.mean(means[1]) - np.mean(means[0]))
    assert found.value == pytest.approx(plain[0]) and found.images == 15
    assert (found.low, found.high) == pytest.approx(tuple(np.quantile(plain[1:], [0.025, 0.975])), abs=1e-6)
    single = averaged(firsts[:1], seconds[:1], resamples=200)
    assert single == paired_bootstrap(firsts[0], seconds[0], "skip_absent", resamples=200)
    with pytest.raises(ValueError, match="pairs judged on the same images"):
        averaged(firsts, [one[:9] for one in seconds], resamples=10)


def test_the_interval_of_averaged_seeds_holds_the_true_difference_about_as_often_as_it_says():
    """Seeds are fixed here: each has a rightness of its own, and images are drawn anew."""
    rng = np.random.default_rng(7)
    rights = [(0.58, 0.66), (0.60, 0.69), (0.62, 0.70)]

    def true_mean(right: float) -> float:
        return score(counts_of(np.random.default_rng(8), 4000, 3, right).sum(0), "skip_absent").mean

    truth = np.mean([true_mean(after) - true_mean(before) for before, after in rights])
    inside = 0
    for seed in range(120):
        firsts, seconds = ([counts_of(rng, 60, 3, pair[side]) for pair in rights] for side in (0, 1))
        found = averaged(firsts, seconds, resamples=300, seed=seed)
        inside += found.low <= truth <= found.high
    assert 0.88 <= inside / 120 <= 1.0


def test_large_and_uneven_splits_are_resampled_alike(monkeypatch):
    """Whatever is worked on at once, in whatever type weights are kept, the figures are the same."""
    rng = np.random.default_rng(9)
    parts = [Pixels.of(counts_of(rng, images, 4, 0.6)) for images in (30, 300, 30, 7)]
    for rule in statistics.RULES:
        whole = resampled_means(parts, rule, resamples=500)
        alone = [resampled_means([one], rule, resamples=500)[0] for one in parts]
        monkeypatch.setattr(statistics, "_BLOCK", 1000)
        statistics._weights.cache_clear()
        pieces = resampled_means(parts, rule, resamples=500)
        monkeypatch.undo()
        statistics._weights.cache_clear()
        for one, two, three in zip(whole, alone, pieces, strict=True):
            assert one.value == two.value == three.value
            assert np.allclose(one.drawn, two.drawn, atol=1e-6) and np.allclose(one.drawn, three.drawn, atol=1e-6)


def test_pixels_beyond_what_float32_counts_change_little():
    rng = np.random.default_rng(10)
    counts = counts_of(rng, 40, 3, 0.6)
    found, large = (
        paired_bootstrap(c, c[:, ::-1, ::-1], "skip_absent", resamples=300) for c in (counts, counts * 10**7)
    )
    assert large.value == pytest.approx(found.value, abs=1e-15)
    assert (large.low, large.high) == pytest.approx((found.low, found.high), abs=1e-6)


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


def every_sign(differences: list[float]) -> float:
    """Return the signed ranks' two-sided p by trying every sign."""
    told = np.array([d for d in differences if d])
    ranks = stats.rankdata(np.abs(told))
    sums = [np.dot(ranks, signs) for signs in np.ndindex(*[2] * len(told))]
    seen = ranks[told > 0].sum()
    return min(1.0, 2 * min(np.mean(np.array(sums) <= seen), np.mean(np.array(sums) >= seen)))


@given(st.lists(st.integers(-4, 4), min_size=1, max_size=9))
def test_signed_ranks_are_exact_with_ties_and_zeros(differences):
    found = signed_ranks([0.0] * len(differences), differences)
    told = sum(map(bool, differences))
    if not told:
        assert math.isnan(found.p) and math.isnan(found.least)
        return
    assert found.p == pytest.approx(every_sign(differences)) and found.pairs == len(differences)
    assert found.least == 2 ** (1 - told) <= found.p + 1e-12


def test_signed_ranks_of_few_pairs_cannot_be_small():
    assert signed_ranks([0, 0, 0], [1, 2, 3]).p == signed_ranks([0, 0, 0], [1, 2, 3]).least == 0.25


@pytest.mark.parametrize("pairs", [30, 190, 260])
def test_signed_ranks_of_many_pairs_are_scipys(pairs):
    differences = np.random.default_rng(pairs).normal(0.12, 1, pairs)
    found = signed_ranks(np.zeros(pairs), differences)
    method = "exact" if pairs <= 200 else "asymptotic"
    assert found.p == pytest.approx(stats.wilcoxon(differences, method=method).pvalue)
    assert found.p == pytest.approx(stats.wilcoxon(differences, method="asymptotic").pvalue, rel=0.1)


@given(st.lists(st.integers(0, 5), min_size=1, max_size=12))
def test_ranks_are_scipys(values):
    assert shared_ranks(np.array(values, float)).tolist() == stats.rankdata(values).tolist()


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


@given(st.lists(st.lists(st.integers(0, 3), min_size=4, max_size=4), min_size=3, max_size=6))
def test_friedmans_p_with_ties_is_scipys(table):
    found = average_ranks({str(n): list(map(float, row)) for n, row in enumerate(table)})
    if all(len(set(block)) == 1 for block in zip(*table, strict=True)):
        assert math.isnan(found.p)
    else:
        assert found.p == pytest.approx(stats.friedmanchisquare(*table).pvalue)


@pytest.mark.parametrize("methods", [2, 3, 10, 60, 300])
def test_the_critical_difference_is_scipys_for_any_number_of_methods(methods):
    scores = {str(n): [float(n), float(n)] for n in range(methods)}
    wanted = stats.studentized_range.ppf(0.95, methods, np.inf) / math.sqrt(2) * math.sqrt(methods * (methods + 1) / 12)
    assert average_ranks(scores).critical == pytest.approx(wanted, rel=1e-6)
