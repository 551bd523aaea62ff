"""Task crops are cut as if the whole image had been resized, and no class dominates them where that can be."""

import dataclasses
import math
from typing import Any

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from PIL import Image as Pillow

from gkdbench.data.augmentation.task_crops import PADDING, TaskCropper, resized_size, resized_window
from gkdbench.data.dataset import Dataset
from gkdbench.spec.augmentation import TaskCrops

IGNORE = 255


def photograph(height: int, width: int, seed: int = 0) -> NDArray[np.uint8]:
    rng = np.random.default_rng(seed)
    coarse = cv2.resize(rng.normal(size=(6, 9, 3)).astype(np.float32), (width, height), interpolation=cv2.INTER_CUBIC)
    return np.clip(120 + 50 * coarse + rng.normal(0, 6, (height, width, 3)), 0, 255).astype(np.uint8)


@dataclasses.dataclass(frozen=True)
class Streets(Dataset):
    """Photographs with random cells of labels, or with the labels given."""

    size: tuple[int, int] = (96, 160)
    given: NDArray[np.uint8] | None = dataclasses.field(default=None, compare=False)

    def __len__(self) -> int:
        return 3

    def name(self, index: int) -> str:
        return str(index)

    def image(self, index: int) -> NDArray[np.uint8]:
        return photograph(*self.size, seed=index)

    def labels(self, index: int) -> NDArray[np.uint8] | None:
        if self.given is not None:
            return self.given
        cells = np.random.default_rng(index).integers(0, 6, [-(-side // 8) for side in self.size])
        return cells.repeat(8, 0).repeat(8, 1)[: self.size[0], : self.size[1]].astype(np.uint8)


class Paired(Streets):
    """The same, from label files whose ids are 1000 above, mapped on demand."""

    seen: list[tuple[int, ...]] = []

    def pair(self, index: int) -> tuple[NDArray[np.uint8], NDArray[Any] | None]:
        labels = Streets.labels(self, index)
        assert labels is not None
        return Streets.image(self, index), labels.astype(np.int32) + 1000

    def mapped(self, raw: NDArray[Any], index: int) -> NDArray[np.uint8]:
        self.seen.append(raw.shape)
        return (raw - 1000).astype(np.uint8)

    def image(self, index: int) -> NDArray[np.uint8]:
        raise AssertionError("the pair is decoded once")

    labels = image


def cropper(dataset: Any = Streets(), size: tuple[int, int] = (48, 64), labelled: bool = True, **changes: Any):
    crops = TaskCrops(kind="task_crops", **{"short_sides": (60, 96, 130), "long_side": 200, **changes})
    return TaskCropper(dataset, crops, size, IGNORE, labelled)


def crop(made: TaskCropper, seed: int = 0, index: int = 1):
    return made.crop(index, np.random.default_rng(seed))


def libraries_size(size: tuple[int, int], short: int, limit: int) -> tuple[int, int]:
    """Return what mmseg's ResizeShortestEdge gives: its rounded sides are handed to a resizing that rounds again."""
    height, width = size
    factor = short / min(size)
    sides = (short, factor * width) if height < width else (factor * height, short)
    factor = min(1.0, limit / max(sides))
    box = [int(side * factor + 0.5) for side in sides]
    factor = min(max(box) / max(size), min(box) / min(size))
    return int(height * factor + 0.5), int(width * factor + 0.5)


@pytest.mark.parametrize("short", TaskCrops(kind="task_crops").short_sides)
@pytest.mark.parametrize("size", [(1052, 1914), (1024, 2048), (512, 512), (1024, 1280), (720, 1280), (1914, 1052)])
def test_sizes_are_the_studys(size: tuple[int, int], short: int) -> None:
    assert resized_size(size, short, 2048) == libraries_size(size, short, 2048)


def test_the_long_side_is_capped() -> None:
    assert resized_size((500, 2000), 1024, 2048) == (512, 2048)
    assert resized_size((1024, 2048), 1024, 2048) == (1024, 2048)


@pytest.mark.parametrize(
    ("whole", "down", "across"),
    [
        ((60, 100), (0, 48), (36, 100)),
        ((60, 100), (7, 55), (0, 64)),
        ((96, 160), (10, 58), (20, 84)),
        ((131, 219), (83, 131), (155, 219)),
        ((131, 219), (40, 88), (77, 141)),
        ((24, 40), (0, 24), (0, 40)),
    ],
)
def test_a_window_is_what_the_resized_whole_shows_there(
    whole: tuple[int, int], down: tuple[int, int], across: tuple[int, int]
) -> None:
    """But for rounding: Pillow keeps a box in 32 bits, and rounds between its two passes."""
    window = (slice(*down), slice(*across))
    for seed in range(5):
        image = photograph(96, 160, seed)
        expected = np.asarray(Pillow.fromarray(image).resize(whole[::-1], Pillow.Resampling.BILINEAR))[window]
        difference = np.abs(resized_window(image, whole, window).astype(int) - expected)
        assert difference.max() <= 1 and difference.mean() < 0.3


@settings(max_examples=60, deadline=None)
@given(
    size=st.tuples(st.integers(30, 130), st.integers(30, 130)),
    short=st.integers(20, 160),
    seed=st.integers(0, 2**32),
)
def test_labels_are_those_of_the_resized_whole(size: tuple[int, int], short: int, seed: int) -> None:
    """Every label is a pixel of its own, so that a shift by one would show."""
    labels = (np.arange(size[0] * size[1], dtype=np.int64).reshape(size) * 7 % 251).astype(np.uint8)
    made = cropper(Streets(size, labels), short_sides=(short,), flip=0.0)
    found = crop(made, seed)[2]
    assert found is not None
    whole = resized_size(size, short, 200)
    resized = np.asarray(Pillow.fromarray(labels).resize(whole[::-1], Pillow.Resampling.NEAREST))
    height, width = (min(have, wanted) for have, wanted in zip(whole, (48, 64), strict=True))
    inside = found[:height, :width]
    places = [
        (top, left)
        for top in range(whole[0] - height + 1)
        for left in range(whole[1] - width + 1)
        if np.array_equal(resized[top : top + height, left : left + width], inside)
    ]
    assert places
    assert (found[height:] == IGNORE).all() and (found[:, width:] == IGNORE).all()


@pytest.mark.parametrize("flip", [0.0, 1.0])
def test_image_and_labels_stay_aligned(flip: float) -> None:
    """The labels are a channel of the image."""

    class Told(Streets):
        def image(self, index: int) -> NDArray[np.uint8]:
            labels = self.labels(index)
            assert labels is not None
            return np.stack([40 * labels] * 3, -1)

    for seed in range(20):
        _, clean, labels = crop(cropper(Told(), flip=flip), seed)
        assert labels is not None
        known = labels != IGNORE
        agrees = np.abs(clean[..., 0].astype(int) - 40 * labels.astype(int)) <= 20
        assert agrees[known].mean() > 0.9 and known.mean() > 0.5


@pytest.mark.parametrize("flip", [0.0, 1.0])
def test_a_small_image_is_padded_below_and_on_the_right(flip: float) -> None:
    """After flipping and without colour, with what an encoder's normalisation makes about nothing of."""
    image, clean, labels = crop(cropper(short_sides=(24,), flip=flip, brightness=255), seed=4)
    for found in (image, clean):
        assert (found[24:] == [124, 116, 104]).all() and (found[:, 40:] == [124, 116, 104]).all()
    assert labels is not None and (labels[24:] == IGNORE).all() and (labels[:, 40:] == IGNORE).all()
    assert not np.array_equal(image, clean) and (labels[:24, :40] != IGNORE).all()
    normalised = (PADDING / 255 - (0.485, 0.456, 0.406)) / (0.229, 0.224, 0.225)
    assert np.abs(normalised).max() < 0.01


def test_clean_is_the_crop_without_the_colour() -> None:
    coloured, other = cropper(), cropper(brightness=255, contrast=(0.1, 0.2), hue=0)
    same = 0
    for seed in range(40):
        image, clean, labels = crop(coloured, seed)
        _, expected, same_labels = crop(other, seed)
        assert np.array_equal(clean, expected) and np.array_equal(labels, same_labels)
        same += image is clean
        assert (image is clean) == np.array_equal(image, clean)
    assert 0 < same < 10  # nothing happens to one in 16


def test_no_class_dominates_where_that_can_be() -> None:
    """One class on nine tenths of the image: a free draw would mostly find it alone."""
    labels = np.zeros((96, 160), np.uint8)
    labels[:, 144:] = 1
    shares = {}
    for tries in (1, 10):
        made = cropper(Streets(given=labels), tries=tries, short_sides=(96,), size=(32, 32))
        found = [crop(made, seed)[2] for seed in range(150)]
        shares[tries] = np.mean([(crop_labels == 0).mean() < 0.75 for crop_labels in found])
    assert 0.05 < shares[1] < 0.25 and shares[10] > 0.4  # 2 and 11 windows, of which one in 15 or so will do
    ignored = np.where(labels == 1, IGNORE, labels)  # what is not labelled counts for nothing
    refused = cropper(Streets(given=ignored), short_sides=(96,), size=(32, 32))
    looked_at = [crop(refused, seed)[2] for seed in range(60)]
    assert np.mean([(found == 0).all() for found in looked_at]) > 0.5


@pytest.mark.parametrize("fill", [0, IGNORE])
def test_where_all_are_refused_the_last_is_taken(fill: int) -> None:
    labels = np.full((96, 160), fill, np.uint8)
    for tries in (1, 10):
        made = cropper(Streets(given=labels), tries=tries, flip=0.0, short_sides=(96,))
        rng = np.random.default_rng(8)
        rng.random(11)
        place = rng.random((tries + 1, 2))[-1]
        top, left = math.floor(place[0] * 49), math.floor(place[1] * 97)
        _, clean, found = crop(made, 8)
        assert np.array_equal(clean, photograph(96, 160, 1)[top : top + 48, left : left + 64])
        assert found is not None and (found == fill).all()


def test_without_labels_the_first_window_is_taken() -> None:
    striped = np.arange(160, dtype=np.uint8)[None].repeat(96, 0) // 8
    with_labels = crop(cropper(Streets(given=striped)))
    without = crop(cropper(Streets(given=striped), labelled=False))
    assert without[2] is None and with_labels[2] is not None
    assert np.array_equal(with_labels[0], without[0])


def test_ids_are_mapped_on_the_crop_alone() -> None:
    Paired.seen.clear()
    for seed in range(10):
        found, expected = crop(cropper(Paired()), seed), crop(cropper(), seed)
        assert all(np.array_equal(one, other) for one, other in zip(found, expected, strict=True))
    assert Paired.seen and all(height <= 48 and width <= 64 for height, width in Paired.seen)


def test_every_short_side_is_drawn() -> None:
    made = cropper(Streets((96, 96)), size=(200, 200), short_sides=(60, 96, 130), long_side=200)
    found = [crop(made, seed)[2] for seed in range(60)]
    heights = [int((labels != IGNORE).any(1).sum()) for labels in found if labels is not None]
    assert {heights.count(side) > 8 for side in (60, 96, 130)} == {True} and len(heights) == 60
