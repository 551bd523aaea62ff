"""`gkdbench check data` of corrupted images: what there is, writing it ahead of time, and runs that read it."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml
from typer.testing import CliRunner, Result

from gkdbench.cli.main import app
from gkdbench.data.checking import corrupted as checking
from gkdbench.data.checking.corrupted import Corrupted
from gkdbench.data.corruptions import dataset as corrupting
from gkdbench.data.corruptions import library
from gkdbench.data.corruptions.corrupt import corrupted_image
from gkdbench.data.corruptions.kept import Work, materialise
from gkdbench.data.dataset import DataPlace, open_split
from gkdbench.errors import Interrupted, UsageError
from gkdbench.spec.catalogue import find_benchmark

Invoke = Callable[..., Result]
IMAGES = 3
KINDS, SEVERITIES = ["contrast", "jpeg_compression"], [1, 5]
WHOLE = IMAGES * len(KINDS) * len(SEVERITIES)


@pytest.fixture
def invoke(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Invoke:
    (tmp_path / "cwd").mkdir()
    monkeypatch.chdir(tmp_path / "cwd")
    monkeypatch.delenv("GKDBENCH_DATA", raising=False)
    monkeypatch.setenv("GKDBENCH_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    return lambda *arguments: CliRunner().invoke(app, [str(a) for a in arguments])


@pytest.fixture
def small(tmp_path: Path) -> Path:
    """Write the embedded benchmark of detection with a few images a split."""
    content = yaml.safe_load((find_benchmark("streets_det").folder / "streets_det.yaml").read_text())
    splits = [*content["source"].values(), content["proxy"], content["targets"]["night"]]
    for split in splits:
        split["count"] = IMAGES
    content |= {
        "hidden_targets": {}, "ood_targets": ["night"],
        "targets": {"night": splits[-1], "corruptions": {"kinds": KINDS, "severities": SEVERITIES}},
    }  # fmt: skip
    path = tmp_path / "home" / "small.yaml"
    path.parent.mkdir()
    path.write_text(yaml.safe_dump(content, sort_keys=False))
    return path


def checked(invoke: Invoke, *arguments: Any) -> dict[str, Any]:
    done = invoke("check", "data", *arguments, "--json", "--workers", "1")
    assert done.exit_code == 0, done.output
    document: dict[str, Any] = json.loads(done.stdout)
    return document


def pictures(tmp_path: Path) -> list[Path]:
    return sorted((tmp_path / "cache").glob("corrupted/*/*/*.png"))


def test_what_is_corrupted_is_told_and_nothing_is_written(invoke: Invoke, small: Path, tmp_path: Path) -> None:
    found = checked(invoke, small)
    assert found["status"] == "ok" and set(found["splits"]) == {"source train", "source val", "proxy", "night"}
    boxes = found["splits"]["source val"]["boxes"]
    assert boxes["objects"] > 0 and set(boxes["by_class"]) == {"car", "person", "sign", "tree"}
    assert found["corrupted"] == [
        {"of": "source val", "kinds": KINDS, "severities": SEVERITIES, "images": WHOLE, "kept": 0}
    ]
    assert pictures(tmp_path) == []
    said = invoke("check", "data", small).output
    assert "4 targets are source val corrupted (contrast, jpeg_compression; severities 1, 5)" in said.replace("\n", " ")


def test_written_images_are_the_computed_ones_and_are_read(
    invoke: Invoke, small: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    source, place = find_benchmark(str(small)), DataPlace(None, tmp_path / "cache")

    def targets(limit: int | None = None) -> dict[str, Any]:
        return {
            name: open_split(split, source.benchmark, source.folder, place, limit=limit)
            for name, split in source.benchmark.targets.items()
            if name != "night"
        }

    computed = {name: [one.image(index) for index in range(IMAGES)] for name, one in targets().items()}
    assert checked(invoke, small, "--materialise")["corrupted"][0]["kept"] == WHOLE
    written = pictures(tmp_path)
    assert len(written) == WHOLE and not list((tmp_path / "cache").rglob("*.tmp"))
    monkeypatch.setattr(corrupting, "corrupted_image", None)  # whoever computed one now would fail
    for name, one in targets().items():
        for index in range(IMAGES):
            assert np.array_equal(one.image(index), computed[name][index])
            assert one.objects(index) is not None and one.name(index) == f"day/{index}"
    for name, one in targets(limit=2).items():  # as presets limit what is judged
        assert len(one) == 2 and np.array_equal(one.image(1), computed[name][1])
    before = {path: path.stat().st_mtime_ns for path in written}
    assert checked(invoke, small, "--materialise")["corrupted"][0]["kept"] == WHOLE
    assert {path: path.stat().st_mtime_ns for path in pictures(tmp_path)} == before


def test_a_run_judges_written_images_as_it_would_judge_computed_ones(
    invoke: Invoke, small: Path, tmp_path: Path
) -> None:
    def values(results: str) -> dict[str, float]:
        done = invoke(
            "run", "--method", "frozen", "--setting", "f2l", "--benchmark", small, "--preset", "smoke", "--device",
            "cpu", "--no-teacher", "--no-report", "-o", "recipe.task.steps=3", "-o", "recipe.joint.steps=3",
            "--results", tmp_path / results,
        )  # fmt: skip
        assert done.exit_code == 0, done.output
        (record,) = (
            json.loads(path.read_text())
            for path in (tmp_path / results).glob("runs/*/record.json")
            if "frozen" in path.parent.name
        )
        return {name: [one["value"], one["metrics"]] for name, one in record["targets"].items()}  # type: ignore[misc]

    computed = values("one")
    limited = checked(invoke, small, "--materialise")["corrupted"][0]
    assert limited["kept"] == limited["images"] == WHOLE and values("two") == computed


def test_an_interrupted_writing_goes_on(
    invoke: Invoke, small: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    calls: list[int] = []

    def stopped(work: Work, workers: int, **how: Any) -> None:
        def pause() -> None:
            calls.append(1)
            if len(calls) > 2:
                raise Interrupted("stopped by SIGINT; the same command continues")

        materialise(work, workers, pause=pause, progress=how["progress"])

    with monkeypatch.context() as patched:
        patched.setattr(checking, "materialise", stopped)
        done = invoke("check", "data", small, "--materialise", "--workers", "1")
    assert done.exit_code == Interrupted.exit_code and "the same command continues" in done.output
    begun = {path: path.stat().st_mtime_ns for path in pictures(tmp_path)}
    assert 0 < len(begun) < WHOLE
    assert checked(invoke, small)["corrupted"][0]["kept"] == len(begun)
    assert checked(invoke, small, "--materialise")["corrupted"][0]["kept"] == WHOLE
    assert begun.items() <= {path: path.stat().st_mtime_ns for path in pictures(tmp_path)}.items()


def test_a_name_with_c_is_what_is_corrupted_for_a_benchmark(invoke: Invoke, monkeypatch: pytest.MonkeyPatch) -> None:
    written: list[Corrupted] = []
    monkeypatch.setattr(Corrupted, "write", lambda self, *_: written.append(self))
    found = checked(invoke, "streets_det_c", "--materialise", "--sample", "1")
    assert list(found["splits"]) == ["source val"]
    (one,) = found["corrupted"]
    assert one["images"] == 200 * 4 * 3 and one["severities"] == [1, 3, 5] and len(one["kinds"]) == 4
    assert [(made.of, made.images) for made in written] == [("source val", 2400)]


@pytest.mark.parametrize(
    ("name", "said"),
    [("streets_c", "no benchmark or dataset 'streets_c'"), ("streets", "benchmark streets has no corrupted images")],
)
def test_what_is_not_corrupted_cannot_be_written(invoke: Invoke, name: str, said: str) -> None:
    done = invoke("check", "data", name, "--materialise")
    assert done.exit_code == UsageError.exit_code and said in done.stderr
    assert done.stderr.count("\n") <= 2 and done.stdout == ""


def test_a_library_that_is_missing_is_said_and_nothing_is_written(
    invoke: Invoke, small: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    content = yaml.safe_load(small.read_text())
    content["targets"]["corruptions"] = {"kinds": ["fog"], "severities": [1]}
    small.write_text(yaml.safe_dump(content, sort_keys=False))
    monkeypatch.setattr(library, "VERSION", "0.0.1")
    done = invoke("check", "data", small, "--materialise", "--workers", "1")
    assert done.exit_code == UsageError.exit_code
    (line,) = [line for line in done.stderr.splitlines() if "corruption 'fog' needs" in line]
    assert "pip install" in line and pictures(tmp_path) == []


def test_a_damaged_or_missing_picture_is_computed(small: Path, tmp_path: Path, invoke: Invoke) -> None:
    checked(invoke, small, "--materialise")
    source, place = find_benchmark(str(small)), DataPlace(None, tmp_path / "cache")
    split = source.benchmark.targets["contrast-5"]
    folder = next((tmp_path / "cache").glob("corrupted/*/contrast-5"))
    first, second, _ = sorted(folder.glob("*.png"))
    first.write_bytes(first.read_bytes()[:40])
    second.unlink()
    dataset = open_split(split, source.benchmark, source.folder, place)
    plain = open_split(source.benchmark.source.val, source.benchmark, source.folder, place)
    for index in range(IMAGES):
        assert np.array_equal(dataset.image(index), corrupted_image(plain, index, "contrast", 5))
    assert checked(invoke, small)["corrupted"][0]["kept"] == WHOLE - 1
