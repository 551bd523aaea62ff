"""A small real set in VOC's format and a real ImageNet-trained teacher; skipped without the developers' data.

The benchmark is the one that `new benchmark --task detection` writes, changed as its user would.
"""

import os
from pathlib import Path

import pytest
from typer.testing import CliRunner

from gkdbench.cli.main import app
from gkdbench.runs.record import find_records, read_record

SHARED = os.environ.get("GKDBENCH_SHARED")
needs_shared = pytest.mark.skipif(SHARED is None, reason="GKDBENCH_SHARED is not set (developers' sample data)")

CHANGES = {
    "classes: [car, person]": "classes: [RBC, WBC, Platelets]",
    "  - [220, 20, 60]\n": "  - [220, 20, 60]\n  - [0, 158, 115]\n",
    "root: blood/source, list: train}": "root: bccd, list: trainval}",
    "root: blood/source, list: val}": "root: bccd, list: test}",
    "  night: {reader: voc, root: blood/night, list: test}\n": (
        "  corruptions: {kinds: [contrast, pixelate], severities: [3]}\n"
    ),
    'pairs: ["dinov2-b:deit-s"]': 'pairs: ["efficientnet-lite0:streets-local"]',
    'pairs: ["dinov2-b:dinov2-s"]': 'pairs: ["streets-teacher:streets-foundation"]',
    "anchors: [[32], [64], [128], [256]]}": (
        "scales: [2, 1, 0.5], anchors: [[16], [40], [80]], width: 32, head_width: 64, rpn_kept: [200, 100], "
        "rpn_kept_judging: [200, 50], roi_samples: 32}"
    ),
    "{size: [384, 512], fit: inside, window: [384, 512], stride: [384, 512], batch: 4}": (
        "{size: [192, 256], fit: inside, window: [192, 256], stride: [192, 256], batch: 4}"
    ),
    "limits: {source: 8, val: 2, target: 2, proxy: 8}": "limits: {source: 16, val: 4, target: 2, proxy: 16}",
}


@pytest.fixture
def at_work(tmp_path, monkeypatch):
    """A user's folder: the benchmark, and the data beside it."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("GKDBENCH_WEIGHTS", str(Path(SHARED) / "data" / "weights"))
    monkeypatch.setenv("GKDBENCH_CACHE", str(tmp_path / "cache"))
    (tmp_path / "data").mkdir()
    (tmp_path / "data/bccd").symlink_to(Path(SHARED) / "data" / "bccd_256")
    (tmp_path / "data/photos").symlink_to(Path(SHARED) / "data" / "photos_160")
    assert CliRunner().invoke(app, ["new", "benchmark", "blood", "--task", "detection"]).exit_code == 0
    text = Path("blood.yaml").read_text()
    for old, new in CHANGES.items():
        assert text.count(old) == 1, old
        text = text.replace(old, new)
    Path("blood.yaml").write_text(text)
    return tmp_path


def gkdbench(*words: str):
    done = CliRunner().invoke(app, [*words, "--data-root", "data"])
    assert done.exit_code == 0, done.output
    return done


@needs_shared
def test_every_box_is_sound(at_work):
    shown = gkdbench("check", "data", "./blood.yaml", "--full", "--out", "sheet.png").stdout
    counts = {line.split()[0]: line.split()[1:] for line in shown.splitlines() if line.split()}
    # as the set's description has them, in two parts
    assert [counts[name] for name in ("RBC", "WBC", "Platelets")] == [["3348", "805"], ["301", "71"], ["292", "69"]]
    assert "problem" not in shown.partition("\n")[2] and Path("sheet.png").is_file()


@needs_shared
def test_from_cells_to_a_record(at_work):
    gkdbench("run", "--benchmark", "./blood.yaml", "--method", "gkd", "--setting", "f2l", "--preset", "smoke")
    records = {r.spec.method: r for r in map(read_record, find_records(at_work / "results"))}
    assert set(records) == {"teacher", "gkd"}
    for record in records.values():
        assert record.status == "done" and record.in_domain.n_images == 4
        assert set(record.targets) == {"contrast-3", "pixelate-3"}
        assert all(result.n_images == 2 for result in record.targets.values())
        assert record.summary.mpc == record.summary.ood
    gkd = records["gkd"]
    assert [stage.name for stage in gkd.stages] == ["proxy", "source", "task"]
    assert "teacher has no cls token: cls terms dropped" in gkd.stages[0].notes
