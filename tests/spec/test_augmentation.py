"""The three kinds of augmentation: which is meant, what is refused, and what is written of them."""

from typing import Any

import pytest
from pydantic import ValidationError

from gkdbench.errors import UsageError
from gkdbench.spec.augmentation import Augmentation, DistillationViews, TaskCrops
from gkdbench.spec.documents import parse
from gkdbench.spec.recipe import STAGE_NAMES, Preset, StageRecipe

STAGE = {"steps": 10, "batch": 2, "lr": 1.0, "encoder_lr": 1.0, "size": [8, 8]}
PLAIN = {"flip": 0.5, "scale": None, "brightness": 0.0, "contrast": 0.0}
KINDS = "kind should be 'task_crops', 'distillation_views' or 'detection_views', or left out for the plain kind"


def preset(augmentation: Any) -> Preset:
    stages: dict[str, Any] = {name: STAGE for name in STAGE_NAMES}
    return parse(Preset, {"description": "-", **stages, "task": {**STAGE, "augmentation": augmentation}}, "my.yaml")


@pytest.mark.parametrize(
    ("content", "kind"),
    [
        ({}, Augmentation),
        ({"scale": [0.5, 2.0]}, Augmentation),
        ({"kind": "task_crops"}, TaskCrops),
        ({"kind": "distillation_views", "erasing": 0.0}, DistillationViews),
    ],
)
def test_the_kind_is_what_the_section_names(content: dict[str, Any], kind: type) -> None:
    made = preset(content)
    assert type(made.task.augmentation) is kind
    written = made.model_dump(mode="json")
    assert parse(Preset, written, "again") == made
    assert written["task"]["augmentation"].get("kind") == content.get("kind")


def test_the_plain_kind_is_written_as_it_always_was() -> None:
    recipe = StageRecipe.model_validate(STAGE)
    assert recipe.model_dump(mode="json")["augmentation"] == PLAIN
    assert Augmentation().model_dump(mode="json") == PLAIN


def test_what_a_recipe_got_later_is_written_only_where_it_says_something() -> None:
    later = {"repeats": 3, "rates_for_batch": 512, "hold": 194, "lag": 1}
    plain = StageRecipe.model_validate(STAGE).model_dump(mode="json")
    assert not later.keys() & plain.keys()
    assert StageRecipe.model_validate({**STAGE, **later}).model_dump(mode="json") == plain | later


def test_the_defaults_are_the_studys() -> None:
    crops = TaskCrops(kind="task_crops")
    assert crops.short_sides == tuple(int(512 * 0.1 * step) for step in range(5, 21))
    views = DistillationViews(kind="distillation_views")
    assert views.ratio == (0.75, pytest.approx(1.3333333)) and views.mean == (0.485, 0.456, 0.406)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ({"flp": 0.1}, "key 'task.augmentation.flp' is not known; did you mean 'flip'?"),
        ({"flip": 2}, "key 'task.augmentation.flip': Input should be less than or equal to 1 (got 2)"),
        ({"scale": [1.5, 0.5]}, "key 'task.augmentation.scale': needs 0 < low <= high"),
        ({"kind": "task_crop"}, f"key 'task.augmentation': {KINDS}"),
        ({"kind": "plain"}, f"key 'task.augmentation': {KINDS}"),
        ({"kind": None}, f"key 'task.augmentation': {KINDS}"),
        ({"kind": ["task_crops"]}, f"key 'task.augmentation': {KINDS}"),
        ("task_crops", f"key 'task.augmentation': {KINDS} (got 'task_crops')"),
        ({"kind": "task_crops", "hues": 3}, "key 'task.augmentation.hues' is not known; did you mean 'hue'?"),
        ({"kind": "task_crops", "scale": [1, 2]}, "key 'task.augmentation.scale' is not known"),
        ({"kind": "task_crops", "hue": 91}, "key 'task.augmentation.hue': Input should be less than or equal to 90"),
        ({"kind": "task_crops", "short_sides": []}, "key 'task.augmentation.short_sides': Tuple should have at least"),
        ({"kind": "task_crops", "contrast": [0, 1]}, "key 'task.augmentation.contrast': needs 0 < low <= high"),
        (
            {"kind": "distillation_views", "rand_augmnt": "rand"},
            "key 'task.augmentation.rand_augmnt' is not known; did you mean 'rand_augment'?",
        ),
        ({"kind": "distillation_views", "rand_augment": "rand-mstd"}, "key 'task.augmentation.rand_augment': String"),
        ({"kind": "distillation_views", "rand_augment": "original"}, "key 'task.augmentation.rand_augment': String"),
        ({"kind": "distillation_views", "area": [0.5, 2]}, "key 'task.augmentation.area.1': Input should be less"),
        ({"kind": "distillation_views", "std": [0.2, 0, 0.2]}, "key 'task.augmentation.std.1': Input should be gre"),
    ],
)
def test_a_senseless_augmentation_is_refused(content: Any, message: str) -> None:
    with pytest.raises(UsageError) as caught:
        preset(content)
    assert str(caught.value).startswith(f"my.yaml: {message}")


@pytest.mark.parametrize("kind", [TaskCrops, DistillationViews])
def test_the_new_kinds_must_be_named(kind: type) -> None:
    with pytest.raises(ValidationError):
        kind()


@pytest.mark.parametrize("field", ["repeats", "hold", "rates_for_batch"])
def test_counts_are_positive(field: str) -> None:
    with pytest.raises(ValidationError):
        StageRecipe.model_validate({**STAGE, field: 0})
