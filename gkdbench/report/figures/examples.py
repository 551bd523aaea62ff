"""The qualitative grid: images, truth, what each method predicts and where it is wrong."""

from collections.abc import Collection, Mapping, Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from gkdbench.report.comparison import Comparison
from gkdbench.report.examples import Examples, Picture
from gkdbench.report.figures.captions import listed, particulars, sentences, source_told
from gkdbench.report.figures.drawing import FORMS, Drawing, finish
from gkdbench.report.figures.exhibits import (
    Exhibit,
    Exhibition,
    example_of,
    exhibition,
    first_picture,
    images_shown,
    particulars_of,
    told,
)
from gkdbench.report.figures.series import Series, left_out
from gkdbench.report.figures.sheet import Sheet, boxes, text_width
from gkdbench.report.figures.style import one_name
from gkdbench.report.figures.wall import Wall, heights_of, lean, reduced

MOST_METHODS = 6
_MOST_CLASSES = 40
_LINE = 13.0
_WRONG, _RIGHT, _BORDER = (178, 0, 24), (228, 228, 228), (168, 168, 168)
_STRIPE = (150, 150, 150)
"""Of the hatch over pixels without ground truth, on white."""
_EVERY = 4
"""Pixels from one line of the hatch to the next."""


def examples_figure(
    comparison: Comparison, series: Sequence[Series], folders: Mapping[str, Path], forms: Collection[str] = FORMS
) -> Drawing | None:
    """Draw an image of every split with its truth, predictions and errors; None where no run left examples."""
    whole = exhibition(comparison, series, folders)
    chosen = sorted(whole.exhibits[:MOST_METHODS], key=lambda exhibit: exhibit.one.number)
    lines = images_shown(comparison, chosen)
    if not lines:
        return None
    images = [first_picture(whole, chosen, line, "image") for line in lines]
    truths = [first_picture(whole, chosen, line, "truth") for line in lines]
    found = [[_prediction(whole, one, line) for one in chosen] for line in lines]
    present = _present([*truths, *(prediction for row in found for prediction, _ in row)], comparison)
    palette = chosen[0].examples.palette
    names = [one_name(comparison.classes[index]) for index in present][:_MOST_CLASSES]
    wall = Wall(lines, heights_of(images), 2, 1 + len(chosen))
    key = _Key(names, [tuple(palette[index].tolist()) for index in present], wall.width)
    sheet = wall.put_up(key.height + 10)
    wall.head(0, "image", "ground truth below")
    for column, one in enumerate(chosen, start=1):
        wall.head(column, one.one.name, "prediction, errors below")
    for line in range(len(lines)):
        wall.hang(images[line], line, 0)
        truth = truths[line]
        wall.hang(None if truth is None else _painted(truth, palette), line, 0, 1)
        for column, (prediction, errors) in enumerate(found[line], start=1):
            wall.hang(None if prediction is None else _painted(prediction, palette), line, column)
            wall.hang(errors, line, column, 1)
    key.write(sheet)
    shown = [one.one for one in chosen]
    candidates = [one.one for one in whole.exhibits]
    caption = sentences(
        "What the methods see: predictions, and below each where it is wrong (red; grey: right, with the borders of "
        "the true classes; hatched: no ground truth).",
        told(comparison, chosen, lines),
        source_told(comparison),
        left_out(candidates, shown),
        f"Classes not named: {len(present) - len(names)}." if len(present) > len(names) else "",
        f"Without examples: {listed(whole.without, 8)}." if whole.without else "",
        "Some examples cannot be read (dashes)." if whole.faults else "",
    )
    label = (
        f"Images of {len(lines)} splits with ground truth, predictions and errors of "
        f"{listed([one.name for one in shown], MOST_METHODS)}."
    )
    details = (*particulars(comparison, candidates, shown), *particulars_of(whole, chosen, lines))
    return lean(finish(sheet.figure, f"{comparison.slug}-examples", caption, details, label=label, forms=forms))


def _prediction(whole: Exhibition, exhibit: Exhibit, line: tuple[str, str]) -> tuple[Picture | None, Picture | None]:
    """Return what a run predicted for a line's image, and a picture of its errors by the run's own truth."""
    examples, example = exhibit.examples, example_of(exhibit, *line)
    if example is None:
        return None, None
    prediction = whole.attempt(examples.labels, example, "prediction")
    truth = whole.attempt(examples.labels, example, "truth")
    if prediction is None or truth is None or prediction.shape != truth.shape:
        if prediction is not None and truth is not None:
            whole.faults.append(f"{examples.folder}: truth and prediction of {example.image!r} differ in size")
        return None if prediction is None else reduced(prediction, smooth=False), None
    prediction, truth = reduced(prediction, smooth=False), reduced(truth, smooth=False)
    return prediction, error_map(truth, prediction, examples)


def error_map(truth: Picture, prediction: Picture, examples: Examples) -> Picture:
    """Return a picture [H, W, 3] of where a prediction is wrong; both maps are class indices [H, W]."""
    picture = np.full((*truth.shape, 3), _RIGHT, np.uint8)
    border = np.zeros(truth.shape, bool)
    border[:, 1:] |= truth[:, 1:] != truth[:, :-1]
    border[1:] |= truth[1:] != truth[:-1]
    picture[border] = _BORDER
    picture[truth != prediction] = _WRONG
    return _hatched(picture, truth == examples.ignore)


def _hatched(picture: Picture, where: NDArray[np.bool_]) -> Picture:
    """Hatch a part of a picture: what has no ground truth."""
    rows, columns = np.indices(where.shape)
    picture[where] = (255, 255, 255)
    picture[where & ((rows + columns) % _EVERY == 0)] = _STRIPE
    return picture


def _painted(labels: Picture, palette: NDArray[np.uint8]) -> Picture:
    """Return class indices in their colours; others hatched."""
    known = labels < len(palette)
    return _hatched(palette[np.where(known, labels, 0)], ~known)


def _present(maps: Sequence[Picture | None], comparison: Comparison) -> list[int]:
    """Return the classes that some map holds."""
    found = {int(value) for one in maps if one is not None for value in np.unique(one)}
    return sorted(value for value in found if value < len(comparison.classes))


class _Key:
    """Which colour is which class, row by row, below all pictures."""

    def __init__(self, names: Sequence[str], colours: Sequence[tuple[int, ...]], width: float) -> None:
        self._entries = [(name, colour, "") for name, colour in zip(names, colours, strict=False)]
        self._entries += [("wrong", _WRONG, ""), ("no ground truth", (255, 255, 255), "////")]
        wide = max(text_width(name) for name, *_ in self._entries) + 26
        self._across = max(1, min(int(width // wide), len(self._entries)))
        self._wide = wide
        self.height = -(-len(self._entries) // self._across) * _LINE

    def write(self, sheet: Sheet) -> None:
        """Write it at the foot of a sheet."""
        for number, (name, colour, hatch) in enumerate(self._entries):
            x, y = (number % self._across) * self._wide + 1, self.height - (number // self._across + 0.5) * _LINE
            boxes(sheet.canvas, [(x, y - 4, x + 14, y + 4)], "#{:02x}{:02x}{:02x}".format(*colour), hatch)
            sheet.write(x + 18, y, name)
