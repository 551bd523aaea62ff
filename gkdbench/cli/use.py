"""`gkdbench predict` and `gkdbench export`: what a finished run's model is good for."""

from pathlib import Path
from typing import Annotated, Any, cast

import typer

from gkdbench.cli.console import command, existing, print_json, print_table, say
from gkdbench.errors import UsageError

Run = Annotated[str, typer.Argument(help="Run id, its beginning, or the path of a record.json.")]
Results = Annotated[Path, typer.Option(help="Results directory.")]


@command
def predict(
    run: Run,
    target: Annotated[str, typer.Option(help="A target of the benchmark, or val for its in-domain split.")],
    benchmark: Annotated[str, typer.Option(help="Another benchmark of the same classes, by name or YAML.")] = "",
    out: Annotated[Path | None, typer.Option(help="Where to write; default: predictions/RUN/TARGET.")] = None,
    overlays: Annotated[int, typer.Option(help="How many images to draw with what is predicted.", min=0)] = 20,
    results: Results = Path("results"),
    data_root: Annotated[
        Path | None, typer.Option(envvar="GKDBENCH_DATA", help="Folder of downloaded data.")
    ] = None,
    device: Annotated[str, typer.Option(help="auto, cpu or cuda.")] = "auto",
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
    debug: Annotated[bool, typer.Option("--debug", help="Show tracebacks.")] = False,
) -> None:
    """Write what a run's model predicts for a split: label maps in the ids of the data, or boxes as COCO's JSON."""
    from gkdbench.runs.schedule import Hardware
    from gkdbench.spec.catalogue import find_benchmark

    hardware = Hardware(device)
    model = _model(run, results, benchmark)
    source = find_benchmark(benchmark) if benchmark else model.spec.source
    from gkdbench.cli.display import choose_display
    from gkdbench.data.dataset import DataPlace
    from gkdbench.runs.prediction import write_predictions
    from gkdbench.runs.workshop import torch_device

    display = choose_display()
    display.begin(f"{model.record.run_id}: {source.benchmark.name}, {target}")
    where = out or Path("predictions") / model.record.run_id / target
    made = write_predictions(
        model, source, target, where, place=DataPlace(data_root), device=torch_device(hardware.device),
        overlays=overlays, meter=lambda done, total: display.progress(done, total, target)
    )  # fmt: skip
    if as_json:
        print_json(made.facts())
        return
    print_table(made.table())
    for line in made.lines():
        say(line)


@command
def export(
    run: Run,
    form: Annotated[str, typer.Option("--format", help="safetensors, timm or onnx.")] = "safetensors",
    out: Annotated[Path | None, typer.Option(help="Where to write; default: exports/RUN/FORMAT.")] = None,
    benchmark: Annotated[str, typer.Option(help="YAML of your own benchmark, if the run is of one.")] = "",
    results: Results = Path("results"),
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
    debug: Annotated[bool, typer.Option("--debug", help="Show tracebacks.")] = False,
) -> None:
    """Write a run's model for use elsewhere: whole, its encoder for timm, or ONNX."""
    from gkdbench.spec.documents import nearest

    forms = ("safetensors", "timm", "onnx")
    if form not in forms:
        raise UsageError(f"--format {form}: must be one of {', '.join(forms)}{nearest(form, forms)}")
    model = _model(run, results, benchmark)
    from gkdbench.runs.export import Format, export_model

    where = out or Path("exports") / model.record.run_id / form
    files = export_model(model, cast(Format, form), where)
    if as_json:
        print_json({"files": [str(path) for path in files]})
        return
    for path in files:
        print(path)


def _model(run: str, results: Path, benchmark: str) -> Any:
    existing(results)
    from gkdbench.runs.record import find_record
    from gkdbench.spec.catalogue import benchmark_files, find_benchmark

    record = find_record(run, results)
    # the run's own benchmark, or another to be predicted
    own = benchmark.endswith((".yaml", ".yml")) and find_benchmark(benchmark).benchmark.name == record.spec.benchmark
    if not own and record.spec.benchmark not in benchmark_files():
        raise UsageError(
            f"{record.run_id} is of a benchmark of your own, {record.spec.benchmark!r}: give its YAML with --benchmark"
        )
    from gkdbench.runs.store import Store  # with torch: what is wrong above is told at once
    from gkdbench.runs.trained import trained_model

    return trained_model(record, Store(results), benchmark if own else None, run)
