"""What reading images of a split adds up to, and what is said about those that cannot be read."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from gkdbench.data.checking.inspection import Tally, read, reading, spread
from gkdbench.data.dataset import DataPlace, Dataset, open_split
from gkdbench.errors import DataError
from gkdbench.spec.catalogue import find_benchmark


def opened(tiny: Any, part: str = "train") -> Dataset:
    source = find_benchmark(str(tiny.yaml))
    split = source.benchmark.proxy if part == "proxy" else source.benchmark.source.train
    return open_split(split, source.benchmark, source.folder, DataPlace(tiny.data_root))


def tallied(dataset: Dataset, count: int = 100, *, labelled: bool = True) -> Tally:
    tally = Tally(dataset, ("sky", "road", "car"), 255)
    for index in spread(len(dataset), count):
        tally.add(reading(dataset, index, labelled=labelled))
    return tally


def test_what_a_split_adds_up_to(tiny_benchmark: Any) -> None:
    dataset = opened(tiny_benchmark)
    facts = tallied(dataset).facts()
    truth: NDArray[np.uint8] = np.stack([dataset.labels(i) for i in range(5)])  # type: ignore[misc]
    assert (facts["images"], facts["read"], facts["size"], facts["classes_seen"]) == (5, 5, "48x32", 3)
    assert facts["ignored_pixels"] == 5 * 4 == (truth == 255).sum()
    assert facts["labelled"] == pytest.approx(1 - 4 / (32 * 48))
    assert facts["frequencies"]["road"] == pytest.approx((truth == 1).sum() / (truth < 3).sum())
    assert sum(facts["frequencies"].values()) == pytest.approx(1)
    assert facts["without_labelled_pixel"] == 0


def test_unlabelled_images_of_several_sizes(tiny_benchmark: Any) -> None:
    facts = tallied(opened(tiny_benchmark, "proxy"), 2).facts()
    assert (facts["images"], facts["read"], facts["labelled"]) == (6, 2, None)
    Image.new("RGB", (20, 10)).save(tiny_benchmark.data_root / "photos" / "zz.png")
    assert tallied(opened(tiny_benchmark, "proxy")).facts()["size"] == "56x40 and others"


def test_labels_are_left_alone_where_none_are_wanted(tiny_benchmark: Any) -> None:
    tiny_benchmark.label("train/1").write_bytes(b"no image")
    tally = tallied(opened(tiny_benchmark), labelled=False)
    assert (tally.problems, tally.facts()["labelled"]) == ([], None)


def test_images_without_a_labelled_pixel_are_counted(tiny_benchmark: Any, write_ids: Any) -> None:
    write_ids(tiny_benchmark.label("train/3"), np.full((32, 48), 11))
    tally = tallied(opened(tiny_benchmark))
    assert (tally.empty, tally.empty_names, tally.all_empty) == (1, ["train/3"], False)
    for number in range(5):
        write_ids(tiny_benchmark.label(f"train/{number}"), np.full((32, 48), 11))
    tally = tallied(opened(tiny_benchmark))
    assert tally.all_empty and tally.facts()["labelled"] == 0.0
    assert set(tally.facts()["frequencies"].values()) == {0.0}


def test_a_file_that_cannot_be_read_is_a_problem_and_not_the_end(tiny_benchmark: Any) -> None:
    path: Path = tiny_benchmark.image("train/2")
    path.write_bytes(path.read_bytes()[:300])
    tally = tallied(opened(tiny_benchmark))
    assert tally.read == 5 and tally.labelled == 4
    (problem,) = tally.problems
    assert problem.startswith(f"{path}: cannot be read as an image (") and problem.endswith("; get the file again")
    with pytest.raises(DataError, match="cannot be read as an image"):
        read(opened(tiny_benchmark), 2, labelled=True)


@pytest.mark.parametrize(
    ("length", "count", "chosen"), [(3, 5, [0, 1, 2]), (10, 3, [0, 4, 9]), (9, 1, [0]), (100, 2, [0, 99])]
)
def test_spread(length: int, count: int, chosen: list[int]) -> None:
    assert spread(length, count) == chosen
