"""`gkdbench compare`: two runs side by side, with intervals over the images that both were judged on."""

import math
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from gkdbench.cli.console import command, existing, print_json, print_table, say

if TYPE_CHECKING:
    from gkdbench.metrics.bootstrap import Difference
    from gkdbench.report.run_comparison import RunComparison

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
    from gkdbench.errors import DataError, UsageError
    from gkdbench.report.image_counts import counts_of
    from gkdbench.report.records import class_metric, sound_record
    from gkdbench.report.run_comparison import compare_runs
    from gkdbench.run.files import check_output
    from gkdbench.run.record import find_record_file
    from gkdbench.spec.documents import nearest

    if html is not None:
        check_output(html)
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
    found = compare_runs(*records, (counts[0], counts[1]), warnings)
    for line in warnings.values():
        say(f"warning: {line}")
    known = {**found.splits, **found.told}
    if split and split not in known:
        raise UsageError(f"--split: no split {split!r} in both runs{nearest(split, known)}")
    if html is not None:
        _write_page(found, html)
    if as_json:
        print_json(_document(found, list(warnings.values())))
        return
    print(f"first:  {found.first.run_id}\nsecond: {found.second.run_id}\n")
    if found.spec:
        print_table([["made otherwise", "first", "second"], *([key, *pair] for key, pair in found.spec.items())])
    print()
    metric = found.first.metric
    # what a metric without intervals has: name, both scores, difference
    told = None if found.intervals else 4
    rows = [[metric, "first", "second", "difference", "95 % interval", "p", "p (Holm)", "images"][:told]]
    for name, one in found.told.items():
        cells = [
            name, f"{one.first:.1f}", f"{one.second:.1f}", *_shown(one.second - one.first, one.difference),
            _p(one.corrected), str(one.difference.images) if one.difference else ""
        ]  # fmt: skip
        rows.append(cells[:told])
    print_table(rows)
    for why_not in dict.fromkeys(found.unpaired.values()):
        names = [name for name, other in found.unpaired.items() if other == why_not]
        print(f"not paired on {', '.join(names)}: {why_not}")
    if split:
        print()
        rows = [[f"{class_metric(metric)} on {split}", "first", "second", "difference", "95 % interval", "p"][:told]]
        for name, of_class in known[split].classes.items():
            both = of_class.first is not None and of_class.second is not None
            change = (of_class.second or 0.0) - (of_class.first or 0.0) if both else math.nan
            cells = [name, _value(of_class.first), _value(of_class.second), *_shown(change, of_class.difference)]
            rows.append(cells[:told])
        print_table(rows)
    print()
    print_table([["cost", "first", "second"], *([key, *map(_count, pair)] for key, pair in found.cost.items())])
    print()
    say(found.paired)


def _write_page(found: "RunComparison", path: Path) -> None:
    from gkdbench.report.compare_page import render_comparison
    from gkdbench.run.files import write_atomically

    page = render_comparison(found).encode()
    write_atomically(path, lambda stream: stream.write(page))
    say(f"page: {path}")


def _shown(change: float, difference: "Difference | None") -> list[str]:
    if difference is None or math.isnan(difference.low):
        return ["" if math.isnan(change) else _points(change), "", ""]
    return [_points(change), f"{_points(difference.low)} to {_points(difference.high)}", _p(difference.p)]


def _points(value: float) -> str:
    from gkdbench.report.tables import signed
    from gkdbench.report.visible_text import with_minus

    return with_minus(signed(value, 1))


def _p(value: float) -> str:
    from gkdbench.report.visible_text import shown_p

    return "" if math.isnan(value) else shown_p(value)


def _value(value: float | None) -> str:
    return "–" if value is None else f"{value:.1f}"


def _count(value: float | None) -> str:
    return "–" if value is None else f"{value:,.0f}"


def _document(found: "RunComparison", warnings: list[str]) -> dict[str, Any]:
    from gkdbench.report.run_comparison import COSTS

    def written(one: "Difference | None") -> dict[str, Any] | None:
        if one is None:
            return None
        content = {"value": one.value, "low": one.low, "high": one.high, "p": one.p, "images": one.images}
        return {key: None if isinstance(v, float) and math.isnan(v) else v for key, v in content.items()}

    return {
        "first": found.first.run_id,
        "second": found.second.run_id,
        "spec": {key: list(pair) for key, pair in found.made.items()},
        "paired": found.paired,
        "splits": {
            name: {
                "first": one.first,
                "second": one.second,
                "difference": written(one.difference),
                "p_holm": None if math.isnan(one.corrected) else one.corrected,
                "not_paired": one.why_not,
                "classes": {
                    label: {"first": c.first, "second": c.second, "difference": written(c.difference)}
                    for label, c in one.classes.items()
                },
            }
            for name, one in found.splits.items()
        },
        "cost": {key: list(found.cost[title]) for key, title in COSTS.items()},
        "warnings": warnings,
    }
