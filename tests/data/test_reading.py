"""Images read ahead of time in processes: the same ones in the same order, and errors as the lines they were."""

import numpy as np
import pytest
import torch

from gkdbench.data.corruptions.dataset import corrupted_dataset
from gkdbench.data.dataset import Dataset
from gkdbench.data.reading import images_of, in_groups
from gkdbench.errors import DataError


class Numbered(Dataset):
    """Images whose colour is their number; number 5 can be made unreadable."""

    def __init__(self, broken: bool = False) -> None:
        self.broken = broken

    def __len__(self) -> int:
        return 7

    def name(self, index: int) -> str:
        return f"image {index}"

    def image(self, index: int) -> np.ndarray:
        if self.broken and index == 5:
            raise DataError("image 5.png is cut off")
        return np.full((32, 40 + index, 3), 20 * index, np.uint8)

    def labels(self, index: int) -> np.ndarray | None:
        return None


@pytest.mark.parametrize("workers", [0, 2])
def test_images_come_in_order_and_corrupted_ones_are_the_same_in_any_process(workers: int) -> None:
    dataset = corrupted_dataset(Numbered(), "shot_noise", 3)
    groups = in_groups(len(dataset), 3)
    assert groups == [range(0, 3), range(3, 6), range(6, 7)]
    found = [image for images in images_of(dataset, groups, workers) for image in images]
    assert len(found) == 7
    assert all(np.array_equal(image, dataset.image(index)) for index, image in enumerate(found))


@pytest.mark.parametrize("workers", [0, 2])
def test_an_unreadable_image_is_one_line(workers: int) -> None:
    with pytest.raises(DataError) as raised:
        list(images_of(Numbered(broken=True), in_groups(7, 2), workers))
    assert str(raised.value) == "image 5.png is cut off"


def test_the_global_generator_is_left_alone() -> None:
    before = torch.random.get_rng_state()
    list(images_of(Numbered(), in_groups(7, 2), 0))
    assert torch.equal(torch.random.get_rng_state(), before)
