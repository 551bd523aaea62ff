"""What encoders see: the main directions of their features as colours, teacher, initial and trained student."""

from collections.abc import Collection, Mapping, Sequence
from itertools import permutations
from pathlib import Path

import numpy as np
from PIL import Image

from gkdbench.report.comparison import Comparison
from gkdbench.report.examples import Picture
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
from gkdbench.report.figures.series import Series
from gkdbench.report.figures.wall import Wall, heights_of, lean, reduced

MOST_ENCODERS = 6
Maps = list[Picture | None]


def features_figure(
    comparison: Comparison, series: Sequence[Series], folders: Mapping[str, Path], forms: Collection[str] = FORMS
) -> Drawing | None:
    """Draw the features of an image of every split, an encoder a column; None where no run left any."""
    whole = exhibition(comparison, series, folders)
    having = [one for one in whole.exhibits if any("features" in each.files for each in one.examples.every)]
    chosen = _choice(having)
    lines = images_shown(comparison, chosen)
    if not lines:
        return None
    images = [first_picture(whole, chosen, line, "image") for line in lines]
    own = [_maps(whole, exhibit, lines) for exhibit in chosen]
    maps = [agreeing(found, own[0]) for found in own]
    wall = Wall(lines, heights_of(images), 1, 1 + len(chosen))
    sheet = wall.put_up(2)
    wall.head(0, "image", "")
    for column, exhibit in enumerate(chosen, start=1):
        wall.head(column, exhibit.one.name, _kind(exhibit))
    for line, image in enumerate(images):
        wall.hang(image, line, 0)
        for column, found in enumerate(maps, start=1):
            wall.hang(found[line], line, column, like=image)
    shown = [one.one for one in chosen]
    caption = sentences(
        "What the encoders see: their last features of each image, a patch a pixel, the three main directions of a "
        "run's tokens as red, green and blue. Directions are found for every run by itself; channels are put in the "
        f"order, and inverted, in which they agree best with {shown[0].name}, so that alike parts get alike colours. "
        "Colours compare within a column, structure across.",
        told(comparison, chosen, lines),
        source_told(comparison),
        _left_out(having, chosen),
        f"Without features: {listed(_without(series, having), 8)}." if len(having) < len(series) else "",
        "Some examples cannot be read (dashes)." if whole.faults else "",
    )
    label = f"Main directions of features as colours, {len(lines)} images: {listed([o.name for o in shown], 6)}."
    details = (*particulars(comparison, [one.one for one in having], shown), *particulars_of(whole, chosen, lines))
    return lean(finish(sheet.figure, f"{comparison.slug}-features", caption, details, label=label, forms=forms))


def _maps(whole: Exhibition, exhibit: Exhibit, lines: Sequence[tuple[str, str]]) -> Maps:
    """Return a run's maps of colours, one a line; None where it has none."""
    found: Maps = []
    for line in lines:
        example = example_of(exhibit, *line)
        left = example is not None and "features" in example.files
        picture = whole.attempt(exhibit.examples.colours, example, "features") if example and left else None
        found.append(None if picture is None else reduced(picture, smooth=False))
    return found


def _choice(having: Sequence[Exhibit]) -> list[Exhibit]:
    """Return the teacher, the student as it was, and the trained students that figures show first."""
    teachers = [one for one in having if one.one.row.teacher][:1]
    initial = [one for one in having if not one.one.row.teacher and not one.examples.encoder.trained][:1]
    trained = [one for one in having if not one.one.row.teacher and one.examples.encoder.trained]
    trained = trained[: MOST_ENCODERS - len(teachers) - len(initial)]
    return [*teachers, *initial, *sorted(trained, key=lambda one: one.one.number)]


def _kind(exhibit: Exhibit) -> str:
    return f"{exhibit.examples.encoder.model}, {'trained' if exhibit.examples.encoder.trained else 'initial weights'}"


def _left_out(having: Sequence[Exhibit], chosen: Sequence[Exhibit]) -> str:
    missing = len(having) - len(chosen)
    if not missing:
        return ""
    return (
        "Shown: of rows with features the teacher, the first whose encoder never trained, then the baseline and the "
        f"best by OOD mean; {missing} rows left out."
    )


def _without(series: Sequence[Series], having: Sequence[Exhibit]) -> list[str]:
    known = {exhibit.one.number for exhibit in having}
    return [one.name for one in sorted(series, key=lambda one: one.place) if one.number not in known]


def agreeing(maps: Maps, model: Maps) -> Maps:
    """Return maps of colours [h, w, 3] with their channels ordered and inverted to correlate best with a model's.

    Principal directions have no order that means the same in two encoders, and no sign at all.
    """
    known = [(own, other) for own, other in zip(maps, model, strict=True) if own is not None and other is not None]
    pairs = [(own, _on_grid(other, own)) for own, other in known]
    if not pairs:
        return maps
    own, other = (np.concatenate([pair[side].reshape(-1, 3) for pair in pairs]).astype(float) for side in (0, 1))
    own, other = own - own.mean(axis=0), other - other.mean(axis=0)
    scale = np.outer(np.linalg.norm(own, axis=0), np.linalg.norm(other, axis=0))
    shared = own.T @ other / np.maximum(scale, 1e-12)  # [own channel, the model's]
    best = max(permutations(range(3)), key=lambda order: sum(abs(shared[one, at]) for at, one in enumerate(order)))
    inverted = np.array([shared[one, at] < 0 for at, one in enumerate(best)])

    def turned(picture: Picture) -> Picture:
        ordered = picture[..., best]
        return np.where(inverted, 255 - ordered, ordered)

    return [None if one is None else turned(one) for one in maps]


def _on_grid(picture: Picture, like: Picture) -> Picture:
    if picture.shape == like.shape:
        return picture
    return np.asarray(Image.fromarray(picture).resize((like.shape[1], like.shape[0]), Image.Resampling.BOX))
