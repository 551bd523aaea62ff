"""`gkdbench check`: the machine, a benchmark's data, weights and a method, before time is spent on them."""

import os
import shutil
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from gkdbench.cli.check_method import check_method
from gkdbench.cli.check_weights import check_weights
from gkdbench.cli.console import command, print_json, print_table, say

if TYPE_CHECKING:
    from gkdbench.data.dataset import DataPlace

check = typer.Typer(help="Check the machine, a benchmark's data, weights or a method.", no_args_is_help=True)
check.command("method")(check_method)
check.command("weights")(check_weights)


@check.command("env")
@command
def check_env(
    results: Annotated[Path, typer.Option(help="Results directory.")] = Path("results"),
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
    debug: Annotated[bool, typer.Option("--debug", help="Show tracebacks.")] = False,
) -> None:
    """Show versions, devices and free space, and whether results and cache can be written."""
    import torch

    from gkdbench.data.dataset import DataPlace
    from gkdbench.run import environment

    devices = [torch.cuda.get_device_name(i) for i in range(torch.cuda.device_count())]
    facts = environment.describe(", ".join(devices) or "cpu", len(devices) or 1, torch.get_num_threads())
    for name, folder in (("results", results), ("cache", DataPlace().cache_folder())):
        existing = next(path for path in (folder.resolve(), *folder.resolve().parents) if path.exists())
        facts[name] = str(folder.resolve())
        facts[f"{name}_writable"] = existing.is_dir() and os.access(existing, os.W_OK)
        facts[f"{name}_free_gib"] = round(shutil.disk_usage(existing).free / 2**30, 1)
    facts["weights_folder"] = os.environ.get("GKDBENCH_WEIGHTS")
    facts["commit"] = environment.commit()
    if as_json:
        print_json(facts)
        return
    libraries = facts.pop("libraries")
    print_table([["what", "value"], *([k, str(v)] for k, v in {**facts, **libraries}.items())])


@check.command("data")
@command
def check_data(
    benchmark: Annotated[str, typer.Argument(help="Benchmark by name or path of a YAML.")],
    data_root: Annotated[
        Path | None, typer.Option(envvar="GKDBENCH_DATA", help="Folder of downloaded data.")
    ] = None,
    out: Annotated[Path | None, typer.Option(help="Where the contact sheet goes.")] = None,
    sample: Annotated[int, typer.Option(help="Images read per split.", min=1)] = 12,
    full: Annotated[bool, typer.Option("--full", help="Read every image.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
    debug: Annotated[bool, typer.Option("--debug", help="Show tracebacks.")] = False,
) -> None:
    """Open every split, read a sample, count classes, and draw a contact sheet."""
    from gkdbench.data.dataset import DataPlace

    report = _inspect(benchmark, DataPlace(data_root), None if full else sample, out)
    if as_json:
        print_json(report)
        return
    rows = [["split", "images", "read", "size", "labelled %", "classes seen"]]
    for name, facts in report["splits"].items():
        rows.append(
            [
                name,
                str(facts["images"]),
                str(facts["read"]),
                facts["size"],
                "unlabelled" if facts["labelled"] is None else f"{100 * facts['labelled']:.1f}",
                "" if facts["labelled"] is None else f"{facts['classes_seen']} of {report['classes']}",
            ]
        )
    print_table(rows)
    say(f"contact sheet: {report['contact_sheet']}")


def _inspect(name: str, place: "DataPlace", sample: int | None, out: Path | None) -> dict[str, Any]:
    import numpy as np

    from gkdbench.cli.display import choose_display
    from gkdbench.data.contact_sheet import contact_sheet
    from gkdbench.data.dataset import open_split
    from gkdbench.data.inspection import inspect_split, spread
    from gkdbench.run.files import make_folder
    from gkdbench.spec.catalogue import find_benchmark

    source = find_benchmark(name)
    benchmark = source.benchmark
    splits = {
        "source train": benchmark.source.train,
        "source val": benchmark.source.val,
        "proxy": benchmark.proxy,
        **benchmark.targets,
    }
    display = choose_display()
    facts, rows = {}, []
    for split_name, split in splits.items():
        display.begin(f"reading {split_name}")
        dataset = open_split(split, benchmark, source.folder, place, progress=display.progress)
        # the proxy pool is unlabelled by definition, even where the renderer knows better
        labelled = split_name != "proxy"
        facts[split_name] = inspect_split(
            dataset, benchmark.classes, benchmark.ignore, sample, labelled=labelled
        )
        shown = spread(len(dataset), 6)
        labels = [dataset.labels(i) if labelled else None for i in shown]
        known = [label for label in labels if label is not None]
        rows.append((split_name, [dataset.image(i) for i in shown], known or None))
    path = out or Path(f"{benchmark.name}-contact-sheet.png")
    make_folder(path.parent)
    contact_sheet(rows, np.array(benchmark.palette, np.uint8), path)
    return {
        "benchmark": benchmark.name,
        "version": benchmark.version,
        "classes": len(benchmark.classes),
        "splits": facts,
        "contact_sheet": str(path.resolve()),
    }
