"""A stranger's package: installed by pip it is listed and run like our own; a broken one stands in nobody's way."""

import importlib.util
import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

PLUGIN = Path(__file__).parent / "plugin"


@pytest.fixture(scope="module")
def plugin(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Install tests/plugin with pip, offline, into a folder of its own; return the folder."""
    for needed in ("pip", "setuptools"):
        if importlib.util.find_spec(needed) is None:
            pytest.skip(f"{needed} is not installed (it comes with '.[test]' in a venv)")
    home = tmp_path_factory.mktemp("plugin")
    shutil.copytree(PLUGIN, home / "source")  # setuptools builds within the source folder
    done = subprocess.run(
        [sys.executable, "-m", "pip", "install", "--quiet", "--no-deps", "--no-build-isolation", "--no-index",
         "--disable-pip-version-check", "--target", str(home / "site"), str(home / "source")],
        capture_output=True, text=True, check=False, timeout=120,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    return home / "site"


def put(site: Path, distribution: str, entry_points: str, **modules: str) -> Path:
    """Lay a distribution down by hand, as an installer leaves it."""
    info = site / f"{distribution.replace('-', '_')}-1.0.dist-info"
    info.mkdir(parents=True)
    (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {distribution}\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text(entry_points)
    for name, text in modules.items():
        (site / f"{name}.py").write_text(text)
    return site


@pytest.fixture
def strangers(tmp_path: Path) -> Path:
    """Two more packages: one takes names that others have, one is broken in every way."""
    site = tmp_path / "strangers"
    fine = 'def other(pair, *, weight: float = 2.0):\n    """Say no more."""\n    return []\n'
    put(
        site,
        "other-kd",
        "[gkdbench.methods]\ngkd = other_kd:other\ncosine = other_kd:other\n",
        other_kd=fine,
    )
    put(
        site,
        "broken-kd",
        "[gkdbench.methods]\nhalf = broken_kd:half\nlost = no_such_module:lost\nnameless = broken_kd\n"
        "late = late_kd:late\n../up = other_kd:other\n",
        broken_kd="def half(pair:\n",
        late_kd="import no_such_module\n\n\ndef late(pair):\n    return []\n",
    )
    return site


def gkdbench(folder: Path, *sites: Path, arguments: tuple[Any, ...]) -> "subprocess.CompletedProcess[str]":
    folder.mkdir(exist_ok=True)
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(map(str, sites)), "OMP_NUM_THREADS": "1"}
    return subprocess.run(
        [sys.executable, "-m", "gkdbench", *map(str, arguments)],
        cwd=folder, env=environment, capture_output=True, text=True, check=False, timeout=300,
    )  # fmt: skip


def run_arguments(tiny: Any, methods: str, *more: str) -> tuple[str, ...]:
    return (
        "run", "--method", methods, "--benchmark", str(tiny.yaml), "--data-root", str(tiny.data_root),
        "--preset", "smoke", "--no-teacher", "--device", "cpu", *more,
    )  # fmt: skip


def test_it_is_listed_with_where_it_comes_from(plugin: Path, tmp_path: Path) -> None:
    table = gkdbench(tmp_path, plugin, arguments=("list", "methods")).stdout.splitlines()
    (row,) = [line for line in table if line.startswith("cosine ")]
    assert "gkdbench-cosine 0.3" in row and "cosine mimicry of the last patch tokens." in row
    done = gkdbench(tmp_path, plugin, arguments=("list", "combinators", "--json"))
    assert json.loads(done.stdout)["without_task"]["from"] == "gkdbench-cosine 0.3"


@pytest.mark.slow
def test_it_runs_and_its_rows_stand_in_the_report(plugin: Path, tmp_path: Path, tiny_benchmark: Any) -> None:
    """Alone, inside our combinator and with its own combinator around a method of ours."""
    methods = "cosine,decoupled(cosine),without_task(fitnet_mse)"
    done = gkdbench(tmp_path / "cwd", plugin, arguments=run_arguments(tiny_benchmark, methods, "--json"))
    assert done.returncode == 0, done.stderr
    records = json.loads(done.stdout)
    assert [(r["status"], r["spec"]["method"]) for r in records] == [("done", m) for m in methods.split(",")]
    assert [r["spec"]["method_source"].split(" ")[0] for r in records] == ["gkdbench-cosine"] * 2 + ["gkdbench"]
    assert [[s["name"] for s in r["stages"]] for r in records] == [["joint"], ["source", "task"], ["source", "task"]]
    assert all(not set(r["run_id"]) & set("()@ ") for r in records)
    assert "'cosine,decoupled(cosine),without_task(fitnet_mse)'" in records[0]["command"]
    tables = (tmp_path / "cwd/results/report/report.md").read_text()
    for name in methods.split(","):
        # no option is shown: all are at their defaults, which are read from the stranger's package
        assert re.search(rf"^\| \**{re.escape(name)}\** (\[|\|)", tables, flags=re.MULTILINE)
    # a recorded run is repeated by its id, the combinator and the package included
    again = gkdbench(
        tmp_path / "cwd", plugin,
        arguments=("run", "--from", records[2]["run_id"], "--benchmark", tiny_benchmark.yaml,
                   "--data-root", tiny_benchmark.data_root, "--no-report"),
    )  # fmt: skip
    assert (again.returncode, again.stderr) == (0, f"{records[2]['run_id']}: cached\n")


def test_broken_and_clashing_packages_are_named_and_hide_nobody(plugin: Path, strangers: Path, tmp_path: Path) -> None:
    done = gkdbench(tmp_path, plugin, strangers, arguments=("list", "methods", "--json"))
    assert done.returncode == 0, done.stderr
    methods = json.loads(done.stdout)
    broken = {name: entry["summary"] for name, entry in methods.items() if entry["kind"] == "broken"}
    assert set(broken) == {"half", "lost", "nameless", "../up"}
    assert broken["half"].endswith("broken_kd.py:1: not valid Python ('(' was never closed)")
    assert broken["lost"] == "method 'lost': its module no_such_module is not importable; reinstall broken-kd"
    assert "its entry point is 'broken_kd', not MODULE:FUNCTION" in broken["nameless"]
    assert {methods[name]["from"] for name in broken} == {"broken-kd 1.0"}
    assert {"gkd", "gkd@other-kd", "cosine@gkdbench-cosine", "cosine@other-kd", "late"} <= set(methods)
    assert methods["gkd"]["from"].startswith("gkdbench ") and methods["gkd@other-kd"]["summary"] == "Say no more."
    text = gkdbench(tmp_path, plugin, strangers, arguments=("list", "methods")).stdout
    assert "several packages offer method 'gkd' (gkd@gkdbench, gkd@other-kd); 'gkd' means gkd@gkdbench\n" in text
    assert "several packages offer method 'cosine' (cosine@gkdbench-cosine, cosine@other-kd); say which\n" in text
    about = gkdbench(tmp_path, plugin, strangers, arguments=("list", "methods", "cosine@other_kd"))
    assert "weight (int or float, default 2.0)" in about.stdout


@pytest.mark.parametrize(
    ("method", "code", "message"),
    [
        ("half", 2, "not valid Python"),
        ("lost", 2, "its module no_such_module is not importable"),
        ("cosine", 2, "--method: several packages offer method 'cosine'"),
        ("cosine@nobody", 2, "--method: no package 'nobody' offers method 'cosine' (known: cosine@gkdbench-cosine, "),
        ("cosin", 2, "--method: unknown method 'cosin'; did you mean 'cosine'?"),
        ("late", 1, "cannot be imported: ModuleNotFoundError: No module named 'no_such_module'"),
    ],
)
def test_running_a_broken_or_unclear_name_is_one_line(
    plugin: Path, strangers: Path, tmp_path: Path, tiny_benchmark: Any, method: str, code: int, message: str
) -> None:
    done = gkdbench(tmp_path / "cwd", plugin, strangers, arguments=run_arguments(tiny_benchmark, method))
    lines = [line for line in done.stderr.splitlines() if line.startswith("gkdbench: ")]
    assert done.returncode == code and message in lines[-1]
    assert len(lines) == 1 and "Traceback" not in done.stderr


@pytest.mark.slow
def test_one_of_two_is_picked_and_ours_is_run_with_a_warning(
    plugin: Path, strangers: Path, tmp_path: Path, tiny_benchmark: Any
) -> None:
    arguments = run_arguments(tiny_benchmark, "cosine@gkdbench-cosine,gkd", "--json", "--no-report")
    done = gkdbench(tmp_path / "cwd", plugin, strangers, arguments=arguments)
    assert done.returncode == 0, done.stderr
    warnings = [line for line in done.stderr.splitlines() if line.startswith("gkdbench: warning:")]
    assert warnings == [
        "gkdbench: warning: several packages offer method 'gkd' (gkd@gkdbench, gkd@other-kd);"
        " 'gkd' means gkd@gkdbench"
    ]
    records = json.loads(done.stdout)
    assert [record["spec"]["method"] for record in records] == ["cosine", "gkd"]
    assert records[0]["spec"]["method_source"] == "gkdbench-cosine 0.3"
    again = gkdbench(
        tmp_path / "cwd", plugin, strangers,
        arguments=("run", "--from", records[0]["run_id"], "--benchmark", tiny_benchmark.yaml,
                   "--data-root", tiny_benchmark.data_root, "--no-report"),
    )  # fmt: skip
    assert (again.returncode, again.stderr) == (0, f"{records[0]['run_id']}: cached\n")
