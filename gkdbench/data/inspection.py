"""Looking at a split before training on it: sizes, label coverage, class frequencies."""

from collections.abc import Sequence
from typing import Any

import numpy as np

from gkdbench.data.dataset import Dataset


def spread(length: int, count: int) -> list[int]:
    """Return up to `count` indices spread evenly over a split."""
    if length <= count:
        return list(range(length))
    return [int(i) for i in np.linspace(0, length - 1, count).round()]


def inspect_split(
    dataset: Dataset, classes: Sequence[str], ignore: int, sample: int | None, *, labelled: bool = True
) -> dict[str, Any]:
    """Read a sample of a split (None: all) and describe it; a bad file raises DataError.

    `frequencies` are shares of the labelled pixels read.
    """
    chosen = spread(len(dataset), sample or len(dataset))
    counts = np.zeros(256, np.int64)
    sizes: dict[str, int] = {}
    with_labels = False
    for index in chosen:
        image = dataset.image(index)
        size = f"{image.shape[1]}x{image.shape[0]}"
        sizes[size] = sizes.get(size, 0) + 1
        labels = dataset.labels(index) if labelled else None
        if labels is not None:
            with_labels = True
            counts += np.bincount(labels.ravel(), minlength=256)
    known = counts[: len(classes)].sum()
    return {
        "images": len(dataset),
        "read": len(chosen),
        "size": max(sizes, key=lambda s: sizes[s]) + ("" if len(sizes) == 1 else " and others"),
        "labelled": float(known / counts.sum()) if with_labels else None,
        "ignored_pixels": int(counts[ignore]),
        "classes_seen": int((counts[: len(classes)] > 0).sum()),
        "frequencies": {
            name: float(counts[i] / known) if known else 0.0 for i, name in enumerate(classes)
        },
    }
