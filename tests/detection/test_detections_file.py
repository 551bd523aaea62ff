"""detections.parquet: rows as they come, whole when it has its name, and nothing otherwise."""

import tracemalloc
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest

from gkdbench.detection import detections_file
from gkdbench.detection.detections_file import FILE, DetectionsFile
from gkdbench.errors import GkdbenchError
from gkdbench.spec.objects import Detections, Objects


def objects(*rows, difficult=()):
    boxes = np.array([row[:4] for row in rows], np.float32).reshape(-1, 4)
    return Objects(boxes, np.array([row[4] for row in rows], np.int64), np.isin(np.arange(len(rows)), difficult))


def finds(*rows):
    boxes = np.array([row[:4] for row in rows], np.float32).reshape(-1, 4)
    return Detections(boxes, np.array([r[4] for r in rows], np.int64), np.array([r[5] for r in rows], np.float32))


def rows_of(folder):
    return pq.read_table(folder / FILE).to_pylist()


@pytest.mark.parametrize("buffered", [1, 2, 500])
def test_what_was_added_comes_back_in_order(tmp_path, monkeypatch, buffered):
    monkeypatch.setattr(detections_file, "_BUFFERED", buffered)
    file = DetectionsFile(tmp_path)
    file.add("val", "a", objects((0, 1, 2.5, 3, 2), (4, 4, 9, 9, 0), difficult=[1]), finds((0, 1, 2, 3, 19, 0.75)))
    file.add("val", "b", objects(), finds())
    file.add("night", "a", objects((1, 1, 2, 2, 1)), finds())
    file.add("night", "c", objects(), finds((1, 2, 3, 4, 0, 0.5), (5, 6, 7, 8, 1, 0.25)))
    file.finish()
    none = {"boxes": [], "labels": [], "scores": []}
    empty = {"true_boxes": [], "true_labels": [], "difficult": []}
    assert rows_of(tmp_path) == [
        {"split": "val", "image": "a", "boxes": [0, 1, 2, 3], "labels": [19], "scores": [0.75],
         "true_boxes": [0, 1, 2.5, 3, 4, 4, 9, 9], "true_labels": [2, 0], "difficult": [False, True]},
        {"split": "val", "image": "b", **none, **empty},
        {"split": "night", "image": "a", **none, "true_boxes": [1, 1, 2, 2], "true_labels": [1], "difficult": [False]},
        {"split": "night", "image": "c", "boxes": [1, 2, 3, 4, 5, 6, 7, 8], "labels": [0, 1], "scores": [0.5, 0.25],
         **empty},
    ]  # fmt: skip
    assert [path.name for path in tmp_path.iterdir()] == [FILE]


def test_it_has_its_name_only_when_it_is_whole(tmp_path, monkeypatch):
    monkeypatch.setattr(detections_file, "_BUFFERED", 1)
    before = DetectionsFile(tmp_path)
    before.add("val", "old", objects(), finds())
    before.finish()
    file = DetectionsFile(tmp_path)
    file.add("val", "new", objects(), finds())
    assert len(list(tmp_path.iterdir())) == 2 and rows_of(tmp_path)[0]["image"] == "old"
    file.discard()
    assert [path.name for path in tmp_path.iterdir()] == [FILE] and rows_of(tmp_path)[0]["image"] == "old"
    file.discard()


def test_discarding_after_the_end_and_without_a_row_is_harmless(tmp_path):
    file = DetectionsFile(tmp_path)
    file.discard()
    assert list(tmp_path.iterdir()) == []
    file = DetectionsFile(tmp_path)
    file.add("val", "a", objects(), finds())
    file.finish()
    file.discard()
    assert len(rows_of(tmp_path)) == 1


def test_a_folder_that_cannot_be_written_is_one_clear_line(tmp_path):
    (tmp_path / "file").write_text("")
    file = DetectionsFile(tmp_path / "file" / "run")
    file.add("val", "a", objects(), finds())
    with pytest.raises(GkdbenchError, match=str(tmp_path / "file")) as raised:
        file.finish()
    assert "\n" not in str(raised.value)
    file.discard()


def test_a_disk_that_fills_leaves_nothing(tmp_path, monkeypatch):
    monkeypatch.setattr(detections_file, "_BUFFERED", 1)
    file = DetectionsFile(tmp_path)
    file.add("val", "a", objects(), finds())

    def full(self, *_):
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patched:
        patched.setattr(pq.ParquetWriter, "write_table", full)
        with pytest.raises(GkdbenchError, match="the disk is full"):
            file.add("val", "b", objects(), finds())
        patched.setattr(pq.ParquetWriter, "close", full)
        file.discard()
    assert list(Path(tmp_path).iterdir()) == []


def test_memory_does_not_grow_with_the_images(tmp_path, monkeypatch):
    monkeypatch.setattr(detections_file, "_BUFFERED", 20)
    file, found = DetectionsFile(tmp_path), finds(*[(0, 0, 1, 1, 0, 0.5)] * 100)
    held = []
    tracemalloc.start()
    try:
        for number in range(400):
            one = Detections(found.boxes.copy(), found.labels.copy(), found.scores.copy())
            file.add("val", str(number), objects(), one)
            if number in (99, 399):
                held.append(tracemalloc.get_traced_memory()[0])
    finally:
        tracemalloc.stop()
    file.finish()
    assert held[1] - held[0] < 100_000  # 300 images are 840 kB
    assert len(rows_of(tmp_path)) == 400
