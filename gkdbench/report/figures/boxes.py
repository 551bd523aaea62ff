"""The grid of detectors: images, the objects in them, what each method finds and where it is wrong."""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from gkdbench.report.comparison import Comparison
from gkdbench.report.examples import Boxes, Picture
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
from gkdbench.report.figures.sheet import Point, Sheet, areas, strokes, text_width
from gkdbench.report.figures.style import ON_DARK, ON_LIGHT, SMALL, one_name
from gkdbench.report.figures.wall import Wall, heights_of, lean

MOST_METHODS = 4
SURE = 0.5
"""Score from which on a box is shown."""
OVERLAP = 0.5
"""IoU with an object of its class from which on a box has found it."""
_MOST_CLASSES = 40
_CELL = 150.0
_LINE = 13.0
_WRONG, _RIGHT, _PAPER, _EDGE = "#b20018", "#8a8a8a", "#f0f0f0", "#101112"
_DASHED: Any = (0, (3.0, 1.6))
Place = tuple[float, float, float, float]


@dataclass(frozen=True)
class Judged:
    """What of an image's objects a detector found."""

    found: Boxes
    """Boxes that found an object."""
    false: Boxes
    missed: Boxes
    """Objects that no box found."""


def boxes_figure(
    comparison: Comparison, series: Sequence[Series], folders: Mapping[str, Path], forms: Collection[str] = FORMS
) -> Drawing | None:
    """Draw an image of every split with its objects, what methods found and their errors; None without examples."""
    whole = exhibition(comparison, series, folders)
    chosen = sorted(whole.exhibits[:MOST_METHODS], key=lambda exhibit: exhibit.one.number)
    lines = images_shown(comparison, chosen)
    if not lines:
        return None
    images = [first_picture(whole, chosen, line, "image") for line in lines]
    truths = [_truth(whole, chosen, line) for line in lines]
    found = [[_sure(_boxes(whole, exhibit, line, "prediction")) for exhibit in chosen] for line in lines]
    present = sorted({int(n) for row in ([*truths], *found) for one in row if one is not None for n in one.labels})
    colours = ["#{:02x}{:02x}{:02x}".format(*rgb) for rgb in chosen[0].examples.palette.tolist()]
    named = present[:_MOST_CLASSES]
    wall = Wall(lines, heights_of(images, _CELL), 2, 1 + len(chosen), _CELL)
    entries = [(one_name(comparison.classes[index]), colours[index], "-") for index in named]
    entries += [("difficult", _EDGE, _DASHED)] if any(one is not None and one.last.any() for one in truths) else []
    entries += [("right", _RIGHT, "-"), ("false", _WRONG, "-"), ("missed", _WRONG, _DASHED)]
    across = max(1, int(wall.width // (max(text_width(name) for name, *_ in entries) + 26)))
    deep = -(-len(entries) // across) * _LINE
    sheet = wall.put_up(deep + 10)
    wall.head(0, "image", "objects below")
    for column, one in enumerate(chosen, start=1):
        wall.head(column, one.one.name, f"boxes of score {SURE} and more, errors below")
    for line, (image, truth) in enumerate(zip(images, truths, strict=True)):
        wall.hang(image, line, 0)
        _draw(sheet, wall.hang(image, line, 0, 1), image, truth, colours, difficult=True)
        for column, boxes in enumerate(found[line], start=1):
            _draw(sheet, wall.hang(None if boxes is None else image, line, column), image, boxes, colours)
            _draw_errors(sheet, wall, image, truth, boxes, line, column)
    _key(sheet, entries, wall.width / across, across, deep)
    shown, candidates = [one.one for one in chosen], [one.one for one in whole.exhibits]
    caption = sentences(
        f"What the methods find: boxes of score {SURE} and more in the colours of their classes, with scores where "
        f"there is room; below each its errors: red boxes that match no object of their class by IoU {OVERLAP}, dashed "
        "objects that no box matches, grey boxes that are right. Difficult objects count neither way.",
        told(comparison, chosen, lines),
        source_told(comparison),
        left_out(candidates, shown),
        f"Classes not named: {len(present) - len(named)}." if len(present) > len(named) else "",
        f"Without examples: {listed(whole.without, 8)}." if whole.without else "",
        "Some examples cannot be read (dashes)." if whole.faults else "",
    )
    label = (
        f"Images of {len(lines)} splits with their objects, and boxes and errors of "
        f"{listed([one.name for one in shown], MOST_METHODS)}."
    )
    details = (*particulars(comparison, candidates, shown), *particulars_of(whole, chosen, lines))
    return lean(finish(sheet.figure, f"{comparison.slug}-examples", caption, details, label=label, forms=forms))


def judged(truth: Boxes, found: Boxes) -> Judged:
    """Match boxes and objects of one class, the surest box first, each with the free object that it overlaps most.

    A box that matches a difficult object alone is neither found nor false.
    """
    overlap = _overlaps(found.places, truth.places) * (found.labels[:, None] == truth.labels[None])
    difficult, taken = truth.last > 0, np.zeros(len(truth.labels), bool)
    hit, aside = np.zeros(len(found.labels), bool), np.zeros(len(found.labels), bool)
    for index in np.argsort(-found.last, kind="stable").tolist():
        free = overlap[index] * ~(taken | difficult)
        if free.max(initial=0) >= OVERLAP:
            hit[index] = taken[int(free.argmax())] = True
        else:
            aside[index] = (overlap[index] * difficult).max(initial=0) >= OVERLAP
    return Judged(found.chosen(hit), found.chosen(~hit & ~aside), truth.chosen(~taken & ~difficult))


def _overlaps(first: NDArray[np.float64], second: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return IoU [n, m] of boxes; in parts of one image's sides it is the same as in pixels."""
    low = np.maximum(first[:, None, :2], second[None, :, :2])
    high = np.minimum(first[:, None, 2:], second[None, :, 2:])
    common = (high - low).clip(0).prod(axis=2)
    sizes = [(boxes[:, 2:] - boxes[:, :2]).prod(axis=1) for boxes in (first, second)]
    union = sizes[0][:, None] + sizes[1][None] - common
    return np.asarray(common / np.maximum(union, 1e-12), np.float64)


def _boxes(whole: Exhibition, exhibit: Exhibit, line: tuple[str, str], kind: str) -> Boxes | None:
    example = example_of(exhibit, *line)
    return None if example is None else whole.attempt(exhibit.examples.found, example, kind)


def _truth(whole: Exhibition, exhibits: Sequence[Exhibit], line: tuple[str, str]) -> Boxes | None:
    """Return a line's objects as the first run left them that has them."""
    return next((one for exhibit in exhibits if (one := _boxes(whole, exhibit, line, "truth")) is not None), None)


def _sure(boxes: Boxes | None) -> Boxes | None:
    return None if boxes is None else boxes.chosen(boxes.last >= SURE)


def _draw(
    sheet: Sheet, at: Place, image: Picture | None, boxes: Boxes | None, colours: Sequence[str], difficult: bool = False
) -> None:
    """Draw boxes on a picture that hangs there, scores beside those with room; `difficult`: they are objects."""
    if boxes is None or image is None:
        return
    frames = _frames(boxes, at)
    # a dark edge keeps lines visible on any image
    strokes(sheet.canvas, frames, _EDGE, 1.7, level=4)
    for label in np.unique(boxes.labels).tolist():
        own = [index for index, other in enumerate(boxes.labels.tolist()) if other == label]
        dashed = [frames[index] for index in own if difficult and boxes.last[index]]
        strokes(sheet.canvas, dashed, colours[label], 0.9, _DASHED, level=4.1)
        strokes(sheet.canvas, [frames[i] for i in own if frames[i] not in dashed], colours[label], 0.9, level=4.1)
    if difficult:
        return
    for frame, label, score in zip(frames, boxes.labels.tolist(), boxes.last, strict=True):
        _score(sheet, frame, colours[label], f"{score:.2f}".removeprefix("0"))


def _score(sheet: Sheet, frame: Sequence[Point], colour: str, text: str) -> None:
    """Write a score into the upper left corner of a box where it covers little of it."""
    (left, bottom), (right, _), (_, top) = frame[0], frame[1], frame[2]
    wide, high = text_width(text, SMALL) + 2, SMALL + 0.5
    if right - left < 1.5 * wide or top - bottom < 2 * high:
        return
    corners = [(left, top - high), (left + wide, top - high), (left + wide, top), (left, top)]
    areas(sheet.canvas, [corners], colour, edge=0, level=4.2)
    red, green, blue = (int(colour[place : place + 2], 16) for place in (1, 3, 5))
    light = 0.299 * red + 0.587 * green + 0.114 * blue > 120
    sheet.write(left + 1, top - high / 2, text, SMALL, colour=ON_LIGHT if light else ON_DARK)


def _draw_errors(
    sheet: Sheet, wall: Wall, image: Picture | None, truth: Boxes | None, boxes: Boxes | None, line: int, column: int
) -> None:
    """Draw what is right, false and missed on blank paper of the image's shape."""
    if image is None or truth is None or boxes is None:
        wall.hang(None, line, column, 1)
        return
    left, bottom, wide, high = wall.place(image, line, column, 1)
    corners = [(left, bottom), (left + wide, bottom), (left + wide, bottom + high), (left, bottom + high)]
    areas(sheet.canvas, [corners], _PAPER, edge=0)
    result, at = judged(truth, boxes), (left, bottom, wide, high)
    strokes(sheet.canvas, _frames(result.found, at), _RIGHT, 0.9, level=4)
    strokes(sheet.canvas, _frames(result.missed, at), _WRONG, 1.1, _DASHED, level=4.1)
    strokes(sheet.canvas, _frames(result.false, at), _WRONG, 1.1, level=4.2)


def _frames(boxes: Boxes, at: Place) -> list[list[Point]]:
    """Return the outline of each box on a picture that hangs there, from its lower left corner on."""
    left, bottom, wide, high = at
    frames = []
    for x0, y0, x1, y1 in boxes.places.tolist():
        west, east = left + x0 * wide, left + x1 * wide
        north, south = bottom + (1 - y0) * high, bottom + (1 - y1) * high
        frames.append([(west, south), (east, south), (east, north), (west, north), (west, south)])
    return frames


def _key(
    sheet: Sheet, entries: Sequence[tuple[str, str, Any]], wide: float, across: int, height: float
) -> None:
    """Say what lines mean, row by row, below all pictures."""
    for number, (name, colour, dashes) in enumerate(entries):
        x, y = (number % across) * wide + 1, height - (number // across + 0.5) * _LINE
        frame = [(x, y - 4), (x + 14, y - 4), (x + 14, y + 4), (x, y + 4), (x, y - 4)]
        strokes(sheet.canvas, [frame], colour, 1.2, dashes)
        sheet.write(x + 18, y, name)
