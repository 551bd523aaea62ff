"""`gkdbench run` at its edges: one JSON document, names and settings that cannot be, results that are only read."""

import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner, Result

from gkdbench.cli.main import app
from gkdbench.cli.run import parse_seeds
from gkdbench.errors import UsageError

Invoke = Callable[..., Result]

LOUD = """import os
from gkdbench.api import Stage
print("imported")

class Loud(Stage):
    teacher = None
    def loss(self, step):
        print("a step")
        os.system("echo a program")
        if {stops}:
            raise SystemExit(0)
        return {{"small": 0.1 * step.student().tokens.square().mean()}}

def loud(pair):
    return [Loud()]
"""


def command_line(tiny: Any, *more: object, method: object = "finetune") -> list[str]:
    words = ["run", "--method", str(method), "--benchmark", str(tiny.yaml), "--data-root", str(tiny.data_root)]
    return [*words, "--no-teacher", "--device", "cpu", "--no-report", *map(str, more)]


def test_what_a_method_prints_is_not_in_the_document(
    invoke: Invoke, tiny_benchmark: Any, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "own.py"
    file.write_text(LOUD.format(stops="False"))
    done = invoke(*command_line(tiny_benchmark, "--json", method=f"{file}:loud"))
    assert done.exit_code == 0, done.stderr
    (record,) = json.loads(done.stdout)
    assert record["status"] == "done"
    assert done.stderr.count("a step\n") == 2 and "imported\n" in done.stderr
    printed = capfd.readouterr()
    assert printed.out == "" and printed.err.count("a program") == 2  # by a process that knows stdout by its number


def test_a_method_that_ends_the_program_takes_no_other_with_it(
    invoke: Invoke, tiny_benchmark: Any, tmp_path: Path
) -> None:
    file = tmp_path / "own.py"
    file.write_text(LOUD.format(stops="True"))
    done = invoke(*command_line(tiny_benchmark, "--json", method=f"{file}:loud,finetune"))
    assert done.exit_code == 1, done.stderr
    by_method = {record["spec"]["method"]: record for record in json.loads(done.stdout)}
    assert (by_method["loud"]["status"], by_method["finetune"]["status"]) == ("failed", "done")
    assert by_method["loud"]["reason"] == "SystemExit: 0 (at own.py:11; gkdbench check method says more)"
    alone = invoke(*command_line(tiny_benchmark, "--json", method=f"{file}:loud"))
    assert alone.exit_code == 1
    assert json.loads(alone.stdout) == {"error": by_method["loud"]["reason"], "exit_code": 1}


def test_every_command_ends_with_an_error_where_a_method_ends_the_program(invoke: Invoke, tmp_path: Path) -> None:
    file = tmp_path / "own.py"
    file.write_text("raise SystemExit(0)\ndef own(pair):\n    return []\n")
    done = invoke("check", "method", f"{file}:own")
    assert done.exit_code == 2 and "Traceback" not in done.stderr
    said = done.stderr.splitlines()[-1]
    assert said.startswith(f"gkdbench: method 'own' ({file}) ends the program instead of returning: SystemExit(0)")


@pytest.mark.parametrize("value", ["abc", "-1", "nan", "inf", "9" * 5000])
def test_an_environment_that_says_no_seconds_is_refused_before_any_work(
    invoke: Invoke, tiny_benchmark: Any, monkeypatch: pytest.MonkeyPatch, value: str
) -> None:
    monkeypatch.setenv("GKDBENCH_CHECKPOINT_S", value)
    done = invoke(*command_line(tiny_benchmark))
    assert done.exit_code == 2
    wanted = "must be seconds, such as 60, or 0 for every step"
    assert done.stderr == f"gkdbench: GKDBENCH_CHECKPOINT_S={value[:80]}: {wanted}\n"
    assert not list(Path("results/runs").iterdir()) and not list(Path("results/stages").iterdir())


def test_paths_that_are_no_utf8_are_refused_before_any_work(invoke: Invoke, tiny_benchmark: Any) -> None:
    for option, path in (("--results", b"r\xff"), ("--from", b"a\xe9.json"), ("--data-root", b"\xfe")):
        done = invoke(*command_line(tiny_benchmark, option, os.fsdecode(path)))
        assert done.exit_code == 2
        assert done.stderr == f"gkdbench: {option} {os.fsdecode(path)!a}: not valid UTF-8; rename it\n"
    assert not list(Path.cwd().iterdir())


def test_names_too_long_for_a_file_system_are_one_line(invoke: Invoke, tiny_benchmark: Any) -> None:
    long = "x" * 300
    for words in (
        command_line(tiny_benchmark, "--results", long),
        command_line(tiny_benchmark, method=f"{long}.py:kd"),
        ["run", "--from", f"{long}.json"],
        ["export", "anything", "--results", long],
    ):
        done = invoke(*words)
        assert done.exit_code in (2, 3), done.stderr
        assert done.stderr.count("\n") == 1 and "Traceback" not in done.stderr and "Errno" not in done.stderr
        assert not list(Path.cwd().iterdir())


def test_seeds_of_thousands_of_digits_are_refused() -> None:
    for text in ("9" * 5000, f"0-{'9' * 30}", "0-1000"):
        with pytest.raises(UsageError, match="names more than 1000 seeds, or larger ones"):
            parse_seeds(text)
    assert parse_seeds("4294967296,0-999")[:2] == (4294967296, 0)


def test_a_finished_run_on_results_that_are_only_read_is_answered(
    invoke: Invoke, tiny_benchmark: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Root may write everywhere, so what the system would refuse is refused here."""
    words = [word for word in command_line(tiny_benchmark, "--json") if word != "--no-report"]
    first = invoke(*words)
    assert first.exit_code == 0, first.stderr
    written = {path: path.stat().st_mtime_ns for path in Path("results").rglob("*")}

    def refuse(*_: object, **__: object) -> None:
        raise PermissionError(13, "Permission denied")

    for name in ("mkdir", "unlink", "touch"):
        monkeypatch.setattr(Path, name, refuse)
    monkeypatch.setattr(os, "access", lambda path, mode: mode != os.W_OK)
    again = invoke(*words)
    assert again.exit_code == 0 and json.loads(again.stdout) == json.loads(first.stdout)
    assert again.stderr.splitlines()[0].endswith(": cached")
    assert {path: path.stat().st_mtime_ns for path in Path("results").rglob("*")} == written
    other = invoke(*words, "--seed", "1")
    assert other.exit_code == 3
    assert json.loads(other.stdout)["error"] == "results: no permission to write; choose another place"


def test_a_finished_record_that_was_edited_is_judged_again(invoke: Invoke, tiny_benchmark: Any) -> None:
    words = command_line(tiny_benchmark, "--json")
    (first,) = json.loads(invoke(*words).stdout)
    path = Path("results/runs") / first["run_id"] / "record.json"
    edited = json.loads(path.read_text())
    edited["targets"]["dusk"]["value"] = 99.9
    path.write_text(json.dumps(edited))
    done = invoke(*words)
    (again,) = json.loads(done.stdout)
    said = done.stderr.splitlines()[0]
    assert said.startswith(f"warning: {path}: key 'targets.dusk.value': 99.9 is written") and "judged again" in said
    assert again["targets"] == first["targets"] and [stage["cached"] for stage in again["stages"]] == [True]
    assert json.loads(path.read_text()) == again


def test_a_run_beside_an_unwritable_folder_of_stages_is_refused_before_any_work(
    invoke: Invoke, tiny_benchmark: Any
) -> None:
    Path("results").mkdir()
    Path("results/stages").write_text("")
    done = CliRunner().invoke(app, command_line(tiny_benchmark))
    assert done.exit_code == 3
    assert done.stderr == "gkdbench: results/stages: a file is in the way of a folder\n"
