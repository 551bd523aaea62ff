"""What a check says about boxes."""

import pytest
from releases import unpacked
from splits import open_in
from voc_files import annotation, release

from gkdbench.data.checking.boxes import BoxCounts, BoxTally, box_counts
from gkdbench.detection.splits import VocSplit
from gkdbench.errors import DataError

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
