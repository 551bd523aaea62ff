"""`gkdbench new benchmark --task detection`: a benchmark with boxes whose splits are read as they are written."""

import json

import pytest
from releases import photo, picture, unpacked
from splits import open_in
from typer.testing import CliRunner
from voc_files import annotation, release

from gkdbench.cli.main import app
from gkdbench.spec.catalogue import find_benchmark

BOXES = (("person", (1, 1, 30, 40), False), ("car", (10, 5, 20, 25), True))


def run(*words: str):
    return CliRunner().invoke(app, list(words))


@pytest.fixture
def written(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    done = run("new", "benchmark", "my-street", "--task", "detection")
    assert done.exit_code == 0, done.output
    return tmp_path / "my-street.yaml"


def street(tmp_path):
    """Data that lie as the file says."""
    files = {f"photos/{number}.png": picture(photo(number)) for number in range(4)}
    for part, lists in (("source", {"train": ["a", "b", "c"], "val": ["d", "e"]}), ("night", {"test": ["f", "g"]})):
        files |= {f"my-street/{part}/{name}": content for name, content in release("", lists, BOXES).items()}
    files["my-street/source/Annotations/c.xml"] = annotation([])
    unpacked(tmp_path / "data", files)
    return tmp_path / "data"


def test_the_file_is_a_benchmark_whose_splits_open(written, tmp_path):
    benchmark = find_benchmark(str(written)).benchmark
    assert (benchmark.name, benchmark.task, set(benchmark.targets)) == ("my-street", "detection", {"night"})
    data = street(tmp_path)
    for split, count in ((benchmark.source.train, 3), (benchmark.source.val, 2), (benchmark.targets["night"], 2)):
        dataset = open_in(tmp_path, split, benchmark.classes, data=data)
        assert len(dataset) == count and dataset.objects(0).labels.tolist() == [1, 0]


def test_what_it_says_in_comments_is_true(written):
    text = written.read_text()
    for line in ("corruptions: {kinds: [weather, noise], severities: [1, 3, 5]}",):
        assert f"  # {line}" in text
        written.write_text(text.replace(f"  # {line}", f"  {line}"))
        assert "fog-3" in find_benchmark(str(written)).benchmark.targets
    where = "root: my-street/source, images: train2017, annotations: annotations/instances_train2017.json"
    coco = f"train: {{reader: coco, {where}}}"
    assert f"  #   {coco}" in text
    plain = "  train: {reader: voc, root: my-street/source, list: train}"
    written.write_text(text.replace(plain, f"  {coco}"))
    assert find_benchmark(str(written)).benchmark.source.train.reader == "coco"


def test_an_unknown_task_is_refused(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    done = run("new", "benchmark", "x", "--task", "detect")
    assert done.exit_code == 2 and "did you mean 'detection'" in done.output and not list(tmp_path.iterdir())
    told = json.loads(run("new", "benchmark", "x", "--task", "detection", "--json").stdout)
    assert told["benchmark"] == "x.yaml"
