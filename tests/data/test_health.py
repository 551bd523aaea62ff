"""Everything that tends to be wrong with data is found, named with its file and what to do, and hides nothing else."""

import os
import re
from collections.abc import Callable
from math import inf
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from splits import digest_of
from towns import COUNTS, Towns, files, image, label, make_towns, png, zipped

from gkdbench.data.checking.health import Health, examine
from gkdbench.data.checking.reading import Effort
from gkdbench.data.checking.subject import Subject, benchmark_subject, dataset_subject
from gkdbench.data.dataset import DataPlace
from gkdbench.data.readers import DatasetSplit, JoinedSplit
from gkdbench.errors import DataError
from gkdbench.spec.catalogue import find_benchmark
from gkdbench.spec.dataset_catalogue import find_dataset


class Silent:
    def begin(self, title: str) -> None:
        pass

    def progress(self, done: int, total: int, text: str = "") -> None:
        pass


def subject_of(towns: Towns) -> Subject:
    return dataset_subject(find_dataset("towns", towns.catalogue.parent.parent))


def checked(towns: Towns, subject: Subject | None = None, **effort: Any) -> Health:
    place = DataPlace(towns.data_root, towns.data_root.parent / "cache")
    return examine(subject or subject_of(towns), place, Effort(**effort), Silent())


def test_good_data(tmp_path: Path) -> None:
    health = checked(make_towns(tmp_path))
    assert health.problems == []
    facts = {split.part.name: split.facts() for split in health.splits}
    assert {name: (one["images"], one["expected"], one["read"]) for name, one in facts.items()} == {
        name: (count, [count], count) for name, count in COUNTS.items()
    }
    assert facts["train"]["status"] == "ok" and facts["train"]["classes_seen"] == 3
    assert health.subject.labels.classes == ["sky", "road", "car"]
    assert health.comparison is not None and health.comparison.overlaps == []


def rgb_label(towns: Towns) -> None:
    towns.file("labels", "val/1").write_bytes(image(1))


def truncated(towns: Towns) -> None:
    path = towns.file("images", "val/1")
    path.write_bytes(path.read_bytes()[:-200])


def unknown_id(towns: Towns) -> None:
    towns.file("labels", "val/1").write_bytes(label(1, value=77))


def other_size(towns: Towns) -> None:
    towns.file("labels", "val/1").write_bytes(label(1, size=(8, 24)))


def missing_label(towns: Towns) -> None:
    towns.file("labels", "val/1").unlink()


def half_extracted(towns: Towns) -> None:
    for kind in ("images", "labels"):
        towns.file(kind, "val/1").unlink()


def loop(towns: Towns) -> None:
    towns.define(layouts=[{
        "name": "deep", "images": "images/{part}/{town}/{stem}.png", "labels": "labels/{part}/{town}/{stem}.png",
        "where": {name: {"part": [name]} for name in COUNTS},
    }])  # fmt: skip
    for part, count in COUNTS.items():
        for kind in ("images", "labels"):
            (towns.root / kind / part / "a").mkdir()
            for n in range(count):
                towns.file(kind, f"{part}/{n}").rename(towns.file(kind, f"{part}/a/{n}"))
    (towns.root / "images" / "val" / "again").symlink_to(towns.root / "images" / "val", target_is_directory=True)


def duplicated(towns: Towns) -> None:
    for kind in ("images", "labels"):
        content = {name: one for name, one in files().items() if name.startswith(f"{kind}/val")}
        for name in content:
            (towns.root / name).unlink()
        zipped(towns.root / f"{kind}.zip", content)
    zipped(towns.root / "more.zip", {"images/val/1.png": image(99)})


def damaged_member(towns: Towns) -> None:
    content = {name: one for name, one in files().items() if name.startswith("images/val")}
    for name in content:
        (towns.root / name).unlink()
    path = towns.root / "images.zip"
    zipped(path, content)
    whole = bytearray(path.read_bytes())
    at = whole.index(b"images/val/1.png") + len("images/val/1.png")
    whole[at : at + 200] = bytes(200)
    path.write_bytes(bytes(whole))


CASES: list[tuple[Callable[[Towns], None], str, str]] = [
    (rgb_label, "file", r"labels/val/1.png: label files hold one id per pixel, this one has mode 'RGB': colours in"),
    (truncated, "file", r"images/val/1.png: cannot be read as an image \(.*\); get the file again"),
    (unknown_id, "file", r"labels/val/1.png: label id 77 is not in the label map \(384 pixels\): another .* add it"),
    (other_size, "file", r"labels/val/1.png: label of 24x8 pixels for an image of 24x16 \(.*images/val/1.png\); get"),
    (missing_label, "opening", r"no label file for image '1' \(1 of 3 images have none; expected labels/val/1.png\); "),
    (half_extracted, "count", r"towns val has 2 images, expected 3; get or unpack the rest \(https://towns.invalid\)"),
    (loop, "opening", r"images/val/again: a link to a folder that it lies in; remove the link"),
    (duplicated, "opening", r"more.zip:images/val/1.png: a second file for .*stem '1', besides .*images.zip.*; keep"),
    (damaged_member, "file", r"images.zip:images/val/1.png: cannot be read \(.*\); get the file again"),
]


@pytest.mark.parametrize(("breaks", "kind", "said"), CASES, ids=[case[0].__name__ for case in CASES])
@pytest.mark.parametrize("whole", [0, inf])
def test_what_is_wrong_with_a_split(
    tmp_path: Path, breaks: Callable[[Towns], None], kind: str, said: str, whole: float
) -> None:
    towns = make_towns(tmp_path)
    breaks(towns)
    health = checked(towns, whole=whole)
    (problem,) = health.problems
    assert (problem.split, problem.kind) == ("val", kind)
    assert re.search(said, problem.message) and problem.message.startswith(str(towns.root))
    train, val = health.splits
    assert (train.status, val.status) == ("ok", "failed") and train.facts()["read"] == 4


def test_one_archive_missing(tmp_path: Path) -> None:
    towns = make_towns(tmp_path, {})
    towns.define(files={"1.zip": "", "2.zip": ""})
    train = {name: one for name, one in files().items() if "/train/" in name}
    val = {name: one for name, one in files().items() if "/val/" in name}
    zipped(towns.root / "1.zip", {name: one for name, one in train.items() if not name.endswith("3.png")} | val)
    (problem,) = checked(towns).problems
    assert problem.message == (
        f"{towns.root}: towns train has 3 images, expected 4; not there: 2.zip; get or unpack the rest "
        "(https://towns.invalid)"
    )
    zipped(towns.root / "2.zip", {name: one for name, one in train.items() if name.endswith("3.png")})
    assert checked(towns).problems == []


def test_too_many_files(tmp_path: Path) -> None:
    towns = make_towns(tmp_path)
    for kind, content in (("images", image(7)), ("labels", label(7))):
        towns.file(kind, "val/extra").write_bytes(content)
    (problem,) = checked(towns).problems
    assert "towns val has 4 images, expected 3; keep the files of one release alone (https" in problem.message


def test_a_split_that_is_not_there_and_one_that_is_damaged(tmp_path: Path) -> None:
    train = {name: one for name, one in files().items() if "/train/" in name}
    towns = make_towns(tmp_path, train)
    health = checked(towns)
    assert health.problems == [] and [split.status for split in health.splits] == ["ok", "absent"]
    assert "for towns val get" in health.splits[1].notes[0] and health.splits[1].facts()["images"] is None
    (towns.root / "images.zip").write_bytes(b"PK, but no more")
    damaged = checked(towns)
    assert {problem.kind for problem in damaged.problems} == {"opening"}
    assert "images.zip: cannot be read as a zip" in damaged.problems[0].message


def test_nothing_is_there(tmp_path: Path) -> None:
    towns = make_towns(tmp_path, {})
    with pytest.raises(DataError, match=r"no image 'images/.*; for towns train get images.zip, labels.zip from"):
        checked(towns)
    towns.root.rmdir()
    with pytest.raises(DataError, match=r"no folder towns for dataset 'towns'; towns: get it from https://towns.invalid"):
        checked(towns)
    towns.data_root.rmdir()
    with pytest.raises(DataError, match=r"--data-root .*: no such folder"):
        checked(towns)


def test_labels_that_no_image_goes_with_are_told(tmp_path: Path) -> None:
    towns = make_towns(tmp_path)
    towns.file("labels", "train/more").write_bytes(label(5))
    health = checked(towns)
    assert health.problems == [] and health.splits[0].notes == ["label files without an image: 1"]
    assert [split.facts()["labels_without_image"] for split in health.splits] == [1, 0]


def test_labels_without_a_labelled_pixel(tmp_path: Path) -> None:
    towns = make_towns(tmp_path)
    towns.file("labels", "val/0").write_bytes(label(0, value=11))
    health = checked(towns)
    assert health.problems == []
    assert health.splits[1].notes == ["labels without a labelled pixel: 1, such as that of 0"]
    for n in range(3):
        towns.file("labels", f"val/{n}").write_bytes(label(0, value=11))
    (problem,) = checked(towns).problems
    assert problem.kind == "labels" and problem.message.startswith("none of the 3 labels read, such as that of 0, has")


def test_turned_images_are_told(tmp_path: Path) -> None:
    towns = make_towns(tmp_path)
    exif = Image.Exif()
    exif[0x0112] = 3
    with Image.open(towns.file("images", "val/1")) as picture:
        picture.save(towns.file("images", "val/1"), exif=exif)
    health = checked(towns)
    assert health.problems == [] and [split.notes for split in health.splits] == [
        [], ["images stored turned, which are read upright: 1 of 3 looked at"],
    ]  # fmt: skip


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read everything")
def test_files_that_may_not_be_read(tmp_path: Path) -> None:
    towns = make_towns(tmp_path)
    towns.file("images", "val/1").chmod(0)
    (problem,) = checked(towns).problems
    assert "images/val/1.png: cannot be read" in problem.message and "Permission denied" in problem.message


def tiny_subject(tiny: Any) -> Subject:
    return benchmark_subject(find_benchmark(str(tiny.yaml)))


def tiny_health(tiny: Any, **effort: Any) -> Health:
    place = DataPlace(tiny.data_root, tiny.data_root.parent / "cache")
    return examine(tiny_subject(tiny), place, Effort(**effort), Silent())


def test_folders_of_a_benchmark(tiny_benchmark: Any, write_ids: Any) -> None:
    assert tiny_health(tiny_benchmark).problems == []
    write_ids(tiny_benchmark.label("train/9"), np.zeros((32, 48), int))  # chosen by lists, so nothing is said
    write_ids(tiny_benchmark.label("test/3"), np.zeros((16, 48), int))
    tiny_benchmark.label("val/1").unlink()
    (tiny_benchmark.data_root / "photos" / "photo0.jpg").unlink()
    (tiny_benchmark.data_root / "photos" / "photo0.jpg").symlink_to("photo0.jpg")
    health = tiny_health(tiny_benchmark)
    assert {split.part.name: split.status for split in health.splits} == {
        "source train": "ok", "source val": "failed", "proxy": "failed", "dusk": "ok", "dawn": "failed",
    }  # fmt: skip
    by_split = {problem.split: problem.message for problem in health.problems}
    said = "no label file for image 'val/1' (1 of 2 images have none; expected labels/val/1.png); add what"
    assert said in by_split["source val"]
    assert "photo0.jpg: cannot be read (Too many levels of symbolic links)" in by_split["proxy"]
    assert "label of 48x16 pixels for an image of 48x32" in by_split["dawn"]
    assert by_split["dawn"].endswith("; get both from one release")


def test_an_empty_folder(tiny_benchmark: Any) -> None:
    for path in (tiny_benchmark.data_root / "photos").rglob("*.jpg"):
        path.unlink()
    (problem,) = tiny_health(tiny_benchmark).problems
    assert problem.message == f"{tiny_benchmark.data_root}/photos: no PNG or JPEG images; is the data unpacked there?"


def test_a_target_without_labels(tiny_benchmark: Any) -> None:
    tiny_benchmark.rewrite(targets={"dusk": {"reader": "folders", "root": "photos"}}, proxy={
        "reader": "folders", "root": "town", "images": "images/train"})  # fmt: skip
    (problem,) = tiny_health(tiny_benchmark).problems
    assert problem.message.startswith("dusk has no labels, and something is trained or judged with them")


def test_digests_are_those_of_runs(tmp_path: Path, tiny_benchmark: Any) -> None:
    source = find_benchmark(str(tiny_benchmark.yaml))
    place = DataPlace(tiny_benchmark.data_root)
    for split in tiny_health(tiny_benchmark).splits:
        wanted = digest_of(
            split.part.split, source.benchmark, source.folder, place, labelled=split.part.role != "proxy"
        )
        assert split.digest == wanted
    tiny_benchmark.rewrite(classes=["sky", "road", "car"], source={
        part: {"reader": "dataset", "dataset": "towns", "split": part} for part in COUNTS})  # fmt: skip
    towns = make_towns(tmp_path)
    of_dataset = {split.part.name: split.digest for split in checked(towns).splits}
    health = tiny_health(tiny_benchmark)
    assert [split.digest for split in health.splits[:2]] == [of_dataset["train"], of_dataset["val"]]


def test_the_first_images_and_joined_splits_are_counted_whole(tmp_path: Path, tiny_benchmark: Any) -> None:
    towns = make_towns(tmp_path)
    train = {"reader": "dataset", "dataset": "towns", "split": "train"}
    val = {"reader": "dataset", "dataset": "towns", "split": "val"}
    source = {"train": {"reader": "joined", "parts": [train, val]}, "val": {**train, "first": 2}}
    tiny_benchmark.rewrite(source=source, in_domain="train")
    health = tiny_health(tiny_benchmark)
    facts = [split.facts() for split in health.splits[:2]]
    assert health.problems == [] and [(one["images"], one["expected"]) for one in facts] == [(7, [7]), (2, [2])]
    half_extracted(towns)
    towns.file("images", "train/3").unlink()
    assert [(one.split, one.kind) for one in tiny_health(tiny_benchmark).problems] == [
        ("source train", "count"), ("source train", "count"), ("source val", "count"),
    ]  # fmt: skip


def test_a_dataset_has_the_colours_of_a_release(tmp_path: Path) -> None:
    towns = make_towns(tmp_path)
    generated = subject_of(towns).palette
    assert len(set(generated)) == 3
    colours = {"sky": [[1, 2, 3]], "road": [[4, 5, 6]], "car": [[7, 8, 9], [10, 11, 12]]}
    towns.define(labels={"kind": "colours", "classes": colours})
    assert subject_of(towns).palette == [(1, 2, 3), (4, 5, 6), (10, 11, 12)]
    cityscapes = dataset_subject(find_dataset("cityscapes"))  # another dataset has colours for its classes
    assert cityscapes.palette[0] == (128, 64, 128) and len(set(cityscapes.palette)) == 19


def test_a_dataset_without_labels(tmp_path: Path) -> None:
    towns = make_towns(tmp_path)
    towns.define(labels=None)
    health = checked(towns)
    assert health.problems == [] and health.splits[0].facts()["labelled"] is None
    assert health.subject.labels.classes == []


def test_names_that_the_splits_of_a_report_have(tiny_benchmark: Any) -> None:
    content = tiny_benchmark.content
    tiny_benchmark.rewrite(targets={"proxy": content["targets"]["dusk"]})
    names = [part.name for part in tiny_subject(tiny_benchmark).parts]
    assert names == ["source train", "source val", "proxy", "target proxy"]


def test_a_joined_split_is_read_by_its_parts(tmp_path: Path) -> None:
    towns = make_towns(tmp_path)
    towns.file("labels", "val/1").write_bytes(png(np.zeros((16, 24, 3), np.uint8)))
    parts = [DatasetSplit(reader="dataset", dataset="towns", split=name) for name in COUNTS]
    subject = subject_of(towns)
    joined = Subject(
        subject.kind, None, subject.labels, subject.palette, subject.folder,
        [type(subject.parts[0])("both", JoinedSplit(reader="joined", parts=parts), "train")],
    )  # fmt: skip
    for whole in (0, inf):
        (problem,) = checked(towns, joined, whole=whole).problems
        assert problem.split == "both" and "labels/val/1.png: label files hold one id" in problem.message
