"""`gkdbench list`: what there is, by name; one name gives all about it."""

import fnmatch
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from gkdbench.cli.console import command, existing, print_json, print_table
from gkdbench.errors import GkdbenchError, UsageError
from gkdbench.report.visible_text import visible

if TYPE_CHECKING:
    from gkdbench.spec.benchmark import Benchmark
    from gkdbench.spec.methods import MethodSource

Entries = dict[str, dict[str, Any]]


@command
def listing(
    what: Annotated[
        str,
        typer.Argument(help="methods, combinators, benchmarks, settings, models, datasets, tables or runs."),
    ],
    name: Annotated[str, typer.Argument(help="A name or pattern; one match shows all about it.")] = "",
    results: Annotated[Path, typer.Option(help="Results directory (for runs).")] = Path("results"),
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
    debug: Annotated[bool, typer.Option("--debug", help="Show tracebacks.")] = False,
) -> None:
    """List what the program knows."""
    from gkdbench.spec.documents import nearest

    kinds: dict[str, Callable[[], Entries]] = {
        "methods": lambda: _methods(name),
        "combinators": _combinators,
        "benchmarks": _benchmarks,
        "settings": _settings,
        "models": _models,
        "datasets": _datasets,
        "tables": _tables,
        "runs": lambda: _runs(existing(results)),
    }
    if what not in kinds:
        told = _elsewhere(what, kinds) or nearest(what, kinds)
        raise UsageError(f"cannot list {what!r}{told} (known: {', '.join(kinds)})")
    entries = kinds[what]()
    chosen = {k: v for k, v in entries.items() if not name or k == name or fnmatch.fnmatch(k, name)}
    if name and not chosen:
        others = {kind: listed for kind, listed in kinds.items() if kind != what}
        raise UsageError(f"no {what[:-1]} {name!r}{_elsewhere(name, others) or nearest(name, entries)}")
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
        for line in dict.fromkeys(entry["_clash"] for entry in chosen.values() if entry.get("_clash")):
            print(line)


def _elsewhere(name: str, kinds: "Mapping[str, Callable[[], Entries]]") -> str:
    """Return '; there is a KIND of that name: ...' for the kinds that know a name, or an empty string."""
    found = []
    for kind, listed in kinds.items():
        try:
            if name in listed():
                found.append(kind)
        except GkdbenchError:  # what is wrong with another kind is not what was asked
            continue
    if not found:
        return ""
    which = " and a ".join(kind[:-1] for kind in found)
    return f"; there is a {which} of that name: gkdbench list {found[0]} {name}"


def _print_entry(name: str, entry: dict[str, Any]) -> None:
    print(visible("\n".join([name, *_lines(entry)])))


def _lines(entry: dict[str, Any]) -> Iterator[str]:
    for key, value in entry.items():
        if value is None or entry.get(f"_{key}") is not None:  # the same in full follows
            continue
        label = key.lstrip("_").replace("_", " ")
        if isinstance(value, list | tuple) and value:
            yield f"  {label}:"
            yield from (f"    {item}" for item in value)
        elif isinstance(value, dict) and value:
            yield f"  {label}:"
            yield from (f"    {inner}: {item}" for inner, item in value.items())
        else:
            yield f"  {label}: {value}"


def _methods(name: str) -> Entries:
    from gkdbench.spec.methods import METHODS, find_method, is_expression

    entries = _installed(METHODS)
    if name not in entries and is_expression(name):
        source = find_method(name, "list methods")
        around = [f"{one.name}: {one.summary} ({one.origin})" for one in source.combinators]
        kind = "combination" if around else "method"
        entries[name] = {"from": source.origin, "kind": kind, **_about(source), "_combinators": around or None}
    return entries


def _combinators() -> Entries:
    from gkdbench.spec.methods import COMBINATORS

    entries = _installed(COMBINATORS)
    for name, entry in entries.items():
        del entry["options"]
        entry["_use"] = f"gkdbench run --method '{name}(METHOD)'"
    return entries


def _installed(group: str) -> Entries:
    from gkdbench.spec.methods import listed

    return {
        line.name: {
            "from": line.origin,
            "kind": line.kind,
            **(_about(line.source) if line.source else {"summary": line.reason, "options": ""}),
            "_sets": dict(line.offer.sets) if line.offer and line.offer.sets else None,
            "_defined_in": str(line.offer.file) if line.offer and line.offer.file else None,
            "_clash": line.clash or None,
        }
        for line in listed(group)
    }


def _briefly(source: "MethodSource") -> str:
    """Return `weight=1.0 on=logits|features`, a default first; `list methods NAME` says types in words."""
    shown = []
    for option in source.options:
        choices = "|".join(str(choice) for choice in option.choices if choice != option.default)
        default = "?" if option.required else str(option.default)
        shown.append(f"{option.name}={default}" + (f"|{choices}" if choices else ""))
    return " ".join(shown)


def _about(source: "MethodSource") -> dict[str, Any]:
    options = [
        f"{option.name} ({option.expected()}"
        + (", required)" if option.required else f", default {option.default})")
        for option in source.options
    ]
    return {
        "summary": source.summary,
        "options": _briefly(source),
        "_options": options or None,
        "_module": source.module,
        "_function": source.function,
        "_file": str(source.file),
        "_code": source.code_digest[:16],
    }


def _benchmarks() -> Entries:
    from gkdbench.spec.catalogue import package_faults

    entries: Entries = {name: {"version": "", "title": f"broken: {why}"} for name, why in package_faults().items()}
    for name, benchmark in _each_benchmark():
        if isinstance(benchmark, GkdbenchError):
            entries[name] = {"version": "", "title": f"broken: {benchmark}"}
            continue
        entries[name] = {
            "version": benchmark.version,
            "title": benchmark.title,
            "_description": benchmark.description,
            "_classes": ", ".join(benchmark.classes),
            "_source": benchmark.source.train.shown(),
            "_in_domain": benchmark.source.val.shown(),
            "_proxy": benchmark.proxy.shown(),
            "_targets": {target: split.shown() for target, split in benchmark.targets.items()},
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


def _each_benchmark() -> "Iterator[tuple[str, Benchmark | GkdbenchError]]":
    """Yield every installed benchmark, or what is wrong with it: a broken one hides nobody else."""
    from gkdbench.spec.catalogue import benchmark_files, find_benchmark

    for name in benchmark_files():
        try:
            yield name, find_benchmark(name).benchmark
        except GkdbenchError as error:
            yield name, error


def _settings() -> Entries:
    return {
        f"{name}/{setting}": {
            "pairs": ", ".join(spec.pairs),
            "description": spec.description,
            "_teacher_method": spec.teacher_method,
            "_notes": list(spec.notes),
        }
        for name, benchmark in _each_benchmark()
        if not isinstance(benchmark, GkdbenchError)
        for setting, spec in benchmark.settings.items()
    }


def _models() -> Entries:
    from gkdbench.spec.catalogue import model_sizes, models

    sizes = model_sizes()
    return {
        source.name: {
            "role": source.entry.role,
            "timm": source.entry.timm,
            "licence": source.entry.licence,
            "params": _millions(sizes.get(source.name, {})),
            "description": source.entry.description,
            "_patch": source.entry.patch,
            "_resampling": source.entry.resampling,
            "_sizes": sizes.get(source.name, {}),
            "_arguments": source.entry.arguments,
            "_weights": source.entry.weights.model_dump(exclude_defaults=True)
            if source.entry.weights
            else "random",
        }
        for source in models()
    }


def _millions(by_decoder: Mapping[str, Mapping[str, float]]) -> str:
    counts = {int(row["encoder_params"]) for row in by_decoder.values()}
    return f"{counts.pop() / 1e6:.1f} M" if counts else ""


def _datasets() -> Entries:
    from gkdbench.cli.dataset_listing import dataset_entries

    return dataset_entries()


def _tables() -> Entries:
    from gkdbench.report.paper import published_files

    return {
        name.removesuffix(".csv"): {"numbers": len(content.splitlines()) - 1, "_file": f"results/paper/{name}"}
        for name, content in published_files().items()
    }


def _runs(results: Path) -> Entries:
    from gkdbench.report.records import sound_record
    from gkdbench.runs.record import find_records

    entries: Entries = {}
    for path in find_records(results):
        try:
            record = sound_record(path)
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
