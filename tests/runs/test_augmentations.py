"""The study's augmentations, sampler and schedule in runs from end to end."""

import pytest

from gkdbench.errors import UsageError

VIEWS = {"kind": "distillation_views"}
CROPS = {"kind": "task_crops", "short_sides": [24, 32, 40]}


@pytest.fixture
def study(tiny_benchmark):
    """The tiny benchmark with a recipe like the study's."""
    stages = tiny_benchmark.content["presets"]["smoke"]
    for name in ("proxy", "source"):
        stages[name] |= {"augmentation": VIEWS, "repeats": 3, "rates_for_batch": 8, "hold": 1, "lag": 1}
    stages["task"] |= {"augmentation": CROPS}
    tiny_benchmark.rewrite()
    return tiny_benchmark


def test_a_run_with_the_studys_recipe(study, do, shop):
    (record,) = do("gkd", preset="smoke")
    assert record.status == "done" and [stage.name for stage in record.stages] == ["proxy", "source", "task"]
    source = record.spec.recipe["source"]
    assert source["augmentation"]["rand_augment"] == "rand-m9-mstd0.5-inc1" and source["repeats"] == 3
    assert record.spec.recipe["task"]["augmentation"]["short_sides"] == [24, 32, 40]
    (again,) = do("gkd", preset="smoke", fresh=True)
    assert again.summary == record.summary


def test_a_stage_that_reads_labels_refuses_views_without_them(study, do):
    study.content["presets"]["smoke"]["task"] |= {"augmentation": VIEWS}
    study.rewrite()
    with pytest.raises(UsageError, match=r"preset 'smoke' .* key 'task\.augmentation\.kind' is 'distillation_views'"):
        do("gkd", preset="smoke")


def test_repeats_reach_the_sampler(study, do):
    study.content["presets"]["smoke"]["proxy"] |= {"batch": 8}
    study.rewrite()
    with pytest.raises(UsageError, match="recipe key 'repeats': 4 images fill no batch of 8"):
        do("gkd", preset="smoke")
