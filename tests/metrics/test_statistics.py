"""Statistics over seeds and targets, against scipy, cases worked by hand and simulation."""

import math
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from gkdbench.metrics.statistics import average_ranks, holm, signed_ranks, t_interval


def test_the_interval_is_scipys():
    values = [61.9, 62.4, 60.7, 63.0]
    found = t_interval(values)
    low, high = stats.t.interval(0.95, 3, np.mean(values), stats.sem(values))
    assert (found.mean, found.low, found.high, found.n) == pytest.approx((np.mean(values), low, high, 4))
    assert found.half == pytest.approx(high - np.mean(values))
    single = t_interval([5.0])
    assert single.half is None and single.mean == 5.0 and math.isnan(single.low)
    with pytest.raises(ValueError, match="at least one value"):
        t_interval([])


def test_the_interval_holds_the_mean_as_often_as_it_says():
    rng = np.random.default_rng(0)
    found = [t_interval(rng.normal(50, 3, 5).tolist()) for _ in range(2000)]
    assert np.mean([one.low <= 50 <= one.high for one in found]) == pytest.approx(0.95, abs=0.015)


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
