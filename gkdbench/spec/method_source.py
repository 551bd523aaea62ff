"""Methods as source files: what a method's syntax tree says of it, read without importing.

A method is a function `(pair, *, option: type = default, ...) -> list[Stage]`. Its options are its keyword-only
arguments; they are read from the file, so that listing methods imports no method and no torch.
"""

import ast
import math
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from gkdbench.errors import UsageError
from gkdbench.identity.code import code_digest, parse_file
from gkdbench.spec.documents import nearest


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
    """Of the file and what it imports from its own distribution, and of the combinators around the method."""
    combinators: tuple["MethodSource", ...] = ()
    """Functions `(pair, stages) -> stages` that rearrange the method's stages, the innermost first."""

    def with_defaults(self, name: str, summary: str, given: Mapping[str, str], origin: str) -> "MethodSource":
        """Return the method under another name, with some options set: a variant."""
        values = self.parse_options(given, origin, partial=True)
        options = tuple(
            replace(option, default=values[option.name], required=False) if option.name in values else option
            for option in self.options
        )
        return replace(self, name=name, summary=summary, options=options)

    def parse_options(self, given: Mapping[str, str], origin: str, *, partial: bool = False) -> dict[str, Any]:
        """Return every option's value: what was given, else its default; `partial`: only what was given."""
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
            elif partial:
                continue
            elif option.required:
                raise UsageError(f"{origin}: method {self.name!r} needs -o {name}=VALUE")
            else:
                values[name] = option.default
        return values


def read_method(
    name: str, file: Path, function: str, module: str | None, origin: str, positional: int = 1
) -> MethodSource:
    """Read one method; `positional`: how many arguments come before its options (pair; of a combinator: and stages)."""
    tree = parse_file(file)
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
        options=tuple(_options(factory, file, positional)),
        code_digest=code_digest(file, module),
    )


def _options(factory: ast.FunctionDef, file: Path, expected: int) -> list[Option]:
    options = []
    arguments = factory.args
    positional = [*arguments.posonlyargs, *arguments.args]
    if len(positional) != expected or arguments.vararg or arguments.kwarg:
        form = (
            f"take the pair and, after a '*', its options: def {factory.name}(pair, *, weight: float = 1.0)"
            if expected == 1
            else f"be a combinator: def {factory.name}(pair, stages)"
        )
        raise UsageError(f"{file}:{factory.lineno}: {factory.name} must {form}")
    for argument, default in zip(arguments.kwonlyargs, arguments.kw_defaults, strict=True):
        where = f"{file}:{argument.lineno}: option {argument.arg!r}"
        types, choices = _annotation(argument.annotation, where)
        try:
            value = None if default is None else ast.literal_eval(default)
        except (ValueError, TypeError) as error:
            raise UsageError(f"{where}: its default must be a plain value") from error
        options.append(Option(argument.arg, types, choices, value, default is None))
    return options


def _annotation(node: ast.expr | None, where: str) -> tuple[tuple[type, ...], tuple[Any, ...]]:
    """Return the types, or for Literal the choices, that an annotation allows."""
    names = {"bool": bool, "int": int, "float": float, "str": str}
    form, inner = _generic(node)
    if form in ("Optional", "Union"):
        parts = [*(inner.elts if isinstance(inner, ast.Tuple) else [inner])]
        parts += [ast.Constant(None)] if form == "Optional" else []
        read = [_annotation(part, where) for part in parts]
        return tuple(kind for kinds, _ in read for kind in kinds), tuple(c for _, choices in read for c in choices)
    if isinstance(node, ast.Name) and node.id in names:
        kind = names[node.id]
        return ((int, float) if kind is float else (kind,)), ()
    if isinstance(node, ast.Constant) and node.value is None:
        return (type(None),), ()
    if isinstance(node, ast.BinOp) and isinstance(node.op, ast.BitOr):
        left, right = _annotation(node.left, where), _annotation(node.right, where)
        return left[0] + right[0], left[1] + right[1]
    if form == "Literal":
        try:
            literal = ast.literal_eval(inner)
        except (ValueError, TypeError) as error:
            raise UsageError(f"{where}: the choices in Literal[...] must be plain values") from error
        return (), literal if isinstance(literal, tuple) else (literal,)
    raise UsageError(f"{where}: annotate it as bool, int, float, str, Literal[...] or a union")


def _generic(node: ast.expr | None) -> tuple[str, ast.expr]:
    """Return name and argument of `NAME[ARGUMENT]` or `typing.NAME[ARGUMENT]`; an empty name for anything else."""
    if isinstance(node, ast.Subscript):
        if isinstance(node.value, ast.Name):
            return node.value.id, node.slice
        if isinstance(node.value, ast.Attribute):
            return node.value.attr, node.slice
    return "", ast.Constant(None)
