"""Digests of a method's code: syntax trees of its file and of the files of its own distribution that it imports."""

import ast
import hashlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from gkdbench.errors import UsageError

USER_METHOD = "gkdbench_user_method_"
"""What the module names of methods given by path begin with."""


def parse_file(file: Path) -> ast.Module:
    """Return a file's syntax tree; a file that cannot be read or is not Python is one clear line."""
    try:
        return ast.parse(file.read_text(encoding="utf-8"), filename=str(file))
    except (OSError, ValueError) as error:
        raise UsageError(f"{file}: cannot be read ({error})") from error
    except SyntaxError as error:
        raise UsageError(f"{file}:{error.lineno}: not valid Python ({error.msg})") from error
    except (RecursionError, MemoryError) as error:
        raise UsageError(f"{file}: nested too deeply to be read") from error


def code_digest(file: Path, module: str | None) -> str:
    """Hash the syntax tree of a file and of the files of its own distribution that it imports.

    Docstrings and comments do not count, so explaining a method better never retrains it.
    """
    # Names count from the folder of the top package, or for a method given by path from the file's own folder.
    top, *inner = module.split(".") if module else ("", file.stem)
    root = file.parents[len(inner) - (file.name != "__init__.py")] if inner else file.parent
    todo, seen = [(file, tuple(inner))], {}
    while todo:
        current, name = todo.pop()
        if current in seen:
            continue
        tree = parse_file(current)
        package = name if current.name == "__init__.py" else name[:-1]
        imported = set(_imported(tree, package, top)) if inner else set()
        _strip_docstrings(tree)
        seen[current] = _dump(tree)
        for parts in sorted(imported):
            path = root.joinpath(*parts)
            found = [p for p in (path.with_suffix(".py"), path / "__init__.py") if p.is_file()]
            todo.extend((p, parts) for p in found[:1])
    parts_of_code = sorted(f"{path.name}\n{dump}" for path, dump in seen.items())
    return hashlib.sha256("\n".join(parts_of_code).encode()).hexdigest()


def _imported(tree: ast.Module, package: tuple[str, ...], top: str) -> Iterator[tuple[str, ...]]:
    """Yield the names a file of `package` may import from its own distribution, without the top package."""
    for node in ast.walk(tree):
        names: list[tuple[str, ...]] = []
        if isinstance(node, ast.Import):
            names = [tuple(alias.name.split(".")) for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            base = tuple(node.module.split(".")) if node.module else ()
            if node.level:
                above = package[: max(len(package) - node.level + 1, 0)]
                base = (*([top] if top else []), *above, *base)
            names = [base, *((*base, alias.name) for alias in node.names)]
        for name in names:
            own = name[:1] == (top,) if top else name[:1] != ("gkdbench",)
            local = name[1:] if top else name
            # importing a.b.c runs a and a.b as well
            yield from (local[:length] for length in range(1, len(local) + 1) if own)


def _dump(node: Any) -> str:
    """Write a syntax tree as text; empty fields are left out, because new Python versions add such fields."""
    if isinstance(node, ast.AST):
        fields = [f"{name}={_dump(value)}" for name, value in ast.iter_fields(node) if value not in (None, [])]
        return f"{type(node).__name__}({', '.join(fields)})"
    if isinstance(node, list):
        return f"[{', '.join(map(_dump, node))}]"
    return repr(node)


def _strip_docstrings(tree: ast.Module) -> None:
    for node in ast.walk(tree):
        if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef):
            first = node.body[0] if node.body else None
            if (
                isinstance(first, ast.Expr)
                and isinstance(first.value, ast.Constant)
                and isinstance(first.value.value, str)
            ):
                node.body = node.body[1:] or [ast.Pass()]
