"""Confusion matrices and IoU: counted in int64, averaged unrounded, by a named rule."""

from collections.abc import Collection
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

Counts = NDArray[np.int64]
RULES = {
    "skip_absent": "mean over classes; a class absent from truth and prediction is skipped, one only predicted "
    "scores 0 (as cityscapesscripts and mmseg count)",
    "present_in_truth": "mean over the classes present in the ground truth (as BDD100K's tool counts)",
    "void_is_error": "as skip_absent, but a pixel whose truth is ignored is an error of the class predicted there",
}


class Tally(NamedTuple):
    """Pixels of one or more images."""

    counts: Counts
    """[K, K] by class; row: truth, column: prediction."""
    void: Counts
    """[K] by predicted class, where the truth is ignored."""


def count(truth: NDArray[np.integer], predicted: NDArray[np.integer], classes: int, ignore: int) -> Counts:
    """Count pixels by (truth, prediction), int64 [K, K]; those whose truth is ignored do not count. See `tally`."""
    return tally(truth, predicted, classes, ignore).counts


def tally(truth: NDArray[np.integer], predicted: NDArray[np.integer], classes: int, ignore: int) -> Tally:
    """Count pixels by truth and prediction.

    Args:
        truth: class indices or `ignore`, any shape.
        predicted: class indices, the same shape.
        classes: number of classes K.
        ignore: the truth value that stands for no class, at least K.

    ValueError where a value is not a whole number, the truth neither a class nor `ignore`, or the prediction no class.
    """
    if truth.shape != predicted.shape:
        raise ValueError(f"truth {truth.shape} and prediction {predicted.shape} differ in shape")
    # what lies outside would be counted as another class: in the next row, or after an overflow anywhere
    stray = f"truth holds a value that is neither one of {classes} classes nor {ignore}"
    _check(truth, ignore, stray)
    _check(predicted, classes - 1, f"prediction holds a value that is none of {classes} classes")
    # masking the ignored pixels beforehand would take twice as long as counting them in a row of their own
    cells = np.multiply(truth, classes, dtype=np.intp)
    np.add(cells, predicted, out=cells, casting="unsafe")
    rows = ignore + 1
    found = np.bincount(cells.reshape(-1), minlength=rows * classes)
    if found[classes * classes : ignore * classes].any():
        raise ValueError(stray)
    table = found.reshape(rows, classes)
    return Tally(table[:classes].copy(), table[ignore].copy())


def _check(values: NDArray[np.integer], largest: int, stray: str) -> None:
    if not np.issubdtype(values.dtype, np.integer):
        raise ValueError(f"classes are whole numbers, and these values are {values.dtype}")
    if values.size and not 0 <= values.min() <= values.max() <= largest:
        raise ValueError(f"{stray} ({values.min()} to {values.max()} are there)")


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


def score(counts: Counts, rule: str, void: Counts | None = None, excluded: Collection[int] = ()) -> Score:
    """Compute IoU = TP / (TP + FP + FN) per class and its mean by the named rule.

    Args:
        counts: [K, K], row: truth, column: prediction.
        rule: one of RULES.
        void: [K], pixels by predicted class where the truth is ignored; the rule void_is_error adds them to FP.
        excluded: classes that have an IoU and enter no mean.
    """
    if rule not in RULES:
        raise ValueError(f"unknown rule of the mean {rule!r} (known: {', '.join(RULES)})")
    hit = counts.diagonal().astype(np.float64)
    truth, predicted = counts.sum(1), counts.sum(0)
    union = truth + predicted - counts.diagonal()
    if rule == "void_is_error":
        if void is None:
            raise ValueError("the rule void_is_error needs the predictions on ignored pixels")
        union = union + void
    counted = truth > 0 if rule == "present_in_truth" else union > 0
    with np.errstate(invalid="ignore", divide="ignore"):
        iou = np.where(counted, hit / union, np.nan)
    averaged = counted & ~np.isin(np.arange(len(counts)), list(excluded))
    total = counts.sum()
    return Score(
        iou=iou,
        mean=float(iou[averaged].mean()) if averaged.any() else float("nan"),
        in_mean=int(averaged.sum()),
        never_predicted=tuple(int(i) for i in np.flatnonzero((truth > 0) & (predicted == 0))),
        accuracy=float(hit.sum() / total) if total else float("nan"),
    )
