"""The digest of a method's code changes with what it does, and with nothing else."""

from pathlib import Path
from textwrap import dedent

import pytest

from gkdbench.identity.code import code_digest


def write(folder: Path, text: str, name: str = "mine.py") -> Path:
    path = folder / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(dedent(text))
    return path


def code_of(folder: Path, text: str) -> str:
    return code_digest(write(folder, text), None)


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
def plugin(tmp_path: Path) -> Path:
    """Write a package whose method imports from another corner of its package."""
    root = tmp_path / "plugin_of_tests"
    for file in ("__init__.py", "methods/__init__.py", "shared/__init__.py"):
        write(root, "", file)
    write(root, "def f(x): return x\n", "shared/losses.py")
    write(root, "def g(x): return x\n", "methods/beside.py")
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
    before = code_digest(plugin / "methods/kd.py", "plugin_of_tests.methods.kd")
    write(plugin, "def f(x): return -x\n", file)
    assert code_digest(plugin / "methods/kd.py", "plugin_of_tests.methods.kd") != before


def test_foreign_packages_do_not_count(plugin: Path) -> None:
    write(plugin, "import math\nfrom os import path\ndef mine(pair): return []\n", "methods/kd.py")
    before = code_digest(plugin / "methods/kd.py", "plugin_of_tests.methods.kd")
    # absolute imports of an installed package never mean a file beside it
    write(plugin, "x = 1\n", "methods/math.py")
    assert code_digest(plugin / "methods/kd.py", "plugin_of_tests.methods.kd") == before


def test_the_digest_is_the_same_under_every_python(tmp_path: Path) -> None:
    """ast.dump is not: 3.12 added fields (`type_params`) and 3.13 leaves empty ones out."""
    known = "90a453f27fce2929f33871d780fb6c8f2530404e6429d40a686ff72f6a1ab82f"
    text = "class A: pass\ndef mine(pair, *, a: int = 1, b: str): return [f'{a!r:>3}', b'x', 1.5, None, ..., -a]\n"
    assert code_of(tmp_path, text) == known
