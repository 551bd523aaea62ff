"""`gkdbench list`: what there is, by name; one name gives all about it."""

import fnmatch
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any

import typer

from gkdbench.cli.console import command, existing, print_json, print_table
from gkdbench.errors import GkdbenchError, UsageError

Entries = dict[str, dict[str, Any]]


@command
def listing(
    what: Annotated[
        str, typer.Argument(help="methods, benchmarks, settings, models, datasets, tables or runs.")
    ],
    name: Annotated[str, typer.Argument(help="A name or pattern; one match shows all about it.")] = "",
    results: Annotated[Path, typer.Option(help="Results directory (for runs).")] = Path("results"),
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
    debug: Annotated[bool, typer.Option("--debug", help="Show tracebacks.")] = False,
) -> None:
    """List what the program knows."""
    from gkdbench.spec.documents import nearest

    kinds: dict[str, Callable[[], Entries]] = {
        "methods": _methods,
        "benchmarks": _benchmarks,
        "settings": _settings,
        "models": _models,
        "datasets": _datasets,
        "tables": _tables,
        "runs": lambda: _runs(existing(results)),
    }
    if what not in kinds:
        raise UsageError(f"cannot list {what!r}{nearest(what, kinds)} (known: {', '.join(kinds)})")
    entries = kinds[what]()
    chosen = {k: v for k, v in entries.items() if not name or fnmatch.fnmatch(k, name)}
    if name and not chosen:
        raise UsageError(f"no {what[:-1]} {name!r}{nearest(name, entries)}")
    if as_json:
        print_json(chosen)
    elif not chosen:
        print(f"no {what}")
    elif name in chosen:
        _print_entry(name, chosen[name])
    else:
        columns = [k for k in next(iter(chosen.values())) if not k.startswith("_")]
        rows = [["name", *columns]]
        rows += [[key, *(str(entry[c]) for c in columns)] for key, entry in chosen.items()]
        print_table(rows)


def _print_entry(name: str, entry: dict[str, Any]) -> None:
    print(name)
    for key, value in entry.items():
        label = key.lstrip("_")
        if isinstance(value, list | tuple) and value:
            print(f"  {label}:")
            for item in value:
                print(f"    {item}")
        elif isinstance(value, dict) and value:
            print(f"  {label}:")
            for inner, item in value.items():
                print(f"    {inner}: {item}")
        else:
            print(f"  {label}: {value}")


def _methods() -> Entries:
    from gkdbench.spec.method_names import find_method, method_names

    entries: Entries = {}
    for name in method_names():
        try:
            source = find_method(name)
        except GkdbenchError as error:  # a broken plugin is named and hides nobody else
            entries[name] = {"from": "broken", "summary": str(error), "_options": []}
            continue
        options = [
            f"{option.name} ({option.expected()}"
            + (", required)" if option.required else f", default {option.default})")
            for option in source.options
        ]
        entries[name] = {
            "from": source.origin,
            "summary": source.summary,
            "_options": options,
            "_file": str(source.file),
            "_code": source.code_digest[:16],
        }
    return entries


def _benchmarks() -> Entries:
    from gkdbench.spec.catalogue import benchmark_files, find_benchmark

    entries: Entries = {}
    for name in benchmark_files():
        benchmark = find_benchmark(name).benchmark
        entries[name] = {
            "version": benchmark.version,
            "title": benchmark.title,
            "_description": benchmark.description,
            "_classes": ", ".join(benchmark.classes),
            "_targets": ", ".join(benchmark.targets),
            "_mean_rule": benchmark.mean_rule,
            "_decoder": f"{benchmark.decoder.name}, {benchmark.decoder.width} wide",
            "_settings": {k: v.description for k, v in benchmark.settings.items()},
            "_presets": {
                k: f"{v.description}{' (default)' if k == benchmark.default_preset else ''}"
                for k, v in benchmark.presets.items()
            },
            "_how_to_get": benchmark.how_to_get or "nothing to download",
        }
    return entries


def _settings() -> Entries:
    from gkdbench.spec.catalogue import benchmark_files, find_benchmark

    return {
        f"{name}/{setting}": {
            "pairs": ", ".join(spec.pairs),
            "description": spec.description,
            "_teacher_method": spec.teacher_method,
            "_notes": list(spec.notes),
        }
        for name in benchmark_files()
        for setting, spec in find_benchmark(name).benchmark.settings.items()
    }


def _models() -> Entries:
    from gkdbench.spec.catalogue import models

    return {
        source.name: {
            "role": source.entry.role,
            "timm": source.entry.timm,
            "licence": source.entry.licence,
            "description": source.entry.description,
            "_arguments": source.entry.arguments,
            "_weights": source.entry.weights.model_dump(exclude_defaults=True)
            if source.entry.weights
            else "random",
        }
        for source in models()
    }


def _datasets() -> Entries:
    from gkdbench.spec.catalogue import benchmark_files, find_benchmark

    entries: Entries = {}
    for name in benchmark_files():
        benchmark = find_benchmark(name).benchmark
        splits = {"source": benchmark.source.train, "val": benchmark.source.val, "proxy": benchmark.proxy}
        for split_name, split in {**splits, **benchmark.targets, **benchmark.hidden_targets}.items():
            details = split.model_dump(exclude_none=True)
            entries[f"{name}/{split_name}"] = {
                "reader": details.pop("reader"),
                "details": ", ".join(f"{key} {value}" for key, value in details.items()),
            }
    return entries


def _tables() -> Entries:
    from gkdbench.report.paper import published_files

    return {
        name.removesuffix(".csv"): {"numbers": len(content.splitlines()) - 1, "_file": f"results/paper/{name}"}
        for name, content in published_files().items()
    }


def _runs(results: Path) -> Entries:
    from gkdbench.run.record import find_records, read_record

    entries: Entries = {}
    for path in find_records(results):
        try:
            record = read_record(path)
        except GkdbenchError as error:
            entries[path.parent.name] = {"status": "unreadable", "in": "", "OOD": "", "_reason": str(error)}
            continue
        summary = record.summary
        entries[record.run_id] = {
            "status": record.status,
            "in": f"{summary.in_domain:.1f}" if summary else "",
            "OOD": f"{summary.ood:.1f}" if summary and summary.ood is not None else "",
            "_reason": record.reason or "",
            "_command": record.command,
        }
    return entries
