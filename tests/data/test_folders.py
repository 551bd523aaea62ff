"""Folders of images and label PNGs: ids kept whatever the file type, and every fault named with its file."""

import pickle
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from splits import digest_of

from gkdbench.data.dataset import DataPlace, Dataset, open_split
from gkdbench.data.readers import FolderSplit
from gkdbench.errors import DataError, UsageError
from gkdbench.spec.benchmark import Benchmark
from gkdbench.spec.catalogue import BenchmarkSource, find_benchmark

WriteIds = Callable[..., None]


def open_part(tiny: Any, part: str = "train", limit: int | None = None) -> Dataset:
    source = find_benchmark(str(tiny.yaml))
    return open_split(split_of(source, part), source.benchmark, source.folder, DataPlace(tiny.data_root), limit=limit)


def split_of(source: BenchmarkSource, part: str) -> Any:
    benchmark = source.benchmark
    named = {"train": benchmark.source.train, "val": benchmark.source.val, "proxy": benchmark.proxy}
    return {**named, **benchmark.targets}[part]


def fails(call: Callable[[], object]) -> str:
    """Return the one line of the DataError that a call raises."""
    with pytest.raises(DataError) as caught:
        call()
    assert "\n" not in str(caught.value)
    return str(caught.value)


def test_pairs_in_the_order_of_the_list(tiny_benchmark: Any) -> None:
    dataset = open_part(tiny_benchmark)
    assert [dataset.name(i) for i in range(len(dataset))] == [f"train/{i}" for i in range(5)]
    image, labels = dataset.image(2), dataset.labels(2)
    assert image.shape == (32, 48, 3) and image.dtype == np.uint8
    assert np.array_equal(image, np.asarray(Image.open(tiny_benchmark.image("train/2"))))
    assert labels is not None and labels.shape == (32, 48) and labels.dtype == np.uint8
    assert set(np.unique(labels)) == {0, 1, 2, 255}
    assert (labels[:2, :2] == 255).all() and labels[10, 20] == 0 and labels[31, 0] == 1


def test_all_images_below_a_folder_without_a_list(tiny_benchmark: Any) -> None:
    dataset = open_part(tiny_benchmark, "proxy")
    names = [dataset.name(i) for i in range(len(dataset))]
    assert names == ["more/photo1", "more/photo3", "more/photo5", "photo0", "photo2", "photo4"]
    assert dataset.image(0).shape == (40, 56, 3)
    assert dataset.labels(0) is None


def test_a_limit_keeps_the_first(tiny_benchmark: Any) -> None:
    dataset = open_part(tiny_benchmark, limit=2)
    assert [dataset.name(i) for i in range(len(dataset))] == ["train/0", "train/1"]
    assert len(open_part(tiny_benchmark, limit=99)) == 5


@pytest.mark.parametrize("mode", ["L", "P", "I;16"])
def test_ids_survive_every_kind_of_label_file(tiny_benchmark: Any, write_ids: WriteIds, mode: str) -> None:
    ids = np.arange(32 * 48).reshape(32, 48) % 3
    write_ids(tiny_benchmark.label("train/0"), ids, mode)
    assert Image.open(tiny_benchmark.label("train/0")).mode == mode
    assert np.array_equal(open_part(tiny_benchmark).labels(0), ids)


def test_ids_above_255(tiny_benchmark: Any, write_ids: WriteIds) -> None:
    tiny_benchmark.rewrite(label_map={7000: 1, 65535: 2, 26: 0})
    ids = np.full((32, 48), 7000)
    ids[0], ids[1] = 65535, 26
    write_ids(tiny_benchmark.label("train/0"), ids, "I;16")
    labels = open_part(tiny_benchmark).labels(0)
    assert labels is not None and [labels[row, 0] for row in (0, 1, 2)] == [2, 0, 1]


def test_black_and_white_labels(tiny_benchmark: Any) -> None:
    ids = np.arange(48)[None].repeat(32, 0) % 2
    Image.fromarray(ids.astype(bool)).save(tiny_benchmark.label("train/0"))
    assert Image.open(tiny_benchmark.label("train/0")).mode == "1"
    assert np.array_equal(open_part(tiny_benchmark).labels(0), ids)


def test_without_a_map_ids_are_classes_and_the_ignore_value_passes(tiny_benchmark: Any, write_ids: WriteIds) -> None:
    tiny_benchmark.rewrite(label_map=None)
    ids = np.full((32, 48), 2)
    ids[0] = 255
    write_ids(tiny_benchmark.label("train/0"), ids)
    assert np.array_equal(open_part(tiny_benchmark).labels(0), ids)
    ids[5, 5] = 3
    write_ids(tiny_benchmark.label("train/0"), ids)
    message = fails(lambda: open_part(tiny_benchmark).labels(0))
    assert message.startswith(f"{tiny_benchmark.label('train/0')}: label id 3 is not in the label map (1 pixels)")


@pytest.mark.parametrize(("mode", "value"), [("L", 9), ("P", 9), ("I;16", 9), ("I;16", 40000)])
def test_an_id_outside_the_map(tiny_benchmark: Any, write_ids: WriteIds, mode: str, value: int) -> None:
    ids = np.zeros((32, 48), np.int64)
    ids[3, 4:6] = value
    write_ids(tiny_benchmark.label("train/1"), ids, mode)
    dataset = open_part(tiny_benchmark)
    assert dataset.labels(0) is not None
    message = fails(lambda: dataset.labels(1))
    assert message.startswith(f"{tiny_benchmark.label('train/1')}: label id {value} is not in the label map (2 pix")


@pytest.mark.parametrize("mode", ["RGB", "RGBA", "LA"])
def test_colour_labels_are_refused(tiny_benchmark: Any, mode: str) -> None:
    Image.new(mode, (48, 32)).save(tiny_benchmark.label("train/0"))
    message = fails(lambda: open_part(tiny_benchmark).labels(0))
    assert message == (
        f"{tiny_benchmark.label('train/0')}: label files hold one id per pixel, this one has mode '{mode}': colours in "
        "place of ids, or another file of the release? Write the ids as a greyscale PNG"
    )


def test_a_label_of_another_size(tiny_benchmark: Any, write_ids: WriteIds) -> None:
    write_ids(tiny_benchmark.label("train/0"), np.zeros((48, 32), np.uint8))
    message = fails(lambda: open_part(tiny_benchmark).labels(0))
    assert message == (
        f"{tiny_benchmark.label('train/0')}: label of 32x48 pixels for an image of 48x32 "
        f"({tiny_benchmark.image('train/0')}); get both from one release"
    )


def test_missing_labels_are_found_at_opening(tiny_benchmark: Any) -> None:
    tiny_benchmark.label("train/1").unlink()
    tiny_benchmark.label("train/3").unlink()
    message = fails(lambda: open_part(tiny_benchmark))
    assert message == (
        f"{tiny_benchmark.data_root}/town: no label file for image 'train/1' (2 of 5 images have none; expected "
        "labels/train/1.png); add what is missing, or take the images out"
    )


@pytest.mark.parametrize("damage", [lambda data: data[: len(data) // 2], lambda _: b"", lambda _: b"not an image"])
@pytest.mark.parametrize("which", ["image", "label"])
def test_a_damaged_file(tiny_benchmark: Any, damage: Callable[[bytes], bytes], which: str) -> None:
    path: Path = getattr(tiny_benchmark, which)("train/0")
    path.write_bytes(damage(path.read_bytes()))
    dataset = open_part(tiny_benchmark)
    read = dataset.image if which == "image" else dataset.labels
    assert fails(lambda: read(0)).startswith(f"{path}: cannot be read as an image (")


def test_the_size_of_a_damaged_image_is_asked_for_by_its_labels(tiny_benchmark: Any) -> None:
    path = tiny_benchmark.image("train/0")
    path.write_bytes(b"not an image")
    assert fails(lambda: open_part(tiny_benchmark).labels(0)).startswith(f"{path}: cannot be read as an image (")
    path.unlink()
    path.with_suffix(".jpg").mkdir()  # a folder in its place
    assert "train.txt:1: image 'train/0' not found below" in fails(lambda: open_part(tiny_benchmark))


@pytest.mark.parametrize(("mode", "colour"), [("L", 77), ("P", 3), ("RGBA", (1, 2, 3, 255)), ("LA", (9, 255))])
def test_every_8_bit_image_becomes_rgb(tiny_benchmark: Any, mode: str, colour: Any) -> None:
    Image.new(mode, (48, 32), colour).save(tiny_benchmark.image("train/0"))
    image = open_part(tiny_benchmark).image(0)
    assert image.shape == (32, 48, 3)
    expected: dict[str, list[int]] = {"L": [77] * 3, "RGBA": [1, 2, 3], "LA": [9] * 3}
    if mode in expected:
        assert image[5, 5].tolist() == expected[mode]


def test_a_16_bit_image_is_refused_and_not_cut_to_white(tiny_benchmark: Any, write_ids: WriteIds) -> None:
    write_ids(tiny_benchmark.image("train/0"), np.full((32, 48), 3000), "I;16")
    message = fails(lambda: open_part(tiny_benchmark).image(0))
    assert message == (
        f"{tiny_benchmark.image('train/0')}: has 16 bits per channel; say in `bits` of the split how many of "
        "them count (10, 12, 14 or 16), or write it with 8"
    )


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "the list names no image"),
        ("\n# train/0\n  \n", "the list names no image"),
        ("train/0\ntrain/17\ntrain/18\n", "{list}:2: image 'train/17' not found below {root} (2 of 3 missing)"),
        ("../labels/train/0\n", "{list}:1: image '../labels/train/0' not found below {root} (1 of 1 missing)"),
        ("train/0.png\n", "(1 of 1 missing); a line is the name of one image, without suffix"),
        ("train/1\ntrain/0\ntrain/1\n", "{list}:3: names 'train/1' a second time, after {list}:1"),
    ],
)
def test_a_list_that_cannot_be_used(tiny_benchmark: Any, text: str, message: str) -> None:
    path = tiny_benchmark.yaml.parent / "lists" / "train.txt"
    path.write_text(text)
    assert message.format(list=path, root=tiny_benchmark.data_root / "town") in fails(lambda: open_part(tiny_benchmark))


def test_a_list_that_cannot_be_read(tiny_benchmark: Any) -> None:
    path = tiny_benchmark.yaml.parent / "lists" / "train.txt"
    path.write_bytes(b"\xff\xfe")
    assert fails(lambda: open_part(tiny_benchmark)).startswith(f"{path}: is no text (")
    path.unlink()
    message = fails(lambda: open_part(tiny_benchmark))
    assert message.endswith(f"town/lists/train.txt: list of images not found (nor {path})")


def test_comments_and_spaces_in_a_list(tiny_benchmark: Any) -> None:
    (tiny_benchmark.yaml.parent / "lists" / "train.txt").write_text("# chosen by hand\n train/3 \n\ntrain/0\n")
    dataset = open_part(tiny_benchmark)
    assert [dataset.name(i) for i in range(len(dataset))] == ["train/3", "train/0"]


def test_a_list_below_the_data_root_wins(tiny_benchmark: Any) -> None:
    folder = tiny_benchmark.data_root / "town" / "lists"
    folder.mkdir()
    (folder / "train.txt").write_text("train/4\n")
    assert open_part(tiny_benchmark).name(0) == "train/4"


def test_missing_folders_say_where_the_data_comes_from(tiny_benchmark: Any) -> None:
    source = find_benchmark(str(tiny_benchmark.yaml))
    hint = "Nowhere: the tests draw it."

    def opened(root: Path | None) -> Dataset:
        return open_split(source.benchmark.source.train, source.benchmark, source.folder, DataPlace(root))

    message = fails(lambda: opened(None))
    assert "give --data-root DIR or set GKDBENCH_DATA" in message and message.endswith(hint)
    absent = tiny_benchmark.data_root / "absent"
    assert fails(lambda: opened(absent)) == f"--data-root {absent}: no such folder; {hint}"
    absent.mkdir()
    assert fails(lambda: opened(absent)) == f"{absent / 'town'}: dataset folder not found; {hint}"
    (absent / "town").mkdir()
    assert fails(lambda: opened(absent)) == f"{absent / 'town' / 'images'}: image folder not found; {hint}"
    shutil.copytree(tiny_benchmark.data_root / "town" / "images", absent / "town" / "images")
    assert fails(lambda: opened(absent)) == f"{absent / 'town' / 'labels'}: label folder not found; {hint}"


def test_a_folder_without_images(tiny_benchmark: Any, tmp_path: Path) -> None:
    (tmp_path / "empty" / "photos").mkdir(parents=True)
    (tmp_path / "empty" / "photos" / "readme.txt").write_text("nothing")
    source = find_benchmark(str(tiny_benchmark.yaml))
    message = fails(
        lambda: open_split(source.benchmark.proxy, source.benchmark, source.folder, DataPlace(tmp_path / "empty"))
    )
    photos = tmp_path / "empty" / "photos"
    assert message == f"{photos}: no PNG or JPEG images; 1 .txt file is there; is the data unpacked there?"


@pytest.mark.parametrize("key", ["root", "images", "labels", "list"])
@pytest.mark.parametrize("value", ["..", "a/../..", "/etc"])
def test_paths_stay_below_the_data_root(key: str, value: str) -> None:
    content: dict[str, Any] = {"reader": "folders", "root": "town", key: value}
    with pytest.raises(ValueError, match=f"{key}: '.*' must be a relative path without"):
        FolderSplit.model_validate(content)


def train_digest(tiny: Any, limit: int | None = None) -> str:
    source = find_benchmark(str(tiny.yaml))
    split = source.benchmark.source.train
    return digest_of(split, source.benchmark, source.folder, DataPlace(tiny.data_root), limit)


def test_the_digest_knows_names_sizes_and_the_map(tiny_benchmark: Any, write_ids: WriteIds) -> None:
    before = train_digest(tiny_benchmark)
    assert train_digest(tiny_benchmark) == before and train_digest(tiny_benchmark, 3) != before
    moved = tiny_benchmark.data_root.rename(tiny_benchmark.data_root.with_name("moved"))
    source = find_benchmark(str(tiny_benchmark.yaml))
    place = DataPlace(moved)
    assert digest_of(source.benchmark.source.train, source.benchmark, source.folder, place) == before
    moved.rename(tiny_benchmark.data_root)
    tiny_benchmark.rewrite(label_map={0: 1, 1: 0, 2: 2, 11: 255})
    assert train_digest(tiny_benchmark) != before
    tiny_benchmark.rewrite()
    rng = np.random.default_rng(0)
    write_ids(tiny_benchmark.label("train/0"), rng.integers(0, 3, (32, 48)))  # random ids compress badly
    assert train_digest(tiny_benchmark) != before


def test_an_unknown_streets_kind(tiny_content: dict[str, Any]) -> None:
    tiny_content["proxy"] = {"reader": "streets", "kind": "nihgt", "seed": 1, "count": 1}
    benchmark = Benchmark.model_validate(tiny_content)
    with pytest.raises(UsageError, match="the streets renderer has no kind 'nihgt'; did you mean 'night'"):
        open_split(benchmark.proxy, benchmark, Path(), DataPlace())


def test_where_rendered_images_are_kept(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "xdg"))
    monkeypatch.delenv("GKDBENCH_CACHE", raising=False)
    assert DataPlace().cache_folder() == tmp_path / "xdg" / "gkdbench"
    monkeypatch.setenv("GKDBENCH_CACHE", str(tmp_path / "own"))
    assert DataPlace().cache_folder() == tmp_path / "own"
    assert DataPlace(cache=tmp_path).cache_folder() == tmp_path


def test_a_dataset_is_safe_to_send_to_another_process(tiny_benchmark: Any) -> None:
    dataset = open_part(tiny_benchmark)
    copy = pickle.loads(pickle.dumps(dataset))
    assert np.array_equal(copy.labels(1), dataset.labels(1))


def test_a_data_root_that_may_not_be_searched_is_one_line(
    tiny_benchmark: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(path: Path, *_: Any) -> None:
        raise PermissionError(13, "Permission denied", str(path))

    source = find_benchmark(str(tiny_benchmark.yaml))
    monkeypatch.setattr(Path, "is_dir", refuse)
    with pytest.raises(DataError, match=r"data: cannot be read \(Permission denied\)"):
        open_split(source.benchmark.source.train, source.benchmark, source.folder, DataPlace(tiny_benchmark.data_root))
