"""Imports run one way, methods know only the contract, and the harness knows no method by name."""

import ast
import re
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from pathlib import Path

import pytest

from gkdbench.spec.methods import offers

ROOT = Path(__file__).resolve().parents[1]

# What a part of gkdbench may import besides itself and `gkdbench.errors`, `gkdbench` (the version):
# cli -> runs -> (identity, engine) -> (models, data, metrics) -> spec, and report -> (runs.record, runs.recomputed,
# runs.files, metrics, spec). Detection stands on all of these; data knows its views and how its files are opened, and
# runs its task. What a digest is, and what of code enters one, are leaves; the digests of runs and stages are not. All
# may know the contract.
LEAVES = ("identity.digest", "identity.code")
MAY_IMPORT = {
    "errors": set(),
    "spec": {*LEAVES},
    "metrics": {"spec"},
    "data": {"spec", "detection.views", "detection.opening", *LEAVES},
    "models": {"spec", *LEAVES},
    "detection": {
        "engine", "models", "data", "metrics", "spec", "runs.files", "runs.record", "runs.scoring", "runs.task"
    },
    "engine": {"models", "data", "metrics", "spec"},
    "identity": {"models", "data", "spec"},
    "runs": {"identity", "detection", "engine", "models", "data", "metrics", "spec"},
    "report": {"runs.record", "runs.recomputed", "runs.files", "metrics", "spec"},
    "readers": {"data", "spec"},
    "cli": {"report", "conformance", "runs", "identity", "detection", "engine", "models", "data", "metrics", "spec"},
    "contract": set(),
    "api": {"contract"},
    "conformance": {"runs", "identity", "engine", "models", "data", "spec"},
    "__main__": {"cli"},
    "__init__": {"runs.calls"},
}
ORDINARY_WORDS = {"teacher", "frozen", "finetune", "dist"}
"""Methods whose names are words that the harness needs for other things."""


def python_files(folder: str) -> list[Path]:
    return sorted(path for path in (ROOT / folder).rglob("*.py") if "__pycache__" not in path.parts)


def part_of(module: str) -> str:
    """Return the part of gkdbench that a module belongs to: `gkdbench.runs.store` -> `runs`."""
    return module.split(".")[1] if "." in module else "__init__"


def module_name(file: Path) -> str:
    parts = file.relative_to(ROOT).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" and len(parts) > 2 else parts)


def for_types_alone(node: ast.AST) -> bool:
    return isinstance(node, ast.If) and ast.unparse(node.test).removeprefix("typing.") == "TYPE_CHECKING"


def imports(tree: ast.AST, package: str) -> Iterator[tuple[int, str]]:
    """Yield line and full name of everything that is imported when the code runs, inside functions too."""
    for node in ast.iter_child_nodes(tree):
        if for_types_alone(node):
            assert isinstance(node, ast.If)
            for other in node.orelse:
                yield from imports(ast.Module([other], []), package)
        elif isinstance(node, ast.Import):
            yield from ((node.lineno, alias.name) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            base = node.module or ""
            if node.level:
                above = package.split(".")[: len(package.split(".")) - node.level + 1]
                base = ".".join([*above, *([base] if base else [])])
            yield from ((node.lineno, f"{base}.{alias.name}") for alias in node.names)
        else:
            yield from imports(node, package)


def imports_of(file: Path) -> list[tuple[int, str]]:
    package = ".".join(file.relative_to(ROOT).parent.parts)
    return list(imports(ast.parse(file.read_text()), package))


def allowed(part: str, imported: str) -> bool:
    """Say whether a part may import a name of gkdbench."""
    if imported.startswith(("gkdbench.errors.", "gkdbench.__version__")) or imported == "gkdbench.errors":
        return True
    local = imported.removeprefix("gkdbench.")
    return any(local == one or local.startswith(f"{one}.") for one in {part, "contract", *MAY_IMPORT[part]})


@pytest.mark.parametrize("file", python_files("gkdbench"), ids=module_name)
def test_imports_run_one_way(file: Path) -> None:
    part = part_of(module_name(file))
    assert part in MAY_IMPORT, f"{file}: a new part of gkdbench; say in MAY_IMPORT what it may import"
    wrong = [
        f"{file.relative_to(ROOT)}:{line} imports {name}"
        for line, name in imports_of(file)
        if name.split(".")[0] == "gkdbench" and not allowed(part, name)
    ]
    assert not wrong


@pytest.mark.parametrize("file", [*python_files("gkdbench"), *python_files("benchmarks")], ids=module_name)
def test_the_harness_imports_no_method(file: Path) -> None:
    assert not [name for _, name in imports_of(file) if name.split(".")[0] in ("gkdbench_methods", "methods")]


@pytest.mark.parametrize("file", python_files("methods"), ids=module_name)
def test_methods_import_the_contract_and_their_siblings_alone(file: Path) -> None:
    """Besides gkdbench.api a method file may use torch, timm and the standard library."""
    third_party = {"torch", "timm", "numpy"}
    for line, name in imports_of(file):
        top = name.split(".")[0]
        if top == "gkdbench":
            assert name.startswith("gkdbench.api."), f"{file}:{line} imports {name}"
        else:
            known = {"gkdbench_methods", "methods"} | third_party | sys.stdlib_module_names
            assert top in known, f"{file}:{line} imports {name}"


def test_the_contract_is_a_leaf() -> None:
    """Who reads or writes a method needs the contract and torch; nothing of the harness comes with it."""
    code = "import sys, gkdbench.api; print(*sorted(name for name in sys.modules if name.startswith('gkdbench')))"
    loaded = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.split()
    assert loaded == ["gkdbench", "gkdbench.api", "gkdbench.contract", "gkdbench.errors"]


@pytest.mark.parametrize("part", ["spec", "report", "metrics", "cli"])
def test_parts_that_must_start_fast_import_no_torch_at_the_top(part: str) -> None:
    slow = {"torch", "torchvision", "timm", "lightning_fabric"}
    for file in python_files(f"gkdbench/{part}"):
        tops = {alias for node in ast.parse(file.read_text()).body for alias in _tops(node)}
        assert not tops & slow, file


def _tops(node: ast.stmt) -> list[str]:
    if isinstance(node, ast.Import):
        return [alias.name.split(".")[0] for alias in node.names]
    return [(node.module or "").split(".")[0]] if isinstance(node, ast.ImportFrom) else []


def texts_of(file: Path) -> Iterator[tuple[int, str]]:
    """Yield line and text of every name, attribute and string of a file that is not a docstring."""
    tree = ast.parse(file.read_text())
    documents = {
        id(node.body[0].value)
        for node in ast.walk(tree)
        if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef)
        and node.body
        and isinstance(node.body[0], ast.Expr)
    }
    for node in ast.walk(tree):
        if isinstance(node, ast.Constant) and isinstance(node.value, str) and id(node) not in documents:
            yield node.lineno, node.value
        elif isinstance(node, ast.Name):
            yield node.lineno, node.id
        elif isinstance(node, ast.Attribute):
            yield node.lineno, node.attr


# Sentences for a reader: how to start, and what the published numbers are called.
SENTENCES = {
    ("gkdbench/report/page.py", "gkdbench run --method gkd --setting f2l"),
    ("gkdbench/report/paper.py", "GKD, CVPR 2026, arXiv 2603.02554"),
}


def test_the_harness_knows_no_method_by_name() -> None:
    names = {name for name, (offer, *_) in offers().items() if offer.kind == "method"}
    assert {"gkd", "vanilla_kd"} <= names
    word = re.compile(rf"\b({'|'.join(sorted(names - ORDINARY_WORDS))})\b", re.IGNORECASE)
    found = {
        (file.relative_to(ROOT).as_posix(), text)
        for file in python_files("gkdbench")
        for _, text in texts_of(file)
        if word.search(text)
    }
    assert found <= SENTENCES


def test_the_rule_itself_finds_offenders() -> None:
    assert not allowed("spec", "gkdbench.runs.record.Record")
    assert not allowed("engine", "gkdbench.runs.store")
    assert not allowed("report", "gkdbench.runs.runner.run")
    assert not allowed("models", "gkdbench.data.stream.Batch")
    assert not allowed("runs", "gkdbench.cli.console.say")
    assert not allowed("api", "gkdbench.engine.loop.train")
    assert allowed("report", "gkdbench.runs.record.Record") and allowed("cli", "gkdbench.report.build")
    source = (
        "if TYPE_CHECKING:\n    import a\nelse:\n    import b\ndef f():\n    from . import c\n    from ..d import e\n"
    )
    assert list(imports(ast.parse(source), "x.y")) == [(4, "b"), (6, "x.y.c"), (7, "x.d.e")]


def test_all_packages_are_installed() -> None:
    setup = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["tool"]["setuptools"]
    folders = {place: name for name, place in setup["package-dir"].items()}
    there = {
        ".".join([folders[top], *file.parent.relative_to(ROOT / top).parts])
        for top in ("gkdbench", "methods", "benchmarks")
        for file in (ROOT / top).rglob("__init__.py")
    }
    assert there <= set(setup["packages"])
