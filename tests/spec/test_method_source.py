"""Methods are read from their files: options and their types, without importing."""

import sys
from pathlib import Path
from textwrap import dedent
from typing import Any

import pytest

from gkdbench.errors import UsageError
from gkdbench.spec.methods import MethodSource, read_method

METHOD = '''\
"""A method of the tests."""

raise RuntimeError("importing this file must never happen")


def mine(
    pair,
    *,
    weight: float = 1.0,
    steps: int = 3,
    masked: bool = True,
    mode: Literal["soft", "hard"] = "soft",
    level: Literal[1, 2] = 1,
    clip: float | None = None,
    part: Literal["a", "b"] | None = None,
    title: str = "none of it",
    needed: int,
):
    """Say one thing.

    And then another.
    """
    return []
'''


def write(folder: Path, text: str, name: str = "mine.py") -> Path:
    path = folder / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(dedent(text))
    return path


def read(path: Path) -> MethodSource:
    return read_method("mine", path, "mine", None, str(path))


def test_a_file_that_cannot_be_imported_can_be_read(tmp_path: Path) -> None:
    method = read(write(tmp_path, METHOD))
    assert (method.name, method.function, method.module) == ("mine", "mine", None)
    assert method.origin == str(tmp_path / "mine.py")
    assert method.summary == "Say one thing."
    assert {option.name: option.default for option in method.options if not option.required} == {
        "weight": 1.0, "steps": 3, "masked": True, "mode": "soft", "level": 1, "clip": None, "part": None,
        "title": "none of it",
    }  # fmt: skip
    assert [option.name for option in method.options if option.required] == ["needed"]
    assert "mine" not in sys.modules


@pytest.mark.parametrize(
    ("given", "name", "value"),
    [
        ("2", "weight", 2),
        ("2.5e-1", "weight", 0.25),
        ("-1", "steps", -1),
        ("false", "masked", False),
        ("True", "masked", True),
        ("hard", "mode", "hard"),
        ("2", "level", 2),
        ("none", "clip", None),
        ("0.5", "clip", 0.5),
        ("none", "part", None),
        ("b", "part", "b"),
        ("7", "title", "7"),
        ("none", "title", "none"),
        ("true", "title", "true"),
    ],
)
def test_an_options_text_becomes_its_type(tmp_path: Path, given: str, name: str, value: Any) -> None:
    method = read(write(tmp_path, METHOD))
    options = method.parse_options({"needed": "1", name: given}, "-o")
    assert options[name] == value and type(options[name]) is type(value)
    assert options["needed"] == 1


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"weight": "heavy"}, "-o: option weight='heavy' is not int or float"),
        ({"weight": "nan"}, "-o: option weight='nan' is not int or float"),
        ({"weight": "inf"}, "-o: option weight='inf' is not int or float"),
        ({"weight": "true"}, "-o: option weight='true' is not int or float"),
        ({"steps": "2.5"}, "-o: option steps='2.5' is not int"),
        ({"masked": "1"}, "-o: option masked='1' is not bool"),
        ({"mode": "sof"}, "-o: option mode='sof' is not one of soft, hard; did you mean 'soft'?"),
        ({"level": "3"}, "-o: option level='3' is not one of 1, 2"),
        ({"part": "c"}, "-o: option part='c' is not one of a, b or None"),
        ({"clip": "off"}, "-o: option clip='off' is not int or float or None"),
        ({"wieght": "2"}, "-o: method 'mine' has no option 'wieght'; did you mean 'weight'? (options: weight, steps,"),
        ({}, "-o: method 'mine' needs -o needed=VALUE"),
    ],
)
def test_a_wrong_option_is_named(tmp_path: Path, given: dict[str, str], message: str) -> None:
    method = read(write(tmp_path, METHOD))
    needed = {"needed": "1"} if given else {}
    with pytest.raises(UsageError) as caught:
        method.parse_options({**needed, **given}, "-o")
    assert str(caught.value).startswith(message)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("def mine(pair, *, a=1): pass", "mine.py:1: option 'a': annotate it as bool, int, float, str, Literal"),
        ("\ndef mine(pair, *, a: list = 1): pass", "mine.py:2: option 'a': annotate it as"),
        ("def mine(pair, *, a: int = f()): pass", "mine.py:1: option 'a': its default must be a plain value"),
        ("def mine(pair, *, a: int = {[]: 1}): pass", "mine.py:1: option 'a': its default must be a plain value"),
        ("def mine(pair, *, a: Literal[b] = 1): pass", "mine.py:1: option 'a': the choices in Literal[...] must be"),
        ("def mine(pair, stages): pass", "mine.py:1: mine must take the pair and, after a '*', its options: def mine("),
        ("def mine(pair, **options): pass", "mine.py:1: mine must take the pair and, after a '*', its options: def mi"),
        ("def mien(pair): pass", "mine.py: no function 'mine'; did you mean 'mien'? at the top of the file"),
        ("x = (\n", "mine.py:1: not valid Python ('(' was never closed)"),
        ("x = '\x00'\n", "mine.py"),
    ],
)
def test_a_file_that_is_no_method(tmp_path: Path, text: str, message: str) -> None:
    path = write(tmp_path, text)
    with pytest.raises(UsageError) as caught:
        read(path)
    assert str(caught.value).startswith(f"{path.parent}/{message}")
    assert "\n" not in str(caught.value)


def test_a_file_nested_too_deeply(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"mine\.py.*(too deeply|not valid Python)"):
        read(write(tmp_path, "x = " + "(" * 5000 + ")" * 5000 + "\n"))


def test_older_spellings_of_types_are_read(tmp_path: Path) -> None:
    text = """
        def mine(pair, *, a: Optional[float] = None, b: typing.Literal["x", "y"] = "x",
                 c: typing.Union[int, str, None] = 1, d: typing.Optional[typing.Literal[2, 3]] = None): pass
    """
    options = {option.name: option for option in read(write(tmp_path, text)).options}
    assert options["a"].types == (int, float, type(None)) and options["c"].types == (int, str, type(None))
    assert options["b"].choices == ("x", "y") and options["d"].choices == (2, 3)
    assert options["d"].types == (type(None),) and options["d"].parse("none", "-o") is None


def test_a_combinator_takes_the_stages_as_well(tmp_path: Path) -> None:
    path = write(tmp_path, "def mine(pair, stages): return stages\n")
    assert read_method("mine", path, "mine", None, "here", 2).options == ()
    with pytest.raises(UsageError, match=r"mine must be a combinator: def mine\(pair, stages\)"):
        read_method("mine", write(tmp_path, "def mine(pair): pass\n"), "mine", None, "here", 2)


def test_a_variant_has_other_defaults(tmp_path: Path) -> None:
    method = read(write(tmp_path, METHOD))
    changed = method.with_defaults("light", "Weighs less.", {"weight": "0.5", "needed": "3"}, "variants.yaml")
    assert (changed.name, changed.summary, changed.function) == ("light", "Weighs less.", "mine")
    assert changed.parse_options({}, "-o") == {**method.parse_options({"needed": "3"}, "-o"), "weight": 0.5}
    with pytest.raises(UsageError, match=r"variants\.yaml: method 'mine' has no option 'wieght'; did you mean"):
        method.with_defaults("light", "", {"wieght": "1"}, "variants.yaml")
