"""Reading the images to be judged ahead of time, in processes: some, such as blurred ones, take long to make."""

from collections.abc import Iterator, Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch.utils.data import DataLoader
from torch.utils.data import Dataset as TorchDataset

from gkdbench.data.dataset import Dataset
from gkdbench.data.stream import alone, one_line_errors

Pixels = NDArray[np.uint8]


class _Images(TorchDataset[Pixels]):
    """The images of a split without their labels."""

    def __init__(self, dataset: Dataset) -> None:
        self._dataset = dataset

    def __len__(self) -> int:
        return len(self._dataset)

    def __getitem__(self, index: int) -> Pixels:
        return self._dataset.image(index)


def images_of(dataset: Dataset, groups: Sequence[Sequence[int]], workers: int) -> Iterator[list[Pixels]]:
    """Yield the images [h, w, 3] of each group of numbers, in order.

    `workers` processes read ahead, two groups each; 0: read here, when asked for. DataError as the dataset raises it.
    """
    loader: DataLoader[list[Pixels]] = DataLoader(
        _Images(dataset),  # type: ignore[arg-type]
        batch_sampler=[list(group) for group in groups],
        num_workers=workers,
        collate_fn=list,
        worker_init_fn=alone,
        generator=torch.Generator(),  # else a seed for the processes is drawn from the global one
    )
    yield from one_line_errors(loader)


def in_groups(count: int, size: int) -> list[range]:
    """Return the numbers 0..count-1 in groups of `size`; the last may be smaller."""
    return [range(first, min(first + size, count)) for first in range(0, count, size)]
