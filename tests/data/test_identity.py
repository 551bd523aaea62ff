"""What decides a score is told apart by its content, wherever it lies and however often it was looked at."""

import io
import os
import shutil
from math import inf
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import splits
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image
from towns import Towns, image, label, make_towns, png
from voc_files import annotation
from voc_files import image as photograph

from gkdbench.data.checking.health import Health, Problem, by_fault, examine
from gkdbench.data.checking.reading import WHOLE, Effort
from gkdbench.data.checking.subject import dataset_subject
from gkdbench.data.dataset import DataPlace
from gkdbench.data.files import hashes
from gkdbench.data.files.archives import Member
from gkdbench.data.files.hashes import ContentHashes
from gkdbench.errors import DataError, Interrupted
from gkdbench.spec.benchmark import Benchmark
from gkdbench.spec.catalogue import find_benchmark
from gkdbench.spec.dataset_catalogue import find_dataset

FILES = {
    "reader": "files", "root": "towns", "images": "images/{part}/{stem}.png", "labels": "labels/{part}/{stem}.png",
    "means": {"kind": "ids", "classes": {"sky": [0], "road": [1], "car": [2]}, "ignored": [11]},
}  # fmt: skip
READERS: dict[str, dict[str, Any]] = {
    "files": FILES,
    "folders": {"reader": "folders", "root": "towns", "images": "images", "labels": "labels"},
    "dataset": {"reader": "dataset", "dataset": "towns", "split": "train"},
    "joined": {"reader": "joined", "parts": [FILES, {"reader": "dataset", "dataset": "towns", "split": "val"}]},
}


@pytest.fixture
def towns(tmp_path: Path, tiny_benchmark: Any) -> Towns:
    return make_towns(tmp_path)


def digest_of(tiny: Any, split: dict[str, Any], *, labelled: bool = True, root: Path | None = None) -> str:
    source = find_benchmark(str(tiny.yaml))
    parsed = Benchmark.model_validate({**tiny.content, "proxy": split}).proxy
    place = DataPlace(root or tiny.data_root, tiny.data_root.parent / "cache")
    return splits.digest_of(parsed, source.benchmark, source.folder, place, labelled=labelled)


def mend(path: Path, content: bytes) -> None:
    """Write other content of the same size in place, and give the file the time it had."""
    before, old = path.stat(), path.read_bytes()
    assert len(content) == len(old) and content != old
    path.write_bytes(content)
    os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))


def grey(value: int) -> bytes:
    stream = io.BytesIO()
    Image.fromarray(np.full((16, 24), value, np.uint8)).save(stream, format="PNG", compress_level=0)
    return stream.getvalue()


@pytest.mark.parametrize("remembered", [False, True])
@pytest.mark.parametrize("reader", READERS)
def test_a_label_mended_in_place_is_another_split(
    reader: str, remembered: bool, tiny_benchmark: Any, towns: Towns, monkeypatch: pytest.MonkeyPatch
) -> None:
    if remembered:
        monkeypatch.setattr(hashes, "SETTLED_S", -1)
    split, path = READERS[reader], towns.file("labels", "train/1")
    path.write_bytes(grey(2))
    before, images_before = digest_of(tiny_benchmark, split), digest_of(tiny_benchmark, split, labelled=False)
    assert digest_of(tiny_benchmark, split) == before
    mend(path, grey(1))
    assert digest_of(tiny_benchmark, split) != before
    assert digest_of(tiny_benchmark, split, labelled=False) == images_before
    mend(path, grey(2))
    assert digest_of(tiny_benchmark, split) == before


@pytest.mark.parametrize("reader", READERS)
def test_data_may_be_copied_and_touched(reader: str, tiny_benchmark: Any, towns: Towns) -> None:
    before = digest_of(tiny_benchmark, READERS[reader])
    elsewhere = tiny_benchmark.data_root.parent / "elsewhere"
    shutil.copytree(tiny_benchmark.data_root, elsewhere)
    for path in elsewhere.rglob("*"):
        os.utime(path, ns=(1, 1))
    assert digest_of(tiny_benchmark, READERS[reader], root=elsewhere) == before


def test_a_box_mended_in_place_is_another_split(tmp_path: Path, tiny_benchmark: Any) -> None:
    root = tiny_benchmark.data_root / "mine"
    (root / "JPEGImages").mkdir(parents=True)
    (root / "Annotations").mkdir()
    (root / "JPEGImages/a.jpg").write_bytes(photograph(1))
    path = root / "Annotations/a.xml"
    split = {
        "reader": "voc", "root": "mine", "images": "JPEGImages/{stem}.jpg", "annotations": "Annotations/{stem}.xml"
    }  # fmt: skip
    boxes = [("car", (1, 1, 9, 9), False), ("sky", (1, 1, 9, 9), False), ("car", (1, 2, 9, 9), False)]
    texts = [annotation([box]) for box in (*boxes, ("car", (1, 1, 9, 9), True))]
    path.write_bytes(texts[0])
    found = {digest_of(tiny_benchmark, split)}
    for text in texts[1:]:
        mend(path, text)
        found.add(digest_of(tiny_benchmark, split))
    assert len(found) == 4


def test_a_second_look_reads_nothing_that_has_settled(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    paths = [tmp_path / name for name in ("a.png", "b.png", "c.png")]
    members = [Member(path.name, 3, path) for path in paths]
    for path in paths:
        path.write_bytes(b"abc")
    read: list[str] = []
    original = hashes._hashed
    monkeypatch.setattr(hashes, "_hashed", lambda member: (read.append(member.path), original(member))[1])
    memory = ContentHashes(tmp_path / "hashes")
    first = memory.identities(members)
    assert memory.identities(members) == first and len(read) == 6  # too new: they may change within a tick of the clock
    monkeypatch.setattr(hashes, "SETTLED_S", -1)
    memory.identities(members)
    read.clear()
    assert memory.identities(members) == first and read == []
    mend(paths[1], b"abd")
    again = memory.identities(members)
    assert read == ["b.png"] and (again[0], again[2]) == (first[0], first[2]) and again[1] != first[1]
    assert ContentHashes(tmp_path / "hashes", fresh=True).identities(members) == again and len(read) == 4
    paths[2].unlink()
    with pytest.raises(DataError, match=r"c\.png: cannot be read"):
        memory.identities(members)


def test_a_memory_that_cannot_be_written_changes_no_answer(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(hashes, "SETTLED_S", -1)
    (tmp_path / "a").write_bytes(b"abc")
    (tmp_path / "hashes").write_text("a file where a folder should be")
    members = [Member("a", 3, tmp_path / "a")]
    good = ContentHashes(tmp_path / "elsewhere").identities(members)
    assert ContentHashes(tmp_path / "hashes").identities(members) == good


def test_hashing_is_interrupted_between_files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(hashes, "SETTLED_S", -1)
    monkeypatch.setattr(hashes, "CHUNK", 2)
    members = []
    for n in range(5):
        (tmp_path / f"{n}").write_bytes(bytes([n]))
        members.append(Member(f"{n}", 1, tmp_path / f"{n}"))
    done: list[tuple[int, int]] = []

    def stop() -> None:
        if len(done) == 2:
            raise Interrupted("stopped")

    memory = ContentHashes(tmp_path / "hashes")
    with pytest.raises(Interrupted):
        list(memory.each(members, stop, lambda *at: done.append(at)))
    assert done == [(2, 5), (4, 5)]
    read: list[str] = []
    original = hashes._hashed
    monkeypatch.setattr(hashes, "_hashed", lambda member: (read.append(member.path), original(member))[1])
    memory.identities(members)
    assert read == ["4"]


def test_a_memory_that_a_killed_process_left_cut_short_is_read_up_to_there(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(hashes, "SETTLED_S", -1)
    members = [Member(name, 1, tmp_path / name) for name in "ab"]
    for member in members:
        member.file.write_bytes(member.path.encode())
    good = ContentHashes(tmp_path / "hashes").identities(members)
    (kept,) = (tmp_path / "hashes").iterdir()
    kept.write_bytes(kept.read_bytes()[:-9])
    hashes._remembered.cache_clear()
    read: list[str] = []
    original = hashes._hashed
    monkeypatch.setattr(hashes, "_hashed", lambda member: (read.append(member.path), original(member))[1])
    for _ in range(2):
        assert ContentHashes(tmp_path / "hashes").identities(members) == good
    assert read == ["b"]
    hashes._remembered.cache_clear()
    assert ContentHashes(tmp_path / "hashes").identities(members) == good and read == ["b"]


def checked(towns: Towns, **effort: Any) -> Health:
    subject = dataset_subject(find_dataset("towns", towns.catalogue.parent.parent))
    place = DataPlace(towns.data_root, towns.data_root.parent / "cache")
    return examine(subject, place, Effort(**effort), Silent())


class Silent:
    def begin(self, title: str) -> None:
        pass

    def progress(self, done: int, total: int, text: str = "") -> None:
        pass


def test_a_check_tells_of_images_exchanged_at_equal_size_until_they_are_accepted(towns: Towns) -> None:
    path = towns.file("images", "val/1")
    flat = [png(np.full((16, 24, 3), value, np.uint8)) for value in (3, 4)]
    path.write_bytes(flat[0])
    first = checked(towns, whole=inf)
    mend(path, flat[1])
    for _ in range(2):
        found = checked(towns, whole=inf)
        (problem,) = found.problems
        assert (problem.split, problem.kind) == ("val", "file") and problem.message.startswith(
            f"{path}: holds another picture than when it was first checked, of equal size"
        )
        assert [split.digest for split in found.splits] == [split.digest for split in first.splits]
    assert checked(towns, whole=0, sample=1).problems == []  # it did not look there
    assert checked(towns, whole=inf, fresh=True).problems == [] == checked(towns, whole=inf).problems


def test_the_same_data_elsewhere_are_not_taken_for_exchanged(towns: Towns) -> None:
    elsewhere = Towns(towns.catalogue, towns.data_root.parent / "elsewhere")
    shutil.copytree(towns.data_root, elsewhere.data_root)
    for place, value in ((towns, 3), (elsewhere, 4)):
        place.file("images", "val/1").write_bytes(png(np.full((16, 24, 3), value, np.uint8)))
    first, second = checked(towns, whole=inf), checked(elsewhere, whole=inf)
    assert [split.digest for split in first.splits] == [split.digest for split in second.splits]
    assert first.problems == second.problems == []


def test_small_splits_are_read_whole_and_of_large_ones_that_this_was_never_done_is_said(towns: Towns) -> None:
    towns.file("labels", "train/2").write_bytes(label(2, value=77))
    assert WHOLE == 500
    (problem,) = checked(towns, sample=1).problems
    assert "labels/train/2.png: label id 77" in problem.message
    sampled = checked(towns, whole=3, sample=1)
    assert sampled.problems == [] and [split.notes for split in sampled.splits] == [
        ["1 of 4 labels were read, never all of them (check data --full)"], [],
    ]  # fmt: skip
    towns.file("labels", "train/2").write_bytes(label(2))
    assert checked(towns, whole=inf).problems == []
    assert checked(towns, whole=3, sample=1).splits[0].notes == []


FAULTS = ["{}: label id {} is not in the label map", "{}: cannot be read as an image (is no image); get the file again"]


@given(st.lists(st.tuples(st.sampled_from(FAULTS), st.integers(0, 300)), max_size=30))
def test_faults_are_counted_by_kind(drawn: list[tuple[str, int]]) -> None:
    problems = [Problem("day", "file", fault.format(f"/data/day/{n}.png", n)) for fault, n in drawn]
    found = by_fault(problems)
    assert sum(count for _, count in found) == len(problems)
    assert sorted(count for _, count in found) == sorted(
        sum(fault == one for fault, _ in drawn) for one in {fault for fault, _ in drawn}
    )
    assert all(first in problems for first, _ in found)


def test_faults_of_other_splits_are_others() -> None:
    said = "/data/1.png: cannot be read"
    assert len(by_fault([Problem("day", "file", said), Problem("night", "file", said)])) == 2


def test_images_of_the_pool_are_sampled(towns: Towns) -> None:
    towns.define(labels=None)
    towns.file("images", "train/2").write_bytes(image(1)[:50])
    assert checked(towns, sample=1).problems == []
