"""A method of one's own on the command line: its faults come first and with their line; changed code is said."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner, Result

from gkdbench.cli.main import app

Invoke = Callable[..., Result]
METHOD = '''\
import torch.nn.functional as F
from gkdbench.api import Stage

class Mine(Stage):
    teacher = "encoder"

    def __init__(self, weight):
        super().__init__()
        self.weight = weight

    def loss(self, step):
        return {"norm": self.weight * step.student().tokens.square().mean()}

def mine(pair, *, weight: float = 1.0):
    return [Mine(weight)]
'''


@pytest.fixture
def run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, tiny_benchmark: Any) -> Invoke:
    """Return a function that runs `gkdbench run` on the tiny benchmark in an empty folder."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("GKDBENCH_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    common = ("run", "--benchmark", str(tiny_benchmark.yaml), "--data-root", str(tiny_benchmark.data_root))
    return lambda *more: CliRunner().invoke(app, [*common, "--no-report", "--device", "cpu", *more])


def stages() -> list[str]:
    return [path.parent.name for path in Path("results/stages").glob("*/artefact.json")]


@pytest.mark.parametrize(
    ("old", "new", "says"),
    [
        ("    return [Mine(weight)]", "    raise ValueError('boo')", "ValueError: boo (at mine.py:15; gkdbench check"),
        ("import torch.nn", "import notthere\nimport torch.nn", "notthere"),
        ("    teacher =", "    task = False\n    trains = frozenset({'encoder'})\n    teacher =",
         "method 'mine': its last stage 'joint' leaves no trained head, so there is nothing to judge"),
    ],
)  # fmt: skip
def test_a_broken_method_is_said_before_anything_is_trained(run: Invoke, old: str, new: str, says: str) -> None:
    Path("mine.py").write_text(METHOD.replace(old, new))
    result = run("--method", "mine.py:mine")
    assert result.exit_code == 1 and says in result.stderr and "Traceback" not in result.stderr
    assert stages() == []  # not even the shared teacher
    (record,) = Path("results/runs").glob("*/record.json")
    assert json.loads(record.read_text())["status"] == "failed"


def test_a_teacher_that_was_asked_for_is_trained_all_the_same(run: Invoke) -> None:
    Path("mine.py").write_text(METHOD.replace("    return [Mine(weight)]", "    raise ValueError('boo')"))
    result = run("--method", "teacher,mine.py:mine")
    assert result.exit_code == 1 and "boo" in result.stderr and len(stages()) == 1


def test_an_error_of_the_loss_names_its_line_and_a_good_neighbour_still_runs(run: Invoke) -> None:
    Path("mine.py").write_text(METHOD.replace("step.student().tokens.square()", "step.student().tokens.squared()"))
    result = run("--method", "mine.py:mine,frozen", "--no-teacher")
    assert result.exit_code == 1
    assert "has no attribute 'squared' (at mine.py:12; gkdbench check method says more)" in result.stderr
    assert "frozen-s0" in result.stderr and len(stages()) == 1


def test_repeating_a_record_says_that_the_code_is_another(run: Invoke) -> None:
    Path("mine.py").write_text(METHOD)
    done = run("--method", "mine.py:mine", "--no-teacher", "-o", "weight=0.5", "--json")
    assert done.exit_code == 0, done.stderr
    (record,) = json.loads(done.stdout)
    assert record["spec"]["options"] == {"weight": 0.5} and record["spec"]["defaults"] == {"weight": 1.0}
    path = f"results/runs/{record['run_id']}/record.json"
    again = run("--from", path)
    assert again.exit_code == 0 and "cached" in again.stderr and "warning" not in again.stderr
    Path("mine.py").write_text(METHOD.replace("square()", "abs()"))
    other = run("--from", path)
    assert "warning: the code of mine is not that of the record; this is another run" in other.stderr
