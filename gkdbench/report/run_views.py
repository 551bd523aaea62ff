"""What the page tells about one run: how it was made, what it cost, how each split was judged, how to repeat it."""

import hashlib
import json
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

from gkdbench.report.comparison import IN_DOMAIN
from gkdbench.report.corruptions import targets_told
from gkdbench.report.curves import FILE, read_curves
from gkdbench.report.figures.sparklines import run_curves
from gkdbench.report.layout import Cell, Column, Row, Table
from gkdbench.report.records import class_metric, facts, is_teacher, one_line, plain, shown_options
from gkdbench.runs.recomputed import COUNTED
from gkdbench.runs.record import Protocol, Record, SplitResult

METRICS = {
    "ap50_11point": "AP50, 11 points",
    "coco_ap": "COCO AP",
    "coco_ap50": "COCO AP50",
    "coco_ap75": "COCO AP75",
    "coco_ap_small": "COCO AP small",
    "coco_ap_medium": "COCO AP medium",
    "coco_ap_large": "COCO AP large",
    "coco_ar100": "COCO AR100",
}
"""What records' further figures are called, where their keys do not say it."""
MOST_CLASS_CELLS = 100_000
"""On one page, over all runs; with more the runs do without their classes, which the comparisons show anyway."""


@dataclass(frozen=True)
class RunView:
    """One run."""

    record: Record
    title: str
    role: str
    anchor: str
    """Its id on the page."""
    spec: tuple[tuple[str, str], ...]
    recipe: str
    environment: tuple[tuple[str, str], ...]
    cost: tuple[tuple[str, str], ...]
    budget: Table
    """What was seen in training, by role of the data."""
    stages: Table
    scores: Table
    classes: Table | None
    losses: Table | None
    curves: str
    """SVG of its losses over steps; empty where there is none."""
    no_curves: str
    """Why there is none although the run left a file."""


def run_views(
    records: Sequence[Record], defaults: Mapping[str, Mapping[str, Any]], folders: Mapping[str, Path] | None = None
) -> tuple[RunView, ...]:
    """Prepare each run's details; `folders` hold what a run left beside its record, by run id."""
    cells = sum((1 + len(record.targets)) * len(record.classes) for record in records)
    return tuple(_view(record, defaults, (folders or {}).get(record.run_id), cells) for record in records)


def anchor(run_id: str) -> str:
    """Return an id for the page: run ids are foreign text, and equal ones after clean-up stay apart."""
    if re.fullmatch(r"[A-Za-z0-9._-]+", run_id):
        return f"run-{run_id}"
    clean = re.sub(r"[^A-Za-z0-9._-]+", "-", run_id)[:60]
    return f"run-{clean}-{hashlib.sha256(run_id.encode(errors='replace')).hexdigest()[:8]}"


def runs_table(views: Sequence[RunView]) -> Table:
    """Return one row per run: what it is, how it ended, what it scored."""
    return Table(
        slug="all-runs",
        title="All runs",
        caption="One row per record. A run's name leads to its details.",
        columns=(
            Column("run", False),
            *(Column(name, False) for name in ("benchmark", "setting", "method")),
            Column("seed"),
            Column("status", False),
            *(Column(name) for name in (IN_DOMAIN, "OOD mean", "gap", "wall time, s")),
            Column("marks", False),
        ),
        rows=tuple(_run_row(view) for view in views),
    )


def _run_row(view: RunView) -> Row:
    record, spec = view.record, view.record.spec
    summary = record.summary if record.status == "done" else None
    values = (summary.in_domain, summary.ood, summary.gap) if summary else (None, None, None)
    wall = record.cost.get("from_scratch", {}).get("wall_s")
    return Row(
        record.run_id,
        (
            Cell(f"{spec.benchmark} v{spec.benchmark_version}"),
            Cell(spec.setting.upper()),
            Cell(view.title.rsplit(", seed", 1)[0]),
            Cell(str(spec.seed), float(spec.seed)),
            Cell(record.status),
            *(_number(value, 1) for value in values),
            _number(wall, 1),
            Cell("; ".join(record.marks)),
        ),
        # A record of another status has no score and still all its cells: it sorts like any other.
    )


def _view(record: Record, defaults: Mapping[str, Mapping[str, Any]], folder: Path | None, cells: int) -> RunView:
    spec = record.spec.model_dump(mode="json")
    recipe = spec.pop("recipe")
    options = shown_options(record, defaults)
    name = anchor(record.run_id)
    stages, why_not = read_curves(folder) if folder else (None, "")
    splits = [
        *([(IN_DOMAIN, record.in_domain)] if record.in_domain else []),
        *record.targets.items(),
    ]
    return RunView(
        record=record,
        title=f"{record.spec.method}{f' ({options})' if options else ''}, seed {record.spec.seed}, {record.status}",
        role="teacher" if is_teacher(record) else "method",
        anchor=name,
        spec=tuple((key, plain(value)) for key, value in spec.items() if value not in ({}, [])),
        recipe=_laid_out(json.dumps(recipe, sort_keys=True)),
        environment=tuple(sorted(facts(record.environment).items())),
        cost=tuple(_cost(record)),
        budget=_budget(name, record),
        stages=_stages(name, record),
        scores=_scores(name, record, splits),
        classes=_classes(name, record, splits) if splits and cells <= MOST_CLASS_CELLS else None,
        losses=_losses(name, record),
        curves=run_curves(stages or ()),
        # Most older runs have no such file; only a damaged one needs a word.
        no_curves=why_not if folder and (folder / FILE).exists() else "",
    )


@lru_cache(maxsize=64)
def _laid_out(recipe: str) -> str:
    # Indenting is slow, and most runs share a recipe.
    return json.dumps(json.loads(recipe), indent=1)


def _cost(record: Record) -> Iterator[tuple[str, str]]:
    for scope, section in sorted(record.cost.items()):
        for name, value in section.items():
            yield f"{scope.replace('_', ' ')}: {name.replace('_', ' ')}", f"{value:,.1f}"
    for name, value in record.model.items():
        yield f"model: {name.replace('_', ' ')}", f"{value:,.4g}" if value < 1000 else f"{value:,.0f}"


def _budget(name: str, record: Record) -> Table:
    roles = sorted(record.budget.items())
    quantities = list(dict.fromkeys(key for _, section in roles for key in section))
    return Table(
        slug=f"{name}-budget",
        title="Data seen",
        caption="By the role of the data, over all stages. A stage of the same name as a role is something else.",
        columns=(Column("role of the data", False), *(Column(key.replace("_", " ")) for key in quantities)),
        rows=tuple(Row(role, tuple(_number(section.get(key), 0) for key in quantities)) for role, section in roles),
    )


def _stages(name: str, record: Record) -> Table:
    return Table(
        slug=f"{name}-stages",
        title="Stages",
        caption="What was trained, in order; images and passes of a stage are those on data of every role.",
        columns=(
            Column("stage", False),
            Column("trains", False),
            *(Column(title) for title in ("steps", "images", "student passes", "teacher passes")),
            *(Column(title) for title in ("wall time, s", "peak memory, GiB")),
            Column("computed", False),
            Column("digest", False),
        ),
        rows=tuple(
            Row(
                stage.name,
                (
                    Cell(stage.model),
                    *(_number(n, 0) for n in (stage.steps, stage.images, stage.student_passes, stage.teacher_passes)),
                    _number(stage.wall_s, 1),
                    _number(stage.peak_gib, 2),
                    Cell("by an earlier run" if stage.cached else "here"),
                    Cell(stage.digest[:16], hover=stage.digest),
                ),
            )
            for stage in record.stages
        ),
        rules=tuple(f"{stage.name}: {one_line(note)}" for stage in record.stages for note in stage.notes),
    )


def _losses(name: str, record: Record) -> Table | None:
    rows = [
        Row(
            stage.name,
            (Cell(term), _general(stage.first_losses.get(term)), _general(stage.losses.get(term))),
        )
        for stage in record.stages
        for term in sorted({*stage.losses, *stage.first_losses})
    ]
    if not rows:
        return None
    return Table(
        slug=f"{name}-losses",
        title="Losses",
        caption="Weighted terms: at step 0, and the mean over the last 50 logged steps.",
        columns=(Column("stage", False), Column("term", False), Column("at step 0"), Column("at the end")),
        rows=tuple(rows),
    )


def _scores(name: str, record: Record, splits: Sequence[tuple[str, SplitResult]]) -> Table:
    # The headline metric is a column of its own.
    extra = list(dict.fromkeys(key for _, result in splits for key in result.metrics))
    return Table(
        slug=f"{name}-scores",
        title="Scores",
        caption=f"{record.metric} in percent, and how each split was judged.",
        rules=_metric_rules(record, extra),
        columns=(
            Column("split", False),
            Column(record.metric),
            *(Column(METRICS.get(key, key.replace("_", " "))) for key in extra),
            Column("classes in the mean"),
            Column("never predicted" if record.metric == COUNTED else "never detected", False),
            Column("images"),
            Column("judged at", False),
            Column("data", False),
        ),
        rows=tuple(
            Row(
                split,
                (
                    _number(result.value, 2),
                    *(_number(result.metrics.get(key), 2) for key in extra),
                    _number(result.classes_in_mean, 0),
                    Cell(", ".join(result.never_predicted) or "–"),
                    _number(result.n_images, 0),
                    Cell(shown_protocol(result.protocol)),
                    Cell(result.data[:12] or "as the benchmark's version", hover=result.data),
                ),
            )
            for split, result in splits
        ),
    )


def _metric_rules(record: Record, extra: Sequence[str]) -> tuple[str, ...]:
    """Say what the figures of a detector are, and sum its corruptions up."""
    said = []
    if "coco_ap" in extra:
        said.append(
            f"{record.metric}: as VOC defines it, area under the curve, overlaps from 0.5 on; 11 points: VOC2007's "
            "mean over eleven recalls. COCO AP: mean over overlaps from 0.5 to 0.95; small, medium, large: objects "
            "below 32² pixels, to 96², above; a dash where a split has none."
        )
    summary = record.summary
    if summary and summary.mpc is not None and summary.rpc is not None:
        made = targets_told(record.corruptions, record.corruptions)
        said.append(f"Under corruption ({made}): mPC {summary.mpc:.2f}, rPC {summary.rpc:.1f} %.")
    return tuple(said)


def shown_protocol(protocol: Protocol) -> str:
    """Return sizes, window and augmentation of a split's evaluation as one short text."""
    parts = ["x".join(map(str, protocol.resize)) if protocol.resize else "own size"]
    if protocol.resize and protocol.fit != "stretch":
        parts.append(protocol.fit)
    if protocol.window:
        stride = f" every {'x'.join(map(str, protocol.stride))}" if protocol.stride else ""
        parts.append(f"window {'x'.join(map(str, protocol.window))}{stride}")
    if protocol.tta:
        parts.append(f"test-time augmentation {', '.join(protocol.tta)}")
    return ", ".join(parts)


def _classes(name: str, record: Record, splits: Sequence[tuple[str, SplitResult]]) -> Table:
    return Table(
        slug=f"{name}-classes",
        title="Classes",
        caption=f"{class_metric(record.metric)} per class in percent. –: skipped by the rule {record.mean_rule}.",
        columns=(Column("split", False), *(Column(label) for label in record.classes)),
        rows=tuple(
            Row(split, tuple(_number(result.per_class.get(label), 1) for label in record.classes))
            for split, result in splits
        ),
    )


def _number(value: float | None, digits: int) -> Cell:
    return Cell("–", precise="") if value is None else Cell(f"{value:,.{digits}f}", float(value))


def _general(value: float | None) -> Cell:
    return Cell("–", precise="") if value is None else Cell(f"{value:.4g}", value)
