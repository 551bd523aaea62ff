"""All figures of one comparison, and those of published values."""

from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import islice
from pathlib import Path
from typing import NamedTuple

from gkdbench.metrics.statistics import Ranking
from gkdbench.report.comparison import Comparison, MethodRow
from gkdbench.report.figures.bars import classes_figure
from gkdbench.report.figures.boxes import boxes_figure
from gkdbench.report.figures.cost import cost_figure
from gkdbench.report.figures.curves import curves_figure
from gkdbench.report.figures.drawing import FORMS, Drawing
from gkdbench.report.figures.examples import examples_figure
from gkdbench.report.figures.features import features_figure
from gkdbench.report.figures.heatmap import corruptions_figure, heatmap_figure
from gkdbench.report.figures.radar import published_radar, radar_figure
from gkdbench.report.figures.ranks import ranks_figure
from gkdbench.report.figures.scatter import scatter_figure
from gkdbench.report.figures.series import line_up
from gkdbench.report.figures.strip import targets_figure
from gkdbench.report.figures.workers import Fault, Job, draw
from gkdbench.report.paper import published_files, read_published

_RADAR = "fig2_radar"


@dataclass(frozen=True)
class Subject:
    """A comparison and what its figures need beside it."""

    comparison: Comparison
    baseline: MethodRow | None = None
    """The row that others are compared with; None: no differences, no arrows."""
    ranking: Ranking | None = None
    """Average ranks of its rows, by name; None: no diagram of them."""


class Drawn(NamedTuple):
    """The figures of a report."""

    comparisons: list[tuple[Drawing, ...]]
    published: tuple[Drawing, ...]
    faults: tuple[str, ...]
    """A line per figure that could not be drawn."""


def draw_report(
    subjects: Sequence[Subject], folders: Mapping[str, Path], forms: Collection[str] = FORMS
) -> Drawn:
    """Draw the figures of each comparison, and those of published values; all at once, in several processes.

    Args:
        subjects: the comparisons; one without a row that has figures gets no figure.
        folders: where each run's files lie, by run id.
        forms: files to write besides the SVG for the page: svg, png, pdf.
    """
    parts = [_published_jobs(forms), *(_jobs(subject, folders, forms) for subject in subjects)]
    drawn = draw([job for jobs in parts for job in jobs])
    found = iter(drawn)
    published, *rest = (_drawings(islice(found, len(jobs))) for jobs in parts)
    return Drawn(rest, published, tuple(one.line for one in drawn if isinstance(one, Fault)))


def _drawings(drawn: Iterable[Drawing | Fault | None]) -> tuple[Drawing, ...]:
    return tuple(one for one in drawn if isinstance(one, Drawing))


def draw_comparison(
    comparison: Comparison,
    *,
    baseline: MethodRow | None = None,
    ranking: Ranking | None = None,
    folders: Mapping[str, Path] | None = None,
    forms: Collection[str] = FORMS,
) -> tuple[Drawing, ...]:
    """Draw the figures of one comparison, those that can be drawn; see Subject and draw_report."""
    return _drawings(draw(_jobs(Subject(comparison, baseline, ranking), folders or {}, forms)))


def draw_published(forms: Collection[str] = FORMS) -> tuple[Drawing, ...]:
    """Draw the figures that show published values alone: the paper's radar charts."""
    return _drawings(draw(_published_jobs(forms), workers=1))


def _published_jobs(forms: Collection[str]) -> list[Job]:
    content = published_files().get(_RADAR)
    if content is None:
        return []
    return [Job("published values: radar", partial(published_radar, read_published(content, _RADAR), _RADAR, forms))]


def _jobs(subject: Subject, folders: Mapping[str, Path], forms: Collection[str]) -> list[Job]:
    """Return what draws each figure, in the order of the page."""
    comparison, series = subject.comparison, line_up(subject.comparison.rows, subject.baseline)
    if not series:
        return []
    jobs: dict[str, Callable[[], Drawing | None]] = {
        "targets": partial(targets_figure, comparison, series, forms),
        "corruptions": partial(corruptions_figure, comparison, series, forms),
        "scatter": partial(scatter_figure, comparison, series, forms),
        "heatmap": partial(heatmap_figure, comparison, series, forms),
        "classes": partial(classes_figure, comparison, series, forms),
        "radar": partial(radar_figure, comparison, series, forms),
        "cost": partial(cost_figure, comparison, series, forms),
        "curves": partial(curves_figure, comparison, series, folders, forms),
        "examples": partial(
            examples_figure if comparison.counted else boxes_figure, comparison, series, folders, forms
        ),
        "features": partial(features_figure, comparison, series, folders, forms),
    }
    if subject.ranking is not None:
        jobs["ranks"] = partial(ranks_figure, comparison, subject.ranking, forms)
    return [Job(f"{comparison.title}: {name}", make) for name, make in jobs.items()]
