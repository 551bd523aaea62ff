"""`gkdbench new benchmark`: the YAML is complete, and runs as it stands on data that lie as it says."""

import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from typer.testing import CliRunner

from gkdbench.cli.main import app
from gkdbench.spec.catalogue import find_benchmark


def run(*words: str):
    return CliRunner().invoke(app, list(words))


@pytest.fixture
def written(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert run("new", "benchmark", "my-town").exit_code == 0
    return tmp_path / "my-town.yaml"


def test_the_file_is_a_benchmark_and_names_what_to_do_next(written):
    benchmark = find_benchmark(str(written)).benchmark
    assert benchmark.name == "my-town" and set(benchmark.targets) == {"night"}
    again = run("new", "benchmark", "my-town", "--json")
    assert again.exit_code == 2 and "exists already" in again.output
    done = run("new", "benchmark", "other", "--json")
    told = json.loads(done.stdout)
    assert Path(told["benchmark"]).is_file() and "--benchmark ./other.yaml" in told["next"]["run"]


@pytest.mark.parametrize(
    ("name", "said"), [("streets", "has a benchmark of this name"), ("a/b", "a name is letters"), ("-x", "")]
)
def test_names_are_checked(tmp_path, monkeypatch, name, said):
    monkeypatch.chdir(tmp_path)
    done = run("new", "benchmark", name)
    assert done.exit_code == 2 and said in done.output and not list(tmp_path.iterdir())


@pytest.mark.slow
def test_it_checks_runs_reports_and_predicts(written, tmp_path):
    data = tmp_path / "data"
    for number, place in enumerate(("source/{}/train/", "source/{}/val/", "night/{}/")):
        for n in range(3):
            ids = np.zeros((70, 110), np.uint8)
            ids[20 + n : 50, 30:80] = 1 + n % 2
            ids[:4] = 255
            for kind, content in (("images", np.dstack([ids * 40 + 60 + number] * 3)), ("labels", ids)):
                path = data / "my-town" / place.format(kind) / f"{n}.png"
                path.parent.mkdir(parents=True, exist_ok=True)
                Image.fromarray(content.astype(np.uint8)).save(path)
    for n in range(4):
        (data / "photos").mkdir(exist_ok=True)
        Image.fromarray(np.random.default_rng(n).integers(0, 256, (80, 90, 3), dtype=np.uint8)).save(
            data / f"photos/{n}.png"
        )
    done = run("check", "data", "my-town.yaml", "--data-root", str(data), "--out", "sheet.png")
    assert done.exit_code == 0, done.output
    words = ["--benchmark", "my-town.yaml", "--data-root", str(data), "--preset", "smoke", "--device", "cpu"]
    done = run("run", "--method", "gkd", "--pair", "streets-teacher:streets-local", *words, "--json")
    assert done.exit_code == 0, done.output
    record = json.loads(done.stdout)[-1]
    assert record["status"] == "done" and record["targets"]["night"]["n_images"] == 2
    named = ("--benchmark", "my-town.yaml", "--target", "night")
    done = run("predict", record["run_id"], *named, "--data-root", str(data),
               "--out", "maps")  # fmt: skip
    assert done.exit_code == 0, done.output
    found = np.asarray(Image.open(tmp_path / "maps/labels/0.png"))
    assert found.shape == (70, 110) and set(np.unique(found)) <= {0, 1}
    assert (tmp_path / "results/report/report.html").is_file()
