"""Building a report: records in, files out.

Every file is complete or not there, and the same records give the same bytes.
"""

from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from gkdbench import __version__
from gkdbench.errors import DataError, UsageError
from gkdbench.report.baseline import check_baseline
from gkdbench.report.bounds import encodable
from gkdbench.report.comparison import compare
from gkdbench.report.evidence import Evidence, evidence
from gkdbench.report.evidence_tables import evidence_tables
from gkdbench.report.figures.captions import captions
from gkdbench.report.figures.comparison import Drawn, Subject, draw_report
from gkdbench.report.figures.drawing import Drawing
from gkdbench.report.honesty import findings_markdown, honesty_findings
from gkdbench.report.image_counts import counts_of
from gkdbench.report.latex import latex, latex_document
from gkdbench.report.layout import Table
from gkdbench.report.page import COMMAND, PageContent, Section, render_page, run_views
from gkdbench.report.paper import published_files
from gkdbench.report.records import Loaded, installed_defaults, load_records
from gkdbench.report.study_entries import study_csv
from gkdbench.report.study_rows import FilledTable, filled_tables
from gkdbench.report.study_tables import published_tables
from gkdbench.report.tables import comparison_tables
from gkdbench.report.writers import long_csv, markdown, plain_md, wide_csv
from gkdbench.runs.files import write_atomically
from gkdbench.spec.documents import nearest

FORMATS = ("html", "md", "csv", "tex")
# What figures are written as for each: Markdown shows pixels, LaTeX takes PDF; SVG comes with both and with the page.
_FORMS = {"md": "png", "tex": "pdf"}


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
    warnings: tuple[str, ...] = ()
    """One line per thing that is missing though its records are shown: a file that could not be read, a figure that
    could not be drawn, differences to a baseline that a table lacks."""


def build_report(
    results: Path,
    out: Path,
    formats: Collection[str] = ("html", "md", "csv"),
    *,
    paper_only: bool = False,
    published: Path | None = None,
    defaults: Mapping[str, Mapping[str, Any]] | None = None,
    baseline: str | None = None,
) -> Report:
    """Build the report of a results directory; DataError where no run has left a record.

    `published` is a further folder of committed records (RUN/record.json). Row names leave out options
    that equal `defaults` (method -> option -> value); by default those of the installed methods.
    Differences are taken against the row, or the method, `baseline`; by default the one that benchmark packages name.
    """
    for name in formats:
        if name not in FORMATS:
            raise UsageError(f"format {name!r} is not known{nearest(name, FORMATS)}; known: {', '.join(FORMATS)}")
    loaded = Loaded(()) if paper_only else load_records(results, published)
    if not paper_only and not loaded.records and not loaded.skipped:
        raise DataError(
            f"{results}: no record of a run there (record.json; RUN/record.json, also in runs/ and published/); make "
            f"one with `{COMMAND}`, name another folder with --results, or build the published numbers with "
            "--paper-only"
        )
    known = installed_defaults(loaded.records) if defaults is None else defaults
    comparisons = compare(loaded.records, known)
    if baseline is not None and not paper_only:
        check_baseline(comparisons, baseline)
    found = [evidence(comparison, loaded.folders, baseline) for comparison in comparisons]
    drawn = _drawings(found, loaded, formats)
    left_out = (*_damage(loaded), *(line for one in found for line in one.warnings), *drawn.faults)
    filled = filled_tables(loaded.records, known)
    content = PageContent(
        version=__version__,
        sections=tuple(
            Section(one.comparison, _tables(one), drawings, one.baseline)
            for one, drawings in zip(found, drawn.comparisons, strict=True)
        ),
        paper=published_tables(filled),
        drawings=drawn.published,
        runs=run_views(loaded.records, known, loaded.folders),
        skipped=loaded.skipped,
        results=encodable(str(results)),
        paper_only=paper_only,
        findings=honesty_findings(loaded.records, comparisons),
        left_out=tuple(dict.fromkeys(map(encodable, left_out))),
    )
    text = _markdown(content, findings_markdown(content.findings))
    files = _contents(content, loaded, filled, formats, text)
    return Report(
        files=tuple(_write(out / name, data) for name, data in files.items()),
        tables=len(content.sections),
        records=len(loaded.records),
        skipped=loaded.skipped,
        markdown=text,
        warnings=(*content.left_out, *_without_baseline(found)),
    )


def _damage(loaded: Loaded) -> Iterator[str]:
    """Yield a line per file of counts that is damaged or another run's, whether or not a test would have read it."""
    for record in loaded.records:
        try:
            counts_of(record, loaded.folders[record.run_id])
        except DataError as error:
            yield str(error)


def _without_baseline(found: Iterable[Evidence]) -> Iterator[str]:
    for one in found:
        if one.wanted is not None and one.baseline is None and one.effects:
            yield f"differences of {one.comparison.title}: no comparable row {one.wanted!r} (--baseline) is there"


def _tables(found: Evidence) -> tuple[Table, ...]:
    return comparison_tables(found.comparison, evidence_tables(found))


def _drawings(found: Sequence[Evidence], loaded: Loaded, formats: Collection[str]) -> Drawn:
    """Draw each comparison's figures and the published ones, in the files that the formats refer to."""
    forms = {form for name, form in _FORMS.items() if name in formats}
    # Drawing takes most of the time; formats that show no figure do without.
    if not forms and "html" not in formats:
        return Drawn([()] * len(found), (), ())
    subjects = [Subject(one.comparison, one.baseline, one.ranking) for one in found]
    return draw_report(subjects, loaded.folders, {*forms, "svg"})


def _measured(content: PageContent) -> list[Table]:
    return [table for section in content.sections for table in section.tables]


def _contents(
    content: PageContent,
    loaded: Loaded,
    filled: Sequence[FilledTable],
    formats: Collection[str],
    text: str,
) -> dict[str, bytes]:
    """Return the files: name below the output folder, content."""
    files: dict[str, bytes] = {}
    texts: dict[str, str] = {}
    tables = [*_measured(content), *content.paper]
    drawings = [*(drawing for section in content.sections for drawing in section.drawings), *content.drawings]
    for drawing in drawings:
        files.update({f"figures/{drawing.slug}.{form}": data for form, data in drawing.files.items()})
    if drawings:
        texts["figures/captions.md"] = captions(drawings)
    if "md" in formats:
        texts["report.md"] = text
    if "csv" in formats:
        texts.update({f"tables/{table.slug}.csv": wide_csv(table) for table in tables})
        texts["results.csv"] = long_csv(loaded.records)
        texts["published.csv"] = _all_published()
        texts["study.csv"] = study_csv(filled)
    if "tex" in formats:
        texts.update({f"tables/{table.slug}.tex": latex(table) for table in tables})
        texts["tables.tex"] = latex_document(tables)
    if "html" in formats:
        texts["report.html"] = render_page(content)
    # Records are sound text; a file beside one may yet hold what no file can.
    return files | {name: encodable(written).encode() for name, written in texts.items()}


def _all_published() -> str:
    """Return the published files as one: same columns, one header."""
    contents = [text.splitlines() for text in published_files().values()]
    lines: list[str] = contents[0][:1] if contents else []
    for part in contents:
        lines.extend(part[1:])
    return "\n".join(lines) + "\n"


def _markdown(content: PageContent, honesty: str) -> str:
    parts = ["# gkdbench report\n"]
    if content.sections:
        parts.append("## Measured here\n")
        parts.extend(markdown(table) for table in _measured(content))
        parts.extend(_figure_links(drawing for section in content.sections for drawing in section.drawings))
    parts.append(honesty)
    parts.append("## The study's tables: printed, and measured beside them\n")
    if content.sections:
        parts.append(
            "In the column *values*, `published` marks a printed line. Below it, a method's name with its number of "
            "seeds, such as `NAME, n=3`, marks runs of ours that answer that line.\n"
        )
    parts.extend(markdown(table) for table in content.paper)
    parts.extend(_figure_links(content.drawings))
    for heading, lines in (("Left out", content.left_out), ("Skipped records", content.skipped)):
        if lines:
            parts.append(f"## {heading}\n\n" + "".join(f"- {plain_md(line)}\n" for line in lines))
    return "\n".join(parts)


def _figure_links(drawings: Iterable[Drawing]) -> Iterable[str]:
    for drawing in drawings:
        yield f"![{plain_md(drawing.caption)}](figures/{drawing.slug}.png)\n"


def _write(path: Path, data: bytes) -> Path:
    write_atomically(path, lambda stream: stream.write(data))
    return path
