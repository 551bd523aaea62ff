"""Methods as source files: found by entry point or path, read without importing, digested by syntax tree.

A method is a function `(pair, *, option: type = default, ...) -> list[Stage]`. Its options are its keyword-only
arguments; they are read from the file, so that listing methods imports no method and no torch.
"""

import ast
import hashlib
import importlib.util
import math
from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache
from importlib.metadata import EntryPoint, entry_points
from pathlib import Path
from typing import Any

from gkdbench.errors import UsageError
from gkdbench.spec.documents import nearest

GROUP = "gkdbench.methods"


@dataclass(frozen=True)
class Option:
    """One keyword argument of a method's factory."""

    name: str
    types: tuple[type, ...]
    choices: tuple[Any, ...]
    default: Any
    required: bool

    def parse(self, text: str, origin: str) -> Any:
        """Convert the text after `name=` to the option's type."""
        for candidate in self._readings(text):
            if candidate in self.choices or type(candidate) in self.types:
                return candidate
        close = nearest(text, [choice for choice in self.choices if isinstance(choice, str)])
        raise UsageError(f"{origin}: option {self.name}={text!r} is not {self.expected()}{close}")

    def expected(self) -> str:
        """Say what values the option takes."""
        kinds = ["None" if t is type(None) else t.__name__ for t in self.types]
        if self.choices:
            kinds.insert(0, "one of " + ", ".join(str(choice) for choice in self.choices))
        return " or ".join(kinds)

    def _readings(self, text: str) -> list[Any]:
        words = {"true": True, "false": False, "none": None}
        readings: list[Any] = [words[text.lower()]] if text.lower() in words else []
        for convert in (int, float, str):
            try:
                reading = convert(text)
            except ValueError:
                continue
            if not isinstance(reading, float) or math.isfinite(reading):
                readings.append(reading)
        return readings


@dataclass(frozen=True)
class MethodSource:
    """Where a method's code is, and what can be known of it without running it."""

    name: str
    file: Path
    function: str
    module: str | None
    """Import name; None for a method given by path."""
    origin: str
    """Distribution and version, or the path that was given."""
    summary: str
    options: tuple[Option, ...]
    code_digest: str

    def parse_options(self, given: dict[str, str], origin: str) -> dict[str, Any]:
        """Return every option's value: what was given, else its default."""
        known = {option.name: option for option in self.options}
        for name in given:
            if name not in known:
                raise UsageError(
                    f"{origin}: method {self.name!r} has no option {name!r}{nearest(name, known)}"
                    f" (options: {', '.join(known) or 'none'})"
                )
        values = {}
        for name, option in known.items():
            if name in given:
                values[name] = option.parse(given[name], origin)
            elif option.required:
                raise UsageError(f"{origin}: method {self.name!r} needs -o {name}=VALUE")
            else:
                values[name] = option.default
        return values


@lru_cache
def installed() -> dict[str, EntryPoint]:
    """Return the entry points of all installed methods, by name."""
    found: dict[str, EntryPoint] = {}
    for entry in entry_points(group=GROUP):
        found.setdefault(entry.name, entry)
    return found


def find_method(name: str, origin: str = "--method") -> MethodSource:
    """Find an installed method by name, or one in a file by `PATH.py:NAME`; `origin` is who named it."""
    if ".py" in name:
        path, _, function = name.rpartition(":") if ":" in name else (name, "", "")
        file = Path(path)
        if not function:
            raise UsageError(f"{origin} {name}: say which function of the file, as PATH.py:NAME")
        if not file.is_file():
            raise UsageError(f"{origin} {name}: no such file {file}")
        return _read(function, file.resolve(), function, None, str(file))
    entry = installed().get(name)
    if entry is None:
        known = sorted(installed())
        raise UsageError(
            f"{origin}: unknown method {name!r}{nearest(name, known)} (known: {', '.join(known)}; "
            "a method of your own: PATH.py:NAME)"
        )
    try:
        spec = importlib.util.find_spec(entry.module)
    except ImportError:
        spec = None  # its package is gone or broken
    if spec is None or spec.origin is None:
        raise UsageError(f"method {name!r}: its module {entry.module} is not importable")
    distribution = entry.dist
    origin = f"{distribution.name} {distribution.version}" if distribution else entry.module
    return _read(name, Path(spec.origin), entry.attr, entry.module, origin)


def _read(name: str, file: Path, function: str, module: str | None, origin: str) -> MethodSource:
    tree = _parse(file)
    factory = next(
        (n for n in tree.body if isinstance(n, ast.FunctionDef) and n.name == function), None
    )
    if factory is None:
        functions = [n.name for n in tree.body if isinstance(n, ast.FunctionDef)]
        raise UsageError(
            f"{file}: no function {function!r}{nearest(function, functions)} at the top of the file"
        )
    document = ast.get_docstring(factory) or ast.get_docstring(tree) or ""
    return MethodSource(
        name=name,
        file=file,
        function=function,
        module=module,
        origin=origin,
        summary=document.split("\n")[0],
        options=tuple(_options(factory, file)),
        code_digest=_code_digest(file, module),
    )


def _parse(file: Path) -> ast.Module:
    try:
        return ast.parse(file.read_text(encoding="utf-8"), filename=str(file))
    except (OSError, ValueError) as error:
        raise UsageError(f"{file}: cannot be read ({error})") from error
    except SyntaxError as error:
        raise UsageError(f"{file}:{error.lineno}: not valid Python ({error.msg})") from error


def _options(factory: ast.FunctionDef, file: Path) -> list[Option]:
    options = []
    arguments = factory.args
    positional = [*arguments.posonlyargs, *arguments.args]
    if len(positional) != 1 or arguments.vararg or arguments.kwarg:
        raise UsageError(
            f"{file}:{factory.lineno}: {factory.name} must take the pair and, after a '*', its options: "
            f"def {factory.name}(pair, *, weight: float = 1.0)"
        )
    for argument, default in zip(arguments.kwonlyargs, arguments.kw_defaults, strict=True):
        where = f"{file}:{argument.lineno}: option {argument.arg!r}"
        types, choices = _annotation(argument.annotation, where)
        try:
            value = None if default is None else ast.literal_eval(default)
        except ValueError as error:
            raise UsageError(f"{where}: its default must be a plain value") from error
        options.append(Option(argument.arg, types, choices, value, default is None))
    return options


def _annotation(node: ast.expr | None, where: str) -> tuple[tuple[type, ...], tuple[Any, ...]]:
    """Return the types, or for Literal the choices, that an annotation allows."""
    names = {"bool": bool, "int": int, "float": float, "str": str}
    if isinstance(node, ast.Name) and node.id in names:
        kind = names[node.id]
        return ((int, float) if kind is float else (kind,)), ()
    if isinstance(node, ast.Constant) and node.value is None:
        return (type(None),), ()
    if isinstance(node, ast.BinOp) and isinstance(node.op, ast.BitOr):
        left, right = _annotation(node.left, where), _annotation(node.right, where)
        return left[0] + right[0], left[1] + right[1]
    if (
        isinstance(node, ast.Subscript)
        and isinstance(node.value, ast.Name)
        and node.value.id == "Literal"
    ):
        literal = ast.literal_eval(node.slice)
        return (), literal if isinstance(literal, tuple) else (literal,)
    raise UsageError(f"{where}: annotate it as bool, int, float, str, Literal[...] or a union")


def _code_digest(file: Path, module: str | None) -> str:
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
        tree = _parse(current)
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
