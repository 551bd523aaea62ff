"""The grid of detectors: boxes in their classes' colours, errors by a match of half, and nothing foreign breaks it."""

import json
import re
import xml.etree.ElementTree as ET
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from gkdbench.errors import DataError
from gkdbench.report.comparison import Comparison, compare
from gkdbench.report.examples import Boxes, read_examples
from gkdbench.report.figures.boxes import boxes_figure, judged
from gkdbench.report.figures.series import line_up

CLASSES = ["car", "person"]
PALETTE = [[0, 0, 142], [220, 20, 60]]
SPLITS = ["in-domain val", "night", "fog", "rain"]
TRUTH = [[4, 4, 24, 14, 0, False], [30, 2, 38, 18, 1, False], [50, 4, 60, 14, 1, True]]
FOUND = [[4, 4, 24, 15, 0, 0.98], [40, 20, 60, 30, 1, 0.75], [0, 0, 9, 9, 0, 0.3]]


def index(**changes: Any) -> dict[str, Any]:
    one = {"size": [32, 64], "files": {"image": "00-image.png"}, "boxes": {"truth": TRUTH, "prediction": FOUND}}
    return {
        "schema": 1,
        "task": "detection",
        "rule": "of every split one image",
        "encoder": {"model": "student", "trained": True},
        "classes": CLASSES,
        "palette": PALETTE,
        "ignore": 255,
        "examples": [{"split": split, "image": f"{split}/0", **one} for split in SPLITS],
        **changes,
    }


def leave(folder: Path, content: dict[str, Any]) -> Path:
    home = folder / "examples"
    home.mkdir(parents=True)
    Image.fromarray(np.full((32, 64, 3), 120, np.uint8)).save(home / "00-image.png")
    (home / "examples.json").write_text(json.dumps(content))
    return folder


@pytest.fixture
def shown(make: Any, tmp_path: Path) -> tuple[Comparison, Any, dict[str, Path]]:
    per_class = {"metric": "AP50", "mean_rule": "with_objects", "classes": CLASSES, "spec_task": "detection"}
    records = [make(method, **per_class) for method in ("teacher", "finetune", "gkd", "a", "b", "c")]
    (comparison,) = compare(records)
    return comparison, line_up(comparison.rows), {r.run_id: leave(tmp_path / r.run_id, index()) for r in records}


def boxes(*rows: list[float]) -> Boxes:
    table = np.array(rows, np.float64).reshape(-1, 6)
    return Boxes(table[:, :4], table[:, 4].astype(np.int64), table[:, 5])


def said(svg: str) -> list[str]:
    return [node.text or "" for node in ET.fromstring(svg).iter("{http://www.w3.org/2000/svg}text")]


def strokes(svg: str, colour: str) -> list[str]:
    """Return what is drawn in a colour, the key left out: its outlines lie at the foot."""
    return re.findall(rf'd="([^"]*)"[^>]*stroke: {colour}', svg)


def test_boxes_have_the_colours_of_classes_and_scores(shown: Any) -> None:
    comparison, series, folders = shown
    drawing = boxes_figure(comparison, series, folders)
    assert drawing is not None and drawing.slug.endswith("-examples")
    texts = said(drawing.svg)
    # the teacher and three rows; a box of score 0.3 is not sure; one with room says its score
    assert sum(text in ("teacher", "finetune", "gkd", "a", "b", "c") for text in texts) == 4
    assert texts.count(".98") == 4 * 4 and ".30" not in texts
    assert {"car", "person", "difficult", "right", "false", "missed"} <= set(texts)
    assert drawing.svg.count("<image") == 4 * (2 + 4)
    assert "red boxes that match no object" in drawing.caption and "2 of 6 rows left out" in drawing.caption
    assert strokes(drawing.svg, "#00008e") and strokes(drawing.svg, "#dc143c") and strokes(drawing.svg, "#b20018")
    assert boxes_figure(comparison, series, folders) == drawing


def test_errors_are_what_no_box_and_no_object_matches() -> None:
    truth = boxes([0, 0, 0.5, 0.5, 0, 0], [0.6, 0.6, 0.9, 0.9, 1, 0], [0.6, 0, 0.9, 0.3, 1, 1])
    found = boxes(
        [0, 0, 0.5, 0.4, 0, 0.9],  # found: 0.8
        [0, 0, 0.5, 0.5, 0, 0.6],  # the same object again: false
        [0.6, 0.6, 0.9, 0.9, 0, 0.9],  # of another class: false
        [0.6, 0, 0.9, 0.3, 1, 0.7],  # a difficult object: neither
    )
    result = judged(truth, found)
    assert result.found.last.tolist() == [0.9] and result.false.last.tolist() == [0.6, 0.9]
    assert result.missed.labels.tolist() == [1]
    nothing = judged(truth, boxes())
    assert len(nothing.missed.labels) == 2 and not len(nothing.false.labels)
    assert judged(boxes(), found).false.last.tolist() == found.last.tolist()


@pytest.mark.parametrize(("least", "hits"), [(0.5, 1), (0.499, 0)])
def test_a_match_takes_half(least: float, hits: int) -> None:
    result = judged(boxes([0, 0, 0.4, 0.4, 0, 0]), boxes([0, 0, 0.4, 0.4 * least, 0, 0.9]))
    assert len(result.found.labels) == hits and len(result.missed.labels) == 1 - hits


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"boxes": {"truth": [[0, 0, 5, 5, 9, 0]]}}, "of no class"),
        ({"boxes": {"truth": [[0, 0, 5, 5, -1, 0]]}}, "of no class"),
        ({"boxes": {"truth": [[0, 0, 5, 1e300, 0, 0]]}}, "outside the image"),
        ({"size": []}, "no truth with boxes, or no size"),
        ({"size": [0, 64]}, "no truth with boxes, or no size"),
        ({"boxes": {}}, "no truth with boxes"),
    ],
)
def test_damaged_boxes_cost_what_they_show(shown: Any, tmp_path: Path, change: dict[str, Any], said: str) -> None:
    content = index()
    content["examples"][0] |= change
    left, why = read_examples(leave(tmp_path / "own", content))
    assert left is not None, why
    with pytest.raises(DataError, match=said):
        left.found(left.every[0], "truth")
    assert len(left.found(left.every[1], "truth").labels) == 3
    comparison, series, folders = shown
    run = next(run for run in folders if "-gkd-" in run)
    drawing = boxes_figure(comparison, series, {run: tmp_path / "own"}, ["svg"])
    assert drawing is not None and any(said in detail for detail in drawing.details)
    assert "cannot be read (dashes)" in drawing.caption


def test_an_index_with_rows_of_another_length_is_left_out(tmp_path: Path) -> None:
    content = index()
    content["examples"][0]["boxes"]["truth"] = [[0, 0, 5, 5]]
    left, why = read_examples(leave(tmp_path, content))
    assert left is None and "examples.0.boxes.truth" in why
