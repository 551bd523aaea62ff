"""What the program says and how it ends: messages on stderr, one JSON document on stdout, exit codes."""

import functools
import json
import os
import sys
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import Any, NoReturn, TypeVar

import typer

from gkdbench.errors import DataError, GkdbenchError, Interrupted

R = TypeVar("R")
DEFAULT_RESULTS = Path("results")


def say(text: str) -> None:
    """Print one line for a person, on stderr."""
    print(text, file=sys.stderr, flush=True)


def print_json(content: Any) -> None:
    """Print the one JSON document of a command, on stdout."""
    print(json.dumps(content, indent=1, ensure_ascii=False))


def print_table(rows: list[list[str]]) -> None:
    """Print aligned columns on stdout; the first row is the header, numbers stand to the right."""
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
    if not results.is_dir() and results != DEFAULT_RESULTS:
        raise DataError(f"--results {results}: no such folder")
    return results


def command(function: Callable[..., R]) -> Callable[..., R]:
    """Make a function a command: its errors become one clear line and an exit code.

    The function must take `as_json` and `debug` keyword arguments.
    """

    @functools.wraps(function)
    def wrapped(*args: Any, **kwargs: Any) -> R:
        try:
            return function(*args, **kwargs)
        except (typer.Exit, typer.Abort):
            raise
        except GkdbenchError as error:
            _end(str(error), error.exit_code, kwargs)
        except KeyboardInterrupt:
            _end("stopped from the keyboard", Interrupted.exit_code, kwargs)
        except BrokenPipeError:
            # the reader has gone (`| head`); leave quietly, without Python's own complaint at exit
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
            raise typer.Exit(0) from None
        except Exception as error:
            hint = "" if kwargs.get("debug") else "; --debug shows where"
            _end(f"{type(error).__name__}: {error}{hint}", 1, kwargs)

    return wrapped


def _end(message: str, code: int, arguments: dict[str, Any]) -> NoReturn:
    if arguments.get("debug"):
        traceback.print_exc()
    say(f"gkdbench: {message}")
    if arguments.get("as_json"):
        print_json({"error": message, "exit_code": code})
    raise typer.Exit(code)
