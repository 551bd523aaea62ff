"""Images that splits share are found by their bytes, whatever their names, and mistakes are told from intentions."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from towns import Towns, files, image, make_towns, zipped

from gkdbench.data.checking import overlap
from gkdbench.data.checking.overlap import Comparison, compare, definition, pictures
from gkdbench.data.checking.subject import Part, Role
from gkdbench.data.dataset import DataPlace, Dataset, open_split
from gkdbench.data.files.hashes import ContentHashes
from gkdbench.spec.benchmark import Benchmark
from gkdbench.spec.catalogue import find_benchmark
from gkdbench.spec.split import Split

TRAIN = {"reader": "dataset", "dataset": "towns", "split": "train"}
VAL = {"reader": "dataset", "dataset": "towns", "split": "val"}


def parsed(tiny: Any, split: dict[str, Any]) -> Split:
    return Benchmark.model_validate({**tiny.content, "proxy": split}).proxy


def opened(tiny: Any, name: str, role: Role, split: dict[str, Any]) -> tuple[Part, Dataset]:
    source = find_benchmark(str(tiny.yaml))
    part = Part(name, parsed(tiny, split), role, labelled=role != "proxy")
    place = DataPlace(tiny.data_root, tiny.data_root.parent / "cache")
    return part, open_split(part.split, source.benchmark, source.folder, place, labelled=part.labelled)


def compared(tiny: Any, *splits: tuple[str, Role, dict[str, Any]], budget: int | None = None) -> Comparison:
    return compare([opened(tiny, *one) for one in splits], budget, hashes(tiny.data_root.parent))


def hashes(folder: Path) -> ContentHashes:
    return ContentHashes(folder / "hashes")


@pytest.fixture
def towns(tmp_path: Path, tiny_benchmark: Any) -> Towns:
    return make_towns(tmp_path)


def test_what_is_trained_on_and_judged_is_a_mistake(tiny_benchmark: Any, towns: Towns) -> None:
    copy = towns.file("images", "val/2")
    copy.write_bytes(towns.file("images", "train/1").read_bytes())
    found = compared(tiny_benchmark, ("source train", "train", TRAIN), ("day", "target", VAL))
    (shared,) = found.overlaps
    assert (shared.splits, shared.images, shared.reason) == (("source train", "day"), 1, None)
    assert shared.message == (
        f"day has 1 image of source train, such as {copy} ({towns.file('images', 'train/1')}): what is trained on "
        "would be judged; take them out of one of the two"
    )
    assert 2 <= found.compared == found.candidates


def test_equal_size_is_no_equality(tiny_benchmark: Any, towns: Towns) -> None:
    content = bytearray(towns.file("images", "train/1").read_bytes())
    content[-1] ^= 1
    towns.file("images", "val/2").write_bytes(bytes(content))
    found = compared(tiny_benchmark, ("source train", "train", TRAIN), ("day", "target", VAL))
    assert found.overlaps == [] and found.compared >= 2


def test_copies_in_archives_and_in_other_folders(tiny_benchmark: Any, towns: Towns) -> None:
    (towns.data_root / "packed").mkdir()
    zipped(towns.data_root / "packed" / "a.zip", {"pool/7.png": image(2)})
    pool = {"reader": "files", "root": "packed", "images": "pool/{stem}.png"}
    (shared,) = compared(tiny_benchmark, ("source train", "train", TRAIN), ("proxy", "proxy", pool)).overlaps
    assert shared.images == 1 and shared.reason == "what is distilled on is trained on later"
    assert shared.example[1] == f"{towns.data_root}/packed/a.zip:pool/7.png"
    (leak,) = compared(tiny_benchmark, ("proxy", "proxy", pool), ("day", "target", TRAIN)).overlaps
    assert leak.reason is None and "what is trained on would be judged" in leak.message


def test_what_is_judged_of_what_is_trained_on_is_a_mistake_unless_the_benchmark_says_so(
    tiny_benchmark: Any, towns: Towns
) -> None:
    train, first = ("source train", "train", TRAIN), ("source val", "val", {**TRAIN, "first": 2})
    found = compared(tiny_benchmark, train, first, budget=0)
    (shared,) = found.overlaps
    assert (shared.images, shared.reason) == (2, None) and "what is trained on would be judged" in shared.message
    assert found.candidates == 0  # one file is itself without a hash
    joined = {"reader": "joined", "parts": [VAL, TRAIN]}
    assert compared(tiny_benchmark, ("source train", "train", joined), first).overlaps[0].reason is None
    parts = [opened(tiny_benchmark, *one) for one in (train, first, ("day", "target", TRAIN))]
    parts[1] = (replace(parts[1][0], may_be_trained=True), parts[1][1])
    meant, leak, twice = compare(parts, None, hashes(tiny_benchmark.data_root)).overlaps
    assert meant.message == (
        "source val has 2 images of source train: the benchmark judges images in-domain that are trained on"
    )
    assert (leak.splits, leak.images, leak.reason) == (("source train", "day"), 4, None)  # of val alone it says so
    assert (twice.splits, twice.reason) == (("source val", "day"), "both are defined by the same split")


def test_equal_images_with_other_labels_are_not_one_split(tiny_benchmark: Any, towns: Towns) -> None:
    day = {"reader": "files", "root": "towns", "images": "images/val/{stem}.png", "labels": "labels/val/{stem}.png"}
    meaning = {"kind": "ids", "classes": {"sky": [0, 1, 2]}, "ignored": [11]}
    (shared,) = compared(
        tiny_benchmark, ("day", "target", day), ("relabelled", "target", {**day, "means": meaning})
    ).overlaps
    assert shared.reason is None and "they would count twice" in shared.message


def test_lists_that_name_the_same_images_are_a_mistake(tiny_benchmark: Any) -> None:
    lists = tiny_benchmark.yaml.parent / "lists"
    (lists / "dusk.txt").write_text("test/0\ntrain/2\n")
    source = tiny_benchmark.content["source"]
    dusk = tiny_benchmark.content["targets"]["dusk"]
    (shared,) = compared(tiny_benchmark, ("source train", "train", source["train"]), ("dusk", "target", dusk)).overlaps
    assert shared.reason is None and shared.example == (str(tiny_benchmark.image("train/2")),) * 2


def test_parts_of_one_split_may_be_judged_twice(tiny_benchmark: Any, towns: Towns) -> None:
    two = {**VAL, "only": {"stem": ["0", "1"]}}
    (shared,) = compared(tiny_benchmark, ("all", "target", VAL), ("two", "target", two)).overlaps
    assert (shared.images, shared.reason) == (2, "both are parts of one split")
    towns.file("images", "train/0").write_bytes(towns.file("images", "val/0").read_bytes())
    (twice,) = compared(tiny_benchmark, ("val", "target", VAL), ("train", "target", TRAIN)).overlaps
    assert twice.reason is None and "they would count twice" in twice.message


def test_a_budget_ends_the_hashing(tiny_benchmark: Any, towns: Towns) -> None:
    for part, count in (("train", 4), ("val", 3)):
        for n in range(count):
            rng = np.random.default_rng([count, n])
            # uncompressed, so all have one size
            Image.fromarray(rng.integers(0, 256, (16, 24, 3), dtype=np.uint8)).save(
                towns.file("images", f"{part}/{n}"), compress_level=0
            )
    towns.file("images", "val/2").write_bytes(towns.file("images", "train/2").read_bytes())
    size = towns.file("images", "val/2").stat().st_size
    splits: tuple[tuple[str, Role, dict[str, Any]], ...] = (("a", "train", TRAIN), ("b", "target", VAL))
    whole = compared(tiny_benchmark, *splits)
    assert (whole.candidates, whole.compared, len(whole.overlaps)) == (7, 7, 1)
    part = compared(tiny_benchmark, *splits, budget=4 * size)
    assert (part.candidates, part.compared, part.overlaps) == (7, 4, [])  # 0, 0, 1, 1: names together
    assert len(compared(tiny_benchmark, *splits, budget=6 * size).overlaps) == 1
    assert overlap.SAMPLED_BYTES >= 2**20


def test_what_cannot_be_hashed_is_not_compared(tiny_benchmark: Any, towns: Towns) -> None:
    towns.file("images", "val/2").write_bytes(towns.file("images", "train/1").read_bytes())
    splits = [opened(tiny_benchmark, "a", "train", TRAIN), opened(tiny_benchmark, "b", "target", VAL)]
    towns.file("images", "val/2").unlink()
    found = compare(splits, None, hashes(tiny_benchmark.data_root))
    assert found.overlaps == [] and list(found.unreadable) == ["b"]
    (said,) = found.unreadable["b"]
    assert "val/2.png: cannot be read" in said


def test_what_lies_behind_images(tiny_benchmark: Any, towns: Towns) -> None:
    joined = {"reader": "joined", "parts": [TRAIN, VAL]}
    part, dataset = opened(tiny_benchmark, "both", "train", joined)
    whole = [*pictures(part.split, dataset)]
    assert [str(one.file) for one in whole][4:] == [str(towns.file("images", f"val/{n}")) for n in range(3)]
    assert len({one.definition for one in whole}) == 2 and len({one.place for one in whole}) == 7
    assert dataset.files(5) == [towns.file("images", "val/1"), towns.file("labels", "val/1")]
    with pytest.raises(IndexError):
        dataset.files(7)
    towns.file("labels", "val/9").write_bytes(files()["labels/val/0.png"])
    part, dataset = opened(tiny_benchmark, "both", "train", joined)
    assert dataset.without_image == 1
    folders = {"reader": "folders", "root": "towns", "images": "images", "labels": "labels"}
    part, dataset = opened(tiny_benchmark, "folders", "train", folders)
    assert dataset.without_image == 1 and len(dataset.files(0)) == 2
    assert definition(parsed(tiny_benchmark, {**VAL, "first": 1})) == definition(parsed(tiny_benchmark, VAL))
