"""Boxes of the street scenes: what can be seen of every thing, the same everywhere, kept in a file of their own."""

import io
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from splits import digest_of

from gkdbench.data.dataset import DataPlace, open_split
from gkdbench.errors import DataError
from gkdbench.spec.catalogue import find_benchmark
from gkdbench.spec.objects import Objects
from gkdbench_benchmarks.streets import boxes
from gkdbench_benchmarks.streets.boxes import OBJECT_CLASSES, boxed_split, objects_of
from gkdbench_benchmarks.streets.canvas import Canvas, Scene, rectangle
from gkdbench_benchmarks.streets.objects import draw_bush, draw_car, draw_lamp, draw_person, draw_sign, draw_tree
from gkdbench_benchmarks.streets.parts import PART_INDEX, PARTS
from gkdbench_benchmarks.streets.reader import StreetsSplit
from gkdbench_benchmarks.streets.render import laid_out, render

CAR, PERSON, SIGN, TREE = range(4)
PARTS_OF = {
    CAR: {"body", "glass", "wheel", "light"}, PERSON: {"legs", "torso", "head"}, SIGN: {"plate", "symbol"},
    TREE: {"trunk", "foliage"},
}  # fmt: skip


def recounted(scene: Scene) -> list[tuple[list[float], int, bool]]:
    """Return box, class and difficulty of every object, pixel by pixel."""
    seen: dict[int, list[tuple[int, int]]] = {}
    height, width = scene.ids.shape
    for y in range(height):
        for x in range(width):
            seen.setdefault(int(scene.group[scene.ids[y, x]]), []).append((x, y))
    found = []
    for group in sorted(seen):
        made_of = {PARTS[part] for part, of in zip(scene.part, scene.group, strict=True) if of == group}
        label = next((k for k, name in ((CAR, "body"), (PERSON, "torso"), (SIGN, "plate"), (TREE, "trunk"))
                      if name in made_of), None)  # fmt: skip
        if label is None:
            continue
        assert made_of <= PARTS_OF[label]
        xs, ys = zip(*seen[group], strict=True)
        box = [min(xs) / 2, min(ys) / 2, (max(xs) + 1) / 2, (max(ys) + 1) / 2]
        found.append((box, label, len(xs) / 4 < 16))
    return found


def listed(objects: Objects) -> list[tuple[list[float], int, bool]]:
    return list(zip(objects.boxes.tolist(), objects.labels.tolist(), objects.difficult.tolist(), strict=True))


@pytest.mark.parametrize("kind", ["day", "camera", "city", "held-out", "proxy"])
def test_boxes_are_those_of_a_count_pixel_by_pixel(kind: str) -> None:
    counted = 0
    for index in range(3):
        scene = laid_out(kind, 77, index)
        found = objects_of(scene)
        assert listed(found) == recounted(scene)
        assert (found.boxes[:, 2:] > found.boxes[:, :2]).all() and (found.boxes >= 0).all()
        assert (found.boxes[:, [2, 3]] <= [128, 64]).all()
        counted += len(found)
    assert counted > 5


def test_the_image_shows_what_is_in_the_boxes() -> None:
    """Parts are those of the rendered image, which does not go through `laid_out`."""
    for kind, seed in (("day", 101), ("night", 8401)):
        for index in range(4):
            parts, found = render(kind, seed, index).parts, objects_of(laid_out(kind, seed, index))
            for label in (CAR, PERSON, SIGN):
                wanted = np.isin(parts, [PART_INDEX[name] for name in PARTS_OF[label]])
                inside = np.zeros_like(wanted)
                for x0, y0, x1, y1 in found.boxes[found.labels == label]:
                    inside[int(y0) : int(np.ceil(y1)), int(x0) : int(np.ceil(x1))] = True
                assert not (wanted & ~inside).any()
                for box, difficult in zip(found.boxes, found.difficult, strict=True):
                    x0, y0, x1, y1 = (int(value) for value in box)
                    if not difficult:  # something of every class's things is there
                        assert np.isin(parts[y0 : y1 + 1, x0 : x1 + 1], [
                            PART_INDEX[name] for names in PARTS_OF.values() for name in names
                        ]).any()  # fmt: skip


def painted(*rectangles: tuple[float, str, float, float, float, float]) -> Scene:
    """Return a scene of rectangles in canvas pixels, all inclusive, each an object of its own."""
    canvas = Canvas()
    for depth, part, x0, y0, x1, y1 in rectangles:
        canvas.polygon(depth, part, rectangle(x0, y0, x1, y1), canvas.new_group())
    return canvas.scene()


def test_a_hidden_object_has_no_box_and_a_covered_one_that_of_what_is_left() -> None:
    behind = (50.0, "body", 20.0, 20.0, 59.0, 39.0)
    assert listed(objects_of(painted(behind))) == [([10, 10, 30, 20], CAR, False)]
    assert listed(objects_of(painted(behind, (10.0, "wall", 20.0, 20.0, 59.0, 39.0)))) == []
    half = painted(behind, (10.0, "wall", 20.0, 10.0, 40.0, 60.0))
    assert listed(objects_of(half)) == [([20.5, 10, 30, 20], CAR, False)]
    split = painted(behind, (10.0, "wall", 30.0, 10.0, 49.0, 60.0))  # in the middle: one object still
    assert listed(objects_of(split)) == [([10, 10, 30, 20], CAR, False)]
    # the wall is behind
    assert len(objects_of(painted((10.0, "body", 20.0, 20.0, 59.0, 39.0), (50.0, "wall", 0.0, 0.0, 99.0, 99.0)))) == 1


def test_an_object_behind_another_of_its_class_is_one_of_its_own() -> None:
    found = objects_of(painted((50.0, "body", 20.0, 20.0, 59.0, 39.0), (20.0, "body", 60.0, 20.0, 99.0, 39.0)))
    assert listed(found) == [([10, 10, 30, 20], CAR, False), ([30, 10, 50, 20], CAR, False)]


def test_what_is_beyond_the_image_is_cut_or_is_not_there() -> None:
    found = objects_of(painted((50.0, "torso", -40.0, 100.0, 9.0, 300.0), (50.0, "torso", -40.0, 10.0, -2.0, 40.0)))
    assert listed(found) == [([0, 50, 5, 64], PERSON, False)]


@pytest.mark.parametrize(("right", "difficult"), [(17, False), (16, True)])
def test_below_16_pixels_an_object_is_difficult(right: int, difficult: bool) -> None:
    """A pixel is four of the canvas: 8 by 8 of them are 16, 7 by 8 are 14."""
    (one,) = listed(objects_of(painted((50.0, "plate", 10.0, 10.0, float(right), 17.0))))
    assert one == ([5, 5, (right + 1) / 2, 9], SIGN, difficult)


def test_what_is_drawn_is_named_by_what_it_is_made_of() -> None:
    canvas, rng = Canvas(), np.random.default_rng(0)
    for place, draw in enumerate((draw_car, draw_lamp, draw_person, draw_bush, draw_sign, draw_tree)):
        draw(canvas, 22.0 + 40 * place, 100.0, 9.0, 50.0 - place, rng)
    found = objects_of(canvas.scene())
    assert found.labels.tolist() == [CAR, PERSON, SIGN, TREE]  # a lamp is none, nor is a bush a tree
    assert [OBJECT_CLASSES[label] for label in found.labels] == ["car", "person", "sign", "tree"]
    assert np.abs((found.boxes[:, 0] + found.boxes[:, 2]) / 2 - [11, 51, 91, 111]).max() < 2


def test_a_scene_without_a_thing_has_no_box() -> None:
    for scene in (Canvas().scene(), painted((50.0, "wall", 0.0, 0.0, 99.0, 99.0))):
        found = objects_of(scene)
        assert len(found) == 0 and found.boxes.shape == (0, 4) and found.boxes.dtype == np.float32


def test_numbers_are_those_of_earlier_versions() -> None:
    """Published figures depend on them: raise BOXES where they change."""
    assert boxes.BOXES == 1
    assert listed(objects_of(laid_out("city", 8405, 5))) == [
        ([53, 24.5, 56.5, 29], TREE, True), ([55.5, 26.5, 57, 28], TREE, True), ([14.5, 0, 22, 5], SIGN, False),
        ([50.5, 25, 55.5, 33], TREE, True),
    ]  # fmt: skip
    day = listed(objects_of(laid_out("day", 101, 0)))
    assert len(day) == 11 and day[2:5] == [
        ([42.5, 27.5, 62.5, 36], CAR, False), ([73.5, 24, 74, 24.5], TREE, True), ([89.5, 0, 117, 43], TREE, False)
    ]  # fmt: skip
    assert day[8] == ([80, 27.5, 82, 29], PERSON, True)


def tables(split: Any, count: int) -> list[Any]:
    return [listed(split.objects(index)) for index in range(count)]


def test_a_split_is_laid_out_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    told: list[tuple[int, int]] = []
    first = boxed_split(tmp_path, "day", 5, 4, progress=lambda done, total: told.append((done, total)))
    assert told == [(1, 4), (2, 4), (3, 4), (4, 4)]
    wanted = [listed(objects_of(laid_out("day", 5, index))) for index in range(4)]
    assert tables(first, 4) == wanted
    assert tables(boxed_split(tmp_path / "other", "day", 5, 2), 2) == wanted[:2]
    monkeypatch.setattr(boxes, "laid_out", None)
    assert tables(boxed_split(tmp_path, "day", 5, 4), 4) == wanted
    assert [path.name for path in tmp_path.glob("day-*/*")] == ["boxes-1.npy"]


def archive() -> bytes:
    stream = io.BytesIO()
    np.savez(stream, a=np.zeros((3, 7), np.float32))
    return stream.getvalue()


def saved(array: NDArray[Any]) -> bytes:
    stream = io.BytesIO()
    np.save(stream, array)
    return stream.getvalue()


DAMAGED = {
    "empty": b"", "noise": bytes(range(200)), "half of an archive": archive()[:40], "an archive": archive(),
    "other columns": saved(np.zeros((3, 6), np.float32)), "other numbers": saved(np.zeros((3, 7))),
}  # fmt: skip


@pytest.mark.parametrize("damage", [*DAMAGED, "truncated"])
def test_a_damaged_file_is_written_anew(tmp_path: Path, damage: str) -> None:
    wanted = tables(boxed_split(tmp_path, "day", 5, 3), 3)
    (path,) = tmp_path.glob("day-*/boxes-1.npy")
    whole = path.read_bytes()
    path.write_bytes(DAMAGED.get(damage, whole[:-9]))
    assert tables(boxed_split(tmp_path, "day", 5, 3), 3) == wanted
    assert path.read_bytes() == whole and len(list(path.parent.iterdir())) == 1


def test_an_image_without_a_thing_has_its_place_in_the_table(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    scenes = [Canvas().scene(), painted((50.0, "plate", 10.0, 10.0, 29.0, 29.0)), Canvas().scene()]
    monkeypatch.setattr(boxes, "laid_out", lambda kind, seed, index: scenes[index])
    for _ in range(2):  # laid out, then read
        assert tables(boxed_split(tmp_path, "day", 5, 3), 3) == [[], [([5, 5, 15, 15], SIGN, False)], []]
    empty = boxed_split(tmp_path, "day", 5, 1)
    assert tables(empty, 1) == [[]] and empty.objects(0).boxes.shape == (0, 4)


def test_what_is_read_cannot_be_changed_for_others(tmp_path: Path) -> None:
    split = boxed_split(tmp_path, "day", 5, 1)
    before = listed(split.objects(0))
    split.objects(0).boxes[:] = 0
    assert listed(split.objects(0)) == before


def test_a_cache_that_cannot_be_written_is_one_clear_line(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(DataError, match=r"rendered scenes cannot be kept there \(Not a directory\)"):
        boxed_split(tmp_path / "file", "day", 5, 1)


def test_a_benchmarks_split_has_the_images_of_streets_with_boxes(tmp_path: Path) -> None:
    source, plain = find_benchmark("streets_det"), find_benchmark("streets")
    place = DataPlace(None, tmp_path)
    split = source.benchmark.source.val
    dataset = open_split(split, source.benchmark, source.folder, place, limit=3)
    assert dataset.labels(0) is None
    objects = dataset.objects(1)
    assert objects is not None and listed(objects) == listed(objects_of(laid_out("day", 102, 1)))
    same = open_split(plain.benchmark.source.val, plain.benchmark, plain.folder, place, limit=3)
    assert (same.image(2) == dataset.image(2)).all() and same.name(2) == dataset.name(2)
    assert len([*tmp_path.glob("day-*/")]) == 1
    unlabelled = open_split(split, source.benchmark, source.folder, place, limit=2, labelled=False)
    assert unlabelled.objects(0) is None
    assert len(list(tmp_path.glob("*/boxes-1.npy"))) == 1


def test_boxes_enter_the_digest_of_a_split_and_not_of_one_without(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    source = find_benchmark("streets_det")
    split = StreetsSplit(reader="streets", kind="day", seed=1, count=2, labels="boxes")

    def digests() -> list[str]:
        return [
            digest_of(split, source.benchmark, source.folder, DataPlace(None, tmp_path), labelled=labelled)
            for labelled in (True, False)
        ]

    before = digests()
    assert before[0] != before[1]
    monkeypatch.setattr("gkdbench_benchmarks.streets.dataset.BOXES", 2)
    after = digests()
    assert after[0] != before[0] and after[1] == before[1]
