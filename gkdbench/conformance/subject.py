"""The method under test: its factory, its stages, and the lines of its own code."""

import inspect
import os
import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from gkdbench.contract import Pair, Stage
from gkdbench.errors import UsageError
from gkdbench.runs.method_code import load_factory
from gkdbench.runs.plan import call_factory
from gkdbench.spec.methods import find_method

Method = str | Callable[..., Any]


@dataclass(frozen=True)
class Subject:
    """A method with the options it is tested with."""

    name: str
    method: Method
    """What it was found by."""
    factory: Callable[..., Any]
    options: Mapping[str, Any]
    folders: frozenset[Path]
    """Where its own code lies."""

    def stages(self, pair: Pair, seed: int) -> list[Stage]:
        """Return fresh stages, made as a run makes them."""
        return call_factory(self.factory, pair, self.options, seed, f"method {self.name!r}")

    def raised_at(self, error: BaseException) -> str:
        """Return the innermost line of the method's own code that an error passed through; empty for none."""
        found, link = "", error.__traceback__
        while link is not None:
            file = link.tb_frame.f_code.co_filename
            if Path(file).resolve().parent in self.folders:
                found = _place(file, link.tb_lineno)
            link = link.tb_next
        return found


def find_subject(method: Method, options: Mapping[str, Any] | None = None) -> Subject:
    """Find a method by name or path, or take a factory as it is; UsageError names what is wrong with it."""
    if isinstance(method, str):
        source = find_method(method, "method")
        given = {name: str(value) for name, value in (options or {}).items()}
        folders = frozenset(one.file.resolve().parent for one in (source, *source.combinators))
        return Subject(source.name, method, load_factory(source), source.parse_options(given, "options"), folders)
    if not callable(method):
        raise UsageError(f"method: {method!r} is neither a name nor a function")
    name = getattr(method, "__qualname__", type(method).__qualname__)
    code = getattr(inspect.unwrap(method), "__code__", None)
    folders = frozenset() if code is None else frozenset({Path(code.co_filename).resolve().parent})
    return Subject(name, method, method, dict(options or {}), folders)


def method_line(stage: Stage, function: str = "loss", text: str = "") -> str:
    """Return the first line of a stage's function that holds a pattern, else where the function begins.

    Where the stage defines no such function, the same of its class.
    """
    kinds = list(_classes(stage))
    functions = [vars(kind)[function] for kind in kinds if function in vars(kind)]
    sources = [found for part in (*functions, *kinds) if (found := _source(part))]
    for file, first, lines in sources:
        for number, line in enumerate(lines):
            if text and re.search(text, line):
                return _place(file, first + number)
    return _place(*sources[0][:2]) if sources else ""


def term_line(stage: Stage, term: str) -> str:
    """Return the line where a term's name stands: in a loss, else in a stage's class, else where the loss begins."""
    return method_line(stage, "loss", rf"""["']{re.escape(term)}["']""")


def attribute_line(stage: Stage, attribute: str) -> str:
    """Return the line where a stage's attribute is set, else where its class begins."""
    return method_line(stage, "", rf"\b{attribute}\b[^=()]*=(?!=)")


def _classes(stage: Stage) -> Iterator[type]:
    """Yield the classes a stage's code stands in: its own, its bases', those of stages inside it."""
    kinds = (kind for module in stage.modules() for kind in type(module).__mro__)
    yield from dict.fromkeys(kind for kind in kinds if issubclass(kind, Stage) and kind is not Stage)


def _source(part: Any) -> tuple[str, int, list[str]] | None:
    """Return file, first line and text of a class or a function; None where there is no source to be read."""
    try:
        lines, first = inspect.getsourcelines(part)
        return str(inspect.getsourcefile(part)), first, lines
    except (OSError, TypeError, SyntaxError):
        return None


def _place(file: str, line: int) -> str:
    """Write a line as file:line, relative to the working directory where that is shorter."""
    try:
        near = os.path.relpath(file)
    except ValueError:  # another drive
        near = file
    return f"{file if near.startswith('..') else near}:{line}"
