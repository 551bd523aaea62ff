"""Confusion matrices and IoU: counted in int64, averaged unrounded, by a named rule."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Counts = NDArray[np.int64]
RULES = {
    "skip_absent": "mean over classes; a class absent from truth and prediction is skipped, one only predicted "
    "scores 0 (as cityscapesscripts and mmseg count)",
    "present_in_truth": "mean over the classes present in the ground truth (as BDD100K's tool counts)",
}


def count(truth: NDArray[np.integer], predicted: NDArray[np.integer], classes: int, ignore: int) -> Counts:
    """Count pixels by (truth, prediction); pixels whose truth is the ignore value do not count.

    Args:
        truth: class indices or `ignore`, any shape.
        predicted: class indices, the same shape.
        classes: number of classes K.
        ignore: the truth value that is left out.

    Returns:
        int64 [K, K], row: truth, column: prediction.
    """
    if truth.shape != predicted.shape:
        raise ValueError(f"truth {truth.shape} and prediction {predicted.shape} differ in shape")
    known = truth != ignore
    cells = truth[known].astype(np.int64) * classes + predicted[known]
    return np.bincount(cells, minlength=classes * classes).reshape(classes, classes)


@dataclass(frozen=True)
class Score:
    """IoU per class and their mean, as fractions."""

    iou: NDArray[np.float64]
    """[K]; nan where the rule skips the class."""
    mean: float
    """nan where the rule skips every class."""
    in_mean: int
    never_predicted: tuple[int, ...]
    """Classes present in the truth that were never predicted."""
    accuracy: float


def score(counts: Counts, rule: str) -> Score:
    """Compute IoU = TP / (TP + FP + FN) per class and its mean by the named rule."""
    if rule not in RULES:
        raise ValueError(f"unknown rule of the mean {rule!r} (known: {', '.join(RULES)})")
    hit = counts.diagonal().astype(np.float64)
    truth, predicted = counts.sum(1), counts.sum(0)
    union = truth + predicted - counts.diagonal()
    counted = union > 0 if rule == "skip_absent" else truth > 0
    with np.errstate(invalid="ignore", divide="ignore"):
        iou = np.where(counted, hit / union, np.nan)
    total = counts.sum()
    return Score(
        iou=iou,
        mean=float(iou[counted].mean()) if counted.any() else float("nan"),
        in_mean=int(counted.sum()),
        never_predicted=tuple(int(i) for i in np.flatnonzero((truth > 0) & (predicted == 0))),
        accuracy=float(hit.sum() / total) if total else float("nan"),
    )
