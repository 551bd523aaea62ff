"""A full check goes on where it was interrupted, reads again what changed, and says the same with many processes."""

import os
from math import inf
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from towns import label, png

from gkdbench.data.checking import reading as checking
from gkdbench.data.checking.counts import Reading
from gkdbench.data.checking.reading import Effort, read_images, remembered
from gkdbench.data.checking.reading_processes import all_processors, results_of
from gkdbench.data.dataset import Dataset
from gkdbench.data.files.archives import Member
from gkdbench.data.files.dataset import FilesDataset
from gkdbench.data.files.label_map import LabelMap
from gkdbench.data.files.tiles import TiledDataset
from gkdbench.errors import GkdbenchError, Interrupted

COUNT = 70  # enough for processes


def made(folder: Path, count: int = COUNT, size: tuple[int, int] = (6, 8)) -> FilesDataset:
    """Images and labels as files."""
    members: dict[str, list[Member]] = {"images": [], "labels": []}
    for n in range(count):
        content = {"images": png(np.full((*size, 3), n, np.uint8)), "labels": label(n, size)}
        for kind, one in content.items():
            path = folder / kind / f"{n}.png"
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(one)
            members[kind].append(Member(f"{kind}/{n}.png", len(one), path))
    label_map = LabelMap.from_pairs({0: 0, 1: 1, 2: 2, 255: 255}, 255)
    names = [str(n) for n in range(count)]
    return FilesDataset(folder, names, members["images"], members["labels"], label_map)


def all_of(dataset: Dataset, memory: Path, **effort: Any) -> dict[int, Reading]:
    found = list(read_images(dataset, range(len(dataset)), memory, Effort(inf, **effort), labelled=True))
    assert len({one.index for one in found}) == len(found) == len(dataset)
    return {one.index: one for one in found}


@pytest.fixture
def read(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Return a list that fills with the indices that this process reads."""
    seen: list[int] = []
    original = checking.reading

    def counted(dataset: Dataset, index: int, *, labelled: bool) -> Reading:
        seen.append(index)
        return original(dataset, index, labelled=labelled)

    monkeypatch.setattr(checking, "reading", counted)
    return seen


def test_processes_find_what_one_finds(tmp_path: Path) -> None:
    dataset = made(tmp_path)
    (tmp_path / "labels/5.png").write_bytes(b"no image")
    alone = all_of(dataset, tmp_path / "alone.jsonl")
    together = all_of(dataset, tmp_path / "together.jsonl", workers=2)
    assert alone == together
    assert "labels/5.png: cannot be read as an image" in str(alone[5].problem)
    counts = np.bincount(np.asarray(Image.open(tmp_path / "labels/9.png")).ravel(), minlength=3)
    assert (alone[9].size, alone[9].classes) == ((6, 8), {n: int(count) for n, count in enumerate(counts) if count})


def test_an_interrupted_reading_goes_on(tmp_path: Path, read: list[int]) -> None:
    dataset, memory = made(tmp_path, 12), tmp_path / "memory.jsonl"

    def stop() -> None:
        if len(read) == 5:
            raise Interrupted("stopped")

    with pytest.raises(Interrupted):
        all_of(dataset, memory, pause=stop)
    assert read == [0, 1, 2, 3, 4]
    found = all_of(dataset, memory)
    assert read == list(range(12))
    assert all_of(dataset, memory) == found and len(read) == 12
    assert all_of(dataset, memory, fresh=True) == found and len(read) == 24


def test_an_interruption_ends_the_processes_and_keeps_what_they_read(tmp_path: Path) -> None:
    dataset, memory = made(tmp_path), tmp_path / "memory.jsonl"

    def stop() -> None:
        if memory.is_file():
            raise Interrupted("stopped")

    with pytest.raises(Interrupted):
        all_of(dataset, memory, pause=stop, workers=2)
    assert 0 < len(remembered(memory)) < COUNT
    assert len(all_of(dataset, memory)) == COUNT


def test_what_changed_or_could_not_be_read_is_read_again(tmp_path: Path, read: list[int]) -> None:
    dataset, memory = made(tmp_path, 6), tmp_path / "memory.jsonl"
    good = (tmp_path / "images/2.png").read_bytes()
    (tmp_path / "images/2.png").write_bytes(b"bad")
    assert all_of(dataset, memory)[2].problem is not None
    (tmp_path / "images/2.png").write_bytes(good)
    changed = tmp_path / "labels/4.png"
    changed.write_bytes(png(np.full((6, 8), 255, np.uint8)))
    os.utime(changed, ns=(1, 1))
    (tmp_path / "labels/5.png").unlink()
    read.clear()
    found = all_of(dataset, memory)
    assert read == [2, 4, 5]
    assert found[2].problem is None and found[4].classes == {255: 48}
    assert "labels/5.png: cannot be read" in str(found[5].problem)


def test_a_line_that_was_cut_short_does_not_count(tmp_path: Path, read: list[int]) -> None:
    dataset, memory = made(tmp_path, 4), tmp_path / "memory.jsonl"
    all_of(dataset, memory)
    lines = memory.read_bytes().split()
    memory.write_bytes(b"[1]\n\xff\n" + b"\n".join(lines[:3]) + b'\n{"index":3,"changed":[1')
    read.clear()
    all_of(dataset, memory)
    assert read == [3]
    read.clear()
    all_of(dataset, memory)
    assert read == []  # the new line did not join the broken one


def test_a_memory_that_cannot_be_written_changes_no_answer(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")
    found = all_of(made(tmp_path, 2), tmp_path / "file" / "memory.jsonl")
    assert [one.problem for one in found.values()] == [None, None]


def test_tiles_are_read_in_processes(tmp_path: Path) -> None:
    tiled = TiledDataset.of(made(tmp_path, 18, (16, 16)), 8, tmp_path / "decoded")
    assert len(tiled) == 72
    found = all_of(tiled, tmp_path / "memory.jsonl", workers=2)
    assert {one.size for one in found.values()} == {(8, 8)}
    assert sum(sum((one.classes or {}).values()) for one in found.values()) == 18 * 256


def test_a_process_that_is_killed_is_one_line() -> None:
    with pytest.raises(GkdbenchError, match=r"a reading process was ended, .* --workers 1 goes on with one"):
        list(results_of(os._exit, [3], 2, lambda: None))


def test_processors() -> None:
    assert 1 <= all_processors() <= (os.cpu_count() or 1)
