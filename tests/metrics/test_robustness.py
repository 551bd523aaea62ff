"""mPC and rPC by hand, and cells that were not measured."""

import math

import pytest

from gkdbench.metrics.robustness import robustness

CELLS = {("fog", 1): 0.6, ("fog", 2): 0.4, ("snow", 1): 0.5, ("snow", 2): 0.1}


def test_means_of_a_full_grid() -> None:
    found = robustness(CELLS, 0.8, ["fog", "snow"], [1, 2])
    assert found.mpc == pytest.approx(0.4) and found.rpc == pytest.approx(0.5) and found.clean == 0.8
    assert found.per_corruption == pytest.approx({"fog": 0.5, "snow": 0.3})
    assert found.per_severity == pytest.approx({1: 0.55, 2: 0.25})
    assert (found.expected, found.missing) == (4, ())


@pytest.mark.parametrize("gone", [None, math.nan, "absent"])
def test_a_missing_cell_leaves_every_mean_over_it_open(gone) -> None:
    cells = {cell: value for cell, value in CELLS.items() if cell != ("snow", 2)}
    if gone != "absent":
        cells[("snow", 2)] = gone
    found = robustness(cells, 0.8, ["fog", "snow"], [1, 2])
    assert found.mpc is None and found.rpc is None and found.missing == (("snow", 2),)
    assert found.per_corruption == {"fog": pytest.approx(0.5), "snow": None}
    assert found.per_severity == {1: pytest.approx(0.55), 2: None}


@pytest.mark.parametrize("clean", [None, 0.0, math.nan])
def test_without_a_clean_value_there_is_no_rpc(clean) -> None:
    found = robustness(CELLS, clean, ["fog", "snow"], [1, 2])
    assert found.mpc == pytest.approx(0.4) and found.rpc is None
    assert found.clean == (0.0 if clean == 0 else None)


def test_other_cells_are_left_out() -> None:
    found = robustness(CELLS | {("speckle", 1): 0.0}, 0.8, ["fog"], [1])
    assert found.mpc == 0.6 and found.expected == 1


def test_nothing_expected_has_no_mean() -> None:
    assert robustness({}, 0.8, []).mpc is None


def test_five_severities_are_the_default() -> None:
    cells = {("fog", severity): severity / 10 for severity in range(1, 6)}
    assert robustness(cells, 0.6, ["fog"]).mpc == pytest.approx(0.3)
    assert robustness(CELLS, 0.6, ["fog"]).missing == (("fog", 3), ("fog", 4), ("fog", 5))


def test_a_corruption_named_twice_is_refused() -> None:
    with pytest.raises(ValueError, match="twice"):
        robustness(CELLS, 0.8, ["fog", "fog"], [1])
