"""The method under test: its factory, how another process finds it, and the lines of its own code."""

import ast
import importlib
import inspect
import os
import site
import sys
import sysconfig
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from types import TracebackType
from typing import Any

import torch

from gkdbench.contract import Pair, Stage
from gkdbench.data.seeds import seed_of
from gkdbench.errors import UsageError
from gkdbench.run.method_code import load_factory
from gkdbench.run.plan import call_factory
from gkdbench.spec.methods import find_method

Method = str | Callable[..., Any]


@dataclass(frozen=True)
class Address:
    """How another process finds a method: a name to look up, or a module's attribute."""

    name: str
    module: str | None = None

    def factory(self) -> Method:
        """Return what `find_subject` takes."""
        if self.module is None:
            return self.name
        found: Any = importlib.import_module(self.module)
        for part in self.name.split("."):
            found = getattr(found, part)
        factory: Callable[..., Any] = found
        return factory


@dataclass(frozen=True)
class Subject:
    """A method with the options it is tested with."""

    name: str
    factory: Callable[..., Any]
    options: Mapping[str, Any]
    address: Address | None
    """None where another process cannot find the method."""

    def stages(self, pair: Pair, seed: int) -> list[Stage]:
        """Return fresh stages, made as a run makes them."""
        return call_factory(self.factory, pair, self.options, seed, f"method {self.name!r}")

    def stage(self, pair: Pair, seed: int, index: int, name: str) -> Stage:
        """Return one fresh stage, the same as among `stages`, by a single call of the factory."""
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed_of(seed, name))
            stage: Stage = self.factory(pair, **self.options)[index]
        return stage


def find_subject(method: Method, options: Mapping[str, Any] | None = None) -> Subject:
    """Find a method by name or path, or take a factory as it is; UsageError names what is wrong with it."""
    if isinstance(method, str):
        source = find_method(method, "method")
        given = {name: str(value) for name, value in (options or {}).items()}
        return Subject(source.name, load_factory(source), source.parse_options(given, "options"), Address(method))
    if not callable(method):
        raise UsageError(f"method: {method!r} is neither a name nor a function")
    name = getattr(method, "__qualname__", type(method).__qualname__)
    return Subject(name, method, dict(options or {}), _address(method))


def _address(factory: Callable[..., Any]) -> Address | None:
    address = Address(getattr(factory, "__qualname__", ""), getattr(factory, "__module__", None))
    if address.module in (None, "__main__"):
        return None
    try:
        return address if address.factory() is factory else None
    except (ImportError, AttributeError):
        return None


@lru_cache
def _foreign_folders() -> tuple[str, ...]:
    """Folders whose code is never a method's own."""
    paths = sysconfig.get_paths()
    known = [paths[key] for key in ("stdlib", "platstdlib", "purelib", "platlib")]
    own = [str(Path(__file__).parents[1]), str(Path(torch.__file__).parent)]
    return tuple(os.path.realpath(folder) + os.sep for folder in (*known, *own, *site.getsitepackages()))


@lru_cache(maxsize=4096)
def _is_own(file: str) -> bool:
    return not file.startswith("<") and not os.path.realpath(file).startswith(_foreign_folders())


def owns(subject: Subject, file: str) -> bool:
    """Whether a source file is the method's own: not of gkdbench, torch, the standard library or other packages."""
    return _is_own(file) or file == _factory_file(subject.factory)


def _factory_file(factory: Callable[..., Any]) -> str:
    code = getattr(inspect.unwrap(factory), "__code__", None)
    module = sys.modules.get(getattr(factory, "__module__", ""))
    inside = bool(module) and getattr(module, "__name__", "").partition(".")[0] == "gkdbench"
    return "" if code is None or inside else str(code.co_filename)


def place(file: str, line: int) -> str:
    """Write a line as file:line, relative to the working directory where that is shorter."""
    try:
        near = os.path.relpath(file)
    except ValueError:  # another drive
        near = file
    return f"{file if near.startswith('..') else near}:{line}"


def raised_at(subject: Subject, error: BaseException) -> str:
    """Return the innermost line of the method's own code that an error passed through; empty for none."""
    found, link = "", error.__traceback__
    while isinstance(link, TracebackType):
        file = link.tb_frame.f_code.co_filename
        if owns(subject, file):
            found = place(file, link.tb_lineno)
        link = link.tb_next
    return found


def _classes(stage: Stage) -> Iterator[type]:
    """Yield the classes a stage's code stands in: its own, its bases', those of stages inside it."""
    seen = set()
    for module in stage.modules():
        for kind in type(module).__mro__:
            if issubclass(kind, Stage) and kind is not Stage and kind not in seen:
                seen.add(kind)
                yield kind


@lru_cache(maxsize=256)
def _tree(file: str, _changed: int) -> ast.Module:
    return ast.parse(Path(file).read_text(encoding="utf-8"))


def _definition(kind: type) -> tuple[str, ast.ClassDef] | None:
    """Return the file and syntax tree of a class; None where there is no source to be read."""
    try:
        file, (_, line) = inspect.getsourcefile(kind), inspect.getsourcelines(kind)
        tree = _tree(file or "", Path(file or "").stat().st_mtime_ns)
    except (OSError, TypeError, SyntaxError):
        return None
    if file is None:
        return None
    for node in ast.walk(tree):
        first = min([node.lineno, *(d.lineno for d in node.decorator_list)]) if isinstance(node, ast.ClassDef) else 0
        if isinstance(node, ast.ClassDef) and node.name == kind.__name__ and first == line:
            return file, node
    return None


def _functions(node: ast.ClassDef, name: str) -> list[ast.FunctionDef]:
    return [f for f in node.body if isinstance(f, ast.FunctionDef) and f.name == name]


def method_line(stage: Stage, function: str = "loss") -> str:
    """Return the line where a stage defines a function, else where its class begins."""
    classes = [found for kind in _classes(stage) if (found := _definition(kind))]
    for file, node in classes:
        for definition in _functions(node, function):
            return place(file, definition.lineno)
    return place(classes[0][0], classes[0][1].lineno) if classes else ""


def term_line(stage: Stage, term: str) -> str:
    """Return the line where a term's name stands: in a loss, else in a stage's class, else where the loss begins."""
    classes = [found for kind in _classes(stage) if (found := _definition(kind))]
    scopes: list[tuple[str, ast.AST]] = [(file, f) for file, node in classes for f in _functions(node, "loss")]
    for file, scope in [*scopes, *classes]:
        for node in ast.walk(scope):
            if isinstance(node, ast.Constant) and node.value == term:
                return place(file, node.lineno)
    return method_line(stage)


def attribute_line(stage: Stage, attribute: str) -> str:
    """Return the line where a stage's attribute is set, else where its class begins."""
    for kind in _classes(stage):
        found = _definition(kind)
        for node in ast.walk(found[1]) if found else ():
            if isinstance(node, ast.Assign | ast.AnnAssign):
                for target in node.targets if isinstance(node, ast.Assign) else [node.target]:
                    name = target.attr if isinstance(target, ast.Attribute) else getattr(target, "id", None)
                    if name == attribute and found:
                        return place(found[0], node.lineno)
    return method_line(stage, "")
