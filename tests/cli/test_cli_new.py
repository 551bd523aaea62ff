"""`gkdbench new method`: a file that works as it is and a test of it; nothing is ever overwritten."""

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from typer.testing import CliRunner, Result

from gkdbench.cli.main import app
from gkdbench.spec.methods import find_method

Invoke = Callable[..., Result]


@pytest.fixture
def invoke(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Invoke:
    """Return a function that runs `gkdbench new method` inside an empty folder."""
    (tmp_path / "cwd").mkdir()
    monkeypatch.chdir(tmp_path / "cwd")
    return lambda *arguments: CliRunner().invoke(app, ["new", "method", *map(str, arguments)])


def test_two_files_and_three_lines(invoke: Invoke) -> None:
    result = invoke("my_kd")
    assert result.exit_code == 0, result.stderr
    assert result.stderr == "wrote my_kd.py and test_my_kd.py; next:\n"
    assert result.stdout.splitlines() == [
        "check:  gkdbench check method ./my_kd.py:my_kd",
        "run:    gkdbench run --method ./my_kd.py:my_kd --setting f2l",
        "report: gkdbench report",
    ]
    assert sorted(path.name for path in Path.cwd().iterdir()) == ["my_kd.py", "test_my_kd.py"]
    method = find_method("./my_kd.py:my_kd")
    assert method.summary == "Task loss plus cosine mimicry of the last patch tokens."
    assert [(option.name, option.default) for option in method.options] == [("weight", 1.0)]
    lines = Path("my_kd.py").read_text().splitlines()
    assert len(lines) < 40 and max(map(len, lines)) <= 120 and not any("$" in line for line in lines)


def test_json_and_a_folder_that_has_to_be_quoted(invoke: Invoke) -> None:
    result = invoke("gkd", "--dir", "of mine/deep", "--json")
    content = json.loads(result.stdout)
    assert (content["method"], content["test"]) == ("of mine/deep/gkd.py", "of mine/deep/test_gkd.py")
    assert content["next"]["check"] == "gkdbench check method './of mine/deep/gkd.py:gkd'"
    (warning,) = content["warnings"]
    assert warning.startswith("'gkd' is also an installed method (gkdbench ") and warning in result.stderr
    assert Path(content["method"]).is_file() and Path(content["test"]).is_file()


@pytest.mark.parametrize("there", ["my_kd.py", "test_my_kd.py"])
def test_nothing_is_overwritten(invoke: Invoke, there: str) -> None:
    Path(there).write_text("mine")
    result = invoke("my_kd", "--json")
    assert result.exit_code == 2 and json.loads(result.stdout)["error"].startswith(f"{there}: exists already")
    assert [path.name for path in Path.cwd().iterdir()] == [there] and Path(there).read_text() == "mine"


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("my-kd", "new method 'my-kd': a name is letters, digits and '_', and begins with a letter"),
        ("../kd", "new method '../kd': a name is"),
        ("2kd", "new method '2kd': a name is"),
        ("_kd", "new method '_kd': a name is"),
        ("méthode", "new method 'méthode': a name is"),
        ("kd\n", "new method 'kd\\n': a name is"),
        ("lambda", "new method lambda: Python, pytest, a module or the written file itself uses this name; take"),
        ("nn", "new method nn: Python, pytest, a module or the written file itself uses"),
        ("random", "new method random: Python, pytest, a module or"),
        ("torch", "new method torch: Python, pytest, a module or"),
        ("test_kd", "new method test_kd: Python, pytest, a module or"),
        ("conftest", "new method conftest: Python, pytest, a module or"),
    ],
)
def test_names_that_cannot_be(invoke: Invoke, name: str, message: str) -> None:
    result = invoke(name)
    assert result.exit_code == 2 and result.stdout == ""
    assert result.stderr.startswith(f"gkdbench: {message}") and result.stderr.count("\n") == 1
    assert not list(Path.cwd().iterdir())


def test_a_folder_that_is_a_file(invoke: Invoke) -> None:
    Path("file").write_text("")
    result = invoke("my_kd", "--dir", "file")
    assert result.exit_code == 3 and "file/my_kd.py: cannot be written" in result.stderr


@pytest.mark.slow
def test_what_is_written_keeps_the_contract(invoke: Invoke) -> None:
    pytest.importorskip("gkdbench.conformance")
    from gkdbench.conformance import check

    assert invoke("my_kd").exit_code == 0
    verdicts = check("./my_kd.py:my_kd", ranks=False)
    assert verdicts.ok, verdicts.table()


def test_the_written_test_finds_its_method_from_anywhere(invoke: Invoke, tmp_path: Path) -> None:
    """With the kit itself replaced: what it says is tested elsewhere, and takes most of a minute."""
    assert invoke("my_kd", "--dir", tmp_path / "my methods").exit_code == 0
    (tmp_path / "my methods" / "conftest.py").write_text(
        "import sys, types\n"
        "from gkdbench.spec.methods import find_method\n"
        "kit = sys.modules['gkdbench.conformance'] = types.ModuleType('gkdbench.conformance')\n"
        "kit.assert_conforms = lambda name: find_method(name)\n"
    )
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", str(tmp_path / "my methods")],
        cwd=tmp_path / "cwd", capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0 and "1 passed" in done.stdout, done.stdout
