"""All figures of one comparison, and those of published values."""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from itertools import islice
from pathlib import Path

from gkdbench.metrics.statistics import Ranking
from gkdbench.report.comparison import Comparison
from gkdbench.report.figures.bars import classes_figure
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
from gkdbench.report.figures.workers import Job, draw
from gkdbench.report.paper import published_files, read_published

_RADAR = "fig2_radar"


@dataclass(frozen=True)
class Subject:
    """A comparison and what its figures need beside it."""

    comparison: Comparison
    baseline: str | None = None
    """Label of the row that others are compared with; None: no differences, no arrows."""
    ranking: Ranking | None = None
    """Average ranks of its rows, by label; None: no diagram of them."""
    corruptions: Mapping[str, tuple[str, int]] = field(default_factory=dict)
    """Of each target that is a corruption its kind and severity."""


def draw_report(
    subjects: Sequence[Subject], folders: Mapping[str, Path], forms: Collection[str] = FORMS
) -> tuple[list[tuple[Drawing, ...]], tuple[Drawing, ...]]:
    """Draw the figures of each comparison, and those of published values; all at once, in several processes.

    Args:
        subjects: the comparisons; one without a row that has figures gets no figure.
        folders: where each run's files lie, by run id.
        forms: files to write besides the SVG for the page: svg, png, pdf.
    """
    parts = [_published_jobs(forms), *(_jobs(subject, folders, forms) for subject in subjects)]
    drawn = iter(draw([job for jobs in parts for job in jobs]))
    published, *rest = (tuple(one for one in islice(drawn, len(jobs)) if one is not None) for jobs in parts)
    return rest, published


def draw_comparison(
    comparison: Comparison,
    *,
    baseline: str | None = None,
    ranking: Ranking | None = None,
    folders: Mapping[str, Path] | None = None,
    corruptions: Mapping[str, tuple[str, int]] | None = None,
    forms: Collection[str] = FORMS,
) -> tuple[Drawing, ...]:
    """Draw the figures of one comparison; see Subject and draw_report."""
    jobs = _jobs(Subject(comparison, baseline, ranking, corruptions or {}), folders or {}, forms)
    return tuple(one for one in draw(jobs) if one is not None)


def draw_published(forms: Collection[str] = FORMS) -> tuple[Drawing, ...]:
    """Draw the figures that show published values alone: the paper's radar charts."""
    return tuple(one for one in draw(_published_jobs(forms), workers=1) if one is not None)


def _published_jobs(forms: Collection[str]) -> list[Job]:
    content = published_files().get(_RADAR)
    return [] if content is None else [partial(published_radar, read_published(content, _RADAR), _RADAR, forms)]


def _jobs(subject: Subject, folders: Mapping[str, Path], forms: Collection[str]) -> list[Job]:
    """Return what draws each figure, in the order of the page."""
    comparison, series = subject.comparison, line_up(subject.comparison.rows, subject.baseline)
    if not series:
        return []
    jobs: list[Job] = [
        partial(targets_figure, comparison, series, forms),
        partial(scatter_figure, comparison, series, forms),
        partial(heatmap_figure, comparison, series, forms),
        partial(classes_figure, comparison, series, forms),
        partial(radar_figure, comparison, series, forms),
        partial(cost_figure, comparison, series, forms),
        partial(curves_figure, comparison, series, folders, forms),
        partial(examples_figure, comparison, series, folders, forms),
        partial(features_figure, comparison, series, folders, forms),
    ]
    if subject.ranking is not None:
        jobs.append(partial(ranks_figure, comparison, subject.ranking, forms))
    if subject.corruptions:
        jobs.append(partial(corruptions_figure, comparison, series, subject.corruptions, forms))
    return jobs
