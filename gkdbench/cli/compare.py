"""`gkdbench compare`: two runs side by side, with intervals over the images that both were judged on."""

import math
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from gkdbench.cli.console import command, existing, print_json, print_table, say

if TYPE_CHECKING:
    from gkdbench.metrics.bootstrap import Difference
    from gkdbench.report.run_comparison import ClassDifference, RunComparison, SplitDifference

Run = typer.Argument(help="Run id, its beginning, or the path of a record.json.")


@command
def compare(
    first: Annotated[str, Run],
    second: Annotated[str, Run],
    split: Annotated[str, typer.Option(help="Show the classes of this target, or of 'in-domain val'.")] = "",
    results: Annotated[Path, typer.Option(help="Results directory.")] = Path("results"),
    html: Annotated[Path | None, typer.Option(help="Write a page with all splits and classes to this file.")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON, all splits and classes.")] = False,
    debug: Annotated[bool, typer.Option("--debug", help="Show tracebacks.")] = False,
) -> None:
    """Say how the second run differs from the first: how it was made, its scores on the same images, its cost."""
    from gkdbench.report.compare_page import render_comparison
    from gkdbench.report.records import class_metric
    from gkdbench.runs.files import check_output, write_atomically
    from gkdbench.spec.documents import check_name

    if html is not None:
        check_output(html)
    found, warnings = _compared(first, second, results)
    for line in warnings:
        say(f"warning: {line}")
    known = {**found.splits, **found.told}
    if split:
        check_name("--split: both runs have no split", split, known)
    if html is not None:
        page = render_comparison(found).encode()
        write_atomically(html, lambda stream: stream.write(page))
        say(f"page: {html}")
    if as_json:
        print_json(_document(found, warnings))
        return
    print(f"first:  {found.first.run_id}\nsecond: {found.second.run_id}\n")
    if found.spec:
        print_table([["made otherwise", "first", "second"], *([key, *pair] for key, pair in found.spec.items())])
    print()
    _print_scores(found.first.metric, found.told, found.intervals)
    for why_not in dict.fromkeys(found.unpaired.values()):
        names = [name for name, other in found.unpaired.items() if other == why_not]
        print(f"not paired on {', '.join(names)}: {why_not}")
    if split:
        print()
        _print_scores(f"{class_metric(found.first.metric)} on {split}", known[split].classes, found.intervals)
    print()
    print_table([["cost", "first", "second"], *([key, *map(_count, pair)] for key, pair in found.cost.items())])
    print()
    say(found.paired)


def _compared(first: str, second: str, results: Path) -> "tuple[RunComparison, list[str]]":
    """Compare two runs by name; a run whose counts of images are damaged is told, and shown without intervals."""
    from gkdbench.errors import DataError
    from gkdbench.report.image_counts import counts_of
    from gkdbench.report.records import sound_record
    from gkdbench.report.run_comparison import compare_runs
    from gkdbench.runs.record import find_record_file

    if not (first.endswith(".json") and second.endswith(".json")):
        existing(results)
    files = find_record_file(first, results), find_record_file(second, results)
    records = sound_record(files[0]), sound_record(files[1])
    counts, warnings = [], {}
    for record, file in zip(records, files, strict=True):
        try:
            counts.append(counts_of(record, file.parent))
        except DataError as error:
            counts.append({})
            warnings[record.run_id] = f"{record.run_id}: {error}; its scores are shown without intervals"
    return compare_runs(*records, (counts[0], counts[1]), warnings), list(warnings.values())


def _print_scores(
    title: str, rows: "Mapping[str, SplitDifference] | Mapping[str, ClassDifference]", intervals: bool
) -> None:
    """Print both scores of splits or classes and their difference; p (Holm) and images are of splits alone."""
    from gkdbench.report.visible_text import shown_p

    table = [[title, "first", "second", "difference", "95 % interval", "p", "p (Holm)", "images"]]
    for name, one in rows.items():
        known = one.first is not None and one.second is not None
        cells = [name, _value(one.first), _value(one.second)]
        cells.append(_points((one.second or 0.0) - (one.first or 0.0)) if known else "")
        paired, corrected = one.difference, getattr(one, "corrected", math.nan)
        if paired is None or math.isnan(paired.low):
            cells += ["", ""]
        else:
            cells += [f"{_points(paired.low)} to {_points(paired.high)}", shown_p(paired.p)]
        cells += ["" if math.isnan(corrected) else shown_p(corrected), str(paired.images) if paired else ""]
        table.append(cells)
    of_splits = all(hasattr(one, "corrected") for one in rows.values())
    columns = 4 if not intervals else 8 if of_splits else 6
    print_table([cells[:columns] for cells in table])


def _points(value: float) -> str:
    from gkdbench.report.tables import signed
    from gkdbench.report.visible_text import with_minus

    return with_minus(signed(value, 1))


def _value(value: float | None) -> str:
    return "–" if value is None else f"{value:.1f}"


def _count(value: float | None) -> str:
    return "–" if value is None else f"{value:,.0f}"


def _document(found: "RunComparison", warnings: list[str]) -> dict[str, Any]:
    from gkdbench.report.run_comparison import COSTS

    return {
        "first": found.first.run_id,
        "second": found.second.run_id,
        "spec": {key: list(pair) for key, pair in found.made.items()},
        "paired": found.paired,
        "splits": {
            name: {
                **_scores(one),
                "p_holm": None if math.isnan(one.corrected) else one.corrected,
                "not_paired": one.why_not,
                "classes": {label: _scores(of_class) for label, of_class in one.classes.items()},
            }
            for name, one in found.splits.items()
        },
        "cost": {key: list(found.cost[title]) for key, title in COSTS.items()},
        "warnings": warnings,
    }


def _scores(one: "SplitDifference | ClassDifference") -> dict[str, Any]:
    return {"first": one.first, "second": one.second, "difference": _written(one.difference)}


def _written(paired: "Difference | None") -> dict[str, Any] | None:
    if paired is None:
        return None
    content = {"value": paired.value, "low": paired.low, "high": paired.high, "p": paired.p, "images": paired.images}
    return {key: None if isinstance(value, float) and math.isnan(value) else value for key, value in content.items()}
