"""Learning rates are pure functions of the step with the shape their names promise."""

import itertools
import math

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from gkdbench.engine.schedule import rate_factor
from gkdbench.spec.recipe import StageRecipe


def recipe(**changes: object) -> StageRecipe:
    content = {"steps": 100, "batch": 2, "lr": 1.0, "encoder_lr": 1.0, "size": [8, 8], **changes}
    return StageRecipe.model_validate(content)


def test_warm_up_is_linear_and_reaches_the_peak() -> None:
    made = recipe(warmup=4)
    assert [rate_factor(made, step) for step in range(5)] == [0.25, 0.5, 0.75, 1.0, 1.0]


@pytest.mark.parametrize("schedule", ["cosine", "poly"])
def test_without_warm_up_it_starts_at_the_peak(schedule: str) -> None:
    assert rate_factor(recipe(schedule=schedule, floor=0.1), 0) == 1.0


def test_cosine_by_hand() -> None:
    made = recipe(warmup=20, floor=0.2)
    assert rate_factor(made, 60) == pytest.approx(0.2 + 0.8 * 0.5)
    assert rate_factor(made, 40) == pytest.approx(0.2 + 0.8 * 0.5 * (1 + math.sqrt(0.5)))
    assert rate_factor(made, 100) == pytest.approx(0.2)


def test_poly_by_hand() -> None:
    """The schedule of the released code: (1 - t)^0.9 down to a floor."""
    made = recipe(schedule="poly", power=0.9, floor=0.01)
    assert rate_factor(made, 50) == pytest.approx(0.01 + 0.99 * 0.5**0.9)
    assert rate_factor(made, 100) == pytest.approx(0.01)
    assert rate_factor(recipe(schedule="poly", power=1.0), 25) == pytest.approx(0.75)


@given(
    steps=st.integers(1, 400),
    warmup=st.integers(0, 50),
    schedule=st.sampled_from(["cosine", "poly"]),
    power=st.floats(0.1, 3),
    floor=st.floats(0, 1),
)
def test_up_then_down_and_never_below_the_floor(
    steps: int, warmup: int, schedule: str, power: float, floor: float
) -> None:
    assume(warmup < steps)
    made = recipe(steps=steps, warmup=warmup, schedule=schedule, power=power, floor=floor)
    rates = [rate_factor(made, step) for step in range(steps)]
    assert all(0 < rate <= 1 + 1e-12 for rate in rates) and max(rates) == pytest.approx(1.0)
    rising, falling = rates[:warmup], rates[warmup:]
    assert rising == sorted(rising)
    assert all(a >= b - 1e-12 for a, b in itertools.pairwise(falling))
    assert min(falling) >= floor - 1e-12
    assert rates == [rate_factor(made, step) for step in range(steps)]


@given(st.integers(2, 300), st.sampled_from(["cosine", "poly"]))
def test_the_last_step_is_near_the_floor_and_still_learns(steps: int, schedule: str) -> None:
    last = rate_factor(recipe(steps=steps, schedule=schedule), steps - 1)
    assert 0 < last <= (steps**-0.9 if schedule == "poly" else (math.pi / 2 / steps) ** 2) + 1e-12
