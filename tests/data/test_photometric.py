"""Photometric distortion by tables gives what its definition gives pixel by pixel."""

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from gkdbench.data.augmentation.photometric import DRAWS, distorted
from gkdbench.spec.augmentation import TaskCrops

CROPS = TaskCrops(kind="task_crops")
IMAGE = np.random.default_rng(3).integers(0, 256, (40, 60, 3), dtype=np.uint8)
BRIGHTNESS, CONTRAST, SATURATION, HUE = range(4)
FIRST, LAST = 0.0, 1.0


def draws(*happening: int, order: float = FIRST, amounts: tuple[float, float, float, float] = (0.9, 0.2, 0.8, 0.7)):
    chosen = [0.25 if change in happening else 0.75 for change in range(4)]
    return np.array([*chosen, order, *amounts])


def converted(values: NDArray[np.uint8], alpha: float = 1.0, beta: float = 0.0) -> NDArray[np.uint8]:
    return np.clip(values.astype(np.float32) * np.float32(alpha) + np.float32(beta), 0, 255).astype(np.uint8)


def plain(image: NDArray[np.uint8], given: NDArray[np.float64], crops: TaskCrops = CROPS) -> NDArray[np.uint8]:
    """The definition: one change after the other, each on the whole image, as the study's library has it."""
    on, (beta, alpha, saturation, hue) = given[:4] < 0.5, given[5:]
    alpha, saturation = 0.5 + alpha, 0.5 + saturation
    if on[BRIGHTNESS]:
        image = converted(image, beta=-32 + 64 * beta)
    if on[CONTRAST] and given[4] < 0.5:
        image = converted(image, alpha)
    for change in (SATURATION, HUE):
        if on[change]:
            hsv = cv2.cvtColor(image, cv2.COLOR_RGB2HSV)
            if change == SATURATION:
                hsv[..., 1] = converted(hsv[..., 1], saturation)
            else:
                hsv[..., 0] = (hsv[..., 0].astype(int) + int(36 * hue) - 18) % 180
            image = cv2.cvtColor(hsv, cv2.COLOR_HSV2RGB)
    if on[CONTRAST] and given[4] >= 0.5:
        image = converted(image, alpha)
    return image


@settings(max_examples=60)
@given(st.lists(st.floats(0, 1, exclude_max=True), min_size=DRAWS, max_size=DRAWS))
def test_tables_give_what_the_definition_gives(numbers: list[float]) -> None:
    given = np.array(numbers)
    found, expected = distorted(IMAGE, CROPS, given), plain(IMAGE, given)
    if (given[:4] < 0.5)[[SATURATION, HUE]].all():  # the definition rounds once more between the two
        assert np.abs(found.astype(int) - expected).mean() < 3
    else:
        assert np.array_equal(found, expected)


def test_nothing_drawn_is_the_very_same_image() -> None:
    assert distorted(IMAGE, CROPS, draws()) is IMAGE


def test_the_image_itself_stays() -> None:
    before = IMAGE.copy()
    changed = distorted(IMAGE, CROPS, draws(BRIGHTNESS, CONTRAST, SATURATION, HUE))
    assert np.array_equal(IMAGE, before) and not np.shares_memory(changed, IMAGE)


@pytest.mark.parametrize(("amount", "shift"), [(0.0, -32), (0.5, 0), (0.75, 16)])
def test_brightness_by_hand(amount: float, shift: int) -> None:
    found = distorted(IMAGE, CROPS, draws(BRIGHTNESS, amounts=(amount, 0, 0, 0)))
    assert np.array_equal(found, (IMAGE.astype(int) + shift).clip(0, 255))


def test_contrast_before_or_after() -> None:
    image = np.full((1, 1, 3), [200, 100, 40], np.uint8)
    amounts = (0.5, 1.0, 0.0, 0.5)  # contrast 1.5, saturation 0.5
    first = distorted(image, CROPS, draws(CONTRAST, SATURATION, amounts=amounts))
    last = distorted(image, CROPS, draws(CONTRAST, SATURATION, order=LAST, amounts=amounts))
    assert first.max() == 255 and last.max() == 255
    assert first.tolist() != last.tolist()  # 200 is cut off before or after the colour fades


def test_the_hue_turns_and_grey_has_none() -> None:
    red = np.zeros((4, 4, 3), np.uint8)
    red[..., 0] = 255
    turned = distorted(red, CROPS, draws(HUE, amounts=(0, 0, 0, 0.999)))
    assert (turned[0, 0] == [255, 145, 0]).all()  # by 17 half-degrees of 30 to yellow
    grey = np.full((4, 4, 3), 128, np.uint8)
    assert np.array_equal(distorted(grey, CROPS, draws(SATURATION, HUE)), grey)


def test_ranges_come_from_the_recipe() -> None:
    none = TaskCrops(kind="task_crops", brightness=0, contrast=(1, 1), hue=0)
    assert np.array_equal(distorted(IMAGE, none, draws(BRIGHTNESS, CONTRAST)), IMAGE)
    strong = TaskCrops(kind="task_crops", brightness=200)
    assert distorted(IMAGE, strong, draws(BRIGHTNESS, amounts=(1.0, 0, 0, 0))).min() == 200
