"""What the program says and how it ends: messages on stderr, one JSON document on stdout, exit codes."""

import codecs
import errno
import functools
import io
import json
import os
import sys
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager, redirect_stdout
from pathlib import Path
from typing import Any, NoReturn, TypeVar, get_type_hints

import typer

from gkdbench.errors import DataError, GkdbenchError, Interrupted, UsageError
from gkdbench.report.visible_text import visible

R = TypeVar("R")
DEFAULT_RESULTS = Path("results")
_documents: list[Any] = []
"""What a command with --json has to print when it ends."""


_PLAIN = {"±": "+-", "–": "-", "—": "-", "−": "-", "→": "->", "…": "...", "×": "x", "‘": "'", "’": "'"}
"""Signs that messages and tables have, and an encoding may lack."""


def _in_plain(error: UnicodeError) -> tuple[str, int]:
    if not isinstance(error, UnicodeEncodeError):
        raise error
    lacking = error.object[error.start : error.end]
    plain = (_PLAIN.get(char) or char.encode("ascii", "backslashreplace").decode() for char in lacking)
    return "".join(plain), error.end


def print_in_any_encoding() -> None:
    """Let standard output and error spell out what their encoding lacks: no sign may end a finished command."""
    codecs.register_error("gkdbench.plain", _in_plain)
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="gkdbench.plain")


def say(text: str) -> None:
    """Print one line for a person, on stderr."""
    print(visible(text), file=sys.stderr, flush=True)


def print_json(content: Any) -> None:
    """Print the one JSON document of a command, on stdout; a second one, such as of a failing report, is left out."""
    _documents.append(content)


def print_table(rows: list[list[str]]) -> None:
    """Print aligned columns on stdout; the first row is the header, numbers stand to the right."""
    rows = [[visible(cell) for cell in row] for row in rows]
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    numeric = [
        all(_numeric(row[column]) for row in rows[1:]) for column in range(len(rows[0]))
    ]
    for number, row in enumerate(rows):
        cells = [
            cell.rjust(width) if right else cell.ljust(width)
            for cell, width, right in zip(row, widths, numeric, strict=True)
        ]
        print("  ".join(cells).rstrip())
        if number == 0:
            print("  ".join("-" * width for width in widths))


def _numeric(cell: str) -> bool:
    return not cell or cell[0].isdigit() or cell[0] in "-−+~"


def existing(results: Path) -> Path:
    """Return a results directory that a user named; a misspelt one is an error, the default may be absent."""
    if results.exists() and not results.is_dir():
        raise DataError(
            f"--results {results}: a file; name the folder that holds runs/, a folder of runs, or one run's folder"
            + (f", such as {results.parent}" if results.name == "record.json" else "")
        )
    if not results.exists() and results != DEFAULT_RESULTS:
        raise DataError(f"--results {results}: no such folder")
    return results


def command(function: Callable[..., R]) -> Callable[..., R]:
    """Make a function a command: its errors become one clear line and an exit code.

    The function must take `as_json` and `debug` keyword arguments.
    """

    @functools.wraps(function)
    def wrapped(*args: Any, **kwargs: Any) -> R:
        try:
            with _one_document(bool(kwargs.get("as_json"))):
                return _ended_clearly(function, args, kwargs)
        except BrokenPipeError:
            # the reader has gone (`| head`); leave quietly, without Python's own complaint at exit
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
            raise typer.Exit(0) from None

    return wrapped


@contextmanager
def _one_document(wanted: bool) -> Iterator[None]:
    """Keep stdout for the command's JSON document: what methods and libraries print meanwhile goes to stderr."""
    if not wanted:
        yield
        return
    _documents.clear()
    sys.stdout.flush()
    kept = os.dup(1)  # also programs and libraries that know nothing of sys.stdout
    os.dup2(2, 1)
    try:
        with redirect_stdout(sys.stderr):
            yield
    finally:
        os.dup2(kept, 1)
        os.close(kept)
        unicode = (sys.stdout.encoding or "").lower().startswith("utf")
        for content in _documents[:1]:
            print(json.dumps(content, indent=1, ensure_ascii=not unicode), flush=True)


def _ended_clearly(function: Callable[..., R], args: Any, kwargs: dict[str, Any]) -> R:
    try:
        _check_utf8(function, kwargs)
        return function(*args, **kwargs)
    except (typer.Exit, typer.Abort, BrokenPipeError):
        raise
    except GkdbenchError as error:
        _end(str(error), error.exit_code, kwargs)
    except KeyboardInterrupt:
        _end("stopped from the keyboard", Interrupted.exit_code, kwargs)
    except OSError as error:
        if error.errno != errno.ENAMETOOLONG:
            _end_unforeseen(error, kwargs)
        name = str(error.filename)
        shown = name if len(name) < 80 else f"{name[:60]}...{name[-17:]}"
        said = f"{shown}: a path of {len(name)} characters, which is too long for this file system; shorten it"
        _end(said, UsageError.exit_code, kwargs)
    except BaseException as error:  # SystemExit too: a method's must not end the command as if all were well
        _end_unforeseen(error, kwargs)


def _check_utf8(function: Callable[..., Any], arguments: dict[str, Any]) -> None:
    """Refuse paths and texts that no record, which is UTF-8, can hold."""
    for name, value in arguments.items():
        for one in value if isinstance(value, list | tuple) else (value,):
            if isinstance(one, str | Path) and any("\ud800" <= letter <= "\udfff" for letter in str(one)):
                raise UsageError(f"{_spelt(function, name)} {str(one)!a}: not valid UTF-8; rename it")


def _spelt(function: Callable[..., Any], name: str) -> str:
    """Return how a command line spells an argument of a command."""
    marks = getattr(get_type_hints(function, include_extras=True)[name], "__metadata__", ())
    words = [word for mark in marks for word in (mark.default, *(mark.param_decls or ()))]  # the first is no default
    spelt = (word for word in words if isinstance(word, str) and word.startswith("--"))
    return next(spelt, f"--{name.replace('_', '-')}")


def _end_unforeseen(error: BaseException, arguments: dict[str, Any]) -> NoReturn:
    hint = "" if arguments.get("debug") else "; --debug shows where"
    _end(f"{type(error).__name__}: {error}{hint}", 1, arguments)


def _end(message: str, code: int, arguments: dict[str, Any]) -> NoReturn:
    if arguments.get("debug"):
        traceback.print_exc()
    say(f"gkdbench: {' '.join(message.splitlines())}")
    if arguments.get("as_json"):
        print_json({"error": message, "exit_code": code})
    raise typer.Exit(code)
