"""`gkdbench check`: the machine, data, weights and a method, before time is spent on them."""

import os
import shutil
from pathlib import Path
from typing import Annotated

import typer

from gkdbench.cli.check_data import check_data
from gkdbench.cli.check_method import check_method
from gkdbench.cli.check_weights import check_weights
from gkdbench.cli.console import command, print_json, print_table

check = typer.Typer(help="Check the machine, data, weights or a method.", no_args_is_help=True)
check.command("data")(check_data)
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
    from gkdbench.runs import environment

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

