"""Documents are read strictly, and a mistake is one line that names file, key and value."""

from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Annotated, Literal

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import Field, ValidationError

from gkdbench.errors import DataError, UsageError
from gkdbench.identity.digest import digest
from gkdbench.spec.documents import Added, Strict, nearest, parse, read_json, read_yaml


class Inner(Strict):
    steps: int
    rate: float = 0.1


class Document(Strict):
    title: str
    inner: Inner
    table: dict[str, Inner] = {}
    sizes: list[int] = Field(default=[], max_length=2)


GOOD = {"title": "a", "inner": {"steps": 3}}


def written(folder: Path, text: str) -> Path:
    path = folder / "document.yaml"
    path.write_text(text)
    return path


def test_a_good_document(tmp_path: Path) -> None:
    path = written(tmp_path, "title: a\ninner: {steps: 3, rate: 1e-4}\n")
    document = parse(Document, read_yaml(path), str(path))
    assert document.inner == Inner(steps=3, rate=1e-4)  # YAML itself reads 1e-4 as text


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("a: 1\nb: 2\na: 3\n", ":3: key 'a' appears twice"),
        ("top:\n  - {x: 1}\n  - {y: 1,\n     y: 1}\n", ":4: key 'y' appears twice"),
        ("1: a\n1: b\n", ":2: key 1 appears twice"),
    ],
)
def test_a_key_given_twice_is_refused_with_its_line(tmp_path: Path, text: str, problem: str) -> None:
    path = written(tmp_path, text)
    with pytest.raises(UsageError) as caught:
        read_yaml(path)
    assert str(caught.value) == f"{path}{problem}"


@pytest.mark.parametrize(
    ("text", "where"),
    [
        ("a: [1, 2\nb: 3\n", ":2:"),
        ("a: 1\n b: 2\n", ":2:"),
        ("? [1, 2]\n: 3\n", ":1:"),  # a key that is a list
        ("a: \x00\n", ":"),
        ("!!python/object/apply:os.getcwd []\n", ":1:"),
        ("a: 1\n---\nb: 2\n", ":2:"),
    ],
)
def test_what_is_not_plain_yaml_is_one_line(tmp_path: Path, text: str, where: str) -> None:
    path = written(tmp_path, text)
    with pytest.raises(UsageError) as caught:
        read_yaml(path)
    assert str(caught.value).startswith(f"{path}{where}")
    assert "\n" not in str(caught.value)


def test_a_file_that_cannot_be_read(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"absent\.yaml: cannot be read \(No such file"):
        read_yaml(tmp_path / "absent.yaml")
    (tmp_path / "binary.yaml").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(DataError, match=r"binary\.yaml:1: cannot be read .*save the file in UTF-8"):
        read_yaml(tmp_path / "binary.yaml")
    with pytest.raises(DataError, match="cannot be read"):
        read_yaml(tmp_path)


def test_a_damaged_json_file_names_the_line(tmp_path: Path) -> None:
    path = tmp_path / "record.json"
    path.write_text('{"schema": 1,\n "run_id": ')
    with pytest.raises(DataError, match=r"record\.json:2: not valid JSON"):
        read_json(path)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"titel": "b"}, "x.yaml: key 'titel' is not known; did you mean 'title'?"),
        ({"inner": {"steps": 3, "rat": 1}}, "x.yaml: key 'inner.rat' is not known; did you mean 'rate'?"),
        (
            {"table": {"a": {"steps": 1, "stepz": 2}}},
            "x.yaml: key 'table.a.stepz' is not known; did you mean 'steps'?",
        ),
        ({"zzzzzz": 1}, "x.yaml: key 'zzzzzz' is not known"),
        ({"inner": {"steps": "many"}}, "x.yaml: key 'inner.steps': Input should be a valid integer"),
        ({"inner": {}}, "x.yaml: key 'inner.steps' is missing"),
        ({"inner": {"steps": 3, "rate": float("inf")}}, "x.yaml: key 'inner.rate': Input should be a finite number"),
        ({"sizes": [1, 2, 3]}, "x.yaml: key 'sizes': List should have at most 2 items"),
    ],
)
def test_a_wrong_key_or_value_is_named(change: dict[str, object], message: str) -> None:
    with pytest.raises(UsageError) as caught:
        parse(Document, {**GOOD, **change}, "x.yaml")
    assert str(caught.value).startswith(message)
    assert "\n" not in str(caught.value)


def test_the_wrong_value_is_shown_and_further_problems_counted() -> None:
    with pytest.raises(UsageError, match=r"key 'inner.steps': .* \(got 'many'\) \(and 1 more problem\)$"):
        parse(Document, {"inner": {"steps": "many"}, "title": "a", "more": 1}, "x.yaml")


@pytest.mark.parametrize("content", [None, [1], "text"])
def test_a_document_that_is_no_mapping(content: object) -> None:
    with pytest.raises(UsageError, match=r"^x\.yaml: Input should be a valid dictionary"):
        parse(Document, content, "x.yaml")


def test_nearest() -> None:
    assert nearest("finetunes", ["finetune", "frozen"]) == "; did you mean 'finetune'?"
    assert nearest("xyz", ["finetune", "frozen"]) == ""


def test_a_field_that_came_later_is_written_only_where_it_says_something() -> None:
    class Section(Strict):
        old: int = 1
        new: Annotated[int | None, Added()] = None

    assert Section().model_dump() == {"old": 1}
    assert digest(Section()) == digest({"old": 1})
    assert Section(new=2).model_dump(mode="json") == {"old": 1, "new": 2}
    assert Section.model_validate(Section(new=2).model_dump()) == Section(new=2)
    with pytest.raises(ValidationError):
        Section.model_validate({"newer": 2})


class Cat(Strict):
    kind: Literal["cat"]
    lives: int = 9


class Dog(Strict):
    kind: Literal["dog"]


class Zoo(Strict):
    animal: Annotated[Cat | Dog, Field(discriminator="kind")]


@pytest.mark.parametrize(
    ("model", "content", "said"),
    [
        # the misspelt key is told, not that the right one is missing
        (Document, {"titel": "a", "inner": {"steps": 3}}, r"'titel' is not known; did you mean 'title'\? \(and 1"),
        (Zoo, {"animal": {"kind": "cta"}}, r"key 'animal': kind 'cta' is none of cat, dog; did you mean 'cat'\?"),
        (Zoo, {"animal": {"kind": "cat", "live": 3}}, r"key 'animal.live' is not known; did you mean 'lives'\?"),
    ],
)
def test_what_was_meant_is_told(model, content, said) -> None:
    with pytest.raises(UsageError, match=said):
        parse(model, content, "zoo.yaml")


LAUGHS = "a: &a [x, x, x, x, x, x, x, x, x, x]\n" + "".join(
    f"{name}: &{name} [{', '.join([f'*{before}'] * 10)}]\n" for before, name in zip("abcdefg", "bcdefgh", strict=True)
)


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("[" * 500 + "]" * 500, ": nested too deeply, or an alias stands within what it names"),
        ("".join(" " * depth + "a:\n" for depth in range(500)), ": nested too deeply, or an alias stands within what it"
         " names"),
        ("a: &a [*a]", ": nested too deeply, or an alias stands within what it names"),
        ("a: &a\n  <<: *a", ": nested too deeply, or an alias stands within what it names"),
        (LAUGHS, ": aliases make too many values of it"),
        ("a: 1\nb: !!int x", ":2: 'x' is no int"),
        ("!!int ''", ":1: '' is no int"),
        ("!!bool x", ":1: 'x' is no bool"),
        ("!!timestamp x", ":1: 'x' is no timestamp"),
        ("a: 2020-99-99", ":1: '2020-99-99' is no timestamp"),
        ("a: " + "9" * 5000, f":1: '{'9' * 59}... is no int"),
        ("a: 0x" + "f" * 5000, f":1: number '0x{'f' * 57}... is too large"),
        ("a: \0", ": special characters are not allowed"),
        ("!!python/none x", ":1: could not determine a constructor for the tag 'tag:yaml.org,2002:python/none'"),
    ],
)
def test_what_no_document_means_is_one_line(tmp_path: Path, text: str, problem: str) -> None:
    path = written(tmp_path, text)
    with pytest.raises(UsageError) as caught:
        read_yaml(path)
    assert str(caught.value) == f"{path}{problem}"


@pytest.mark.parametrize("value", [".nan", ".inf", "1.0e+999"])
def test_numbers_that_are_none_are_refused_by_their_key(tmp_path: Path, value: str) -> None:
    path = written(tmp_path, f"title: a\ninner: {{steps: 3, rate: {value}}}\n")
    with pytest.raises(UsageError, match=r"key 'inner\.rate': Input should be a finite number"):
        parse(Document, read_yaml(path), str(path))


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("[" * 100_000, ": not valid JSON (nested too deeply)"),
        ("9" * 5000, f": not valid JSON (number '{'9' * 59}... is too large)"),
        ("[NaN]", ": not valid JSON (NaN is no number)"),
        ("[-Infinity]", ": not valid JSON (-Infinity is no number)"),
        ("[1e999]", ": not valid JSON (number '1e999' is too large)"),
        ('{"a": 1, "b": {"c": 1, "c": 2}}', ": not valid JSON (key 'c' appears twice)"),
        ("", ":1: not valid JSON (Expecting value)"),
    ],
)
def test_json_is_read_as_strictly(tmp_path: Path, text: str, problem: str) -> None:
    path = written(tmp_path, text)
    with pytest.raises(DataError) as caught:
        read_json(path)
    assert str(caught.value) == f"{path}{problem}; get the file again"


def test_a_byte_order_mark_is_no_part_of_a_document(tmp_path: Path) -> None:
    path = tmp_path / "a"
    path.write_bytes(b'\xef\xbb\xbf{"a": 1}\r\n')
    assert read_yaml(path) == read_json(path) == {"a": 1}


def test_a_file_in_another_encoding_names_the_line(tmp_path: Path) -> None:
    path = tmp_path / "a.yaml"
    path.write_bytes("a: 1\nb: Köln\n".encode("latin-1"))
    with pytest.raises(DataError, match=r"a\.yaml:2: cannot be read \(invalid .*\); save the file in UTF-8"):
        read_yaml(path)


@given(st.text(st.sampled_from("ab:-,[]{}&*!<>?|#'\"\n 019.x~\0\ufeff\u2028"), max_size=60))
@settings(max_examples=400)
def test_any_text_is_a_document_or_one_line(text: str) -> None:
    with TemporaryDirectory() as folder:
        path = Path(folder) / "a"
        path.write_bytes(text.encode())
        for read in (read_yaml, read_json):
            try:
                read(path)
            except (UsageError, DataError) as error:
                assert str(error).startswith(str(path)) and "\n" not in str(error)
