"""`gkdbench new reader`: a file that works as it is, from its own test to a benchmark's YAML."""

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from typer.testing import Result

Invoke = Callable[..., Result]


def test_two_files_whose_test_passes(invoke: Invoke) -> None:
    result = invoke("new", "reader", "my_odd")
    assert result.exit_code == 0 and result.stderr == "wrote my_odd.py and test_my_odd.py; next:\n"
    assert result.stdout.splitlines()[:2] == [
        "test:   pytest test_my_odd.py",
        'use:    reader: "my_odd.py:MyOddSplit", in a YAML beside it (gkdbench new benchmark writes one)',
    ]
    text = Path("my_odd.py").read_text()
    assert max(map(len, text.splitlines())) <= 120 and "$" not in text
    done = subprocess.run([sys.executable, "-m", "pytest", "-q", "test_my_odd.py"], capture_output=True, text=True,
                          check=False, timeout=120)  # fmt: skip
    assert done.returncode == 0, done.stdout


def test_a_benchmark_reads_by_it(invoke: Invoke, tiny_benchmark: Any) -> None:
    assert json.loads(invoke("new", "reader", "odd", "--dir", tiny_benchmark.yaml.parent, "--json").stdout)["reader"]
    night = tiny_benchmark.data_root / "night"
    night.mkdir()
    for number in range(2):
        pixels = np.random.default_rng(number).integers(0, 256, (32, 48, 3), np.uint8)
        Image.fromarray(pixels).save(night / f"{number}.png")
        np.save(night / f"{number}.npy", np.full((32, 48), number, np.uint8))
    targets = {**tiny_benchmark.content["targets"], "night": {"reader": "odd.py:OddSplit", "root": "night"}}
    yaml = tiny_benchmark.rewrite(targets=targets)
    result = invoke("check", "data", yaml, "--data-root", tiny_benchmark.data_root, "--json")
    assert result.exit_code == 0, result.output
    found = json.loads(result.stdout)["splits"]["night"]
    assert (found["status"], found["images"], found["classes_seen"]) == ("ok", 2, 2)


@pytest.mark.parametrize("name", ["my-odd", "lambda", "json", "numpy", "test_odd", "../odd", ""])
def test_names_that_cannot_be(invoke: Invoke, name: str) -> None:
    result = invoke("new", "reader", name)
    assert result.exit_code == 2 and result.stderr.startswith(f"gkdbench: new reader {name!r}"[:20])
    assert not list(Path.cwd().iterdir())


def test_nothing_is_overwritten(invoke: Invoke) -> None:
    Path("test_odd.py").write_text("mine")
    result = invoke("new", "reader", "odd")
    assert result.exit_code == 2 and "test_odd.py: exists already" in result.stderr and not Path("odd.py").exists()
