"""Learning rates are pure functions of the step with the shape their names promise."""

import itertools
import math

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from gkdbench.engine.optimiser import rate_factor
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


STUDY = {"floor": 1e-5 / 5e-4, "lag": 1, "lr": 5e-4}


def test_the_studys_first_distillation_by_hand() -> None:
    """100 epochs of 2502 steps, from 5e-4 to 1e-5: two epochs at the peak, the last at the 98th of 100 places."""
    made = recipe(steps=250_200, hold=2502, **STUDY)
    rates = [made.lr * rate_factor(made, 2502 * epoch) for epoch in range(100)]
    assert rates[0] == rates[1] == 5e-4 > rates[2]
    assert rates[2] == pytest.approx(1e-5 + 4.9e-4 * (1 + math.cos(math.pi / 100)) / 2)
    assert rates[51] == pytest.approx(2.55e-4)
    assert rates[-1] == pytest.approx(1e-5 + 4.9e-4 * (1 - math.cos(math.pi / 50)) / 2)
    assert rates[-1] == pytest.approx(1.05e-5, abs=5e-8)


def test_the_studys_second_distillation_by_hand() -> None:
    """300 epochs of 194 steps, from 1.25e-4: the rates are meant for 512 images, and there are 128."""
    made = recipe(steps=58_200, hold=194, batch=128, rates_for_batch=512, **{**STUDY, "floor": 1e-5 / 1.25e-4})
    peak = made.rate_scale * made.lr
    rates = [peak * rate_factor(made, 194 * epoch) for epoch in range(300)]
    assert peak == pytest.approx(1.25e-4) == pytest.approx(rates[1])
    assert rates[-1] == pytest.approx(1.00e-5, abs=2e-8) and rates[-1] > 1e-5
    assert rates[151] == pytest.approx(6.75e-5)


def test_a_rate_is_held() -> None:
    made = recipe(hold=10)
    plain = recipe()
    for step in range(100):
        assert rate_factor(made, step) == rate_factor(plain, step // 10 * 10)


def test_the_lag_moves_the_schedule_back_by_holds() -> None:
    made, punctual = recipe(hold=10, lag=2), recipe(hold=10)
    for step in range(100):
        assert rate_factor(made, step) == rate_factor(punctual, max(step - 20, 0))


def test_a_held_warm_up_rises_by_holds_and_reaches_the_peak() -> None:
    made = recipe(warmup=25, hold=10)
    assert [rate_factor(made, step) for step in (0, 9, 10, 19, 20, 29)] == [0.4, 0.4, 0.8, 0.8, 1.0, 1.0]
    assert rate_factor(made, 30) < 1


@given(st.integers(1, 300), st.integers(1, 400), st.integers(0, 5), st.sampled_from(["cosine", "poly"]))
def test_a_held_and_lagging_rate_falls_and_never_leaves_its_range(
    steps: int, hold: int, lag: int, schedule: str
) -> None:
    made = recipe(steps=steps, hold=hold, lag=lag, schedule=schedule, floor=0.1)
    rates = [rate_factor(made, step) for step in range(steps)]
    assert rates[0] == 1 and all(0.1 <= rate <= 1 for rate in rates)
    assert all(a >= b for a, b in itertools.pairwise(rates))
    changes = [step for step in range(1, steps) if rates[step] != rates[step - 1]]
    assert all(step % hold == 0 and step > lag * hold for step in changes)


@given(st.integers(2, 300), st.sampled_from(["cosine", "poly"]))
def test_the_last_step_is_near_the_floor_and_still_learns(steps: int, schedule: str) -> None:
    last = rate_factor(recipe(steps=steps, schedule=schedule), steps - 1)
    assert 0 < last <= (steps**-0.9 if schedule == "poly" else (math.pi / 2 / steps) ** 2) + 1e-12
