"""Learning curves: a panel per stage, a line per run."""

from collections.abc import Collection, Mapping, Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from gkdbench.report.comparison import Comparison
from gkdbench.report.curves import FILE, StageCurves, read_curves
from gkdbench.report.figures.captions import listed, particulars, sentences, source_told
from gkdbench.report.figures.drawing import FORMS, Drawing, finish
from gkdbench.report.figures.frame import frame, log_axis
from gkdbench.report.figures.series import Series, left_out, most_telling
from gkdbench.report.figures.sheet import Sheet, dash, key, key_columns, key_height, strokes
from gkdbench.report.figures.style import NORMAL, one_name

MOST_LINES = 8
MOST_SEEDS = 4
MOST_STAGES = 6
_SMOOTH = 9
"""Logged points that a line averages over at most."""
_LOG_FROM = 5.0
Line = NDArray[np.float64]
_WIDE, _DEEP = 230.0, 150.0


def curves_figure(
    comparison: Comparison, series: Sequence[Series], folders: Mapping[str, Path], forms: Collection[str] = FORMS
) -> Drawing | None:
    """Draw the weighted loss of every stage over its steps; `folders`: where each run's files lie, by run id."""
    kept = [one for one in series if any(_kept(folders.get(record.run_id)) for record in one.row.records)]
    # Of rows that left curves those that a figure shows first; the others that it would show are named.
    first = sorted(kept, key=lambda one: one.place)[:MOST_LINES]
    shown = tuple(one for one in series if one in first)
    lines: dict[str, list[tuple[Series, Line]]] = {}
    silent = [one for one in most_telling(series, MOST_LINES) if one not in kept]
    without = [f"{one.name} seed {record.spec.seed}" for one in silent for record in one.row.records[:MOST_SEEDS]]
    damaged: list[tuple[str, str]] = []
    for one in shown:
        for record in one.row.records[:MOST_SEEDS]:
            name = f"{one.name} seed {record.spec.seed}"
            folder = folders.get(record.run_id)
            found, why = read_curves(folder) if folder is not None else (None, "")
            if found is None:
                if not _kept(folder):
                    without.append(name)
                else:
                    damaged.append((name, why))
                continue
            for logged in found:
                line = _line(logged)
                if len(line) > 1:
                    lines.setdefault(logged.name, []).append((one, line))
    if not lines:
        return None
    stages = list(lines)[:MOST_STAGES]
    drawn = [one for one in shown if any(one is other for stage in stages for other, _ in lines[stage])]
    across = min(len(stages), 3)
    columns = key_columns(drawn, max(across, 2) * (_WIDE + 40) - 20, "dashes")
    foot = key_height(drawn, columns) + 10
    block = _DEEP + 54
    sheet = Sheet(max(across, 2) * (_WIDE + 44) + 6, -(-len(stages) // across) * block + foot)
    for index, stage in enumerate(stages):
        left = 42 + (index % across) * (_WIDE + 44)
        top = sheet.height - (index // across) * block - 20
        axes = sheet.panel(left, top - _DEEP, _WIDE, _DEEP)
        for one, line in lines[stage]:
            strokes(axes, [line.tolist()], one.colour, 1.3, dash(one))
        every = np.concatenate([line for _, line in lines[stage]])
        low, high = float(every[:, 1].min()), float(every[:, 1].max())
        if low > 0 and high / low > _LOG_FROM:
            log_axis(axes.yaxis, low / 1.15, high * 1.15)
        else:
            room = max(high - low, 0.02 * abs(high), 1e-6)  # so that ticks differ in digits that can be read
            axes.set_ylim(low - 0.05 * room, high + 0.05 * room)
        axes.set_xlim(0, max(float(every[:, 0].max()), 1.0))
        axes.locator_params(axis="x", nbins=5)
        frame(sheet, axes, across="step", up="" if index % across else "weighted loss")
        sheet.write(left, top + 9, f"stage {one_name(stage, 28)}", NORMAL + 1)
    key(sheet, drawn, 20, foot - 4, columns, "dashes")
    missing = len(lines) - len(stages)
    several = f", of a row's first {MOST_SEEDS} seeds" if any(len(o.row.records) > MOST_SEEDS for o in shown) else ""
    caption = sentences(
        f"Training loss of each stage, weighted terms summed, mean over {_SMOOTH} neighbouring logged points, fewer "
        f"in a short log; a line per run{several}. Losses of methods with other terms do not compare.",
        source_told(comparison),
        left_out(kept, shown),
        f"{missing} further stages left out." if missing else "",
        f"Without curves: {listed(without, 8)}." if without else "",
        f"Curves that cannot be read: {listed([name for name, _ in damaged], 8)}." if damaged else "",
    )
    label = f"Learning curves: loss over steps in {len(stages)} stages for {len(drawn)} rows of {comparison.title}."
    details = (*particulars(comparison, series, shown), *(why for _, why in damaged))
    return finish(sheet.figure, f"{comparison.slug}-curves", caption, details, label=label, forms=forms)


def _kept(folder: Path | None) -> bool:
    return folder is not None and (folder / FILE).exists()


def _line(stage: StageCurves) -> Line:
    """Return the stage's loss as points [n, 2], smoothed; steps without a value are left out."""
    known = [(step, value) for step, value in zip(stage.steps, stage.total(), strict=True) if value is not None]
    points = np.array(sorted(known), np.float64).reshape(-1, 2)
    # Near the ends the mean is over fewer points, so that the line starts and stops where the log does.
    # Of a short log it is over a tenth, or nothing would be left but that mean.
    reach = min(_SMOOTH // 2, len(points) // 10)
    sums = np.concatenate([[0.0], np.cumsum(points[:, 1])])
    at = np.arange(len(points))
    first, last = np.maximum(at - reach, 0), np.minimum(at + reach + 1, len(points))
    points[:, 1] = (sums[last] - sums[first]) / (last - first)
    return points
