"""All figures of one comparison."""

import matplotlib

from gkdbench.report.comparison import Comparison
from gkdbench.report.figures.bars import classes_figure, targets_figure
from gkdbench.report.figures.drawing import Drawing
from gkdbench.report.figures.scatter import scatter_figure
from gkdbench.report.figures.style import STYLE


def draw_comparison(comparison: Comparison) -> tuple[Drawing, ...]:
    """Draw the figures of a comparison; none where no run has figures."""
    rows = [row for row in comparison.rows if row.status == "done"]
    if not rows:
        return ()
    with matplotlib.rc_context(STYLE):
        return (
            targets_figure(comparison, rows),
            scatter_figure(comparison, rows),
            classes_figure(comparison, rows),
        )
