"""`gkdbench new benchmark`: a commented YAML to fill in."""

import re
import shlex
from pathlib import Path
from typing import Annotated

import typer

from gkdbench.cli.console import command, print_json, say
from gkdbench.cli.new import filled, write_new
from gkdbench.errors import UsageError

TEMPLATES = {"segmentation": "benchmark.txt", "detection": "detection.txt"}
"""What is written for each task."""


@command
def new_benchmark(
    name: Annotated[str, typer.Argument(help="The benchmark's name: the file's, and what the report calls it.")],
    task: Annotated[
        str, typer.Option(help="What models predict: segmentation (a class per pixel) or detection (boxes).")
    ] = "segmentation",
    folder: Annotated[Path, typer.Option("--dir", help="Where the file goes.")] = Path("."),
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
    debug: Annotated[bool, typer.Option("--debug", help="Show tracebacks.")] = False,
) -> None:
    """Write NAME.yaml, a benchmark to fill in: your folders or archives, your classes, your targets."""
    from gkdbench.spec.catalogue import benchmark_files
    from gkdbench.spec.documents import nearest

    if task not in TEMPLATES:
        known = ", ".join(TEMPLATES)
        raise UsageError(f"--task {task}: no such task{nearest(task, TEMPLATES)} (known: {known})")
    if not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9_-]*", name):
        raise UsageError(f"new benchmark {name!r}: a name is letters, digits, '_' and '-', first a letter or digit")
    if name in benchmark_files():
        raise UsageError(f"new benchmark {name}: gkdbench has a benchmark of this name; take another")
    path = folder / f"{name}.yaml"
    address = shlex.quote(str(path) if path.is_absolute() else f"./{path}")
    title = name.replace("_", " ").replace("-", " ")
    words = {"name": name, "title": title, "file": address}
    write_new({path: filled(TEMPLATES[task], words)})
    lines = filled("benchmark_steps.txt", words).splitlines()
    steps = dict(line.split(": ", 1) for line in lines)
    if as_json:
        print_json({"benchmark": str(path), "next": steps})
        return
    say(f"wrote {path}; change the lines marked with <-, then:")
    for label, line in steps.items():
        print(f"{label + ':':8}{line}")
