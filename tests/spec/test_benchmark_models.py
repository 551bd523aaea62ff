"""Benchmarks, recipes and models refuse what makes no sense, naming the key; the shipped ones are sound."""

import copy
from pathlib import Path
from typing import Any

import pytest

from gkdbench.data.readers import FolderSplit
from gkdbench.errors import UsageError
from gkdbench.spec.benchmark import Benchmark
from gkdbench.spec.catalogue import (
    benchmark_files,
    find_benchmark,
    find_model,
    find_setting,
    models,
    split_pair,
)
from gkdbench.spec.documents import parse, read_yaml
from gkdbench.spec.methods import find_method
from gkdbench.spec.model import ModelTable
from gkdbench.spec.recipe import STAGE_NAMES, Preset


def changed(content: dict[str, Any], path: str, value: Any) -> dict[str, Any]:
    """Return a copy with the value at a dotted path replaced."""
    content = copy.deepcopy(content)
    *parents, last = path.split(".")
    section = content
    for parent in parents:
        section = section[parent]
    section[last] = value
    return content


@pytest.mark.parametrize(
    ("path", "value", "message"),
    [
        ("palette", [[0, 0, 0]], "1 palette colours for 3 classes"),
        ("palette", [[0, 0]] * 3, "key 'palette.0.2' is missing"),
        ("palette", [[0, 0, 300]] * 3, "key 'palette.0.2': Input should be less than or equal to 255 (got 300)"),
        ("palette", [[-1, 0, 0]] * 3, "key 'palette.0.0': Input should be greater than or equal to 0 (got -1)"),
        ("palette", [[0.5, 0, 0]] * 3, "key 'palette.0.0': Input should be a valid integer, got a number with a"),
        ("classes", ["car", "sky", "car"], r"key 'classes': 'car' stands there twice"),
        ("classes", ["car", "sky", "car "], r"key 'classes': 'car ' and 'car' look alike"),
        ("classes", ["car", "sky", " "], r"key 'classes': a name is empty"),
        ("excluded_from_mean", ["sky", "sky"], r"key 'excluded_from_mean': 'sky' stands there twice"),
        ("classes", ["one"], "key 'classes': List should have at least 2 items"),
        ("ignore", 2, "ignore 2 is a class index"),
        ("ignore", 256, "key 'ignore': Input should be less than or equal to 255 (got 256)"),
        ("default_preset", "paper", "default_preset 'paper' is not among the presets"),
        ("default_preset", "fast", "key 'default_preset': Input should be 'smoke', 'quick', 'standard' or 'paper'"),
        ("default_setting", "f2f", "default_setting 'f2f' is not among the settings"),
        ("separates_most", "noon", "separates_most 'noon' is not a target"),
        ("label_map", {70000: 0}, "label_map: id 70000 is outside 0..65535"),
        ("label_map", {-1: 0}, "label_map: id -1 is outside 0..65535"),
        ("label_map", {0: 3}, "label_map: id 0 maps to 3, which is no class"),
        ("label_map", {"sky": 0}, "key 'label_map.sky': Input should be a valid integer"),
        ("mean_rule", "skip_absnt", "key 'mean_rule': Input should be 'skip_absent', 'present_in_truth', 'void"),
        ("excluded_from_mean", ["boat"], "excluded_from_mean: 'boat' is not a class"),
        ("excluded_from_mean", ["car", "sky", "road"], "excluded_from_mean leaves no class in the mean"),
        ("ood_targets", ["dusk", "noon"], "ood_targets: 'noon' is not a target"),
        ("ood_targets", ["dusk", "dusk"], "ood_targets needs at least one target, each once"),
        ("ood_targets", [], "ood_targets needs at least one target, each once"),
        ("groups", {"dim": ["dusk", "val"]}, "groups 'dim': 'val' is not a target"),
        ("groups", {"dim": []}, "groups 'dim' needs at least one target, each once"),
        ("groups", {"dusk": ["dusk", "dawn"]}, "groups: 'dusk' is a target's name"),
        ("groups", {"a/b": ["dusk"]}, "key 'groups.a/b': String should match"),
        ("inference_of", {"noon": {"size": [32, 48]}}, "inference_of: 'noon' is neither a target nor 'val'"),
        (
            "inference_of",
            {"val": {"size": [64, 96]}},
            "inference_of 'val': the model would see 64x96 there and 32x48 elsewhere; give both one window",
        ),
        (
            "inference_of",
            {"dusk": {"size": [64, 96], "window": [16, 16], "stride": [8, 8]}},
            "inference_of 'dusk': the model would see 16x16 there and 32x48 elsewhere; give both one window",
        ),
        (
            "inference_of",
            {"dusk": {"size": [32, 48], "flip": True}},
            "inference_of 'dusk': scales and flip must be those of inference",
        ),
        (
            "inference_of",
            {"dusk": {"size": [32, 48], "fit": "native"}},
            "key 'inference_of.dusk': fit 'native' needs a window and a stride",
        ),
        ("name", "../elsewhere", "key 'name': String should match pattern"),
        ("name", "a\n", "key 'name': String should match pattern"),
        ("targets", {}, "key 'targets': Dictionary should have at least 1 item"),
        ("targets", {"a/b": {"reader": "folders", "root": "town"}}, "key 'targets.a/b': String should match"),
        ("settings.f2l.pairs", [], "key 'settings.f2l.pairs': List should have at least 1 item"),
        ("settings.f2l.pair", ["a:b"], "key 'settings.f2l.pair' is not known; did you mean 'pairs'?"),
        ("source.train.reader", "zip", "key 'source.train.reader': reader 'zip' is none of coco, corrupted, dataset"),
        ("source.train.root", "../x", "key 'source.train': root: '../x' must be a relative path without"),
        ("source.train.images", "/etc", "key 'source.train': images: '/etc' must be a relative path without"),
        ("source.val.labels", "a/../../b", "key 'source.val': labels: 'a/../../b' must be a relative path without"),
        ("targets.dusk.list", "../l.txt", "key 'targets.dusk': list: '../l.txt' must be a relative path without"),
        ("inference.window", [8, 8], "key 'inference': window and stride come together"),
        (
            "inference",
            {"size": [32, 48], "window": [16, 16], "stride": [8, 17]},
            "key 'inference': stride must not exceed the window: pixels would go unseen",
        ),
        ("inference.size", [0, 48], "key 'inference.size.0': Input should be greater than 0 (got 0)"),
        ("decoder.reads", [], "key 'decoder.reads': List should have at least 1 item"),
        ("decoder.reads", [0.0, 1.0], "key 'decoder.reads.0': Input should be greater than 0"),
        ("decoder.reads", [1.5], "key 'decoder.reads.0': Input should be less than or equal to 1"),
        ("decoder.name", "mask3former", "key 'decoder': name 'mask3former' is none of context"),
        ("decoder.widht", 8, "key 'decoder.widht' is not known; did you mean 'width'?"),
        ("decoder", {"name": "semfpn", "reads": [0.5]}, "key 'decoder.reads': List should have at least 4 items"),
        ("decoder", {"name": "mask2former", "width": 100}, "key 'decoder': width 100 must be a multiple of heads (8)"),
        ("decoder", {"name": "mask2former", "querys": 9}, "key 'decoder.querys' is not known; did you mean 'queries'?"),
        ("presets.smoke.task.micro_batch", 3, "key 'presets.smoke.task': batch must be a multiple of micro_batch"),
        ("presets.smoke.task.warmup", 2, "key 'presets.smoke.task': warmup must be shorter than steps"),
        (
            "presets.smoke.task.augmentation",
            {"scale": [1.5, 0.5]},
            "key 'presets.smoke.task.augmentation.scale': needs 0 < low <= high",
        ),
        (
            "presets.smoke.task.augmentation",
            {"scale": [0.0, 0.5]},
            "key 'presets.smoke.task.augmentation.scale': needs 0 < low <= high",
        ),
        ("presets.smoke.task.lr", -1, "key 'presets.smoke.task.lr': Input should be greater than 0 (got -1)"),
        ("presets.smoke.task.lr", float("inf"), "key 'presets.smoke.task.lr': Input should be a finite number"),
        ("presets.smoke.task.stepz", 3, "key 'presets.smoke.task.stepz' is not known; did you mean 'steps'?"),
        ("presets.smoke.limits", {"target": 0}, "key 'presets.smoke.limits.target': Input should be greater than 0"),
        ("presets.smoke.limits", {"test": 1}, "key 'presets.smoke.limits.test': Input should be 'source'"),
    ],
)
def test_a_senseless_benchmark_is_refused(tiny_content: dict[str, Any], path: str, value: Any, message: str) -> None:
    with pytest.raises(UsageError) as caught:
        parse(Benchmark, changed(tiny_content, path, value), "my.yaml")
    assert str(caught.value).startswith(f"my.yaml: {message}")


def test_a_stage_left_out_is_named(tiny_content: dict[str, Any]) -> None:
    del tiny_content["presets"]["smoke"]["task"]
    with pytest.raises(UsageError, match=r"key 'presets\.smoke\.task' is missing"):
        parse(Benchmark, tiny_content, "my.yaml")


def test_the_tiny_benchmark_itself_is_sound(tiny_content: dict[str, Any]) -> None:
    benchmark = parse(Benchmark, tiny_content, "my.yaml")
    assert isinstance(benchmark.proxy, FolderSplit) and benchmark.proxy.labels is None


def test_targets_may_be_judged_and_averaged_otherwise(tiny_content: dict[str, Any]) -> None:
    plain = parse(Benchmark, tiny_content, "my.yaml")
    assert plain.averaged == ["dusk", "dawn"] and plain.inference_for("dusk") == plain.inference
    added = {"excluded_from_mean", "ood_targets", "groups", "inference_of"}
    assert not added & plain.model_dump().keys()
    native = {"size": [8, 8], "fit": "native", "window": [32, 48], "stride": [21, 32]}
    more = {"ood_targets": ["dawn"], "groups": {"dim": ["dusk", "dawn"]}, "excluded_from_mean": ["car"]}
    benchmark = parse(Benchmark, {**tiny_content, **more, "inference_of": {"dusk": native}}, "my.yaml")
    assert benchmark.averaged == ["dawn"] and added <= benchmark.model_dump().keys()
    assert benchmark.inference_for("dusk").fit == "native" and benchmark.inference_for("dusk").window == (32, 48)
    assert benchmark.inference_for("val") == benchmark.inference_for("dawn") == benchmark.inference
    with pytest.raises(UsageError, match="separates_most 'dusk' is not among ood_targets"):
        parse(Benchmark, {**tiny_content, **more, "separates_most": "dusk"}, "my.yaml")
    named = {**tiny_content["targets"], "val": tiny_content["targets"]["dusk"]}
    with pytest.raises(UsageError, match="inference_of: 'val' is the in-domain split and a target's name"):
        parse(Benchmark, {**tiny_content, "targets": named, "inference_of": {"val": native}}, "my.yaml")


def test_a_preset_finds_every_stage(tiny_content: dict[str, Any]) -> None:
    preset = parse(Preset, tiny_content["presets"]["quick"], "preset")
    assert preset.stage("joint").steps == 4
    assert {preset.stage(name).batch for name in STAGE_NAMES} == {2}


def test_weights_must_be_somewhere() -> None:
    entry = {"description": "d", "role": "local", "timm": "vit", "licence": "MIT", "weights": {"sha256": {}}}
    with pytest.raises(UsageError, match=r"key 'models\.a\.weights': say where the weights are"):
        parse(ModelTable, {"models": {"a": entry}}, "models.yaml")


@pytest.mark.parametrize("name", sorted(benchmark_files()))
def test_shipped_benchmarks_name_models_and_methods_that_exist(name: str) -> None:
    source = find_benchmark(name)
    assert source.benchmark.name == name
    for setting in source.benchmark.settings.values():
        assert find_method(setting.teacher_method).name == setting.teacher_method
        for pair in setting.pairs:
            teacher, student = split_pair(pair, source.folder)
            assert teacher.name != student.name


def test_names_that_are_not_known(tiny_content: dict[str, Any], tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"did you mean 'streets'\? \(your own: .*known: .*camvid"):
        find_benchmark("street")
    with pytest.raises(UsageError, match=r"--benchmark my\.yaml: no such file"):
        find_benchmark("my.yaml")
    with pytest.raises(UsageError, match="unknown model 'streets-teach'; did you mean 'streets-teacher'"):
        find_model("streets-teach")
    benchmark = parse(Benchmark, tiny_content, "my.yaml")
    with pytest.raises(UsageError, match="benchmark 'tiny' has no setting 'f2f'; did you mean 'f2l'"):
        find_setting(benchmark, "f2f")


@pytest.mark.parametrize("pair", ["a", "a:", ":b", ""])
def test_a_pair_has_two_sides(pair: str) -> None:
    with pytest.raises(UsageError, match=rf"pair '{pair}' is not of the form TEACHER:STUDENT"):
        split_pair(pair)


def test_models_beside_a_users_benchmark_win(tmp_path: Path) -> None:
    (tmp_path / "models.yaml").write_text(
        "models:\n  streets-local: {description: mine, role: local, timm: vit, weights: null, licence: none}\n"
    )
    assert find_model("streets-local", tmp_path).entry.description == "mine"
    assert find_model("streets-local").entry.description != "mine"
    names = [source.name for source in models(tmp_path)]
    assert names[0] == "streets-local" and names.count("streets-local") == 1 and "streets-teacher" in names


def test_reading_a_users_yaml(tmp_path: Path) -> None:
    path = tmp_path / "broken.yaml"
    path.write_text("name: broken\n")
    with pytest.raises(UsageError, match=r"broken\.yaml: key 'version' is missing \(and \d+ more problems\)"):
        find_benchmark(str(path))
    assert read_yaml(path) == {"name": "broken"}


@pytest.mark.parametrize(("count", "said"), [(255, None), (256, "there are 256 classes; at most 255 classes leave")])
def test_255_classes_are_the_most(tiny_content: dict[str, Any], count: int, said: str | None) -> None:
    names, palette = [f"c{n}" for n in range(count)], [[n % 256, 0, 0] for n in range(count)]
    content = {**tiny_content, "classes": names, "palette": palette}
    if said is None:
        assert len(parse(Benchmark, content, "x").classes) == 255
    else:
        with pytest.raises(UsageError, match=said):
            parse(Benchmark, content, "x")


def test_a_target_is_hidden_or_not(tiny_content: dict[str, Any]) -> None:
    name, split = next(iter(tiny_content["targets"].items()))
    with pytest.raises(UsageError, match=f"hidden_targets: '{name}' is a target's name already"):
        parse(Benchmark, {**tiny_content, "hidden_targets": {name: split}}, "x")
