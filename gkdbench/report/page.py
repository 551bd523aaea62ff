"""The page: one HTML file that needs no network. All text but our own SVG is escaped."""

import base64
import hashlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from importlib import resources
from textwrap import shorten
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup

from gkdbench.report.comparison import Comparison, MethodRow
from gkdbench.report.figures.drawing import Drawing
from gkdbench.report.finding import Finding, counted
from gkdbench.report.html_table import Link, RowFacts, header_rows, table_rows
from gkdbench.report.layout import Row, Table
from gkdbench.report.row_links import ComparisonRows, RunLinks
from gkdbench.report.run_views import RunView, run_views, runs_table
from gkdbench.report.study_tables import printed_count
from gkdbench.report.summary import glance_table, summary_sentence
from gkdbench.report.visible_text import visible

__all__ = ["COMMAND", "PageContent", "RunView", "Section", "render", "render_page", "run_views"]

COMMAND = "gkdbench run --method NAME --setting f2l"
TEMPLATES = "gkdbench.report.templates"
SCRIPTS = ("theme.js", "tables.js", "page.js")
STYLES = ("page.css", "tables.css", "print.css")
OPEN_FIGURES = 2
"""Of a comparison; the others are a click away, so that its tables are not screens apart."""


@dataclass(frozen=True)
class Section:
    """One comparison on the page."""

    comparison: Comparison
    tables: tuple[Table, ...]
    """The methods first."""
    drawings: tuple[Drawing, ...]
    baseline: MethodRow | None = None
    """The row that others are compared with."""


@dataclass(frozen=True)
class PageContent:
    """Everything that the page shows."""

    version: str
    sections: tuple[Section, ...]
    paper: tuple[Table, ...]
    runs: tuple[RunView, ...]
    skipped: tuple[str, ...]
    results: str
    paper_only: bool = False
    drawings: tuple[Drawing, ...] = ()
    """Figures of published values."""
    findings: tuple[Finding, ...] = ()
    """Answers to "Can this be compared?"."""
    left_out: tuple[str, ...] = ()
    """One line per file beside a record that could not be read; the record itself is shown."""

    @property
    def printed(self) -> int:
        """Return how many of the study's tables hold numbers that others printed."""
        return printed_count(self.paper)


def render_page(content: PageContent) -> str:
    """Return the HTML."""
    comparisons = [section.comparison for section in content.sections]
    records = [view.record for view in content.runs]
    links = RunLinks(records)
    return render(
        "report.html.j2",
        page=content,
        command=COMMAND,
        summary=summary_sentence(records, comparisons) if records else "",
        glance=glance_table([(one.comparison, one.baseline) for one in content.sections]),
        glance_facts=_to_sections(comparisons),
        runs_table=runs_table(content.runs),
        links=links,
        rows_of={section.comparison.slug: ComparisonRows(section.comparison, links) for section in content.sections},
        home=links.home(comparisons),
        recipes=_numbered([view.recipe for view in content.runs]),
        environments=_numbered([view.environment for view in content.runs]),
        open_figures=OPEN_FIGURES,
    )


def _to_sections(comparisons: Sequence[Comparison]) -> Callable[[Row], RowFacts]:
    """Return what links a row named as a comparison with its section."""
    slugs = {one.title: one.slug for one in comparisons}
    return lambda row: RowFacts((Link(slugs[row.head], row.head),) if row.head in slugs else ())


def _numbered(values: Sequence[Any]) -> Mapping[Any, int]:
    """Number distinct values from 1 in order: what many runs share is printed once."""
    return {value: number for number, value in enumerate(dict.fromkeys(values), 1)}


def render(template: str, **context: Any) -> str:
    """Return a page of its own: the template with the styles and the script that all pages share."""
    environment = Environment(
        loader=PackageLoader("gkdbench.report"),
        autoescape=True,
        undefined=StrictUndefined,
        finalize=_seen,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    # Our own SVG: all text in it is escaped where it is drawn.
    environment.filters["drawn"] = lambda drawing: Markup(drawing.inline)
    environment.filters["svg"] = Markup
    environment.filters["headline"] = _headline
    environment.filters["counted"] = counted
    environment.filters["header_rows"] = header_rows
    environment.filters["table_rows"] = table_rows
    script = "\n" + "\n".join(_text(name) for name in SCRIPTS)
    allowed = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    return environment.get_template(template).render(
        style=Markup("\n".join(_text(name) for name in STYLES)),
        script=Markup(script),
        # Nothing is loaded and no other script runs, whatever a record holds.
        policy=f"default-src 'none'; img-src data:; style-src 'unsafe-inline'; script-src 'sha256-{allowed}'",
        **context,
    )


def _seen(value: Any) -> Any:
    """Return what a template prints; HTML of our own is as it should be."""
    return value if isinstance(value, Markup) or not isinstance(value, str) else visible(value)


def _headline(drawing: Drawing) -> str:
    """Return what a figure shows: its caption's first sentence, shortened."""
    return shorten(drawing.caption.split(". ")[0].rstrip("."), 90, placeholder=" …")


def _text(name: str) -> str:
    return resources.files(TEMPLATES).joinpath(name).read_text(encoding="utf-8").strip()
