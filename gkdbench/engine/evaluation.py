"""A trained segmentor judged on one split: confusion counts per image, summed in int64."""

import time
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, field

import numpy as np
import torch
from numpy.typing import NDArray

from gkdbench.data.dataset import Dataset
from gkdbench.data.reading import images_of, in_groups
from gkdbench.engine.inference import predict
from gkdbench.engine.interruption import StopFlag
from gkdbench.errors import DataError
from gkdbench.metrics.confusion import Counts, tally
from gkdbench.models.segmentor import Segmentor
from gkdbench.spec.inference import Inference


@dataclass(frozen=True)
class Judged:
    """What one split gave."""

    names: tuple[str, ...]
    per_image: NDArray[np.int64]  # [images, K, K]
    void_per_image: NDArray[np.int64]  # [images, K], predictions where the truth is ignored
    images_per_s: float
    kept: Mapping[int, NDArray[np.uint8]] = field(default_factory=dict)
    """Predicted label maps [H, W] that were asked for, by the image's number."""

    @property
    def total(self) -> Counts:
        """Counts over all images, [K, K]."""
        counts: Counts = self.per_image.sum(axis=0, dtype=np.int64)
        return counts

    @property
    def void(self) -> Counts:
        """Predictions where the truth is ignored, over all images, [K]."""
        counts: Counts = self.void_per_image.sum(axis=0, dtype=np.int64)
        return counts


def judge(
    segmentor: Segmentor,
    dataset: Dataset,
    protocol: Inference,
    *,
    ignore: int,
    device: torch.device,
    precision: str,
    stop: StopFlag,
    meter: Callable[[int, int], None],
    keep: Collection[int] = (),
    workers: int = 0,
) -> Judged:
    """Predict every image of a labelled split at its own resolution and count.

    keep: numbers of the images whose predictions are wanted back. workers: processes that read images ahead.
    """
    segmentor.to(device).eval()
    classes = segmentor.num_classes
    tallies, names, kept = [], [], {}
    began = time.monotonic()
    groups = in_groups(len(dataset), protocol.batch)
    for indices, images in zip(groups, images_of(dataset, groups, workers), strict=True):
        stop.check()
        truths = [_truth(dataset, index) for index in indices]
        sizes = [(truth.shape[0], truth.shape[1]) for truth in truths]
        maps = predict(segmentor, images, sizes, protocol, device, precision)
        for index, truth, found in zip(indices, truths, maps, strict=True):
            tallies.append(tally(truth, found, classes, ignore))
            names.append(dataset.name(index))
            if index in keep:
                kept[index] = found
        meter(indices.stop, len(dataset))
    spent = time.monotonic() - began
    per_image, void = np.stack([one.counts for one in tallies]), np.stack([one.void for one in tallies])
    return Judged(tuple(names), per_image, void, len(names) / spent, kept)


def _truth(dataset: Dataset, index: int) -> NDArray[np.uint8]:
    labels = dataset.labels(index)
    if labels is None:
        raise DataError(f"image {dataset.name(index)!r}: a split to be judged needs labels")
    return labels
