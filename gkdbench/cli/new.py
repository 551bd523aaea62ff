"""`gkdbench new`: a working start for something of your own."""

import keyword
import re
import shlex
import sys
from importlib.resources import files
from pathlib import Path
from string import Template
from typing import Annotated

import typer

from gkdbench.cli.console import command, print_json, say
from gkdbench.errors import DataError, UsageError

TAKEN = frozenset({"F", "Pair", "Stage", "Step", "Tensor", "dict", "float", "int", "list", "nn", "super"})
"""Names that the written file uses itself."""

new = typer.Typer(help="Write a method or a benchmark of your own to start from.", no_args_is_help=True)


@new.callback()
def _group() -> None:
    """Write a method or a benchmark of your own to start from."""


@new.command("method")
@command
def new_method(
    name: Annotated[str, typer.Argument(help="The method's name: file, function and row of the report.")],
    folder: Annotated[Path, typer.Option("--dir", help="Where the two files go.")] = Path("."),
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
    debug: Annotated[bool, typer.Option("--debug", help="Show tracebacks.")] = False,
) -> None:
    """Write NAME.py, a working method to change, and test_NAME.py, which checks that it keeps the contract."""
    _check_name(name)
    method, test = folder / f"{name}.py", folder / f"test_{name}.py"
    words = {"name": name, "title": name.replace("_", " ").capitalize(), "class_name": _class_name(name)}
    write_new({method: filled("method.txt", words), test: filled("test_method.txt", words)})
    warning = _clash(name)
    address = shlex.quote(f"{method if method.is_absolute() else f'./{method}'}:{name}")
    steps = {
        "check": f"gkdbench check method {address}",
        "run": f"gkdbench run --method {address} --setting f2l",
        "report": "gkdbench report",
    }
    if warning:
        say(f"gkdbench: warning: {warning}")
    if as_json:
        print_json(
            {"method": str(method), "test": str(test), "warnings": [warning] if warning else [], "next": steps}
        )
        return
    say(f"wrote {method} and {test}; next:")
    for label, line in steps.items():
        print(f"{label + ':':8}{line}")


def _check_name(name: str) -> None:
    if not re.fullmatch(r"[A-Za-z][A-Za-z0-9_]*", name):
        raise UsageError(f"new method {name!r}: a name is letters, digits and '_', and begins with a letter")
    if keyword.iskeyword(name):
        raise UsageError(f"new method {name}: this is a word of Python itself; take another")
    if name in TAKEN:
        raise UsageError(f"new method {name}: the method's file uses this name for something else; take another")
    if name == "conftest" or name.startswith("test_"):
        raise UsageError(f"new method {name}: pytest would take the method's file for one of tests; take another")
    # pytest puts the folder on the path, where the file would be imported instead of the module
    if name in sys.stdlib_module_names or name in ("gkdbench", "numpy", "timm", "torch", "torchvision"):
        raise UsageError(f"new method {name}: a file {name}.py would hide the module {name!r}; take another name")


def _class_name(name: str) -> str:
    camel = "".join(part[:1].upper() + part[1:] for part in name.split("_"))
    return f"{camel}Stage"


def filled(template: str, words: dict[str, str]) -> str:
    """Return a template with its words filled in."""
    text = (files("gkdbench.cli") / "templates" / template).read_text(encoding="utf-8")
    return Template(text).substitute(words)


def write_new(contents: dict[Path, str]) -> None:
    """Write files that are not there yet; UsageError where one is."""
    for path in contents:
        if path.exists() or path.is_symlink():
            raise UsageError(f"{path}: exists already; choose another name or --dir, or remove it")
    for path, text in contents.items():
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            with path.open("x", encoding="utf-8") as file:
                file.write(text)
        except OSError as error:
            raise DataError(f"{path}: cannot be written ({error.strerror or error})") from error


def _clash(name: str) -> str | None:
    """Return what to say where an installed method has the name: yours is still run, by its path."""
    from gkdbench.spec.methods import offers

    if name not in offers():
        return None
    return f"{name!r} is also an installed method ({offers()[name][0].origin}); yours is the one given by its path"
