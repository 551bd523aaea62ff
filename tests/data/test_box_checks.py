"""What a check says about boxes, and how they are drawn."""

import numpy as np
import pytest
from releases import photo, unpacked
from splits import open_in
from voc_files import SIZE, annotation, release

from gkdbench.data.checking.box_sheet import with_boxes
from gkdbench.data.checking.boxes import BoxCounts, BoxTally, box_counts
from gkdbench.detection.splits import VocSplit
from gkdbench.errors import DataError
from gkdbench.spec.objects import Objects

CLASSES = ("car", "person", "dog")
BOXES = (("person", (1, 1, 30, 40), False), ("dog", (10, 5, 20, 25), True), ("dog", (0, 5, 20, 25), False))


def opened(tmp_path, clip=False, **changed):
    files = release("", {"all": ["a", "b", "c"]}, BOXES) | {"Annotations/c.xml": annotation([])} | changed
    unpacked(tmp_path / "mine", files)
    split = VocSplit(reader="voc", root="mine", list="all", clip=clip)
    return open_in(tmp_path, split, CLASSES, data=tmp_path)


def tallied(dataset) -> BoxTally:
    tally = BoxTally()
    for index in range(len(dataset)):
        counts = box_counts(dataset, index, dataset.size(index))
        assert BoxCounts.of_noted(counts.noted()) == counts
        tally.add(counts, dataset.name(index))
    return tally


def test_counts_by_class_difficult_ones_and_empty_images(tmp_path):
    tally = tallied(opened(tmp_path))
    assert tally.facts(CLASSES) == {
        "objects": 6, "difficult": 2, "images_without_object": 1, "reaching_beyond": 2, "clipped": 0, "dropped": 0,
        "by_class": {"car": 0, "person": 2, "dog": 4},
    }  # fmt: skip
    assert tally.notes(CLASSES, whole=True) == [
        "classes without an object: car",
        "images without an object: 1, such as c",
        "boxes that reach up to a pixel beyond their image: 2; left as they are",
    ]
    assert len(tally.notes(CLASSES, whole=False)) == 2 and tally.fault() is None


def test_what_was_cut_is_counted_and_what_is_bad_is_named(tmp_path):
    bad = {"Annotations/b.xml": annotation([("car", (50, 1, 90, 9), False), ("car", (5, 5, 5, 5), False)])}
    tally = tallied(opened(tmp_path, clip=True, **bad))
    assert (tally.clipped, tally.dropped, tally.objects) == (1, 1, 4)
    assert "boxes cut to their image: 1, dropped: 1, such as in b" in tally.notes(CLASSES, whole=False)
    with pytest.raises(DataError, match=r"b\.xml:\d+: box 50 1 90 9 lies outside .*\(2 such boxes in this image\)"):
        tallied(opened(tmp_path, **bad))


def test_nothing_but_empty_images_is_a_fault(tmp_path):
    empty = {f"Annotations/{name}.xml": annotation([]) for name in "abc"}
    tally = tallied(opened(tmp_path, **empty))
    assert tally.notes(CLASSES, whole=True) == []
    assert tally.fault() == "none of the 3 images read, such as a, has an object of any class"
    assert BoxTally().fault() is None


def test_boxes_are_drawn_where_they_are_in_their_colours():
    palette = np.array([[255, 0, 0], [0, 255, 0], [0, 0, 255]], np.uint8)
    image = np.full((*SIZE, 3), 200, np.uint8)
    boxes = np.array([[10, 10, 30, 20], [40, 5, 59, 35]], np.float32)
    drawn = with_boxes(image, Objects(boxes, np.array([0, 2]), np.array([False, True])), palette, fit=(240, 160))
    assert drawn.shape == (160, 240, 3)
    assert (drawn[40, 45:115] == palette[0]).all() and (drawn[45:75, 40] == palette[0]).all()
    assert (drawn[60, 60] == 200).all()  # inside is as it was
    side = (drawn[22:138, 160] == palette[2]).all(axis=1)
    assert 0.3 < side.mean() < 0.8  # dashed


def test_any_boxes_can_be_drawn():
    boxes = np.array([[-50, -50, 500, 500], [3, 3, 3.1, 3.1], [100, 100, 120, 120]], np.float32)
    objects = Objects(boxes, np.array([0, 0, 0]), np.array([False, True, False]))
    for size in ((1, 1), (400, 3), (30, 700)):
        assert with_boxes(photo(1, size), objects, np.zeros((1, 3), np.uint8)).dtype == np.uint8
    nothing = Objects(np.zeros((0, 4), np.float32), np.zeros(0, np.int64), np.zeros(0, np.bool_))
    assert np.array_equal(with_boxes(photo(1, (320, 256)), nothing, np.zeros((1, 3), np.uint8)), photo(1, (320, 256)))
