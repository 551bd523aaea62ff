"""`gkdbench new`: a working start for something of your own."""

import keyword
import re
import shlex
import sys
from collections.abc import Mapping
from importlib.resources import files
from pathlib import Path
from string import Template
from typing import Annotated, Any

import typer

from gkdbench.cli.console import command, print_json, say
from gkdbench.errors import DataError, UsageError

TAKEN = frozenset({"F", "Pair", "Stage", "Step", "Tensor", "dict", "float", "int", "list", "nn", "super"})
"""Names that the written method uses itself."""
TEMPLATES = {"segmentation": "benchmark.txt", "detection": "detection.txt"}
"""What is written of a benchmark, by its task."""
Folder = Annotated[Path, typer.Option("--dir", help="Where the files go.")]
AsJson = Annotated[bool, typer.Option("--json", help="Print JSON.")]
Debug = Annotated[bool, typer.Option("--debug", help="Show tracebacks.")]

new = typer.Typer(help="Write a method, a benchmark or a reader of your own to start from.", no_args_is_help=True)


@new.callback()
def _group() -> None:
    """Write a method, a benchmark or a reader of your own to start from."""


@new.command("method")
@command
def new_method(
    name: Annotated[str, typer.Argument(help="The method's name: file, function and row of the report.")],
    folder: Folder = Path("."),
    as_json: AsJson = False,
    debug: Debug = False,
) -> None:
    """Write NAME.py, a working method to change, and test_NAME.py, which checks that it keeps the contract."""
    from gkdbench.spec.methods import offers

    _check_module_name("method", name)
    method, test = folder / f"{name}.py", folder / f"test_{name}.py"
    title, class_name = name.replace("_", " ").capitalize(), _class_name(name, "Stage")
    words = {"name": name, "title": title, "class_name": class_name}
    write_new({method: filled("method.txt", words), test: filled("test_method.txt", words)})
    warnings = []
    if name in offers():
        origin = offers()[name][0].origin
        warnings = [f"{name!r} is also an installed method ({origin}); yours is the one given by its path"]
        say(f"gkdbench: warning: {warnings[0]}")
    steps = filled("method_steps.txt", {"address": shlex.quote(f"{_from_here(method)}:{name}")})
    facts = {"method": str(method), "test": str(test), "warnings": warnings}
    _tell(f"wrote {method} and {test}; next:", facts, steps, as_json)


@new.command("benchmark")
@command
def new_benchmark(
    name: Annotated[str, typer.Argument(help="The benchmark's name: the file's, and what the report calls it.")],
    task: Annotated[
        str, typer.Option(help="What models predict: segmentation (a class per pixel) or detection (boxes).")
    ] = "segmentation",
    folder: Folder = Path("."),
    as_json: AsJson = False,
    debug: Debug = False,
) -> None:
    """Write NAME.yaml, a benchmark to fill in: your folders or archives, your classes, your targets."""
    from gkdbench.spec.catalogue import benchmark_files
    from gkdbench.spec.documents import check_name

    check_name("--task: no such task", task, TEMPLATES)
    if not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9_-]*", name):
        raise UsageError(f"new benchmark {name!r}: a name is letters, digits, '_' and '-', first a letter or digit")
    if name in benchmark_files():
        raise UsageError(f"new benchmark {name}: gkdbench has a benchmark of this name; take another")
    path = folder / f"{name}.yaml"
    title = name.replace("_", " ").replace("-", " ")
    words = {"name": name, "title": title, "file": shlex.quote(_from_here(path))}
    write_new({path: filled(TEMPLATES[task], words)})
    steps = filled("benchmark_steps.txt", words)
    _tell(f"wrote {path}; change the lines marked with <-, then:", {"benchmark": str(path)}, steps, as_json)


@new.command("reader")
@command
def new_reader(
    name: Annotated[str, typer.Argument(help="The reader's name: the file's, and its class's in capitals.")],
    folder: Folder = Path("."),
    as_json: AsJson = False,
    debug: Debug = False,
) -> None:
    """Write NAME.py, a working reader of images in a format of your own, and test_NAME.py, which tries it."""
    _check_module_name("reader", name)
    reader, test = folder / f"{name}.py", folder / f"test_{name}.py"
    title, class_name = name.replace("_", " ").capitalize(), _class_name(name, "Split")
    words = {"name": name, "title": title, "class_name": class_name, "test": shlex.quote(str(test))}
    write_new({reader: filled("reader.txt", words), test: filled("test_reader.txt", words)})
    facts = {"reader": str(reader), "test": str(test)}
    _tell(f"wrote {reader} and {test}; next:", facts, filled("reader_steps.txt", words), as_json)


def _class_name(name: str, end: str) -> str:
    return "".join(part[:1].upper() + part[1:] for part in name.split("_")) + end


def _check_module_name(what: str, name: str) -> None:
    if not re.fullmatch(r"[A-Za-z][A-Za-z0-9_]*", name):
        raise UsageError(f"new {what} {name!r}: a name is letters, digits and '_', and begins with a letter")
    ours_or_pytests = name in TAKEN or name == "conftest" or name.startswith("test_")
    # pytest puts the folder on the path, where the file would be imported instead of the module
    hides = name in sys.stdlib_module_names or name in ("gkdbench", "numpy", "PIL", "timm", "torch", "torchvision")
    if keyword.iskeyword(name) or ours_or_pytests or hides:
        raise UsageError(
            f"new {what} {name}: Python, pytest, a module or the written file itself uses this name; take another"
        )


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


def _from_here(path: Path) -> str:
    """Return a path as the commands that take one know it from a name."""
    return str(path) if path.is_absolute() else f"./{path}"


def _tell(wrote: str, facts: Mapping[str, Any], steps: str, as_json: bool) -> None:
    """Say what was written and what to do next: a step a line, as `label: command`."""
    following = dict(line.split(": ", 1) for line in steps.splitlines())
    if as_json:
        print_json({**facts, "next": following})
        return
    say(wrote)
    for label, line in following.items():
        print(f"{label + ':':8}{line}")
