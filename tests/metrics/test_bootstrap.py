"""The paired bootstrap against plain loops, the scores it resamples, and simulation."""

import math

import numpy as np
import pytest

from gkdbench.metrics import bootstrap
from gkdbench.metrics.bootstrap import (
    Pixels,
    bootstrap_p,
    paired_bootstrap,
    paired_class_bootstrap,
    paired_difference,
    resampled_means,
    smallest_p,
)
from gkdbench.metrics.confusion import score


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
    assert found[0].low > 0 and found[0].p == 2 / 401 and math.isnan(found[3].low) and math.isnan(found[3].p)
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
    rarer = min(np.sum(np.array(plain) <= 0), np.sum(np.array(plain) >= 0))
    assert found.p == pytest.approx(2 * (rarer + 1) / 201)


def test_p_counts_the_rarer_side_and_the_difference_itself():
    # of 9 resamples 2 are not above zero: 2 * (2 + 1) / (9 + 1)
    assert bootstrap_p(np.array([-1.0, 0.0, 1, 2, 3, 4, 5, 6, 7])) == pytest.approx(0.6)
    assert bootstrap_p(np.ones(9)) == pytest.approx(0.2) == smallest_p(9)
    # no difference at all lies on both sides: twice the share is more than 1
    assert bootstrap_p(np.zeros(9)) == 1.0
    assert smallest_p() == 2 / 10_001


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
    assert found.low > 0 and found.p == 2 / 2001
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
    for rule in bootstrap.RULES:
        whole = resampled_means(parts, rule, resamples=500)
        alone = [resampled_means([one], rule, resamples=500)[0] for one in parts]
        monkeypatch.setattr(bootstrap, "_BLOCK", 1000)
        bootstrap._weights.cache_clear()
        pieces = resampled_means(parts, rule, resamples=500)
        monkeypatch.undo()
        bootstrap._weights.cache_clear()
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
