"""`gkdbench check data`, and the look at the data before training: what they print, and how they end."""

import json
import os
import shutil
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml
from PIL import Image
from towns import COUNTS, Towns, label, make_towns
from typer.testing import Result

from gkdbench.cli.display import PlainDisplay
from gkdbench.data.checking import reading as checking

Invoke = Callable[..., Result]


@pytest.fixture
def towns(tmp_path: Path) -> Towns:
    return make_towns(tmp_path)


def document(result: Result, code: int = 0) -> Any:
    """Return the JSON document that is all of stdout."""
    assert result.exit_code == code, result.stderr
    return json.loads(result.stdout)


def of(tiny: Any, *more: object) -> tuple[object, ...]:
    return ("check", "data", tiny.yaml, "--data-root", tiny.data_root, *more)


def of_towns(towns: Towns, *more: object) -> tuple[object, ...]:
    return ("check", "data", f"{towns.catalogue}:towns", "--data-root", towns.data_root, *more)


def test_a_benchmark(invoke: Invoke, tiny_benchmark: Any, tmp_path: Path) -> None:
    sheet = tmp_path / "sheets" / "sheet.png"
    report = document(invoke(*of(tiny_benchmark, "--out", sheet, "--json")))
    assert (report["status"], report["problems"], report["overlaps"]["found"]) == ("ok", [], [])
    assert (report["benchmark"], report["dataset"], report["classes"], report["contact_sheet"]) == (
        "tiny", None, 3, str(sheet),
    )  # fmt: skip
    assert {name: facts["images"] for name, facts in report["splits"].items()} == {
        "source train": 5, "source val": 2, "proxy": 6, "dusk": 3, "dawn": 1,
    }  # fmt: skip
    dusk = report["splits"]["dusk"]
    assert dusk["classes_seen"] == 3 and sum(dusk["frequencies"].values()) == pytest.approx(1)
    assert set(dusk) == {
        "status", "images", "expected", "read", "size", "labelled", "ignored_pixels", "classes_seen", "frequencies",
        "without_labelled_pixel", "boxes", "labels_without_image", "digest", "notes",
    }  # fmt: skip
    assert len(dusk["digest"]) == 64 and report["splits"]["proxy"]["labelled"] is None
    assert Image.open(sheet).size > (300, 200)
    result = invoke(*of(tiny_benchmark, "--out", sheet))
    assert "unlabelled" in result.stdout and "3 of 3" in result.stdout and "48x32" in result.stdout
    assert "\nclass  source train  source val   dusk   dawn\n" in result.stdout and "problem:" not in result.stdout
    assert result.stderr.splitlines()[-1] == f"contact sheet: {sheet}"


def test_a_sample_or_everything(invoke: Invoke, tiny_benchmark: Any) -> None:
    few = document(invoke(*of(tiny_benchmark, "--sample", "2", "--json")))
    assert few["splits"]["source train"]["read"] == 2
    assert document(invoke(*of(tiny_benchmark, "--full", "--json")))["splits"]["source train"]["read"] == 5


def test_the_root_is_taken_from_the_environment(
    invoke: Invoke, tiny_benchmark: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("GKDBENCH_DATA", str(tiny_benchmark.data_root))
    assert document(invoke("check", "data", tiny_benchmark.yaml, "--json"))["splits"]["dawn"]["images"] == 1


def test_a_broken_file_is_named_and_the_rest_is_shown(invoke: Invoke, tiny_benchmark: Any, write_ids: Any) -> None:
    bad = tiny_benchmark.label("test/1")
    write_ids(bad, np.full((32, 48), 99))
    tiny_benchmark.label("val/0").unlink()
    result = invoke(*of(tiny_benchmark))
    assert result.exit_code == 3 and "Traceback" not in result.stderr
    assert result.stderr.splitlines()[-1] == "gkdbench: benchmark tiny: 2 problems with its data"
    assert f"problem: dusk: {bad}: label id 99 is not in the label map (1536 pixels): another release" in result.stdout
    assert f"problem: source val: {tiny_benchmark.data_root}/town: no label file for image 'val/0'" in result.stdout
    table = {line.split("  ")[0]: line for line in result.stdout.splitlines()}
    assert table["source val"].split()[2] == "failed" and table["dusk"].split()[-1] == "1"
    assert Path("tiny-contact-sheet.png").is_file()  # of what can be read
    report = document(invoke(*of(tiny_benchmark, "--json")), 3)
    assert report["status"] == "failed" and report["splits"]["source val"]["images"] is None
    assert [(one["split"], one["kind"]) for one in report["problems"]] == [("source val", "opening"), ("dusk", "file")]


def test_a_fault_of_many_files_is_one_line(invoke: Invoke, towns: Towns) -> None:
    for n in range(13):
        towns.file("labels", f"train/{n}").write_bytes(label(1, value=77))
        if n >= 4:
            shutil.copy(towns.file("images", "train/0"), towns.file("images", f"train/{n}"))
    towns.define(counts={"train": [13], "val": [3]})
    result = invoke(*of_towns(towns, "--full"))
    assert result.exit_code == 3 and result.stdout.count("problem: train: ") == 1
    assert "add it to the map (12 more like it; --json names all)\n" in result.stdout
    report = document(invoke(*of_towns(towns, "--full", "--json")), 3)
    assert len(report["problems"]) == 13


def test_images_that_source_and_target_share(invoke: Invoke, tiny_benchmark: Any) -> None:
    shutil.copy(tiny_benchmark.image("train/2"), tiny_benchmark.image("test/3"))
    content = tiny_benchmark.content
    tiny_benchmark.rewrite(targets={**content["targets"], "day": content["source"]["val"]})
    report = document(invoke(*of(tiny_benchmark, "--json")), 3)
    (problem,) = report["problems"]
    assert (problem["split"], problem["kind"]) == ("dawn", "overlap")
    meant, mistake = sorted(report["overlaps"]["found"], key=lambda one: not one["expected"])
    assert (meant["splits"], meant["images"]) == (["source val", "day"], 2)
    assert mistake["splits"] == ["source train", "dawn"] and str(tiny_benchmark.image("test/3")) in mistake["example"]
    result = invoke(*of(tiny_benchmark))
    assert "problem: dawn: dawn has 1 image of source train, such as " in result.stdout
    assert "\nday has 2 images of source val: both are defined by the same split\n" in result.stdout


def test_a_dataset(invoke: Invoke, towns: Towns) -> None:
    towns.file("labels", "val/extra").write_bytes(label(3))
    report = document(invoke(*of_towns(towns, "--json")))
    assert (report["benchmark"], report["dataset"], report["version"], report["status"]) == (None, "towns", None, "ok")
    assert {name: facts["expected"] for name, facts in report["splits"].items()} == {"train": [4], "val": [3]}
    assert report["splits"]["val"]["notes"] == ["label files without an image: 1"]
    assert "val: label files without an image: 1\n" in invoke(*of_towns(towns)).stdout
    assert Image.open("towns-contact-sheet.png").size > (300, 200)


def test_half_of_a_dataset(invoke: Invoke, towns: Towns) -> None:
    for kind in ("images", "labels"):
        shutil.rmtree(towns.root / kind / "val")
        towns.file(kind, "train/3").unlink()
    result = invoke(*of_towns(towns))
    assert result.exit_code == 3
    assert "\nval    absent " in result.stdout
    said = "towns train has 3 images, expected 4; get or unpack the rest (https://towns.invalid)"
    assert f"problem: train: {towns.root}: {said}\n" in result.stdout


def test_nothing_that_can_be_read(invoke: Invoke, towns: Towns) -> None:
    for path in towns.root.rglob("images/*/*.png"):
        path.write_text(f"<html>{path}")
    report = document(invoke(*of_towns(towns, "--json")), 3)
    assert report["contact_sheet"] is None and len(report["problems"]) == sum(COUNTS.values())
    assert not list(Path.cwd().iterdir())


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("streats",), "check data: no benchmark or dataset 'streats'; did you mean 'streets'? (gkdbench list"),
        (("cityscape",), "check data: no benchmark or dataset 'cityscape'; did you mean 'cityscapes'?"),
        (("streets", "--dataset"), "check data: no dataset 'streets'"),
        (("absent.yaml",), "--benchmark absent.yaml: no such file"),
        (("datasets/absent.yaml:x",), "check data datasets/absent.yaml:x: datasets/absent.yaml is no file in a folder"),
    ],
)
def test_what_there_is_not(invoke: Invoke, arguments: tuple[str, ...], message: str) -> None:
    result = invoke("check", "data", *arguments)
    assert result.exit_code == 2 and result.stdout == ""
    assert result.stderr.startswith(f"gkdbench: {message}") and result.stderr.count("\n") == 1


def test_a_name_that_a_benchmark_and_a_dataset_have(invoke: Invoke, tmp_path: Path) -> None:
    (tmp_path / "data").mkdir()
    result = invoke("check", "data", "cityscapes", "--data-root", tmp_path / "data")
    assert "cityscapes is a benchmark; the dataset of this name by itself: --dataset\n" in result.stderr
    result = invoke("check", "data", "cityscapes", "--data-root", tmp_path / "data", "--dataset")
    assert result.exit_code == 3 and result.stdout == ""
    assert "no folder cityscapes or Cityscapes for dataset 'cityscapes'; " in result.stderr.splitlines()[-1]


def test_control_c_keeps_what_was_read(
    invoke: Invoke, towns: Towns, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    read: list[int] = []
    original = checking.reading

    def counted(dataset: Any, index: int, *, labelled: bool) -> Any:
        read.append(index)
        return original(dataset, index, labelled=labelled)

    def interrupt(self: PlainDisplay, done: int, total: int, text: str = "") -> None:
        if done == 3:
            os.kill(os.getpid(), signal.SIGINT)

    monkeypatch.setattr(checking, "reading", counted)
    with monkeypatch.context() as patch:
        patch.setattr(PlainDisplay, "progress", interrupt)
        result = invoke(*of_towns(towns, "--full"))
    assert result.exit_code == 130
    assert result.stderr.splitlines()[-1] == "gkdbench: stopped by SIGINT; the same command continues"
    (memory,) = (tmp_path / "cache/checks").iterdir()
    assert len(memory.read_text().split()) == 3 == len(read)
    read.clear()
    report = document(invoke(*of_towns(towns, "--full", "--json")))
    assert [facts["read"] for facts in report["splits"].values()] == [4, 3] and read == [3, 0, 1, 2]
    document(invoke(*of_towns(towns, "--full", "--fresh", "--json")))
    assert len(read) == 4 + 7


def train(tiny: Any, *more: object) -> tuple[object, ...]:
    return (
        "run", "--method", "finetune", "--benchmark", tiny.yaml, "--no-teacher", "--no-report", "--device", "cpu",
        "--data-root", tiny.data_root, *more,
    )  # fmt: skip


def records() -> list[dict[str, Any]]:
    return [json.loads(path.read_text()) for path in Path("results/runs").glob("*/record.json")]


def on_towns(tiny: Any, towns: Towns) -> None:
    splits = {part: {"reader": "dataset", "dataset": "towns", "split": part} for part in COUNTS}
    tiny.rewrite(source=splits, targets={"dusk": tiny.content["targets"]["dusk"]})


def test_training_begins_with_a_look_at_the_data(invoke: Invoke, tiny_benchmark: Any, towns: Towns) -> None:
    """A shortfall stops it before anything is trained; `--skip-check` trains, and the record says so."""
    on_towns(tiny_benchmark, towns)
    for kind in ("images", "labels"):
        towns.file(kind, "train/3").unlink()
    result = invoke(*train(tiny_benchmark))
    assert result.exit_code == 3 and result.stdout == ""
    assert result.stderr.splitlines() == [
        "checking the data of tiny",
        f"gkdbench: {towns.root}: towns train has 3 images, expected 4; get or unpack the rest (https://towns.invalid) "
        f"(source train); gkdbench check data {tiny_benchmark.yaml} shows all, --skip-check trains nevertheless",
    ]
    assert records() == [] and not list(Path("results").glob("stages/*"))
    (record,) = document(invoke(*train(tiny_benchmark, "--skip-check", "--json")))
    assert record["status"] == "done" and record["marks"] == ["data unchecked", "limit"]
    again = invoke(*train(tiny_benchmark, "--json"))
    assert document(again) == [record] and again.stderr == f"{record['run_id']}: cached\n"
    path = f"results/runs/{record['run_id']}/record.json"
    where = ("--benchmark", tiny_benchmark.yaml, "--data-root", tiny_benchmark.data_root)
    (repeated,) = document(invoke("run", "--from", path, *where, "--fresh", "--no-report", "--device", "cpu", "--json"))
    assert repeated["marks"] == record["marks"] and repeated["digest"] == record["digest"]
    assert [stage["cached"] for stage in repeated["stages"]] == [False]


def test_nothing_is_judged_on_what_was_trained_on_unless_the_benchmark_says_so(
    invoke: Invoke, tiny_benchmark: Any
) -> None:
    shutil.copy(tiny_benchmark.image("train/2"), tiny_benchmark.image("test/3"))
    result = invoke(*train(tiny_benchmark))
    assert result.exit_code == 3 and records() == []
    last = result.stderr.splitlines()[-1]
    assert "dawn has 1 image of source train" in last and "what is trained on would be judged" in last
    source = tiny_benchmark.content["source"]
    own = {**source, "val": source["train"]}
    tiny_benchmark.rewrite(source=own, targets={"dusk": tiny_benchmark.content["targets"]["dusk"]})
    result = invoke(*train(tiny_benchmark))
    assert result.exit_code == 3 and "source val has 5 images of source train" in result.stderr
    assert "or write `in_domain: train` where that is meant (source val); gkdbench check data" in result.stderr
    tiny_benchmark.rewrite(
        source=own, targets={"dusk": tiny_benchmark.content["targets"]["dusk"]}, in_domain="train"
    )
    (record,) = document(invoke(*train(tiny_benchmark, "--json")))
    assert record["status"] == "done" and "data unchecked" not in record["marks"]
    assert "in-domain figures are of images that are trained on" in record["warnings"]


def test_a_mended_label_is_judged_anew(invoke: Invoke, tiny_benchmark: Any) -> None:
    """The model is the same, and the score that of the labels as they are now."""
    path = tiny_benchmark.label("test/3")
    wrong, right = (Image.fromarray(np.full((32, 48), value, np.uint8)) for value in (2, 1))
    wrong.save(path, compress_level=0)
    ((before,), size) = document(invoke(*train(tiny_benchmark, "--json"))), path.stat().st_size
    right.save(path, compress_level=0)
    assert path.stat().st_size == size
    (after,) = document(invoke(*train(tiny_benchmark, "--json")))
    assert after["run_id"] != before["run_id"] and [stage["cached"] for stage in after["stages"]] == [True]
    was, now = (record["targets"]["dawn"]["confusion"] for record in (before, after))
    assert (now[1], now[0], now[2]) == (was[2], [0, 0, 0], [0, 0, 0]) and sum(now[1]) == 32 * 48
    assert after["targets"]["dusk"] == before["targets"]["dusk"]


def test_good_data_is_looked_at_and_leaves_no_mark(invoke: Invoke, tiny_benchmark: Any, towns: Towns) -> None:
    on_towns(tiny_benchmark, towns)
    result = invoke(*train(tiny_benchmark, "--seeds", "0,1", "--json"))
    first, second = document(result)
    assert first["marks"] == second["marks"] == ["limit"]
    assert result.stderr.count("checking the data of tiny\n") == 1


def test_the_proxy_pool_is_looked_at_where_it_is_used(invoke: Invoke, tiny_benchmark: Any) -> None:
    for path in (tiny_benchmark.data_root / "photos").rglob("*.jpg"):
        path.write_bytes(b"<html>")
    assert invoke(*train(tiny_benchmark)).exit_code == 0
    result = invoke(*train(tiny_benchmark, "--method", "gkd"))
    assert result.exit_code == 3
    last = result.stderr.splitlines()[-1]
    assert "photo1.jpg: cannot be read as an image" in last and "(proxy; 5 more like it); gkdbench check" in last


def test_one_benchmark_does_not_take_the_others_with_it(
    invoke: Invoke, tiny_benchmark: Any, write_ids: Any, tmp_path: Path
) -> None:
    shutil.copytree(tiny_benchmark.yaml.parent, tmp_path / "other")
    other = tmp_path / "other" / "other.yaml"
    labelled = {"reader": "folders", "root": "village"}
    content = {**tiny_benchmark.content, "name": "other", "targets": {
        "dawn": {**labelled, "images": "images", "labels": "labels"}}}  # fmt: skip
    other.write_text(yaml.safe_dump(content))
    for number in range(2):
        folder = tiny_benchmark.data_root / "village"
        (folder / "images").mkdir(parents=True, exist_ok=True)
        shutil.copy(tiny_benchmark.image(f"test/{number}"), folder / "images" / f"{number}.png")
        write_ids(folder / "labels" / f"{number}.png", np.full((32, 48), 77))
    both = ("--benchmark", f"{other},{tiny_benchmark.yaml}", "--json")
    result = invoke(*train(tiny_benchmark, *both))
    (record,) = document(result, 3)
    assert record["spec"]["benchmark"] == "tiny" and record["status"] == "done"
    faults = [line for line in result.stderr.splitlines() if line.startswith("gkdbench: ")]
    assert len(faults) == 1 and "village/labels/0.png: label id 77 is not in the label map" in faults[0]
    assert f"(dawn; 1 more like it); gkdbench check data {other} shows all" in faults[0]


def test_rendered_splits_are_not_looked_at(invoke: Invoke, tiny_benchmark: Any) -> None:
    result = invoke(
        "run", "--method", "finetune", "--preset", "smoke", "--no-teacher", "--no-report", "--device", "cpu", "--json",
        "--skip-check",
    )  # fmt: skip
    (record,) = document(result)
    assert "checking" not in result.stderr and "data unchecked" not in record["marks"]
