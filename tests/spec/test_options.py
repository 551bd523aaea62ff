"""Sizes, limits and recipe fields from the command line: what is written comes through, all else is one clear line."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gkdbench.errors import UsageError
from gkdbench.spec.catalogue import find_benchmark
from gkdbench.spec.options import changed_preset, marks_of, options_of
from gkdbench.spec.recipe import STAGE_NAMES, Preset
from gkdbench.spec.selection import RunSpec, Selection, resolve

STREETS = find_benchmark("streets").benchmark
SMOKE = STREETS.presets["smoke"]


def changed(*options: str, preset: str = "smoke") -> tuple[Preset, dict[str, Any]]:
    return changed_preset(STREETS, preset, dict(option.split("=", 1) for option in options))


def runs(*options: str, preset: str = "smoke") -> list[RunSpec]:
    return resolve(Selection(methods=("gkd",), preset=preset, options=options))


@pytest.mark.parametrize(
    ("text", "size"),
    [
        ("96x64", (96, 64)),
        ("96", (96, 96)),
    ],
)
def test_a_size_is_written_in_several_ways(text: str, size: tuple[int, int]) -> None:
    preset, changes = changed(f"recipe.proxy.size={text}")
    assert preset.proxy.size == size and changes == {"proxy.size": list(size)}
    assert preset == SMOKE.model_copy(update={"proxy": SMOKE.proxy.model_copy(update={"size": size})})


def test_limits_are_set_and_lifted() -> None:
    preset, changes = changed("limits.target=5", "limits.proxy=none", "limits.source=64", "limits.val=007")
    assert SMOKE.limits == {"source": 64, "val": 24, "target": 16, "proxy": 64}
    assert preset.limits == {"source": 64, "val": 7, "target": 5}
    # what the preset says anyway is no change
    assert changes == {"limits.target": 5, "limits.proxy": None, "limits.val": 7}
    assert changed("limits.target=none", preset="quick") == (STREETS.presets["quick"], {})


@pytest.mark.parametrize(
    ("option", "message"),
    [
        ("recipe.task.size=big", "-o recipe.task.size=big: must be HEIGHTxWIDTH in pixels, such as 96x128, or one"),
        ("recipe.task.size=", "-o recipe.task.size=: must be HEIGHTxWIDTH"),
        ("recipe.task.size=none", "-o recipe.task.size=none: must be HEIGHTxWIDTH"),
        ("recipe.task.size=96x96x3", "-o recipe.task.size=96x96x3: must be HEIGHTxWIDTH"),
        ("recipe.task.size=96x", "-o recipe.task.size=96x: must be HEIGHTxWIDTH"),
        ("recipe.task.size=-96", "-o recipe.task.size=-96: must be HEIGHTxWIDTH"),
        ("recipe.task.size=9.5", "-o recipe.task.size=9.5: must be HEIGHTxWIDTH"),
        ("recipe.task.size=" + "9" * 5000, "-o recipe.task.size=999"),
        ("recipe.task.size=0x96", "-o (on preset 'smoke'): key 'task.size.0': Input should be greater than 0"),
        ("recipe.task.siz=96", "-o recipe.task.siz: a recipe has no field 'siz'; did you mean 'size'?"),
        ("recipe.tsk.size=96", "-o recipe.tsk.size: no stage 'tsk'; did you mean 'task'? (recipe.STAGE.FIELD; stages"),
        ("limits.sorce=8", "-o limits.sorce: no role 'sorce'; did you mean 'source'? (limits.ROLE; roles: source"),
        ("limits.=8", "-o limits.: no role '' (limits.ROLE; roles: source, val, target, proxy)"),
        ("limits.source.x=8", "-o limits.source.x: no role 'source.x'; did you mean 'source'?"),
        ("limits.source=0", "-o (on preset 'smoke'): key 'limits.source': Input should be greater than 0 (got '0')"),
        ("limits.source=-3", "-o (on preset 'smoke'): key 'limits.source': Input should be greater than 0"),
        ("limits.source=1.5", "-o (on preset 'smoke'): key 'limits.source': Input should be a valid integer"),
        ("limits.source=many", "-o (on preset 'smoke'): key 'limits.source': Input should be a valid integer"),
        ("limits.source=" + "9" * 5000, "-o (on preset 'smoke'): key 'limits.source': Unable to parse input string"),
        ("limit.source=8", "-o limit.source=8: no section 'limit'; did you mean 'limits'? (sections: recipe, limits)"),
        ("recipie.task.lr=1", "-o recipie.task.lr=1: no section 'recipie'; did you mean 'recipe'?"),
    ],
)
def test_what_is_no_size_limit_or_name_is_one_line(option: str, message: str) -> None:
    with pytest.raises(UsageError) as caught:
        runs(option)
    assert str(caught.value).startswith(message) and "\n" not in str(caught.value)


def test_an_option_given_twice_is_refused() -> None:
    with pytest.raises(UsageError, match=r"-o limits\.val=3: option 'limits\.val' is given twice"):
        runs("limits.val=2", "limits.val=3")


@pytest.mark.parametrize(
    ("options", "marks"),
    [
        ((), ()),
        (("recipe.task.size=32x64",), ("custom recipe",)),
        (("limits.target=5",), ("custom limits",)),
        (("limits.source=none", "recipe.task.size=32x64"), ("custom recipe", "custom limits")),
        (("limits.target=16", "recipe.task.size=64x128"), ()),  # what the preset says
    ],
)
def test_runs_are_marked_and_their_teacher_sees_the_same(options: tuple[str, ...], marks: tuple[str, ...]) -> None:
    teacher, run = runs(*options)
    assert run.marks == teacher.marks == marks
    assert run.preset == teacher.preset and run.recipe_overrides == teacher.recipe_overrides


sides = st.integers(1, 99999)
values = st.dictionaries(st.sampled_from(["source", "val", "target", "proxy"]), st.none() | st.integers(1, 10**8))


@given(st.dictionaries(st.sampled_from(STAGE_NAMES), st.tuples(sides, sides)), values)
def test_what_was_changed_can_be_written_down_and_read_again(
    sizes: dict[str, tuple[int, int]], limits: dict[str, int | None]
) -> None:
    options = [f"recipe.{stage}.size={height}x{width}" for stage, (height, width) in sizes.items()]
    options += [f"limits.{role}={limit}" for role, limit in limits.items()]
    preset, changes = changed(*options)
    assert all(preset.stage(stage).size == size for stage, size in sizes.items())
    assert all(preset.limits.get(role) == limit for role, limit in limits.items())  # type: ignore[call-overload]
    assert changed(*options_of(changes)) == (preset, changes)
    # as a record has it: lists, not tuples
    listed = {name: list(value) if isinstance(value, tuple) else value for name, value in changes.items()}
    assert changed(*options_of(listed)) == (preset, changes)
    assert bool(marks_of(changes)) == bool(changes) == (preset != SMOKE)
