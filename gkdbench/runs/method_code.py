"""Importing a method's code: by module for installed methods, by path for a user's file."""

import importlib
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import ModuleType
from typing import Any

from gkdbench.errors import GkdbenchError, UsageError
from gkdbench.identity.code import USER_METHOD
from gkdbench.identity.digest import digest
from gkdbench.spec.methods import MethodSource
from gkdbench.spec.plugins import import_file


def load_factory(source: MethodSource) -> Callable[..., Any]:
    """Import a method's file and those of its combinators; return the factory of them all.

    A failing import names the method.
    """
    factory = _function(source)
    around = [_function(combinator) for combinator in source.combinators]
    if not around:
        return factory

    def combined(pair: Any, **options: Any) -> Any:
        stages = factory(pair, **options)
        for combinator in around:
            stages = combinator(pair, stages)
        return stages

    return combined


@contextmanager
def contained(where: str) -> Iterator[None]:
    """Keep a method's code from ending the program, as SystemExit does without a message: UsageError says so."""
    try:
        yield
    except (Exception, KeyboardInterrupt):
        raise
    except BaseException as error:
        last = traceback.extract_tb(error.__traceback__)[-1]
        raise UsageError(
            f"{where} ends the program instead of returning: {type(error).__name__}({error}) at "
            f"{last.filename}:{last.lineno}; raise an error that says what is wrong"
        ) from error


def _function(source: MethodSource) -> Callable[..., Any]:
    try:
        with contained(f"method {source.name!r} ({source.file})"):
            module = importlib.import_module(source.module) if source.module else _from_path(source)
    except GkdbenchError:
        raise
    except Exception as error:  # a stranger's code may fail in any way; the core must name it and go on
        raise GkdbenchError(
            f"method {source.name!r} ({source.file}) cannot be imported: {type(error).__name__}: {error}"
        ) from error
    factory = getattr(module, source.function, None)
    if not callable(factory):
        raise GkdbenchError(f"method {source.name!r}: {source.file} has no function {source.function!r}")
    result: Callable[..., Any] = factory
    return result


def _from_path(source: MethodSource) -> ModuleType:
    # errors show a module's file and lines, so the same code elsewhere, or below another comment, is another module
    exact = digest([str(source.file.resolve()), source.file.read_text(encoding="utf-8"), source.code_digest])
    return import_file(source.file, f"{USER_METHOD}{source.file.stem}_{exact[:8]}")
