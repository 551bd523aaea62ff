"""What the images of a split add up to: pixels or boxes of every class, bad files and odd boxes."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image
from releases import unpacked
from splits import open_in
from voc_files import annotation, release

from gkdbench.data.checking.counts import Counts, Reading, read, reading, spread
from gkdbench.data.dataset import DataPlace, Dataset, LabelSpace, open_split
from gkdbench.detection.splits import VocSplit
from gkdbench.errors import DataError
from gkdbench.spec.catalogue import find_benchmark

CLASSES = ("car", "person", "dog")
BOXES = (("person", (1, 1, 30, 40), False), ("dog", (10, 5, 20, 25), True), ("dog", (0, 5, 20, 25), False))


def opened(tiny: Any, part: str = "train") -> Dataset:
    source = find_benchmark(str(tiny.yaml))
    split = source.benchmark.proxy if part == "proxy" else source.benchmark.source.train
    return open_split(split, source.benchmark, source.folder, DataPlace(tiny.data_root))


def counted(
    dataset: Dataset, count: int = 100, *, classes: tuple[str, ...] = ("sky", "road", "car"), labelled: bool = True
) -> Counts:
    readings = [reading(dataset, index, labelled=labelled) for index in spread(len(dataset), count)]
    assert [Reading.model_validate_json(one.model_dump_json()) for one in readings] == readings
    return Counts(dataset, LabelSpace("mine", classes), readings)


def test_what_a_split_adds_up_to(tiny_benchmark: Any) -> None:
    dataset = opened(tiny_benchmark)
    facts = counted(dataset).facts()
    truth: NDArray[np.uint8] = np.stack([dataset.labels(i) for i in range(5)])  # type: ignore[misc]
    assert (facts["images"], facts["read"], facts["size"], facts["classes_seen"]) == (5, 5, "48x32", 3)
    assert facts["ignored_pixels"] == 5 * 4 == (truth == 255).sum()
    assert facts["labelled"] == pytest.approx(1 - 4 / (32 * 48))
    assert facts["frequencies"]["road"] == pytest.approx((truth == 1).sum() / (truth < 3).sum())
    assert sum(facts["frequencies"].values()) == pytest.approx(1)
    assert facts["without_labelled_pixel"] == 0 and facts["boxes"] is None


def test_unlabelled_images_of_several_sizes(tiny_benchmark: Any) -> None:
    facts = counted(opened(tiny_benchmark, "proxy"), 2).facts()
    assert (facts["images"], facts["read"], facts["labelled"]) == (6, 2, None)
    Image.new("RGB", (20, 10)).save(tiny_benchmark.data_root / "photos" / "zz.png")
    assert counted(opened(tiny_benchmark, "proxy")).facts()["size"] == "56x40 and others"


def test_labels_are_left_alone_where_none_are_wanted(tiny_benchmark: Any) -> None:
    tiny_benchmark.label("train/1").write_bytes(b"no image")
    counts = counted(opened(tiny_benchmark), labelled=False)
    assert [one.problem for one in counts.readings] == [None] * 5 and counts.facts()["labelled"] is None


def test_images_without_a_labelled_pixel_are_counted(tiny_benchmark: Any, write_ids: Any) -> None:
    write_ids(tiny_benchmark.label("train/3"), np.full((32, 48), 11))
    counts = counted(opened(tiny_benchmark))
    assert counts.notes() == ["labels without a labelled pixel: 1, such as that of train/3"]
    assert counts.fault("day") is None
    for number in range(5):
        write_ids(tiny_benchmark.label(f"train/{number}"), np.full((32, 48), 11))
    counts = counted(opened(tiny_benchmark))
    assert str(counts.fault("day")).startswith("none of the 5 labels read, such as that of train/0, has a pixel")
    assert counts.facts()["labelled"] == 0.0 and set(counts.facts()["frequencies"].values()) == {0.0}


def test_a_file_that_cannot_be_read_is_a_problem_and_not_the_end(tiny_benchmark: Any) -> None:
    path: Path = tiny_benchmark.image("train/2")
    path.write_bytes(path.read_bytes()[:300])
    counts = counted(opened(tiny_benchmark))
    assert counts.facts()["read"] == 5 and len(counts.labelled) == 4
    (problem,) = (one.problem for one in counts.readings if one.problem)
    assert problem.startswith(f"{path}: cannot be read as an image (") and problem.endswith("; get the file again")
    with pytest.raises(DataError, match="cannot be read as an image"):
        read(opened(tiny_benchmark), 2, labelled=True)


@pytest.mark.parametrize(
    ("length", "count", "chosen"), [(3, 5, [0, 1, 2]), (10, 3, [0, 4, 9]), (9, 1, [0]), (100, 2, [0, 99])]
)
def test_spread(length: int, count: int, chosen: list[int]) -> None:
    assert spread(length, count) == chosen


def boxed(tmp_path: Path, count: int = 100, clip: bool = False, **changed: bytes) -> Counts:
    files = release("", {"all": ["a", "b", "c"]}, BOXES) | {"Annotations/c.xml": annotation([])} | changed
    unpacked(tmp_path / "mine", files)
    split = VocSplit(reader="voc", root="mine", list="all", clip=clip)
    return counted(open_in(tmp_path, split, CLASSES, data=tmp_path), count, classes=CLASSES)


def test_counts_by_class_difficult_ones_and_empty_images(tmp_path: Path) -> None:
    counts = boxed(tmp_path)
    assert counts.facts()["boxes"] == {
        "objects": 6, "difficult": 2, "images_without_object": 1, "reaching_beyond": 2, "clipped": 0, "dropped": 0,
        "by_class": {"car": 0, "person": 2, "dog": 4},
    }  # fmt: skip
    assert counts.facts()["classes_seen"] == 2 and counts.facts()["labelled"] is None
    said = [
        "images without an object: 1, such as c",
        "boxes that reach up to a pixel beyond their image: 2; left as they are",
    ]
    assert counts.notes() == ["classes without an object: car", *said] and counts.fault("day") is None
    assert boxed(tmp_path, 2).notes()[0] == said[0]  # of a sample, what it lacks says nothing


def test_what_was_cut_is_counted_and_what_is_bad_is_named(tmp_path: Path) -> None:
    bad = {"Annotations/b.xml": annotation([("car", (50, 1, 90, 9), False), ("car", (5, 5, 5, 5), False)])}
    counts = boxed(tmp_path, clip=True, **bad)
    facts = counts.facts()["boxes"]
    assert (facts["clipped"], facts["dropped"], facts["objects"]) == (1, 1, 4)
    assert "boxes cut to their image: 1, dropped: 1, such as in b" in counts.notes()
    (problem,) = (one.problem for one in boxed(tmp_path, **bad).readings if one.problem)
    assert "b.xml:" in problem and "box 50 1 90 9 lies outside" in problem and "(2 such boxes in this image)" in problem


def test_nothing_but_empty_images_is_a_fault(tmp_path: Path) -> None:
    counts = boxed(tmp_path, **{f"Annotations/{name}.xml": annotation([]) for name in "abc"})
    assert counts.fault("day") == "none of the 3 images read, such as a, has an object of any class"
