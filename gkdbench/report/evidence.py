"""What a comparison's runs are evidence for: effects, differences that are more than chance, ranks."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from gkdbench.metrics.statistics import Ranking
from gkdbench.report.baseline import baseline_row
from gkdbench.report.comparison import Comparison, MethodRow
from gkdbench.report.effects import Effects, effects
from gkdbench.report.significance import (
    RankedRows,
    RowRanks,
    RowTests,
    image_tests,
    rank_rows,
    target_tests,
)


@dataclass(frozen=True)
class Evidence:
    """The statistics of one comparison."""

    comparison: Comparison
    baseline: MethodRow | None
    """The row that others are compared with; None where the comparison has none."""
    effects: tuple[Effects, ...]
    """Of every row that has figures."""
    differences: tuple[RowTests, ...] = ()
    """Of comparable rows to the baseline, split by split, over images."""
    over_targets: tuple[RowRanks, ...] = ()
    """Of comparable rows to the baseline, over targets and seeds."""
    ranked: RankedRows | None = None
    warnings: tuple[str, ...] = ()
    """A line per file of counts that could not be read."""
    wanted: str | None = None
    """The baseline that was asked for by name."""

    @property
    def ranking(self) -> Ranking | None:
        """Return the average ranks; None where there are not two rows to rank."""
        return self.ranked.ranking if self.ranked else None


def evidence(comparison: Comparison, folders: Mapping[str, Path], baseline: str | None = None) -> Evidence:
    """Work the statistics of a comparison out.

    Args:
        comparison: the rows.
        folders: where each run's files lie, by run id; a run without counts per image takes no part in their tests.
        baseline: name, label or method of the row that others are compared with; by default as benchmark packages say.
    """
    base = baseline_row(comparison, baseline)
    of_rows, ranked = effects(comparison, base), rank_rows(comparison)
    if base is None:
        return Evidence(comparison, None, of_rows, ranked=ranked, wanted=baseline)
    differences, warnings = image_tests(comparison, base, folders)
    over_targets = target_tests(comparison, base)
    return Evidence(comparison, base, of_rows, differences, over_targets, ranked, warnings, baseline)
