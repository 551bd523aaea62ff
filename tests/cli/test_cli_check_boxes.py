"""`gkdbench check data` of boxes: counts, every kind of bad file, and a sheet with boxes drawn."""

import json

import pytest
from PIL import Image
from releases import photo, picture, unpacked
from typer.testing import CliRunner
from voc_files import annotation, release

from gkdbench.cli.main import app

BOXES = (("person", (1, 1, 30, 40), False), ("car", (10, 5, 20, 25), True))


def run(*words: str):
    return CliRunner().invoke(app, list(words))


@pytest.fixture
def data(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("GKDBENCH_CACHE", str(tmp_path / "cache"))
    assert run("new", "benchmark", "street", "--task", "detection").exit_code == 0
    files = {f"photos/{number}.png": picture(photo(number)) for number in range(4)}
    for part, lists in (("source", {"train": ["a", "b", "c"], "val": ["d", "e"]}), ("night", {"test": ["f", "g"]})):
        files |= {f"street/{part}/{name}": content for name, content in release("", lists, BOXES).items()}
    files["street/source/Annotations/c.xml"] = annotation([])
    unpacked(tmp_path / "data", files)
    return tmp_path / "data"


def check(*words: str):
    done = run("check", "data", "street.yaml", "--data-root", "data", "--out", "sheet.png", "--json", *words)
    return done.exit_code, json.loads(done.stdout)


def test_counts_and_a_sheet(data):
    code, told = check()
    assert code == 0 and told["problems"] == []
    boxes = told["splits"]["source train"]["boxes"]
    assert (boxes["objects"], boxes["difficult"], boxes["images_without_object"]) == (4, 2, 1)
    assert boxes["by_class"] == {"car": 2, "person": 2} and told["splits"]["proxy"]["boxes"] is None
    assert told["splits"]["source train"]["notes"] == ["images without an object: 1, such as c"]
    with Image.open("sheet.png") as sheet:
        red = sum(pixel == (220, 20, 60) for pixel in sheet.convert("RGB").get_flattened_data())
    assert red > 1000
    shown = run("check", "data", "street.yaml", "--data-root", "data").stdout
    assert "images without object" in shown and "2 of 2" in shown


def test_a_full_check_goes_on_where_it_was(data):
    first = check("--full")
    assert check("--full") == first
    (data / "street/source/Annotations/a.xml").write_bytes(annotation(BOXES[:1]).ljust(1000))
    assert check("--full")[1]["splits"]["source train"]["boxes"]["objects"] == 3


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"<annotation>\n<object>", "Annotations/b.xml:2: malformed XML"),
        (annotation([("cat", (1, 1, 9, 9), False)]), "Annotations/b.xml:10: class 'cat' is none of the benchmark's"),
        (annotation([("car", (1, 1, 99, 9), False)]), "Annotations/b.xml:14: box 1 1 99 9 lies outside"),
    ],
)
def test_bad_annotations_are_problems(data, content, said):
    (data / "street/source/Annotations/b.xml").write_bytes(content)
    code, told = check()
    (problem,) = told["problems"]
    assert code == 3 and problem["kind"] == "file" and said in problem["message"]


def test_a_missing_list_is_a_problem(data):
    (data / "street/night/ImageSets/Main/test.txt").unlink()
    code, told = check()
    (problem,) = told["problems"]
    assert code == 3 and problem["kind"] == "opening" and "list of images not found" in problem["message"]
