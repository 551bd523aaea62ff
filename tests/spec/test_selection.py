"""From what a user asks for to resolved runs; whatever is not known is named with its nearest match."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gkdbench.cli.run import parse_seeds
from gkdbench.errors import UsageError
from gkdbench.runs.record import RunSpecRecord
from gkdbench.spec.selection import RunSpec, Selection, resolve, selection_of

ONE = Selection(methods=("gkd",), with_teacher=False)


def chosen(**changes: Any) -> list[RunSpec]:
    return resolve(replace(ONE, **changes))


def test_the_defaults_are_the_benchmarks() -> None:
    (run,) = chosen()
    assert (run.benchmark.name, run.setting, run.preset_name, run.seed) == ("streets", "f2l", "quick", 0)
    assert (run.teacher.name, run.student.name) == tuple(run.pair.split(":"))
    assert run.preset == run.benchmark.presets["quick"]
    assert run.marks == () and run.recipe_overrides == {}
    assert set(run.targets) == set(run.benchmark.targets)  # hidden targets only on demand


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"methods": ("gdk",)}, "--method: unknown method 'gdk'; did you mean 'gkd'? (known: "),
        ({"methods": ("gkd", "frosen")}, "--method: unknown method 'frosen'; did you mean 'frozen'?"),
        ({"settings": ("f21",)}, "--setting: benchmark 'streets' has no setting 'f21'; did you mean 'f2l'? (known: f2"),
        ({"benchmarks": ("street",)}, "--benchmark: unknown benchmark 'street'; did you mean 'streets'?"),
        ({"benchmarks": ("./mine.yaml",)}, "--benchmark ./mine.yaml: no such file"),
        (
            {"pair": "streets-teacher:streets-locale"},
            "--pair: setting 'f2l' of benchmark 'streets' has no pair 'streets-teacher:streets-locale'; "
            "did you mean 'streets-teacher:streets-local'?",
        ),
        ({"targets": ("nihgt",)}, "--targets: benchmark 'streets' has no target 'nihgt'; did you mean 'night'?"),
        ({"preset": "quik"}, "--preset: benchmark 'streets' has no preset 'quik'; did you mean 'quick'?"),
        (
            {"decoder": "contex"},
            "--decoder: unknown decoder 'contex'; did you mean 'context'? (known: context, linear, semfpn, mask",
        ),
        ({"options": ("wieght=2",)}, "-o: method 'gkd' has no option 'wieght'; did you mean 'weight'?"),
        ({"options": ("weight=much",)}, "-o: option weight='much' is not int or float"),
        ({"options": ("weight",)}, "-o weight: options are written NAME=VALUE"),
        ({"options": ("=2",)}, "-o =2: options are written NAME=VALUE"),
        ({"options": ("weight=2", "weight=3")}, "-o weight=3: option 'weight' is given twice"),
        ({"options": ("recipe.taks.lr=1",)}, "-o recipe.taks.lr: no stage 'taks'; did you mean 'task'?"),
        ({"options": ("recipe.task.lrr=1",)}, "-o recipe.task.lrr: a recipe has no field 'lrr'; did you mean 'lr'?"),
        ({"options": ("recipe.task=1",)}, "-o recipe.task: a recipe has no field ''"),
        (
            {"options": ("recipe.task.lr=fast",)},
            "-o (on preset 'quick'): key 'task.lr': Input should be a valid number",
        ),
        ({"options": ("recipe.task.lr=none",)}, "-o (on preset 'quick'): key 'task.lr': Input should be a valid"),
        ({"options": ("recipe.task.lr=inf",)}, "-o (on preset 'quick'): key 'task.lr': Input should be a finite"),
        ({"options": ("recipe.task.steps=2.5",)}, "-o (on preset 'quick'): key 'task.steps': Input should be"),
        ({"options": ("recipe.task.micro_batch=7",)}, "-o (on preset 'quick'): key 'task': batch must be a mul"),
    ],
)
def test_what_is_not_known_is_named(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(UsageError) as caught:
        chosen(**changes)
    assert str(caught.value).startswith(message)
    assert "\n" not in str(caught.value)


def test_recipe_fields_are_typed_and_only_changes_count() -> None:
    options = ("recipe.task.lr=1e-4", "recipe.task.steps=40", "recipe.joint.clip=none", "recipe.joint.floor=5e-3")
    (run,) = chosen(options=options)
    assert run.recipe_overrides == {"task.lr": 1e-4, "task.steps": 40, "joint.clip": None}  # the floor was 0.005
    assert run.preset.task.lr == 1e-4 and run.preset.task.steps == 40 and run.preset.joint.clip is None
    assert run.preset.source == run.benchmark.presets["quick"].source
    assert run.marks == ("custom recipe",)
    assert chosen(options=("recipe.task.lr=0.001",))[0].marks == ()


def test_targets_by_name_and_the_hidden_ones_on_demand() -> None:
    (run,) = chosen(targets=("fog", "night"))
    assert list(run.targets) == ["fog", "night"] and run.marks == ("other targets",)
    (run,) = chosen(targets=("held-out",))
    assert list(run.targets) == ["held-out"]
    (run,) = chosen(targets=tuple(run.benchmark.targets))
    assert run.marks == ()


def test_the_order_of_a_matrix() -> None:
    runs = resolve(Selection(methods=("gkd", "finetune"), settings=("f2l", "f2f"), seeds=(0, 1)))
    assert [(run.setting, run.method.name, run.seed) for run in runs] == [
        (setting, method, seed)
        for setting in ("f2l", "f2f")
        for method, seed in (("teacher", 0), ("gkd", 0), ("finetune", 0), ("gkd", 1), ("finetune", 1))
    ]


def test_the_teacher_runs_first_with_its_own_seed_and_without_the_methods_options() -> None:
    options = ("weight=2", "recipe.teacher.steps=50")
    teacher, run = resolve(Selection(methods=("gkd",), seeds=(5,), teacher_seed=3, options=options))
    assert (teacher.method.name, teacher.seed, teacher.teacher_seed) == ("teacher", 3, 3)
    assert teacher.options == {} and teacher.preset.teacher.steps == 50
    assert (run.seed, run.teacher_seed, run.options["weight"]) == (5, 3, 2)


def test_the_teacher_asked_for_by_name_runs_once() -> None:
    assert [run.method.name for run in resolve(Selection(methods=("teacher",)))] == ["teacher"]
    assert [run.method.name for run in resolve(Selection(methods=("gkd", "gkd", "teacher")))] == ["teacher", "gkd"]


def test_methods_of_one_name_in_two_files_are_two_runs(tmp_path: Path) -> None:
    names = []
    for file in ("a.py", "b.py"):
        (tmp_path / file).write_text(f"def mine(pair): return {file!r}\n")
        names.append(f"{tmp_path / file}:mine")
    runs = chosen(methods=tuple(names))
    assert [run.method.file.name for run in runs] == ["a.py", "b.py"]
    assert len(chosen(methods=(names[0], names[0]))) == 1


def test_benchmarks_of_one_name_in_two_folders_are_two_runs(tiny_benchmark: Any, tmp_path: Path) -> None:
    other = tmp_path / "elsewhere" / "tiny.yaml"
    other.parent.mkdir()
    other.write_text(tiny_benchmark.yaml.read_text())
    (other.parent / "models.yaml").write_text((tiny_benchmark.yaml.parent / "models.yaml").read_text())
    runs = chosen(benchmarks=(str(tiny_benchmark.yaml), str(other)))
    assert [run.source.folder for run in runs] == [tiny_benchmark.yaml.parent, other.parent]


def test_another_decoder() -> None:
    (usual,), (other,) = chosen(), chosen(decoder="linear")
    assert other.benchmark.decoder.name == "linear"
    assert other.benchmark.decoder.reads == usual.benchmark.decoder.reads
    assert chosen(decoder=usual.benchmark.decoder.name)[0].benchmark == usual.benchmark


def test_models_beside_a_users_benchmark(tiny_benchmark: Any) -> None:
    (run,) = chosen(benchmarks=(str(tiny_benchmark.yaml),), methods=("vanilla_kd",))
    assert run.teacher.folder == tiny_benchmark.yaml.parent
    assert run.student.entry.arguments["embed_dim"] == 32
    assert run.preset_name == "smoke"


def recorded(run: RunSpec) -> RunSpecRecord:
    """Write a run down as the runner does."""
    return RunSpecRecord(
        method=run.method.name,
        method_source=run.method.origin,
        options=dict(run.options),
        setting=run.setting,
        pair=run.pair,
        teacher=run.teacher.name,
        student=run.student.name,
        benchmark=run.benchmark.name,
        benchmark_version=run.benchmark.version,
        task=run.benchmark.task,
        decoder=run.benchmark.decoder.model_dump(mode="json"),
        seed=run.seed,
        teacher_seed=run.teacher_seed,
        preset=run.preset_name,
        recipe=run.preset.model_dump(mode="json"),
        recipe_overrides=dict(run.recipe_overrides),
        targets=list(run.targets),
        code=run.method.code_digest,
    )


@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"options": ("target=mse", "masked=false", "weight=1e-05", "recipe.task.lr=3e-4", "recipe.task.clip=none")},
        {"options": ("recipe.task.size=32x64", "limits.target=9", "limits.val=none"), "preset": "smoke"},
        {"methods": ("vanilla_kd",), "options": ("temperature=3", "reduction=element"), "settings": ("f2f",)},
        {"seeds": (4,), "teacher_seed": 2, "preset": "smoke", "decoder": "linear", "targets": ("held-out", "fog")},
        {"methods": ("teacher",), "seeds": (2,), "teacher_seed": 2},
    ],
)
def test_a_record_says_how_to_repeat_its_run(changes: dict[str, Any]) -> None:
    (run,) = chosen(**changes)
    through_json = RunSpecRecord.model_validate_json(recorded(run).model_dump_json())
    (again,) = resolve(selection_of(through_json))
    assert again == run


def test_augmentation_at_test_time_holds_for_every_split(tiny_benchmark: Any) -> None:
    native = {"size": [8, 8], "fit": "native", "window": [32, 48], "stride": [21, 32]}
    path = str(tiny_benchmark.rewrite(inference_of={"dusk": native}))
    (plain,) = chosen(benchmarks=(path,))
    (run,) = chosen(benchmarks=(path,), tta=("0.5", "1", "flip"))
    assert run.marks == ("tta",) and plain.marks == ()
    for name in ("val", "dusk", "dawn"):
        before, after = plain.benchmark.inference_for(name), run.benchmark.inference_for(name)
        assert after.tta == ["scale 0.5", "scale 1", "flip"]
        assert after == before.model_copy(update={"scales": (0.5, 1.0), "flip": True})
    assert run.benchmark.inference_for("dusk").fit == "native"


def test_a_run_of_a_users_file_and_benchmark_can_be_repeated(tiny_benchmark: Any, tmp_path: Path) -> None:
    (tmp_path / "kd.py").write_text("def kd(pair, *, mode: str = 'a', clip: float | None = None): return []\n")
    (run,) = chosen(
        methods=(f"{tmp_path / 'kd.py'}:kd",), options=("mode=none",), benchmarks=(str(tiny_benchmark.yaml),)
    )
    assert run.options == {"mode": "none", "clip": None}
    (again,) = resolve(selection_of(recorded(run), benchmark=str(tiny_benchmark.yaml)))
    assert again == run


@pytest.mark.parametrize(
    ("text", "seeds"),
    [("0", (0,)), ("0-2", (0, 1, 2)), ("0,3,5-7", (0, 3, 5, 6, 7)), (" 3 , 1-1 ", (3, 1)), ("2,0-3", (2, 0, 1, 3))],
)
def test_seeds(text: str, seeds: tuple[int, ...]) -> None:
    assert parse_seeds(text) == seeds


@pytest.mark.parametrize("text", ["", ",", "a", "-1", "1-", "1-2-3", "2-0", "1.5", "0x1", "²", "1--2", "0-20261122"])
def test_what_is_no_seed(text: str) -> None:
    with pytest.raises(UsageError, match="--seeds"):
        parse_seeds(text)


@given(st.lists(st.tuples(st.integers(0, 10**6), st.integers(0, 5)), min_size=1, max_size=6))
def test_any_list_of_ranges(ranges: list[tuple[int, int]]) -> None:
    text = ",".join(f"{first}-{first + more}" if more else str(first) for first, more in ranges)
    everything = [seed for first, more in ranges for seed in range(first, first + more + 1)]
    seeds = parse_seeds(text)
    assert set(seeds) == set(everything) and len(set(seeds)) == len(seeds)
    assert [everything.index(seed) for seed in seeds] == sorted(everything.index(seed) for seed in seeds)


@given(st.text(max_size=12))
def test_any_text_gives_seeds_or_a_clear_error(text: str) -> None:
    try:
        seeds = parse_seeds(text)
    except UsageError as error:
        assert str(error).startswith("--seeds")
    else:
        assert seeds and min(seeds) >= 0
