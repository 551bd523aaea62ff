"""Building a report: records in, files out.

Every file is complete or not there, and the same records give the same bytes.
"""

import os
import secrets
from collections.abc import Collection, Iterable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from gkdbench import __version__
from gkdbench.errors import DataError, UsageError
from gkdbench.report.comparison import compare
from gkdbench.report.figures.comparison import draw_comparison
from gkdbench.report.layout import Table
from gkdbench.report.page import COMMAND, PageContent, Section, render_page, run_views
from gkdbench.report.paper import paper_tables, published_files
from gkdbench.report.records import Loaded, installed_defaults, load_records
from gkdbench.report.tables import comparison_tables
from gkdbench.report.writers import latex, long_csv, markdown, plain_md, wide_csv
from gkdbench.spec.documents import nearest

FORMATS = ("html", "md", "csv", "tex")


@dataclass(frozen=True)
class Report:
    """What was built."""

    files: tuple[Path, ...]
    tables: int
    """Tables of measured runs; the published ones are not counted."""
    records: int
    skipped: tuple[str, ...]
    """One line per record that could not be read."""
    markdown: str
    """The report as text, whatever the formats."""


def build_report(
    results: Path,
    out: Path,
    formats: Collection[str] = ("html", "md", "csv"),
    *,
    paper_only: bool = False,
    published: Path | None = None,
    defaults: Mapping[str, Mapping[str, Any]] | None = None,
) -> Report:
    """Build the report of a results directory; no records still gives the published numbers.

    `published` is a further folder of committed records (RUN/record.json). Row names leave out options
    that equal `defaults` (method -> option -> value); by default those of the installed methods.
    """
    for name in formats:
        if name not in FORMATS:
            raise UsageError(f"format {name!r} is not known{nearest(name, FORMATS)}; known: {', '.join(FORMATS)}")
    loaded = Loaded(()) if paper_only else load_records(results, published)
    known = installed_defaults(loaded.records) if defaults is None else defaults
    content = PageContent(
        version=__version__,
        sections=_sections(loaded, known, drawn="html" in formats or "md" in formats),
        paper=paper_tables(),
        runs=run_views(loaded.records, known),
        skipped=loaded.skipped,
        results=str(results),
        paper_only=paper_only,
    )
    text = _markdown(content)
    files = _contents(content, loaded, formats, text)
    return Report(
        files=tuple(_write(out / name, data) for name, data in files.items()),
        tables=len(content.sections),
        records=len(loaded.records),
        skipped=loaded.skipped,
        markdown=text,
    )


def _sections(loaded: Loaded, defaults: Mapping[str, Mapping[str, Any]], drawn: bool) -> tuple[Section, ...]:
    # Drawing takes most of the time; formats that show no figure do without.
    return tuple(
        Section(
            comparison,
            comparison_tables(comparison),
            draw_comparison(comparison) if drawn else (),
        )
        for comparison in compare(loaded.records, defaults)
    )


def _measured(content: PageContent) -> list[Table]:
    return [table for section in content.sections for table in section.tables]


def _contents(content: PageContent, loaded: Loaded, formats: Collection[str], text: str) -> dict[str, bytes]:
    """Return the files: name below the output folder, content."""
    files: dict[str, bytes] = {}
    tables = [*_measured(content), *content.paper]
    for section in content.sections:
        for drawing in section.drawings:
            files[f"figures/{drawing.slug}.svg"] = drawing.svg.encode()
            files[f"figures/{drawing.slug}.png"] = drawing.png
    if "md" in formats:
        files["report.md"] = text.encode()
    if "csv" in formats:
        files.update({f"tables/{table.slug}.csv": wide_csv(table).encode() for table in tables})
        files["results.csv"] = long_csv(loaded.records).encode()
        files["published.csv"] = _all_published().encode()
    if "tex" in formats:
        files.update({f"tables/{table.slug}.tex": latex(table).encode() for table in tables})
    if "html" in formats:
        files["report.html"] = render_page(content).encode()
    return files


def _all_published() -> str:
    """Return the published files as one: same columns, one header."""
    contents = [text.splitlines() for text in published_files().values()]
    lines: list[str] = contents[0][:1] if contents else []
    for part in contents:
        lines.extend(part[1:])
    return "\n".join(lines) + "\n"


def _markdown(content: PageContent) -> str:
    parts = ["# gkdbench report\n"]
    if not content.sections and not content.paper_only:
        parts.append(
            f"No records found in {plain_md(content.results)}. Make the first ones with `{COMMAND}` "
            "and build the report again.\n"
        )
    if content.sections:
        parts.append("## Measured here\n")
        parts.extend(markdown(table) for table in _measured(content))
        parts.extend(_figure_links(content.sections))
    parts.append("## Published numbers (not measured here)\n")
    parts.extend(markdown(table) for table in content.paper)
    if content.skipped:
        lines = "\n".join(f"- {plain_md(line)}" for line in content.skipped)
        parts.append(f"## Skipped records\n\n{lines}\n")
    return "\n".join(parts)


def _figure_links(sections: Iterable[Section]) -> Iterable[str]:
    for section in sections:
        for drawing in section.drawings:
            yield f"![{plain_md(drawing.caption)}](figures/{drawing.slug}.png)\n"


def _write(path: Path, data: bytes) -> Path:
    """Write a file under a temporary name in its folder, then rename it into place."""
    temporary = path.with_name(f".{path.name}.{secrets.token_hex(4)}.tmp")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        temporary.write_bytes(data)
        os.replace(temporary, path)
    except OSError as error:
        with suppress(OSError):
            temporary.unlink(missing_ok=True)
        raise DataError(
            f"{path}: cannot be written ({error.strerror or error}); "
            "free the space, fix the permission or choose another --out"
        ) from error
    return path
