"""`gkdbench list` and `gkdbench check`: what they print, as text and as JSON."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner, Result

from gkdbench.cli.main import app

Invoke = Callable[..., Result]


def document(result: Result) -> Any:
    """Return the JSON document that is all of stdout."""
    assert result.exit_code == 0, result.stderr
    return json.loads(result.stdout)


@pytest.mark.parametrize(
    ("what", "names"),
    [
        ("methods", {"gkd", "vanilla_kd", "finetune", "frozen", "teacher"}),
        ("combinators", {"coupled", "decoupled", "unfrozen"}),
        ("benchmarks", {"streets", "camvid"}),
        ("settings", {"streets/f2l", "streets/f2f", "camvid/f2l"}),
        ("models", {"streets-teacher", "streets-local", "streets-foundation"}),
        ("datasets", {"gtav", "cityscapes", "mapillary-half", "potsdam-rgb-full-no-clutter", "imagenet"}),
    ],
)
def test_what_there_is(invoke: Invoke, what: str, names: set[str]) -> None:
    listed = document(invoke("list", what, "--json"))
    assert names <= set(listed)
    table = invoke("list", what).stdout
    assert all(name in table for name in names)
    assert table.splitlines()[1].startswith("---")


def test_one_name_gives_all_about_it(invoke: Invoke) -> None:
    assert "cls_in_fea (bool, default True)" in invoke("list", "methods", "gkd").stdout
    assert set(document(invoke("list", "methods", "gkd", "--json"))) == {"gkd"}
    text = invoke("list", "benchmarks", "streets").stdout
    assert "night, fog, rain, snow, city, camera" in text and "quick: minutes on a laptop (default)" in text
    assert "SegNet" in invoke("list", "benchmarks", "camvid").stdout


def test_methods_and_their_variants(invoke: Invoke) -> None:
    listed = document(invoke("list", "methods", "--json"))
    assert listed["gkd"]["kind"] == "method"
    assert len(listed["gkd"]["options"].split(" ")) == len(listed["gkd"]["_options"])
    assert listed["gkd"]["options"].startswith("target=qsd|mse proxy=True masked=True")
    assert (listed["gkd-qsd"]["kind"], listed["gkd-qsd"]["from"]) == ("variant", "variant of gkd")
    header, _, *table = invoke("list", "methods").stdout.splitlines()
    assert header.split() == ["name", "from", "kind", "summary", "options"] and len(table) == len(listed)
    text = invoke("list", "methods", "gkd-qsd").stdout
    assert "from: variant of gkd" in text and "  sets:\n    masked: False\n    cls: False\n" in text
    assert "masked (bool, default False)" in text and "variants.yaml" in text


def test_names_that_no_table_has(invoke: Invoke) -> None:
    text = invoke("list", "methods", "decoupled(gkd)").stdout
    assert text.startswith("decoupled(gkd)\n") and "decoupled: Distil first" in text and "cls_in_fea (bool" in text
    assert document(invoke("list", "methods", "gkd@gkdbench", "--json"))["gkd@gkdbench"]["_function"] == "gkd"
    Path("my.py").write_text('def mine(pair, *, weight: float = 2.0):\n    """Mine."""\n')
    text = invoke("list", "methods", "./my.py:mine").stdout
    assert "from: my.py\n" in text and "weight (int or float, default 2.0)" in text and "module" not in text
    assert document(invoke("list", "methods", "decoupled(my.py:mine)", "--json"))["decoupled(my.py:mine)"]["_file"]
    assert "use: gkdbench run --method 'coupled(METHOD)'" in invoke("list", "combinators", "coupled").stdout


def test_a_pattern(invoke: Invoke) -> None:
    assert set(document(invoke("list", "settings", "streets/*", "--json"))) == {"streets/f2l", "streets/f2f"}


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("metods",), "cannot list 'metods'; did you mean 'methods'? (known: methods, combinators,"),
        (("methods", "gdk"), "no method 'gdk'; did you mean 'gkd'?"),
        (("methods", "gkd-qds"), "no method 'gkd-qds'; did you mean 'gkd-qsd'?"),
        (("methods", "decoupeld(gkd)"), "list methods: unknown combinator 'decoupeld'; did you mean 'decoupled'?"),
        (("methods", "gkd@nobody"), "list methods: no package 'nobody' offers method 'gkd'"),
        (("methods", "absent.py:kd"), "list methods absent.py:kd: no such file absent.py"),
        (("combinators", "couple"), "no combinator 'couple'; did you mean 'coupled'?"),
        (("benchmarks", "street"), "no benchmark 'street'; did you mean 'streets'?"),
        (("runs", "streets-x"), "no run 'streets-x'"),
    ],
)
def test_what_there_is_not(invoke: Invoke, arguments: tuple[str, ...], message: str) -> None:
    result = invoke("list", *arguments)
    assert result.exit_code == 2 and result.stdout == ""
    assert result.stderr.startswith(f"gkdbench: {message}") and result.stderr.count("\n") == 1
    as_json = invoke("list", *arguments, "--json")
    assert json.loads(as_json.stdout)["exit_code"] == 2 == as_json.exit_code


def split_content(hit: int, missed: int) -> dict[str, Any]:
    """Return the result of two classes that are mistaken for each other equally often."""
    value = 100 * hit / (hit + 2 * missed)
    return {
        "value": value, "miou": value, "per_class": {"road": value, "sky": value}, "classes_in_mean": 2,
        "never_predicted": [], "confusion": [[hit, missed], [missed, hit]], "n_images": 1,
        "protocol": {"resize": [8, 8], "window": None},
    }  # fmt: skip


def record_content(**changes: Any) -> dict[str, Any]:
    spec = {
        "method": "gkd", "method_source": "gkdbench 0", "options": {}, "setting": "f2l", "pair": "a:b",
        "teacher": "a", "student": "b", "benchmark": "streets", "benchmark_version": 1, "task": "segmentation",
        "decoder": {"name": "linear"}, "seed": 0, "teacher_seed": 0, "preset": "smoke", "recipe": {},
        "targets": ["night"], "code": "0" * 64,
    }  # fmt: skip
    made = {
        "schema": 1, "run_id": "streets-f2l-gkd-s0-12345678", "digest": "12345678", "status": "done",
        "started": "2026-01-01T00:00:00+00:00", "command": "gkdbench run", "version": "0", "commit": None,
        "spec": spec, "metric": "mIoU", "mean_rule": "skip_absent", "classes": ["road", "sky"],
        "in_domain": split_content(490, 155), "targets": {"night": split_content(2002, 1499)},
        "summary": {"in_domain": 61.25, "ood": 40.04, "gap": 21.21, "worst_target": "night"},
    }  # fmt: skip
    return {**made, **changes}


def put_record(results: Path, run_id: str, content: Any) -> None:
    folder = results / "runs" / run_id
    folder.mkdir(parents=True)
    (folder / "record.json").write_text(content if isinstance(content, str) else json.dumps(content))


def test_runs(invoke: Invoke, tmp_path: Path) -> None:
    results = tmp_path / "results"
    assert invoke("list", "runs", "--results", results).exit_code == 3
    results.mkdir()
    assert invoke("list", "runs", "--results", results).stdout == "no runs\n"
    first, second = (f"streets-f2l-gkd-s0-{digest}" for digest in ("12345678", "87654321"))
    put_record(results, first, record_content())
    failed = record_content(run_id=second, digest="87654321", status="failed", reason="why\x1b[2J", summary=None)
    put_record(results, second, failed)
    put_record(results, "c", record_content(schema=2))
    put_record(results, "d", "{half")
    listed = document(invoke("list", "runs", "--results", results, "--json"))
    done = listed[first]
    assert (done["status"], done["in"], done["OOD"]) == ("done", "61.2", "40.0")
    assert (listed[second]["status"], listed[second]["_reason"]) == ("failed", "why\x1b[2J")
    assert "reason: why[U+001B][2J" in invoke("list", "runs", second, "--results", results).stdout
    assert listed["c"]["status"] == listed["d"]["status"] == "unreadable"
    assert "schema 2; this gkdbench reads schema 1" in listed["c"]["_reason"]
    assert "not valid JSON" in listed["d"]["_reason"]
    table = invoke("list", "runs", "--results", results).stdout.splitlines()
    assert table[0].split() == ["name", "status", "in", "OOD"] and len(table) == 2 + 4


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("datasets", "camvid"), "no dataset 'camvid'; there is a "
         "benchmark of that name: gkdbench list benchmarks camvid"),
        (("methods", "streets"), "there is a benchmark of that name: gkdbench list benchmarks streets"),
        (("benchmarks", "gkd"), "there is a method of that name: gkdbench list methods gkd"),
        (("models", "decoupled"), "there is a combinator of that name: gkdbench list combinators decoupled"),
        (("benchmarks", "streets/f2l"), "there is a setting of that name: gkdbench list settings streets/f2l"),
        (("camvid",), "cannot list 'camvid'; there is a benchmark of that name: gkdbench list benchmarks camvid"),
        (("methods", "gdk"), "no method 'gdk'; did you mean 'gkd'?"),
    ],
)  # fmt: skip
def test_a_name_of_another_kind_is_told_as_such(invoke: Invoke, words: tuple[str, ...], said: str) -> None:
    result = invoke("list", *words)
    assert result.exit_code == 2 and said in result.output and result.output.count("\n") == 1


@pytest.mark.parametrize("words", [("predict", "some-run", "--target", "night"), ("export", "some-run"),
                                   ("compare", "some-run", "other-run")])  # fmt: skip
def test_a_run_that_is_not_found_says_where_it_was_looked_for_and_what_to_give(
    invoke: Invoke, words: tuple[str, ...]
) -> None:
    for there in ("no such folder", "runs there: 0"):
        result = invoke(*words)
        assert result.exit_code == 3 and result.output.count("\n") == 1
        assert f"no run 'some-run' in results, its runs/ or published/ ({there}); give another folder" in result.output
        Path("results").mkdir(exist_ok=True)


@pytest.mark.parametrize("words", [("report",), ("list", "runs"), ("compare", "a", "b"), ("export", "a")])
def test_results_that_are_a_file_are_called_so(invoke: Invoke, tmp_path: Path, words: tuple[str, ...]) -> None:
    path = tmp_path / "record.json"
    path.write_text("{}")
    result = invoke(*words, "--results", path)
    assert result.exit_code == 3 and result.output.count("\n") == 1
    assert f"--results {path}: a file; name the folder that holds runs/" in result.output
    assert result.output.rstrip().endswith(f"such as {tmp_path}")


def test_committed_records_that_are_no_folder_are_said(invoke: Invoke, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    for path in (tmp_path / "file", tmp_path / "nowhere"):
        result = invoke("report", "--paper-only", "--published", path)
        assert result.exit_code == 3 and f"--published {path}: no folder of committed records" in result.output


def test_check_env(invoke: Invoke, tmp_path: Path) -> None:
    facts = document(invoke("check", "env", "--json", "--results", tmp_path / "results"))
    assert facts["libraries"]["torch"][0].isdigit() and facts["results_free_gib"] > 0
    assert facts["results"] == str(tmp_path / "results") and facts["cache"] == str(tmp_path / "cache")
    text = invoke("check", "env", "--results", tmp_path / "results").stdout
    assert "timm" in text and "cache_writable" in text


def test_a_benchmark_names_what_has_to_be_got():
    shown = CliRunner().invoke(app, ["list", "benchmarks", "gtav-acdc"]).stdout
    assert "source: dataset gtav, split all" in shown and "in domain: dataset gtav, split all, first 500" in shown
    assert "night: dataset acdc, split val, condition night" in shown
    joined = CliRunner().invoke(app, ["list", "benchmarks", "gtav-synthia"]).stdout
    assert "source: joined, dataset gtav, split all and dataset synthia, split all" in joined
