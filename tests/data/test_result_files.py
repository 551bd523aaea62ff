"""What detectors found comes back from VOC's files as it was, and COCO's list is what its evaluation reads."""

import json

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from gkdbench.data.objects.result_files import coco_results, read_voc_results, voc_result_file, voc_results
from gkdbench.errors import DataError, UsageError
from gkdbench.spec.objects import Detections

CLASSES = ("car", "traffic light")


def detections(rows) -> Detections:
    return Detections(
        np.array([row[:4] for row in rows], np.float32).reshape(-1, 4),
        np.array([row[4] for row in rows], np.int64), np.array([row[5] for row in rows], np.float32),
    )  # fmt: skip


FOUND = [("000004", detections([(0, 0, 10.5, 20, 1, 0.75), (3, 4, 5, 6, 0, 0.1)])), ("a b", detections([]))]


def test_coco_results():
    assert coco_results(FOUND, {0: 44, 1: 18})[0] == {
        "image_id": "000004", "category_id": 18, "bbox": [0, 0, 10.5, 20], "score": 0.75,
    }  # fmt: skip
    assert [one["category_id"] for one in coco_results(FOUND)] == [2, 1]
    assert json.loads(json.dumps(coco_results(FOUND))) == coco_results(FOUND) and coco_results([]) == []


def test_coco_results_are_read_by_its_own_evaluation():
    coco = pytest.importorskip("pycocotools.coco").COCO()
    coco.dataset = {"images": [{"id": 5}], "categories": [{"id": 1}, {"id": 2}], "annotations": []}
    coco.createIndex()
    read = coco.loadRes(coco_results([(5, FOUND[0][1])]))
    assert [one["area"] for one in read.anns.values()] == [210.0, 4.0]


def test_voc_files_count_from_one_and_there_is_one_per_class():
    files = voc_results(FOUND, CLASSES)
    assert files == {
        "comp4_det_test_car.txt": "000004 0.100000001 4 5 5 6\n",
        "comp4_det_test_traffic light.txt": "000004 0.75 1 1 10.5 20\n",
    }
    assert list(voc_results([], ("car",), "val")) == ["comp4_det_val_car.txt"]
    for name in ("a/b", "a\\b", "a\nb"):
        with pytest.raises(UsageError, match="carry it in their names"):
            voc_result_file(name)


def number(low, high):
    return st.floats(low, high, width=32, allow_nan=False)


@given(st.lists(st.tuples(*[number(-5, 600)] * 4, st.integers(0, 1), number(0, 1)), max_size=8))
def test_written_and_read_again(tmp_path_factory, rows):
    folder = tmp_path_factory.getbasetemp() / "results"
    folder.mkdir(exist_ok=True)
    for name, text in voc_results([("x 1", detections(rows)), ("y", detections([]))], CLASSES).items():
        (folder / name).write_text(text)
    read, empty = read_voc_results(folder, CLASSES, ["x 1", "y"])
    wanted = detections(sorted(rows, key=lambda row: row[4]))  # by class; within one in the given order
    assert np.array_equal(read.labels, wanted.labels) and np.array_equal(read.scores, wanted.scores)
    assert np.allclose(read.boxes, wanted.boxes, rtol=1e-7, atol=1e-6) and len(empty) == 0


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ("000009 0.5 1 1 2 2", r"car\.txt:2: image '000009' is not of this split; did you mean '000004'\?"),
        ("000004 0.5 1 1 2", r"car\.txt:2: a line is `image score xmin .*`, and this one '000004 0.5 1 1 2'"),
        ("000004 nan 1 1 2 2", r"car\.txt:2: a line is"),
    ],
)
def test_lines_that_are_none(tmp_path, line, said):
    (tmp_path / "comp4_det_test_car.txt").write_text(f"\n{line}\n")
    with pytest.raises(DataError, match=said):
        read_voc_results(tmp_path, ("car",), ["000004"])
    with pytest.raises(DataError, match=r"dog\.txt: results of class 'dog' not found; an empty file says"):
        read_voc_results(tmp_path, ("dog",), ["000004"])
