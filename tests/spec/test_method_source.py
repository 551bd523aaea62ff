"""Methods are read from their files: options without importing, a digest of the code that trains."""

import sys
from importlib.metadata import EntryPoint
from pathlib import Path
from textwrap import dedent
from typing import Any

import pytest

from gkdbench.errors import UsageError
from gkdbench.spec import method_source
from gkdbench.spec.method_source import find_method, installed

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


def code_of(folder: Path, text: str) -> str:
    return find_method(f"{write(folder, text)}:mine").code_digest


def test_a_file_that_cannot_be_imported_can_be_read(tmp_path: Path) -> None:
    method = find_method(f"{write(tmp_path, METHOD)}:mine")
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
    method = find_method(f"{write(tmp_path, METHOD)}:mine")
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
    method = find_method(f"{write(tmp_path, METHOD)}:mine")
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
        ("def mien(pair): pass", "mine.py: no function 'mine'; did you mean 'mien'? at the top of the file"),
        ("x = (\n", "mine.py:1: not valid Python ('(' was never closed)"),
        ("x = '\x00'\n", "mine.py"),
    ],
)
def test_a_file_that_is_no_method(tmp_path: Path, text: str, message: str) -> None:
    path = write(tmp_path, text)
    with pytest.raises(UsageError) as caught:
        find_method(f"{path}:mine")
    assert str(caught.value).startswith(f"{path.parent}/{message}")
    assert "\n" not in str(caught.value)


def test_names_that_are_not_found(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"unknown method 'finetun'; did you mean 'finetune'\? \(known: .*PATH"):
        find_method("finetun")
    with pytest.raises(UsageError, match=r"no such file .*absent\.py"):
        find_method(f"{tmp_path}/absent.py:mine")
    with pytest.raises(UsageError, match="say which function of the file"):
        find_method(str(write(tmp_path, METHOD)))
    (tmp_path / "bytes.py").write_bytes(b"\xff\xfe")
    with pytest.raises(UsageError, match=r"bytes\.py: cannot be read"):
        find_method(f"{tmp_path}/bytes.py:mine")


def test_built_in_methods_are_found_by_their_entry_points() -> None:
    assert {"finetune", "frozen", "gkd", "teacher", "vanilla_kd"} <= set(installed())
    method = find_method("gkd")
    assert method.module == "gkdbench_methods.gkd" and method.origin.startswith("gkdbench ")
    assert {option.name for option in method.options} >= {"masked", "proxy", "weight"}


def test_an_entry_point_to_nowhere_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    gone = EntryPoint("gone", "no_such_package.methods:gone", "gkdbench.methods")
    monkeypatch.setattr(method_source, "installed", lambda: {"gone": gone})
    with pytest.raises(UsageError, match=r"method 'gone': its module no_such_package\.methods is not importable"):
        find_method("gone")


BODY = '''
    import helper

    class A:
        """Doc."""

        def f(self):
            """Doc."""
            return 1 + 2  # a comment

    def mine(pair, *, weight: float = 1.0):
        """Doc."""
        return [A()]
'''


def test_explaining_a_method_better_changes_no_digest(tmp_path: Path) -> None:
    before = code_of(tmp_path, BODY)
    assert before == code_of(tmp_path, '"""A docstring."""\n' + dedent(BODY).replace("Doc.", "Other words."))
    assert before == code_of(tmp_path, BODY.replace("  # a comment", "").replace("1 + 2", "(1 +  2)"))
    assert before == code_of(tmp_path, BODY.replace('            """Doc."""\n', ""))


@pytest.mark.parametrize(
    ("old", "new"), [("1 + 2", "1 + 3"), ("1.0", "1.5"), ("[A()]", "[A(), A()]"), ("return 1 + 2", 'return "1 + 2"')]
)
def test_changing_what_it_does_changes_the_digest(tmp_path: Path, old: str, new: str) -> None:
    assert code_of(tmp_path, BODY) != code_of(tmp_path, BODY.replace(old, new))


def test_where_a_file_lies_does_not_matter(tmp_path: Path) -> None:
    assert code_of(tmp_path / "here", BODY) == code_of(tmp_path / "there", BODY)


@pytest.mark.parametrize(
    ("statement", "file"),
    [
        ("import helper", "helper.py"),
        ("from helper import f", "helper.py"),
        ("import parts.losses", "parts/losses.py"),
        ("from parts import losses", "parts/losses.py"),
        ("from parts.losses import f", "parts/losses.py"),
        ("import parts", "parts/__init__.py"),
        ("from parts import f", "parts/__init__.py"),
    ],
)
def test_the_files_it_imports_belong_to_its_code(tmp_path: Path, statement: str, file: str) -> None:
    text = f"{statement}\n\ndef mine(pair):\n    return f(pair)\n"
    write(tmp_path, "def f(x): return x\n", file)
    write(tmp_path, "raise SystemExit\n", "unrelated.py")
    before = code_of(tmp_path, text)
    write(tmp_path, '"""Explained."""\ndef f(x): return x\n', file)
    write(tmp_path, "raise OSError\n", "unrelated.py")
    assert code_of(tmp_path, text) == before
    write(tmp_path, "def f(x): return -x\n", file)
    assert code_of(tmp_path, text) != before


def test_imports_are_followed_further_and_in_circles(tmp_path: Path) -> None:
    write(tmp_path, "from parts.b import f\n", "parts/a.py")
    write(tmp_path, "from . import a\nfrom .c import f\n", "parts/b.py")
    write(tmp_path, "def f(x): return x\n", "parts/c.py")
    text = "import parts.a\ndef mine(pair): return parts.a.f(pair)\n"
    before = code_of(tmp_path, text)
    write(tmp_path, "def f(x): return -x\n", "parts/c.py")
    assert code_of(tmp_path, text) != before


@pytest.fixture
def plugin(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Install a plugin whose method imports from another corner of its package."""
    root = tmp_path / "plugin_of_tests"
    for file in ("__init__.py", "methods/__init__.py", "shared/__init__.py"):
        write(root, "", file)
    write(root, "def f(x): return x\n", "shared/losses.py")
    write(root, "def g(x): return x\n", "methods/beside.py")
    entry = EntryPoint("mine", "plugin_of_tests.methods.kd:mine", "gkdbench.methods")
    monkeypatch.setattr(method_source, "installed", lambda: {"mine": entry})
    monkeypatch.syspath_prepend(str(tmp_path))
    for name in [name for name in sys.modules if name.partition(".")[0] == "plugin_of_tests"]:
        monkeypatch.delitem(sys.modules, name)  # an earlier test's
    return root


@pytest.mark.parametrize(
    ("statement", "file"),
    [
        ("from plugin_of_tests.methods.beside import g", "methods/beside.py"),
        ("from plugin_of_tests.shared.losses import f", "shared/losses.py"),
        ("from .beside import g", "methods/beside.py"),
        ("from . import beside", "methods/beside.py"),
        ("from ..shared import losses", "shared/losses.py"),
        ("from ..shared.losses import f", "shared/losses.py"),
    ],
)
def test_an_installed_plugin_is_followed_through_its_own_package(plugin: Path, statement: str, file: str) -> None:
    write(plugin, f"{statement}\ndef mine(pair): return []\n", "methods/kd.py")
    before = find_method("mine").code_digest
    write(plugin, "def f(x): return -x\n", file)
    assert find_method("mine").code_digest != before


def test_foreign_packages_do_not_count(plugin: Path) -> None:
    write(plugin, "import math\nfrom os import path\ndef mine(pair): return []\n", "methods/kd.py")
    before = find_method("mine").code_digest
    # absolute imports of an installed package never mean a file beside it
    write(plugin, "x = 1\n", "methods/math.py")
    assert find_method("mine").code_digest == before


def test_the_digest_is_the_same_under_every_python(tmp_path: Path) -> None:
    """ast.dump is not: 3.12 added fields (`type_params`) and 3.13 leaves empty ones out."""
    known = "90a453f27fce2929f33871d780fb6c8f2530404e6429d40a686ff72f6a1ab82f"
    text = "class A: pass\ndef mine(pair, *, a: int = 1, b: str): return [f'{a!r:>3}', b'x', 1.5, None, ..., -a]\n"
    assert code_of(tmp_path, text) == known
