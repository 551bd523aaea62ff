"""The page: one HTML file that needs no network. All text but our own SVG is escaped."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup

from gkdbench.report.comparison import Comparison
from gkdbench.report.figures.drawing import Drawing
from gkdbench.report.layout import Table
from gkdbench.report.records import facts, is_teacher, plain, shown_options
from gkdbench.run.record import Record

COMMAND = "gkdbench run --method NAME --setting f2l"


@dataclass(frozen=True)
class Section:
    """One comparison on the page."""

    comparison: Comparison
    tables: tuple[Table, ...]
    """The methods first."""
    drawings: tuple[Drawing, ...]


@dataclass(frozen=True)
class RunView:
    """What the page tells about one run."""

    record: Record
    title: str
    role: str
    spec: tuple[tuple[str, str], ...]
    recipe: str
    environment: tuple[tuple[str, str], ...]


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


def run_views(records: Sequence[Record], defaults: Mapping[str, Mapping[str, Any]]) -> tuple[RunView, ...]:
    """Prepare each run's details."""
    views = []
    for record in records:
        spec = record.spec.model_dump(mode="json")
        recipe = spec.pop("recipe")
        options = shown_options(record, defaults)
        views.append(
            RunView(
                record=record,
                title=f"{record.spec.method}{f' ({options})' if options else ''}, "
                f"seed {record.spec.seed}, {record.status}",
                role="teacher" if is_teacher(record) else "method",
                spec=tuple((key, plain(value)) for key, value in spec.items()),
                recipe=json.dumps(recipe, indent=1, sort_keys=True),
                environment=tuple(sorted(facts(record.environment).items())),
            )
        )
    return tuple(views)


def render_page(content: PageContent) -> str:
    """Return the HTML."""
    environment = Environment(
        loader=PackageLoader("gkdbench.report"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    # matplotlib escapes the text it writes into SVG.
    environment.filters["drawn"] = lambda drawing: Markup(drawing.inline)
    page = environment.get_template("report.html.j2")
    return page.render(page=content, command=COMMAND)
