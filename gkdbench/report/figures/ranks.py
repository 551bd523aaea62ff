"""Critical-difference diagram: average ranks, and which rows they do not tell apart."""

import math
from collections.abc import Collection
from dataclasses import replace

from gkdbench.metrics.statistics import Ranking
from gkdbench.report.comparison import Comparison
from gkdbench.report.figures.captions import sentences, source_told
from gkdbench.report.figures.drawing import FORMS, Drawing, finish
from gkdbench.report.figures.series import MOST_ROWS
from gkdbench.report.figures.sheet import Point, Sheet, text_width
from gkdbench.report.figures.style import FAINT, INK, SMALL, one_name
from gkdbench.report.visible_text import shown_p

_AXIS = 380.0
_LINE = 12.0
_BAR = 5.0


def ranks_figure(comparison: Comparison, ranking: Ranking, forms: Collection[str] = FORMS) -> Drawing | None:
    """Draw Demsar's diagram: the best ranks to the left, a bar over rows within the critical difference."""
    ordered = sorted(ranking.ranks, key=lambda name: (ranking.ranks[name], name))
    shown = ordered[:MOST_ROWS]
    if len(ordered) < 2:
        return None
    names = [one_name(name) or "(no name)" for name in shown]
    ranks = [ranking.ranks[name] for name in shown]
    known = math.isfinite(ranking.critical)
    best = replace(ranking, ranks={name: ranking.ranks[name] for name in shown})
    groups = best.alike() if known else []
    low = float(math.floor(min(ranks)))
    high = max(float(math.ceil(max(ranks))), low + 1)
    half = -(-len(shown) // 2)
    side = max(text_width(f"{name}  {rank:.2f}") for name, rank in zip(names, ranks, strict=True)) + 18
    depth = len(groups) * _BAR + 10
    head = 46.0 if known else 26.0
    sheet = Sheet(_AXIS + 2 * side, head + depth + _LINE * half + 8)
    base = sheet.height - head

    def at(rank: float) -> float:
        return side + (rank - low) / (high - low) * _AXIS

    step = max(1, math.ceil((high - low) / 12))
    ticks = [int(low) + step * i for i in range(int((high - low) // step) + 1)]
    sheet.lines([[(at(low), base), (at(high), base)], *([(at(t), base), (at(t), base + 4)] for t in ticks)], INK, 0.9)
    for tick in ticks:
        sheet.write(at(tick), base + 10, str(tick), side="center")
    sheet.write(at(low) - 8, base + 10, "average rank", SMALL, "right")
    if known:
        end, y = at(low + ranking.critical), base + 28
        if end < sheet.width - 4:
            sheet.lines([[(at(low), y), (end, y)], [(at(low), y - 3), (at(low), y + 3)], [(end, y - 3), (end, y + 3)]])
        sheet.write(
            min(at(low) + end, sheet.width) / 2, y + 8, f"critical difference {ranking.critical:.2f}", SMALL, "center"
        )
    bars: list[list[Point]] = []
    for index, group in enumerate(groups):
        y = base - 7 - index * _BAR
        bars.append([(at(ranking.ranks[group[0]]) - 2.5, y), (at(ranking.ranks[group[-1]]) + 2.5, y)])
    leads: list[list[Point]] = []
    for index, (name, rank) in enumerate(zip(names, ranks, strict=True)):
        left = index < half
        row = index if left else len(shown) - 1 - index
        y = base - depth - 4 - _LINE * (row + 0.5)
        elbow = side - 10 if left else side + _AXIS + 10
        leads.append([(at(rank), base), (at(rank), y), (elbow, y)])
        sheet.write(elbow - 4 if left else elbow + 4, y, f"{name}  {rank:.2f}" if left else f"{rank:.2f}  {name}",
                    side="right" if left else "left")  # fmt: skip
    sheet.lines(leads, FAINT, 0.8)
    sheet.lines(bars, INK, 2.4)
    missing = len(ordered) - len(shown)
    caption = sentences(
        f"Average ranks by {comparison.metric} over {ranking.blocks} blocks (targets and seeds), 1 the best.",
        f"A bar joins rows within the critical difference (Nemenyi, 5 %): {ranking.critical:.2f} ranks."
        if known
        else "No critical difference: it takes two blocks or more.",
        f"Friedman's test that all are alike: p {shown_p(ranking.p)}." if math.isfinite(ranking.p) else "",
        source_told(comparison),
        f"Shown: the {len(shown)} best rows; {missing} of {len(ordered)} left out." if missing else "",
    )
    details = (
        f"Data: {comparison.title}. {comparison.subtitle}",
        "Ranks: " + "; ".join(f"{name} {rank:.2f}" for name, rank in zip(names, ranks, strict=True)) + ".",
    )
    label = f"Critical-difference diagram: average ranks of {len(shown)} rows of {comparison.title}."
    return finish(sheet.figure, f"{comparison.slug}-ranks", caption, details, label=label, forms=forms)
