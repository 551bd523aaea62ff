"""What the program says and how it ends: messages on stderr, one JSON document on stdout, exit codes."""

import codecs
import errno
import functools
import io
import json
import os
import sys
import traceback
from collections.abc import Callable, Iterator, Sequence
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


def print_table(rows: Sequence[Sequence[str]]) -> None:
    """Print columns on stdout; the first row is the header, numbers stand to the right, a terminal wraps long cells."""
    from rich.box import Box
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    rule_below_header = Box("    \n    \n -- \n" + "    \n" * 5, ascii=True)
    table = Table(box=rule_below_header, show_edge=False, pad_edge=False, collapse_padding=True)
    header, *body = [[visible(cell) for cell in row] for row in rows]
    for number, title in enumerate(header):
        numeric = all(_numeric(row[number]) for row in body)
        table.add_column(Text(title), justify="right" if numeric else "left", overflow="fold")
    for row in body:
        table.add_row(*map(Text, row))
    console = Console(width=None if sys.stdout.isatty() else 10**6)  # programs read whole lines
    with console.capture() as drawn:
        console.print(table)
    for line in drawn.get().rstrip("\n").split("\n"):
        print(line.rstrip())


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
    except BaseException as error:  # SystemExit too: a method's must not end the command as if all were well
        if isinstance(error, OSError) and error.errno == errno.ENAMETOOLONG:
            _end(f"{error.filename}: {error.strerror}", UsageError.exit_code, kwargs)
        hint = "" if kwargs.get("debug") else "; --debug shows where"
        _end(f"{type(error).__name__}: {error}{hint}", 1, kwargs)


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


def _end(message: str, code: int, arguments: dict[str, Any]) -> NoReturn:
    if arguments.get("debug"):
        traceback.print_exc()
    say(f"gkdbench: {' '.join(message.splitlines())}")
    if arguments.get("as_json"):
        print_json({"error": message, "exit_code": code})
    raise typer.Exit(code)
