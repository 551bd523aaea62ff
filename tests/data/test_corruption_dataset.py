import json
import pickle
import shutil
from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import cv2
import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from torch.utils.data import DataLoader
from torch.utils.data import Dataset as TorchDataset

from gkdbench.data.corruptions import corrupt as corrupting
from gkdbench.data.corruptions import kept as keeping
from gkdbench.data.corruptions.corrupt import corrupt, corruption_seed
from gkdbench.data.corruptions.dataset import corrupted_dataset, corrupted_digest
from gkdbench.data.corruptions.kept import KeptImages, Work, materialise, outstanding
from gkdbench.data.dataset import Dataset
from gkdbench.errors import DataError
from gkdbench.identity.digest import digest
from gkdbench.spec.corruption import EVERY_KIND, Kind
from gkdbench.spec.objects import Objects

KINDS: tuple[Kind, ...] = ("impulse_noise", "pixelate")
NAMES = ("a/1", "b ü/2", "../3", "x" * 300)
OF = "0123456789abcdef" * 4


@dataclass(frozen=True)
class Pictures(Dataset):
    """Pictures that tell their index."""

    names: tuple[str, ...] = NAMES

    def __len__(self) -> int:
        return len(self.names)

    def name(self, index: int) -> str:
        return self.names[index]

    def image(self, index: int) -> NDArray[np.uint8]:
        rng = np.random.default_rng(sum(self.names[index].encode()))
        return rng.integers(0, 256, (40, 36 + index, 3)).astype(np.uint8)

    def labels(self, index: int) -> NDArray[np.uint8] | None:
        return np.full((40, 36 + index), index, np.uint8)


@dataclass(frozen=True)
class BoxedPictures(Pictures):
    def objects(self, index: int) -> Objects | None:
        return Objects(np.array([[0, 0, index, 9]], np.float32), np.array([index]), np.array([False]))


class Stacked(TorchDataset[Any]):
    def __init__(self, dataset: Dataset) -> None:
        self.dataset = dataset

    def __len__(self) -> int:
        return len(self.dataset)

    def __getitem__(self, index: int) -> Any:
        return torch.from_numpy(self.dataset.image(index))


def work(store: Path, pictures: Pictures = Pictures(), severities: tuple[int, ...] = (1, 4), of: str = OF) -> Work:
    return outstanding(pictures, KINDS, severities, store, of)


def test_images_are_corrupted_by_name_and_labels_left_alone() -> None:
    base = Pictures()
    dataset: Dataset = corrupted_dataset(base, "impulse_noise", 2)
    assert len(dataset) == 4 and dataset.objects(0) is None
    for index, name in enumerate(NAMES):
        wanted = corrupt(base.image(index), "impulse_noise", 2, corruption_seed(name, "impulse_noise", 2))
        assert dataset.name(index) == name and np.array_equal(dataset.image(index), wanted)
        assert np.array_equal(dataset.labels(index), base.labels(index))  # type: ignore[arg-type]
    # the same picture at another place of another selection
    assert np.array_equal(corrupted_dataset(Pictures(("a/1",)), "impulse_noise", 2).image(0), dataset.image(0))


def test_boxes_are_those_of_the_dataset() -> None:
    dataset = corrupted_dataset(BoxedPictures(), "contrast", 1)
    objects = dataset.objects(3)
    assert objects is not None and objects.boxes.tolist() == [[0, 0, 3, 9]]


def test_it_travels_to_loading_processes(tmp_path: Path) -> None:
    dataset = corrupted_dataset(Pictures(), "gaussian_noise", 3, KeptImages(tmp_path, OF, "gaussian_noise", 3))
    again = pickle.loads(pickle.dumps(dataset))
    wanted = [dataset.image(index) for index in range(4)]
    assert all(np.array_equal(again.image(index), one) for index, one in enumerate(wanted))
    for workers in (1, 2):
        loader = DataLoader(Stacked(dataset), batch_size=None, num_workers=workers)
        assert all(np.array_equal(one.numpy(), other) for one, other in zip(loader, wanted, strict=True))


def test_an_image_that_cannot_be_corrupted_is_named() -> None:
    class Small(Pictures):
        def image(self, index: int) -> NDArray[np.uint8]:
            return np.zeros((8, 40, 3), np.uint8)

    with pytest.raises(DataError, match="image 'small/7': corruptions are defined for images of at least 32"):
        corrupted_dataset(Small(("small/7",)), "contrast", 1).image(0)


def test_the_digest_says_what_was_done_to_what(monkeypatch: pytest.MonkeyPatch) -> None:
    digests = {
        corrupted_digest("fog", 1, "one"),
        corrupted_digest("fog", 2, "one"),
        corrupted_digest("snow", 1, "one"),
        corrupted_digest("fog", 1, "two"),
    }
    monkeypatch.setattr(corrupting, "VERSION", "9")
    digests.add(corrupted_digest("fog", 1, "one"))
    assert len(digests) == 5


def test_what_was_made_of_six_pictures_of_frost_counts_no_more(tmp_path: Path) -> None:
    for kind in EVERY_KIND:
        before = digest(["imagecorruptions-imaug", "1.1.5", kind, 3, 1, "inner"])
        assert (corrupted_digest(kind, 3, "inner") == before) == (kind != "frost"), kind
        kept = KeptImages(tmp_path, OF, kind, 3)
        kept.begin(["a"])
        manifest = kept.folder / "manifest.json"
        assert kept.usable()
        manifest.write_text(json.dumps(json.loads(manifest.read_text()) | {"seed_rule": 1}))
        assert kept.usable() == (kind != "frost"), kind


@pytest.mark.parametrize("workers", [1, 2])
def test_kept_images_are_the_computed_ones(
    tmp_path: Path, workers: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    plan = work(tmp_path)
    seen: list[tuple[int, int]] = []
    assert len(plan.jobs) == 16 and 0 < plan.disk_need() < 10**6
    materialise(plan, workers, progress=lambda done, total: seen.append((done, total)))
    assert seen[-1] == (16, 16) and [done for done, _ in seen] == sorted(done for done, _ in seen)
    wanted = {
        (kind, severity, index): corrupted_dataset(Pictures(), kind, severity).image(index)
        for kind in KINDS for severity in (1, 4) for index in range(4)
    }  # fmt: skip

    def never(*_: object) -> None:
        raise AssertionError("computed what is kept")

    monkeypatch.setattr("gkdbench.data.corruptions.corrupt.corrupt", never)
    for (kind, severity, index), image in wanted.items():
        dataset = corrupted_dataset(Pictures(), kind, severity, KeptImages(tmp_path, OF, kind, severity))
        assert np.array_equal(dataset.image(index), image)
    assert not work(tmp_path).jobs
    outside = [path for path in tmp_path.rglob("*") if tmp_path / OF[:16] not in (path, *path.parents)]
    assert not outside and not list(tmp_path.rglob("*.tmp"))


def test_the_manifest_names_library_and_seeds(tmp_path: Path) -> None:
    materialise(work(tmp_path), 1)
    folder = tmp_path / OF[:16] / "impulse_noise-4"
    manifest = json.loads((folder / "manifest.json").read_text())
    assert (manifest["library"], manifest["version"], manifest["of"]) == ("imagecorruptions-imaug", "1.1.5", OF)
    assert {name: seed for name, (_, seed) in manifest["images"].items()} == {
        name: corruption_seed(name, "impulse_noise", 4) for name in NAMES
    }
    assert {file for file, _ in manifest["images"].values()} == {path.name for path in folder.glob("*.png")}


def test_an_interrupted_run_goes_on(tmp_path: Path) -> None:
    class Stop(Exception):
        pass

    turns = iter(range(3))

    def pause() -> None:
        if next(turns, None) is None:
            raise Stop

    with pytest.raises(Stop):
        materialise(work(tmp_path), 1, pause=pause)
    left = work(tmp_path)
    assert len(left.jobs) == 16 - 3
    (tmp_path / OF[:16] / "pixelate-1" / ".x.png.123.tmp").write_bytes(b"half")
    materialise(left, 1)
    assert not work(tmp_path).jobs


def test_what_is_damaged_or_of_another_making_is_computed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    materialise(work(tmp_path), 1)
    kept = KeptImages(tmp_path, OF, "pixelate", 4)
    wanted = corrupted_dataset(Pictures(), "pixelate", 4).image(0)
    file = kept.file(NAMES[0])
    whole = file.read_bytes()
    damaged = bytearray(whole)
    damaged[len(whole) // 2] ^= 4
    for content in (b"", whole[:-30], bytes(damaged)):
        file.write_bytes(content)
        assert np.array_equal(corrupted_dataset(Pictures(), "pixelate", 4, kept).image(0), wanted)
    # right pixels of something else: only a manifest that matches makes them count
    cv2.imwrite(str(file), np.zeros_like(wanted))
    assert not corrupted_dataset(Pictures(), "pixelate", 4, kept).image(0).any()
    monkeypatch.setattr(keeping, "VERSION", "9")
    assert np.array_equal(corrupted_dataset(Pictures(), "pixelate", 4, kept).image(0), wanted)
    assert len(work(tmp_path).jobs) == 16  # those of the other version are gone


def test_another_split_is_kept_elsewhere(tmp_path: Path) -> None:
    materialise(work(tmp_path), 1)
    assert len(work(tmp_path, of="f" * 64).jobs) == 16
    same_folder = OF[:16] + "f" * 48
    assert not KeptImages(tmp_path, same_folder, "pixelate", 4).usable()


def test_too_small_a_disk_is_said_beforehand(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shutil, "disk_usage", lambda path: SimpleNamespace(free=10))
    with pytest.raises(DataError, match=r"16 corrupted images need about 0\.0 GiB, and 0\.0 GiB are free"):
        materialise(work(tmp_path), 1)
    assert not list(tmp_path.rglob("*.png"))


def test_a_store_that_cannot_be_written_is_said(tmp_path: Path) -> None:
    (tmp_path / OF[:16]).write_text("in the way")
    with pytest.raises(DataError, match="corrupted images cannot be kept there"):
        work(tmp_path)
