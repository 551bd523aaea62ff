"""`gkdbench run`: train and judge a selection of runs; repeat it to fill the gaps."""

import os
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from gkdbench.cli.console import command, print_json, print_table, say
from gkdbench.errors import DataError, UsageError

if TYPE_CHECKING:
    from gkdbench.runs.schedule import Outcome
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
    from gkdbench.cli.display import choose_display
    from gkdbench.runs.schedule import Hardware, Plan
    from gkdbench.spec.selection import Selection, parse_weights, resolve

    hardware = Hardware(device, devices, threads, workers)
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
    plan = Plan(selection, tuple(resolve(selection)), results, data_root, fresh)
    if download:
        _download(plan.specs)
    first = os.environ.get("LOCAL_RANK", "0") == "0"  # set for each process of a multi-device run
    outcomes: list[Outcome] = []
    for outcome in plan.run(hardware, choose_display):
        if outcome.error is not None and len(plan.specs) == 1:
            raise outcome.error
        outcomes.append(outcome)
        if first:
            say(outcome.line)
    if first:
        _conclude(outcomes, results, not no_report, as_json)
    failures = [outcome.error for outcome in outcomes if outcome.error is not None]
    if failures:
        raise typer.Exit(max(error.exit_code for error in failures))


def _download(specs: "Sequence[RunSpec]") -> None:
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
    from gkdbench.runs.record import find_record
    from gkdbench.spec.methods import find_method
    from gkdbench.spec.selection import UNCHECKED, selection_of

    record = find_record(name, results)
    recorded = record.spec
    selection = selection_of(recorded, benchmark if benchmark.endswith((".yaml", ".yml")) else None)
    selection = replace(selection, skip_check=skip_check or UNCHECKED in record.marks)
    if find_method(selection.methods[0]).code_digest != recorded.code:
        say(f"gkdbench: warning: the code of {recorded.method} is not that of the record; this is another run")
    return selection


def _conclude(outcomes: "Sequence[Outcome]", results: Path, with_report: bool, as_json: bool) -> None:
    from gkdbench.report.build import build_report
    from gkdbench.report.terminal import terminal_tables

    records = [outcome.record for outcome in outcomes if outcome.record is not None]
    if not records:
        if as_json:
            worst = max((one.error for one in outcomes if one.error is not None), key=lambda error: error.exit_code)
            print_json({"error": str(worst), "exit_code": worst.exit_code})
        return
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
            if not all(outcome.cached for outcome in outcomes if outcome.record is not None):
                raise
            say(f"gkdbench: warning: no report: {error}")  # nothing is new in it
            return
        for label, name in (("table", "report.md"), ("page ", "report.html")):
            say(f"{label}: {next(path for path in built.files if path.name == name)}")
