"""Figures of examples: the rule's images, rows by the rule of all figures, and nothing a foreign file can break."""

import base64
import io
import json
import re
import warnings
import xml.etree.ElementTree as ET
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from PIL import Image

from gkdbench.errors import DataError
from gkdbench.report.comparison import Comparison, compare
from gkdbench.report.examples import read_examples
from gkdbench.report.figures.drawing import figure_style
from gkdbench.report.figures.examples import error_map, examples_figure
from gkdbench.report.figures.features import agreeing, features_figure
from gkdbench.report.figures.series import line_up
from gkdbench.runs.record import Record

CLASSES = ["road", "pavement", "building", "pole", "sky", "person", "car", "bicycle"]
TARGETS = ["night", "fog", "rain"]
SPLITS = ["in-domain val", *TARGETS]
PALETTE = [[20 * number, 255 - 20 * number, 100] for number in range(len(CLASSES))]


def index(**changes: Any) -> dict[str, Any]:
    kinds = ("image", "truth", "prediction", "features")
    return {
        "schema": 1,
        "task": "segmentation",
        "rule": "of every split the 2 images whose names come first",
        "encoder": {"model": "student", "trained": True},
        "classes": CLASSES,
        "palette": PALETTE,
        "ignore": 255,
        "examples": [
            {
                "split": split,
                "image": f"{split}/{n}",
                "files": {kind: f"{2 * at + place:02}-{kind}.png" for kind in kinds},
            }
            for at, split in enumerate(SPLITS)
            for place, n in enumerate((7, 3))
        ],
        **changes,
    }


def leave(folder: Path, seed: int = 0, **changes: Any) -> Path:
    """Write a run's examples: the truth has classes 0, 1, 2 and an ignored corner, the prediction is wrong on top."""
    home = folder / "examples"
    home.mkdir(parents=True, exist_ok=True)
    content = index(**changes)
    rng = np.random.default_rng(seed)
    truth = np.repeat([0, 1, 2, 2], 8)[None].repeat(16, 0).astype(np.uint8)
    truth[:4, :4] = 255
    prediction = truth.copy()
    prediction[truth == 255] = 0
    prediction[: seed % 8] = 5
    for example in content["examples"]:
        files = example["files"]
        save(home / files["image"], rng.integers(0, 255, (16, 32, 3)).astype(np.uint8))
        save(home / files["truth"], truth, palette=True)
        save(home / files["prediction"], prediction)
        if "features" in files:
            save(home / files["features"], rng.integers(0, 255, (2, 4, 3)).astype(np.uint8))
    (home / "examples.json").write_text(json.dumps(content))
    return folder


def save(path: Path, pixels: NDArray[np.uint8], palette: bool = False) -> None:
    picture = Image.fromarray(pixels)
    if palette:
        picture.putpalette([value for n in range(256) for value in (n, n, 7)])
    picture.save(path)


@pytest.fixture
def shown(make: Any, tmp_path: Path) -> tuple[Comparison, Any, dict[str, Path]]:
    """A comparison of eleven rows, nine with examples: the teacher, one with its first encoder, and trained ones."""
    records: list[Record] = [make("teacher"), make("frozen"), make("finetune"), make("finetune", 1), make("bare")]
    records += [make(f"method{n}", values=[60.0 + n] * 4) for n in range(6)]
    left = [record for record in records if record.spec.method != "bare"]
    folders = {}
    for number, record in enumerate(left):
        method = record.spec.method
        encoder = {
            "model": "teacher" if method == "teacher" else "student",
            "trained": method not in ("teacher", "frozen"),
        }
        folders[record.run_id] = leave(tmp_path / record.run_id, number, encoder=encoder)
    (comparison,) = compare(records)
    return comparison, line_up(comparison.rows, next(r for r in comparison.rows if r.label == "finetune")), folders


def said(svg: str) -> list[str]:
    return [node.text or "" for node in ET.fromstring(svg).iter("{http://www.w3.org/2000/svg}text")]


def pictures(svg: str) -> list[Image.Image]:
    found = re.findall(r"data:image/(png|jpeg);base64,([A-Za-z0-9+/=]+)", svg)
    return [Image.open(io.BytesIO(base64.b64decode(content))) for _, content in found]


def test_the_grid_shows_the_teacher_the_baseline_and_the_best(shown: Any) -> None:
    comparison, series, folders = shown
    drawing = examples_figure(comparison, series, folders)
    assert drawing is not None and set(drawing.files) == {"svg", "png", "pdf"} and drawing.slug.endswith("-examples")
    texts = said(drawing.svg)
    heads = [text for text in texts if text in {row.label for row in comparison.rows}]
    assert heads == ["teacher", "finetune", "method2", "method3", "method4", "method5"]
    assert [text for text in texts if text in ("in-domain", *TARGETS)] == ["in-domain", *TARGETS]
    assert "in-domain val/7" in texts and "night/7" in texts and "night/3" not in texts
    assert {"road", "pavement", "building", "person", "wrong", "no ground truth"} <= set(texts) and "sky" not in texts
    # image and truth, and six predictions with their errors, on four splits
    assert len(pictures(drawing.svg)) == len(pictures(drawing.inline)) == 4 * 2 * 7
    assert drawing.svg.count("image-rendering") >= 4 * 2 * 7 and len(drawing.svg) < 80_000
    assert "of every split the 2 images whose names come first" in drawing.caption
    assert "3 of 9 rows left out" in drawing.caption and "Without examples: bare." in drawing.caption
    assert "finetune seed 0" in drawing.caption and "seed 1" not in drawing.caption
    again = examples_figure(comparison, series, folders)
    assert again == drawing


def test_colours_are_the_palettes_and_errors_are_red(shown: Any) -> None:
    comparison, series, folders = shown
    drawing = examples_figure(comparison, series, folders, ["svg"])
    assert drawing is not None
    found = [set(picture.convert("RGB").get_flattened_data()) for picture in pictures(drawing.svg)]
    colours = {tuple(colour) for colour in PALETTE}
    maps = [one for one in found if one & colours]
    assert len(maps) >= 4 * 7 and all(one <= colours | {(255, 255, 255), (150, 150, 150)} for one in maps)
    assert any((178, 0, 24) in one and (228, 228, 228) in one for one in found)


def test_an_error_map_marks_wrong_right_and_ignored(tmp_path: Path) -> None:
    examples, _ = read_examples(leave(tmp_path, 3))
    assert examples is not None
    (one, _) = examples.of("night")
    truth, prediction = examples.labels(one, "truth"), examples.labels(one, "prediction")
    picture = error_map(truth, prediction, examples)
    wrong = (picture == (178, 0, 24)).all(-1)
    assert (wrong == ((truth != prediction) & (truth != 255))).all() and wrong.sum() == 3 * 28
    ignored = picture[truth == 255]
    assert set(map(tuple, ignored.tolist())) == {(255, 255, 255), (150, 150, 150)}
    assert (picture[10, 20] == 228).all() and (picture[10, 16] == 168).all()  # a border of the truth


def test_features_of_teacher_initial_and_trained_students(shown: Any) -> None:
    comparison, series, folders = shown
    drawing = features_figure(comparison, series, folders)
    assert drawing is not None and drawing.slug.endswith("-features")
    texts = said(drawing.svg)
    labels = {row.label for row in comparison.rows}
    assert [t for t in texts if t in labels] == ["teacher", "frozen", "finetune", "method3", "method4", "method5"]
    kinds = [text for text in texts if text.startswith(("teacher,", "student,"))]
    assert kinds == ["teacher, initial weights", "student, initial weights", *["student, trained"] * 4]
    assert len(pictures(drawing.svg)) == 4 * 7 and "3 rows left out" in drawing.caption


def test_no_examples_no_figure(make: Any, tmp_path: Path) -> None:
    (comparison,) = compare([make("finetune"), make("gkd")])
    series = line_up(comparison.rows)
    assert examples_figure(comparison, series, {}) is None and features_figure(comparison, series, {}) is None
    folders = {record.run_id: tmp_path for row in comparison.rows for record in row.records}
    assert examples_figure(comparison, series, folders) is None
    bare = index()["examples"]
    for example in bare:
        del example["files"]["features"]
    leave(tmp_path, examples=bare)
    assert examples_figure(comparison, series, folders) is not None
    assert features_figure(comparison, series, folders) is None


def damaged(name: str, content: bytes) -> Callable[[Path], int]:
    return lambda home: (home / name).write_bytes(content)


def as_png(mode: str, size: tuple[int, int], colour: Any = 0) -> bytes:
    out = io.BytesIO()
    Image.new(mode, size, colour).save(out, format="PNG")
    return out.getvalue()


@pytest.mark.parametrize(
    ("damage", "words"),
    [
        (lambda home: (home / "00-truth.png").unlink(), "cannot be read as a picture"),
        (damaged("00-prediction.png", b"GIF89a"), "cannot be read as a picture"),
        (damaged("00-prediction.png", as_png("L", (32, 16))[:45]), "cannot be read as a picture"),
        (damaged("00-prediction.png", as_png("L", (32, 16), 77)), "77 is no class"),
        (damaged("00-prediction.png", as_png("RGB", (32, 16))), "8 bits"),
        (damaged("00-prediction.png", as_png("L", (3000, 2))), "3000x2 pixels are more than a run writes"),
        (damaged("00-prediction.png", as_png("L", (30, 16))), "differ in size"),
        (damaged("00-image.png", b"\x00" * (5 * 2**20)), "larger than 4 MiB"),
    ],
)
def test_a_damaged_picture_is_a_dash_and_a_line(make: Any, tmp_path: Path, damage: Any, words: str) -> None:
    (comparison,) = compare([make("finetune")])
    (record,) = comparison.rows[0].records
    damage(leave(tmp_path) / "examples")
    drawing = examples_figure(comparison, line_up(comparison.rows), {record.run_id: tmp_path}, ["svg"])
    assert drawing is not None and "–" in said(drawing.svg) and "cannot be read (dashes)" in drawing.caption
    assert any(words in detail and "\n" not in detail for detail in drawing.details)


@pytest.mark.parametrize(
    "name", ["../record.json", "/etc/passwd", "a/../../x.png", "x.svg", "", "..png", "A.png", "x" * 99]
)
def test_file_names_lead_nowhere_else(tmp_path: Path, name: str) -> None:
    content = index()["examples"]
    leave(tmp_path)
    content[0]["files"]["image"] = name
    (tmp_path / "examples" / "examples.json").write_text(json.dumps(index(examples=content)))
    examples, why = read_examples(tmp_path)
    assert examples is not None and not why
    with pytest.raises(DataError, match="is no file of this folder"):
        examples.colours(examples.every[0], "image")


def test_a_link_out_of_the_folder_is_not_followed(tmp_path: Path) -> None:
    save(tmp_path / "secret.png", np.zeros((4, 4, 3), np.uint8))
    home = leave(tmp_path / "run") / "examples"
    (home / "00-image.png").unlink()
    (home / "00-image.png").symlink_to(tmp_path / "secret.png")
    examples, _ = read_examples(tmp_path / "run")
    assert examples is not None
    with pytest.raises(DataError, match="is no file of this folder"):
        examples.colours(examples.every[0], "image")


@pytest.mark.parametrize(
    "content",
    [
        b"", b"{", b"[]", b"\xff\xfe", b"[" * 100_000, b" " * (2**20 + 1), json.dumps(index(schema=2)).encode(),
        json.dumps(index(palette=PALETTE[1:])).encode(), json.dumps(index(palette=[[0, 0, 256]] * 8)).encode(),
        json.dumps(index(ignore=3)).encode(), json.dumps(index(examples=[{"split": "night"}])).encode(),
        json.dumps(index(classes=[])).encode(), json.dumps(index(encoder={"model": "x", "trained": 1})).encode(),
    ],
)  # fmt: skip
def test_a_damaged_index_is_named_and_nothing_more(make: Any, tmp_path: Path, content: bytes) -> None:
    (leave(tmp_path) / "examples" / "examples.json").write_bytes(content)
    examples, why = read_examples(tmp_path)
    assert examples is None and "examples.json" in why and "left out" in why and "\n" not in why
    (comparison,) = compare([make("finetune")])
    (record,) = comparison.rows[0].records
    assert examples_figure(comparison, line_up(comparison.rows), {record.run_id: tmp_path}) is None


def test_examples_of_other_classes_are_left_out(make: Any, tmp_path: Path) -> None:
    records = [make("finetune"), make("gkd")]
    (comparison,) = compare(records)
    folders = {
        records[0].run_id: leave(tmp_path / "a"),
        records[1].run_id: leave(tmp_path / "b", classes=[*"abcdefgh"]),
    }
    drawing = examples_figure(comparison, line_up(comparison.rows), folders, ["svg"])
    assert drawing is not None and "gkd" not in said(drawing.svg)
    assert any("not the run's classes" in detail for detail in drawing.details)


def test_hostile_texts_are_texts(make: Any, tmp_path: Path) -> None:
    examples = index()["examples"]
    examples[0]["image"] = "<script>alert(1)</script>\x00\n" * 30
    left = leave(tmp_path, examples=examples, rule="<b>\n" * 200)
    (comparison,) = compare([make("<script>x</script>")])
    (record,) = comparison.rows[0].records
    with warnings.catch_warnings(), figure_style():
        for figure in (examples_figure, features_figure):
            drawing = figure(comparison, line_up(comparison.rows), {record.run_id: left})
            assert drawing is not None and "<script" not in drawing.inline and "\x00" not in drawing.inline
            ET.fromstring(drawing.inline)


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=4),
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from([*index(), "split", "image", "files"]), inner)
    ),
    max_leaves=10,
)


@settings(max_examples=150)
@given(key=st.sampled_from(sorted(index())), value=json_values)
def test_any_index_is_read_or_refused(tmp_path_factory: pytest.TempPathFactory, key: str, value: Any) -> None:
    folder = tmp_path_factory.getbasetemp() / "any-index"
    (folder / "examples").mkdir(parents=True, exist_ok=True)
    (folder / "examples" / "examples.json").write_text(json.dumps({**index(), key: value}))
    found, why = read_examples(folder)
    assert (found is None) == bool(why)


@settings(max_examples=150)
@given(data=st.data())
def test_any_bytes_are_a_picture_or_one_clear_error(
    tmp_path_factory: pytest.TempPathFactory, data: st.DataObject
) -> None:
    folder = tmp_path_factory.getbasetemp() / "any-picture"
    if not folder.exists():
        leave(folder)
    good = bytearray(as_png("P", (20, 10), 1))
    for _ in range(data.draw(st.integers(1, 4))):
        good[data.draw(st.integers(0, len(good) - 1))] = data.draw(st.integers(0, 255))
    (folder / "examples" / "00-truth.png").write_bytes(bytes(good[: data.draw(st.integers(0, len(good)))]))
    examples, _ = read_examples(folder)
    assert examples is not None
    try:
        assert examples.labels(examples.every[0], "truth").ndim == 2
    except DataError as error:
        assert "\n" not in str(error)


@given(st.permutations([0, 1, 2]), st.lists(st.booleans(), min_size=3, max_size=3), st.integers(0, 9))
def test_channels_are_put_back_in_the_models_order(order: list[int], inverted: list[bool], seed: int) -> None:
    model = [np.random.default_rng(seed).integers(0, 256, (6, 9, 3)).astype(np.uint8), None]
    picture = model[0]
    assert picture is not None
    turned = np.where(inverted, 255 - picture[..., order], picture[..., order]).astype(np.uint8)
    found, missing = agreeing([turned, None], model)
    assert found is not None and missing is None and (found == picture).all() and found.dtype == np.uint8
    assert agreeing([None, None], model) == [None, None]


def test_with_many_splits_a_spread_of_them_is_shown(make: Any, tmp_path: Path) -> None:
    targets = [f"t{number}" for number in range(20)]
    record = make("finetune")
    results = {target: record.targets["night"] for target in targets}
    spec = record.spec.model_copy(update={"targets": targets})
    record = record.model_copy(update={"spec": spec, "targets": results})
    examples = [{**index()["examples"][0], "split": split, "image": "same"} for split in ("in-domain val", *targets)]
    (comparison,) = compare([record])
    drawing = examples_figure(
        comparison, line_up(comparison.rows), {record.run_id: leave(tmp_path, examples=examples)}, ["svg"]
    )
    assert drawing is not None
    assert [text for text in said(drawing.svg) if text in ("in-domain", *targets)] == [
        "in-domain", "t1", "t4", "t7", "t10", "t13", "t16", "t19"
    ]  # fmt: skip
    assert "8 of 21 splits" in drawing.caption
