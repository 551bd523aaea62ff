"""`gkdbench report`: tables, plots and one page from every record."""

import os
from pathlib import Path
from typing import Annotated

import typer

from gkdbench.cli.console import command, existing, print_json, say
from gkdbench.errors import DataError


@command
def report(
    results: Annotated[Path, typer.Option(help="Results directory.")] = Path("results"),
    out: Annotated[Path | None, typer.Option(help="Where to write; default: RESULTS/report.")] = None,
    formats: Annotated[str, typer.Option("--format", help="html, md, csv, tex; commas.")] = "html,md,csv",
    published: Annotated[
        Path | None, typer.Option(help="A folder of committed records to show as well.")
    ] = None,
    baseline: Annotated[
        str, typer.Option(help="Take differences against this method; default: the one the benchmarks name.")
    ] = "",
    paper_only: Annotated[bool, typer.Option("--paper-only", help="Published numbers alone.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print what was written as JSON.")] = False,
    debug: Annotated[bool, typer.Option("--debug", help="Show tracebacks.")] = False,
) -> None:
    """Build the tables and figures of a results directory; published numbers stand beside ours."""
    # Threads of the linear algebra would compete with those that read; before numpy is loaded, or it has no effect.
    os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")
    from gkdbench.report.build import build_report

    if not paper_only:
        existing(results)
    if published is not None and not published.is_dir():
        raise DataError(f"--published {published}: no folder of committed records (RUN/record.json)")
    wanted = [part.strip() for part in formats.split(",") if part.strip()]
    built = build_report(
        results,
        out or results / "report",
        wanted,
        paper_only=paper_only,
        published=published,
        baseline=baseline or None,
    )
    for reason in built.skipped:
        say(f"skipped: {reason}")
    for reason in built.warnings:
        say(f"left out: {reason}")
    if as_json:
        print_json(
            {
                "records": built.records,
                "tables": built.tables,
                "skipped": list(built.skipped),
                "warnings": list(built.warnings),
                "files": [str(path) for path in built.files],
            }
        )
        return
    say(f"{built.records} records, {built.tables} tables")
    for path in built.files:
        if path.suffix in (".html", ".md", ".tex"):
            print(path)
