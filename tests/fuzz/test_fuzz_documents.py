"""Whatever stands in a YAML, it is a benchmark or one line that says why not."""

import json
import re
from pathlib import Path
from typing import Any

import pytest
import yaml
from fuzzing import ODD_NUMBERS, broken, damaged, fuzz, told
from hypothesis import example, given
from hypothesis import strategies as st

from gkdbench.errors import GkdbenchError
from gkdbench.identity.digest import digest
from gkdbench.spec.benchmark import Benchmark
from gkdbench.spec.catalogue import benchmark_files, find_benchmark
from gkdbench.spec.dataset import DatasetTable
from gkdbench.spec.documents import parse, read_json, read_yaml

SHIPPED = {name: yaml.safe_load(path.read_text()) for name, path in benchmark_files().items()}
DATASETS = yaml.safe_load((next(iter(benchmark_files().values())).parent / "datasets" / "urban.yaml").read_text())


def outcome(text: str | bytes, folder: Path) -> Benchmark | None:
    path = folder / "mine.yaml"
    path.write_bytes(text if isinstance(text, bytes) else text.encode("utf-8", "surrogatepass"))
    try:
        return find_benchmark(str(path)).benchmark
    except GkdbenchError as error:
        assert told(error).startswith(str(path))
        return None


@fuzz(150)
@given(st.sampled_from(sorted(SHIPPED)).flatmap(lambda name: damaged(SHIPPED[name])))
def test_a_damaged_benchmark(tmp_path: Path, content: Any) -> None:
    found = outcome(yaml.safe_dump(content, allow_unicode=True), tmp_path)
    if found is not None:
        # what is accepted can be digested, written and read again, and has classes that can be told apart
        assert digest(Benchmark.model_validate(found.model_dump(mode="json"))) == digest(found)
        assert len(set(found.classes)) == len(found.classes) == len(found.palette) and found.ignore <= 255
        assert all(0 <= part <= 255 for colour in found.palette for part in colour)


@fuzz(150)
@given(st.sampled_from([path.read_bytes() for path in benchmark_files().values()]).flatmap(broken))
def test_a_broken_file(tmp_path: Path, text: bytes) -> None:
    outcome(text, tmp_path)


@fuzz(100)
@given(damaged(DATASETS))
def test_a_damaged_catalogue(content: Any) -> None:
    try:
        parse(DatasetTable, content, "datasets/mine.yaml")
    except GkdbenchError as error:
        assert told(error).startswith("datasets/mine.yaml: ")


TAGS = [
    "!!int x", "!!float x", "!!timestamp 99-99-99", "!!binary '*'", "!!set {a, a}", "!!omap [1]", "!!pairs 3", "!x 1"
]  # fmt: skip
DOUBLING = "a0: &a0 [1]\n" + "".join(f"a{n}: &a{n} [*a{n - 1}, *a{n - 1}]\n" for n in range(1, 30))


@fuzz(100)
@given(
    st.sampled_from(TAGS) | st.sampled_from(ODD_NUMBERS).map(str) | st.text(max_size=20)
    | st.tuples(st.sampled_from(["[", "{a: ", "- ", "? "]), st.integers(1, 3000)).map(lambda drawn: drawn[0] * drawn[1])
)  # fmt: skip
@example("9" * 5000)
@example("&a [*a]")
@example(DOUBLING)
def test_odd_yaml(tmp_path: Path, text: str) -> None:
    assert outcome(text, tmp_path) is None
    path = tmp_path / "any.yaml"
    path.write_bytes(text.encode("utf-8", "surrogatepass"))
    try:
        read_yaml(path)
    except GkdbenchError as error:
        told(error)


@fuzz(100)
@given(st.text(max_size=20) | st.tuples(st.sampled_from("[{"), st.integers(1, 100_000)).map(lambda d: d[0] * d[1]))
@example("9" * 5000)
@example("1e999999999")
@example("[NaN, Infinity]")
def test_odd_json(tmp_path: Path, text: str) -> None:
    path = tmp_path / "any.json"
    path.write_bytes(text.encode("utf-8", "surrogatepass"))
    try:
        read_json(path)
    except GkdbenchError as error:
        assert re.match(re.escape(str(path)), told(error))


def test_the_damage_is_real() -> None:
    """Shipped benchmarks are read; else everything above would pass."""
    assert len(SHIPPED) > 5
    for content in SHIPPED.values():
        assert parse(Benchmark, json.loads(json.dumps(content)), "x").name == content["name"]
    with pytest.raises(GkdbenchError):
        parse(Benchmark, {**next(iter(SHIPPED.values())), "classes": 3}, "x")
