"""`gkdbench run`: train and judge a selection of runs; repeat it to fill the gaps."""

import os
from collections.abc import Collection
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from gkdbench.cli.console import command, print_json, print_table, say
from gkdbench.errors import DataError, GkdbenchError, Interrupted, UsageError

if TYPE_CHECKING:
    from gkdbench.data.dataset import DataPlace
    from gkdbench.identity.run import Known
    from gkdbench.run.finished import Finished
    from gkdbench.run.store import Store
    from gkdbench.spec.selection import RunSpec, Selection

MOST_SEEDS = 1000
MOST_DIGITS = 40


@command
def run(
    method: Annotated[
        str,
        typer.Option(help="Separated by commas: NAME, NAME@PACKAGE, PATH.py:NAME or 'COMBINATOR(METHOD)'."),
    ] = "",
    setting: Annotated[str, typer.Option(help="Settings, such as f2l or f2f.")] = "",
    benchmark: Annotated[str, typer.Option(help="Benchmarks by name or path of a YAML.")] = "streets",
    pair: Annotated[str, typer.Option(help="TEACHER:STUDENT; default: the setting's first.")] = "",
    weights: Annotated[
        list[str] | None, typer.Option("--weights", help="MODEL=FILE: weights in place of the entry's.")
    ] = None,
    download: Annotated[bool, typer.Option("--download", help="Get weights that are not on this machine.")] = False,
    decoder: Annotated[str, typer.Option(help="Another decoder than the benchmark's.")] = "",
    seeds: Annotated[str, typer.Option("--seeds", "--seed", help="Such as 0, 0-2 or 0,3; default 0.")] = "",
    teacher_seed: Annotated[int, typer.Option(help="Seed of the shared teacher.", min=0)] = 0,
    no_teacher: Annotated[bool, typer.Option("--no-teacher", help="Do not report the teacher.")] = False,
    preset: Annotated[str, typer.Option(help="smoke, quick, standard or paper.")] = "",
    targets: Annotated[str, typer.Option(help="Only these targets; held-out: the hidden ones.")] = "",
    tta: Annotated[
        str, typer.Option(help="Judge with test-time augmentation, such as 0.75,1,1.25,flip; marked in the record.")
    ] = "",
    option: Annotated[
        list[str] | None,
        typer.Option("-o", "--option", help="NAME=VALUE of a method, recipe.STAGE.FIELD=VALUE, or limits.ROLE=IMAGES."),
    ] = None,
    repeat: Annotated[str, typer.Option("--from", help="Repeat a run: its record.json or run id.")] = "",
    results: Annotated[Path, typer.Option(help="Results directory.")] = Path("results"),
    data_root: Annotated[
        Path | None, typer.Option(envvar="GKDBENCH_DATA", help="Folder of downloaded data.")
    ] = None,
    fresh: Annotated[bool, typer.Option("--fresh", help="Ignore finished runs and stages.")] = False,
    skip_check: Annotated[
        bool, typer.Option("--skip-check", help="Train without a look at the data first; marked in the record.")
    ] = False,
    device: Annotated[str, typer.Option(help="auto, cpu or cuda.")] = "auto",
    devices: Annotated[int, typer.Option(help="Number of devices.", min=1)] = 1,
    threads: Annotated[int, typer.Option(help="CPU threads per process; 0: choose.", min=0)] = 0,
    workers: Annotated[int, typer.Option(help="Data loading processes.", min=0)] = 0,
    no_report: Annotated[bool, typer.Option("--no-report", help="Do not rebuild the report.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print the records as one JSON list.")] = False,
    debug: Annotated[bool, typer.Option("--debug", help="Show tracebacks.")] = False,
) -> None:
    """Train and judge methods; finished work is reused, so repeating a command continues it."""
    from gkdbench.data.dataset import DataPlace
    from gkdbench.run.store import Store
    from gkdbench.spec.method_names import warnings_for
    from gkdbench.spec.selection import Selection, parse_weights, resolve

    if repeat:
        if method or setting or pair or weights or decoder or preset or targets or tta or option or seeds:
            raise UsageError("--from repeats a run as recorded; leave out --method, --seeds, -o and the like")
        selection = _repeated(repeat, results, benchmark, skip_check)
    elif _names(method):
        selection = Selection(
            methods=_names(method),
            settings=_names(setting),
            benchmarks=_names(benchmark),
            seeds=parse_seeds(seeds or "0"),
            pair=pair or None,
            weights=parse_weights(weights or ()),
            decoder=decoder or None,
            preset=preset or None,
            targets=_names(targets),
            tta=_names(tta),
            options=tuple(option or ()),
            teacher_seed=teacher_seed,
            with_teacher=not no_teacher,
            skip_check=skip_check,
        )
    else:
        raise UsageError("say what to run: --method NAME (gkdbench list methods), or --from RECORD")
    if device not in ("auto", "cpu", "cuda"):
        raise UsageError(f"--device {device}: must be auto, cpu or cuda")
    specs = resolve(selection)
    names = (*selection.methods, *(spec.teacher_method for spec in specs))
    for line in dict.fromkeys(line for name in names for line in warnings_for(name)):
        say(f"gkdbench: warning: {line}")
    if download:
        _download(specs)
    store, place = Store(results), DataPlace(data_root)
    store.check()
    hardware = {"device": device, "devices": devices, "threads": threads, "workers": workers}
    finished, failures = _run_all(specs, store, place, fresh, hardware, selection)
    if os.environ.get("LOCAL_RANK", "0") == "0":  # set for each process of a multi-device run
        _conclude(finished, results, not no_report, as_json)
    if failures:
        worst = max(failures, key=lambda e: e.exit_code)
        if as_json and not finished:
            raise worst  # so that there is one JSON document, and it says what went wrong
        raise typer.Exit(worst.exit_code)


def _download(specs: "list[RunSpec]") -> None:
    from gkdbench.models.weight_files import download_weights

    models = {model.name: model for spec in specs for model in (spec.teacher, spec.student)}
    for model in models.values():
        if model.entry.weights is not None:
            say(f"weights of {model.name}: {download_weights(model)}")


def _names(text: str) -> tuple[str, ...]:
    return tuple(part.strip() for part in text.split(",") if part.strip())


def parse_seeds(text: str) -> tuple[int, ...]:
    """Return the seeds of a text such as `0`, `0-2` or `0,3,5-7`, in order and once each."""
    seeds: list[int] = []
    for part in _names(text):
        first, dash, last = part.partition("-")
        if not first.isdecimal() or (dash and not last.isdecimal()):
            raise UsageError(f"--seeds {text}: {part!r} is neither a number nor a range like 0-2")
        if len(part) > MOST_DIGITS or int(last or first) - int(first) >= MOST_SEEDS:
            raise UsageError(f"--seeds {text[:80]}: {part[:80]!r} names more than {MOST_SEEDS} seeds, or larger ones")
        seeds.extend(range(int(first), int(last or first) + 1))
    if not seeds:
        raise UsageError(f"--seeds {text!r}: names no seed")
    return tuple(dict.fromkeys(seeds))


def _repeated(name: str, results: Path, benchmark: str, skip_check: bool) -> "Selection":
    """Return the selection of a record; a user's benchmark is found again by the path of its YAML."""
    from gkdbench.run.record import find_record
    from gkdbench.spec.method_names import find_method
    from gkdbench.spec.selection import UNCHECKED, selection_of

    record = find_record(name, results)
    recorded = record.spec
    selection = selection_of(recorded, benchmark if benchmark.endswith((".yaml", ".yml")) else None)
    selection = replace(selection, skip_check=skip_check or UNCHECKED in record.marks)
    if find_method(selection.methods[0]).code_digest != recorded.code:
        say(f"gkdbench: warning: the code of {recorded.method} is not that of the record; this is another run")
    return selection


def _run_all(
    specs: "list[RunSpec]", store: "Store", place: "DataPlace", fresh: bool, hardware: dict[str, Any],
    selection: "Selection"
) -> "tuple[list[Finished], list[GkdbenchError]]":
    """Answer finished runs at once; import torch only if something is left to do."""
    from gkdbench.identity.run import DataDigests, Known, run_digest, run_id
    from gkdbench.run.finished import Finished, finished_run

    finished: list[Finished] = []
    failures: list[GkdbenchError] = []
    work: list[RunSpec] = []
    known: Known = {}
    absent: dict[str, DataError] = {}
    for spec in specs:
        try:
            found = None if fresh else finished_run(spec, store, DataDigests(spec, place, known), say)
        except DataError as error:  # other benchmarks may have their data
            absent.setdefault(str(error), error)
            continue
        if found is None:
            work.append(spec)
        else:
            say(f"{found.record.run_id}: cached")
            finished.append(found)
    if absent and not work and not finished:
        raise next(iter(absent.values()))
    for fault in absent.values():
        say(f"gkdbench: {fault}")
        failures.append(fault)
    if not work:
        return finished, failures
    store.prepare()
    hardware["threads"] = hardware["threads"] or _default_threads()
    os.environ["OMP_NUM_THREADS"] = str(hardware["threads"])  # read when torch is imported
    from gkdbench.cli.workshop import open_workshop

    with open_workshop(store, place, hardware, fresh=fresh) as shop:
        shop.digests.update(known)
        from gkdbench.run.data_check import benchmark_of, data_faults
        from gkdbench.run.runner import run as execute

        first = shop.fabric.is_global_zero  # the others would read the same files
        faults = data_faults(work, place, shop.display, selection.benchmarks, shop.stop.check) if first else {}
        faults = shop.fabric.broadcast(faults)
        if len(faults) == 1 and not finished and all(benchmark_of(spec) in faults for spec in work):
            raise next(iter(faults.values()))
        for wrong in faults.values():  # the runs of other benchmarks go on
            shop.display.say(f"gkdbench: {wrong}")
            failures.append(wrong)
        work = [spec for spec in work if benchmark_of(spec) not in faults]
        for spec in _broken_first(work, place, selection.methods, known):
            try:
                result = execute(spec, shop)
            except Interrupted:
                raise
            except GkdbenchError as error:
                # a broken run must not take the others of a matrix with it
                if len(specs) == 1:
                    raise
                shop.display.say(f"gkdbench: {spec.method.name} ({spec.setting}, seed {spec.seed}): {error}")
                failures.append(error)
                record = store.record(run_id(spec, run_digest(spec, DataDigests(spec, place, known))))
                if record is not None:
                    finished.append(Finished(record, cached=False))
                continue
            finished.append(result)
            reason = f": {result.record.reason}" if result.record.reason else ""
            shop.display.say(f"{result.record.run_id}: {result.record.status}{reason}")
    return finished, failures


def _broken_first(
    work: "list[RunSpec]", place: "DataPlace", named: "Collection[str]", digests: "Known"
) -> "list[RunSpec]":
    """Put runs that cannot even be planned before the others: their message comes before hours of training.

    Where only shared teachers that nobody named would be left, these are left out.
    """
    from gkdbench.errors import Unsupported
    from gkdbench.identity.run import DataDigests
    from gkdbench.run.plan import plan_run

    known: dict[tuple[str, ...], bool] = {}

    def broken(spec: "RunSpec") -> bool:
        key = (spec.method.name, str(spec.options), spec.setting, spec.benchmark.name)
        if key not in known:
            known[key] = False
            try:
                plan_run(spec, DataDigests(spec, place, digests), None)
            except Unsupported:
                pass
            except (Exception, SystemExit):  # the run itself says what is wrong, and records it
                known[key] = True
        return known[key]

    first = [spec for spec in work if broken(spec)]
    rest = [spec for spec in work if not broken(spec)]
    if first and all(spec.method.name == spec.teacher_method and spec.method.name not in named for spec in rest):
        rest = []
    return [*first, *rest]


def _default_threads() -> int:
    """Return OMP_NUM_THREADS, else the number of cores, four at most: small models gain nothing beyond."""
    given = os.environ.get("OMP_NUM_THREADS", "")
    return int(given) if given.isdecimal() and int(given) > 0 else min(os.cpu_count() or 1, 4)


def _conclude(
    finished: "list[Finished]", results: Path, with_report: bool, as_json: bool
) -> None:
    from gkdbench.report.build import build_report
    from gkdbench.report.terminal import terminal_tables

    if not finished:
        return
    records = [one.record for one in finished]
    if as_json:
        print_json([record.model_dump(mode="json", by_alias=True) for record in records])
    else:
        for number, table in enumerate(terminal_tables(records)):
            print(("\n" if number else "") + f"{table.title}, {table.metric} in percent")
            print_table([list(row) for row in table.rows])
            for note in table.notes:
                print(note)
    if with_report:
        try:
            built = build_report(results, results / "report")
        except DataError as error:
            if not all(one.cached for one in finished):
                raise
            say(f"gkdbench: warning: no report: {error}")  # nothing is new in it
            return
        for label, name in (("table", "report.md"), ("page ", "report.html")):
            say(f"{label}: {next(path for path in built.files if path.name == name)}")
