"""The statistics of a comparison as tables. Every p says what was paired."""

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace

from gkdbench.metrics.bootstrap import RESAMPLES, smallest_p
from gkdbench.report.comparison import MethodRow
from gkdbench.report.corruptions import MPC
from gkdbench.report.effects import Effect
from gkdbench.report.evidence import Evidence
from gkdbench.report.finding import counted
from gkdbench.report.layout import Cell, Column, Lettering, Row, Table
from gkdbench.report.pairing import NO_SUM
from gkdbench.report.significance import MOST_SEEDS, RankedRows, RowRanks, RowTests, SplitTest, averaged_targets, tested
from gkdbench.report.tables import ABSENT, HALF_WIDTH, mean_cell, signed
from gkdbench.report.visible_text import shown_p, with_minus

ALPHA = 0.05
_EXTRA = 1 + 1e-9
"""What a sum of probabilities may be above the value it stands for."""


def evidence_tables(found: Evidence) -> tuple[Table, ...]:
    """Return effects, differences, the tests behind them, and ranks; without what there is nothing to show of."""
    tables = [effects_table(found)] if found.effects else []
    if found.differences:
        tables += [differences_table(found), *([tests_table(found)] if found.comparison.counted else [])]
    if found.over_targets or found.ranked:
        tables.append(ranks_table(found))
    return tuple(tables)


def _base(found: Evidence) -> str:
    return found.baseline.name if found.baseline else "the baseline"


def effects_table(found: Evidence) -> Table:
    """Return gain, share of the teacher's mean, share of the distance closed, gap and worst target, a row each."""
    comparison, lettering = found.comparison, Lettering()
    rows = []
    for one in found.effects:
        row, worst = one.row, one.worst
        worst_name = ABSENT
        if worst is not None:
            hover = f"of some seed: {', '.join(worst.others)}" if worst.others else ""
            worst_name = Cell(worst.name, hover=hover)
        rows.append(
            Row(
                head=row.name,
                cells=(
                    _effect(one.gain, row, plus=True),
                    _effect(one.retained, row),
                    _effect(one.closed, row),
                    _effect(one.gap, row),
                    worst_name,
                    _effect(worst.score if worst else None, row),
                    Cell(str(len(row.records)), float(len(row.records)), hover=_seeds(row.seeds)),
                ),
                letters=lettering.mark([*row.footnotes, *one.notes]),
                kind="teacher" if row.teacher else "plain",
            )
        )
    return Table(
        slug=f"{comparison.slug}-effects",
        title=f"Effects: {comparison.title}",
        caption=f"Of OOD means, in points of {comparison.metric} or percent; mean over seeds.",
        columns=(
            Column("method", False),
            Column(f"OOD gain over {_base(found)}"),
            Column("of teacher's OOD, %"),
            Column("of distance closed, %"),
            Column("gap"),
            Column("worst target", False),
            Column(f"its {comparison.metric}"),
            Column("n"),
        ),
        rows=tuple(rows),
        rules=tuple(_effect_rules(found)),
        footnotes=lettering.listing(),
    )


def _no_baseline(found: Evidence) -> str:
    asked = " of a baseline" if found.wanted is None else f" {found.wanted!r}, the baseline that was asked for,"
    return f"No comparable row{asked} is among the runs"


def _effect(effect: Effect | None, row: MethodRow, plus: bool = False) -> Cell:
    if effect is None:
        return ABSENT
    values = tuple(effect.by_seed.values())
    return mean_cell(effect.interval, values, few=len(values) != len(row.records), plus=plus)


def _effect_rules(found: Evidence) -> Iterable[str]:
    if found.baseline is None:
        yield f"{_no_baseline(found)}, so there is no gain."
    else:
        yield (
            f"Gain: OOD mean minus that of {_base(found)} of the same seed; n in brackets where not all seeds have a "
            "partner."
        )
    yield (
        "Of teacher's OOD: OOD mean over that of the teacher that the run names, or of the run's teacher seed. Of "
        f"distance closed: what part of the way from {_base(found)} (same seed) to that teacher the gain is; only "
        "where the teacher is above."
    )
    yield (
        "Gap: in-domain minus OOD mean. Worst target: lowest mean over seeds"
        + (f", of the {found.comparison.shifts_told}" if found.comparison.singled != found.comparison.targets else "")
        + ". Rows kept out of the ranking are set "
        f"against nothing. {HALF_WIDTH}."
    )


def differences_table(found: Evidence) -> Table:
    """Return the difference to the baseline on every split, a row per method."""
    comparison, lettering = found.comparison, Lettering()
    rows = []
    for one in found.differences:
        letters = lettering.mark([*one.row.footnotes, *_gaps(one.splits)])
        rows.append(Row(one.row.name, (*_split_cells(one), _seeds_cell(one)), letters))
    return Table(
        slug=f"{comparison.slug}-differences",
        title=f"Differences: {comparison.title}",
        caption=f"{comparison.metric} minus that of {_base(found)}, in points, "
        + (
            "on the same images; intervals and p values: table of tests. *: other images would hardly turn the sign "
            "(corrected p below 0.05). n: seeds paired."
            if comparison.counted
            else "of the same seeds; no intervals over images. n: seeds paired."
        ),
        columns=(Column("method", False), *(Column(split) for split in tested(comparison)), Column("n")),
        rows=tuple(rows),
        rules=_difference_rules(found),
        footnotes=lettering.listing(),
    )


def _split_cells(one: RowTests) -> tuple[Cell, ...]:
    tests = list(one.splits.values())
    reasons = {_why_not(test) for test in tests}
    if len(reasons) == 1 and all(test.difference is None for test in tests):
        return (Cell(reasons.pop(), span=len(tests)), *[ABSENT] * (len(tests) - 1))
    return tuple(_split_cell(test) for test in tests)


def _split_cell(test: SplitTest) -> Cell:
    difference = test.difference
    if difference is None:
        return Cell("–", precise="", hover=_why_not(test))
    if math.isnan(difference.p):
        return replace(_difference(difference.value), hover=_seeds(test.seeds))
    star = "*" if test.corrected < ALPHA else ""
    hover = (
        f"95 % interval {signed(difference.low, 2)} to {signed(difference.high, 2)}; p {shown_p(difference.p)}, "
        f"corrected {shown_p(test.corrected)}; {_paired(test)}"
    )
    cell = _difference(difference.value)
    return replace(cell, text=cell.text + star, hover=with_minus(hover))


def _difference(value: float) -> Cell:
    """Return a difference in points, rounded where it is read and whole where it is computed with."""
    return Cell(signed(value, 1), value, repr(value)) if math.isfinite(value) else ABSENT


def _seeds_cell(one: RowTests) -> Cell:
    counts = sorted({len(test.seeds) for test in one.splits.values() if test.difference is not None})
    ends = dict.fromkeys([*counts[:1], *counts[-1:]])
    return Cell("–".join(map(str, ends)), float(counts[-1])) if counts else Cell("0", 0.0)


def _gaps(splits: Mapping[str, SplitTest]) -> Iterable[str]:
    """Say why single splits, or single seeds of them, could not be paired."""
    by_reason: dict[str, list[str]] = {}
    for split, test in splits.items():
        if reason := _why_not(test):
            by_reason.setdefault(reason, []).append(split)
    if len(by_reason) == 1 and not any(test.difference for test in splits.values()):
        return
    for reason, names in by_reason.items():
        yield f"not paired on {', '.join(names)}: {reason}."


def _why_not(test: SplitTest) -> str:
    """Return why nothing, or not every seed, could be paired; empty where all could."""
    return "; ".join(f"{why} ({_seeds(seeds)})" if seeds else why for why, seeds in test.why_not.items())


def _paired(test: SplitTest) -> str:
    assert test.difference is not None
    missing = _why_not(test)
    return f"{test.difference.images:,} images, {_seeds(test.seeds)}" + (f"; not: {missing}" if missing else "")


def _difference_rules(found: Evidence) -> tuple[str, ...]:
    comparison = found.comparison
    said = _test_rules(found.differences)
    if not comparison.counted:
        said = (
            f"No interval and no p value over images: {NO_SUM}. Runs of the same seed are set against each other and "
            "their differences averaged; how far seeds spread stands in the table of methods.",
        )
    if comparison.singled != comparison.targets:
        said += (f"Corruptions are not set against each other one by one: see {MPC} and the table of corruptions.",)
    return said


def _test_rules(differences: Sequence[RowTests]) -> tuple[str, ...]:
    number = sum(not math.isnan(test.corrected) for one in differences for test in one.splits.values())
    least = number * smallest_p(RESAMPLES)
    limit = f" Of {number} tests no corrected p is below {least:.4f}" + (
        ", so none can be below 0.05: judge single differences by their intervals." if least >= ALPHA else "."
    )
    return (
        "Paired bootstrap over images: both rows are judged on the same resample of the same images "
        f"({RESAMPLES:,} resamples; 95 % percentile interval; two-sided p). Runs of the same seed are paired, the "
        f"first {MOST_SEEDS} where there are more, and their differences averaged on every resample. Seeds are not "
        "resampled: an interval is about other images, not about other seeds, so with one seed it says nothing about "
        "the method trained again.",
        f"p is corrected for all tests of the table, rows and splits (Holm).{limit if number else ''}",
    )


def tests_table(found: Evidence) -> Table:
    """Return every test over images with its interval, its p and what was paired, a row per method and split."""
    comparison, lettering = found.comparison, Lettering()
    rows = []
    for one in found.differences:
        letters = lettering.mark(one.row.footnotes)
        for split, test in one.splits.items():
            difference = test.difference
            cells = [ABSENT] * 5
            if difference is not None:
                cells = [
                    *map(_difference, (difference.value, difference.low, difference.high)),
                    _p_cell(difference.p),
                    _p_cell(test.corrected),
                ]
            said = _paired(test) if difference is not None else f"nothing: {_why_not(test)}"
            rows.append(Row(one.row.name, (Cell(split), *cells, Cell(said)), letters))
    return Table(
        slug=f"{comparison.slug}-tests",
        title=f"Tests: {comparison.title}",
        caption=f"{comparison.metric} minus that of {_base(found)}, in points, with what each p value pairs.",
        columns=(
            Column("method", False),
            Column("split", False),
            Column("difference"),
            Column("low"),
            Column("high"),
            Column("p"),
            Column("p (Holm)"),
            Column("paired", False),
        ),
        rows=tuple(rows),
        rules=_test_rules(found.differences),
        footnotes=lettering.listing(),
    )


def ranks_table(found: Evidence) -> Table:
    """Return average ranks, and Wilcoxon's test against the baseline, over targets and seeds, a row per method."""
    comparison, lettering = found.comparison, Lettering()
    tests = {id(one.row): one for one in found.over_targets}
    ranks = _ranks(found.ranked)
    rows = []
    for row in comparison.rows:
        if id(row) not in tests and id(row) not in ranks:
            continue
        rank = ranks.get(id(row))
        cells = (
            ABSENT if rank is None else Cell(f"{rank:.2f}", rank, repr(rank)),
            *(_signed_ranks(tests.get(id(row)), row is found.baseline) if found.baseline else ()),
        )
        rows.append(Row(row.name, cells, lettering.mark(row.footnotes)))
    against = f", and signed ranks against {_base(found)}" if found.baseline else ""
    tested = (Column("median difference"), Column("p"), Column("p (Holm)"), Column("paired", False))
    return Table(
        slug=f"{comparison.slug}-ranks",
        title=f"Over all targets: {comparison.title}",
        caption=f"Average ranks by {comparison.metric}, 1 the best{against}.",
        columns=(Column("method", False), Column("average rank"), *(tested if found.baseline else ())),
        rows=tuple(rows),
        rules=tuple(_rank_rules(found)),
        footnotes=lettering.listing(),
    )


def _ranks(ranked: RankedRows | None) -> dict[int, float]:
    return {id(row): ranked.ranking.ranks[name] for name, row in ranked.names.items()} if ranked else {}


def _signed_ranks(one: RowRanks | None, baseline: bool) -> tuple[Cell, ...]:
    if one is None:
        return (ABSENT, ABSENT, ABSENT, Cell("the baseline") if baseline else ABSENT)
    test = one.found
    if not test.pairs:
        return (ABSENT, ABSENT, ABSENT, Cell("nothing: no target and seed in common with the baseline"))
    pairs = f"{counted(test.pairs, 'pair')}: {counted(one.targets, 'target')}, {_seeds(one.seeds)}"
    median = _difference(test.median)
    if math.isnan(test.p):
        return (median, ABSENT, ABSENT, Cell(f"{pairs}; no pair differs"))
    if test.p <= test.least * _EXTRA and test.least > ALPHA / 10:
        pairs += f"; p cannot be below {shown_p(test.least)}"
    return (median, _p_cell(test.p), _p_cell(one.corrected), Cell(pairs))


def _rank_rules(found: Evidence) -> Iterable[str]:
    averaged = averaged_targets(found.comparison)
    targets = found.comparison.told(averaged)
    if found.baseline is None:
        yield f"{_no_baseline(found)}, so no row is tested against one."
    if found.over_targets:
        yield (
            "Signed ranks (Wilcoxon, two-sided, exact up to 200 pairs): pairs are one target and one seed that the row "
            f"and {_base(found)} share; targets {targets}. p is corrected for the number of rows (Holm)."
        )
        yield (
            "Targets that one run was judged on are no independent pairs, nor are seeds of one target: take these p "
            "values as a description of how consistent a difference is."
            + (
                " Corruptions are the same images again, so their pairs are few in truth."
                if any(target in found.comparison.corruptions for target in averaged)
                else ""
            )
        )
    if found.ranked is None:
        yield "No ranks: it takes two comparable rows that share a seed and all targets."
        return
    ranking, ranked = found.ranked.ranking, found.ranked
    critical = "" if math.isnan(ranking.critical) else (
        f" Ranks that differ by less than {ranking.critical:.2f} are not told apart (Nemenyi, 5 %)."
    )  # fmt: skip
    friedman = "" if math.isnan(ranking.p) else f" Friedman's test that all are alike: p {shown_p(ranking.p)}."
    yield (
        f"Ranks: {len(ranked.names)} rows over {ranking.blocks} blocks of one target ({targets}) and one seed "
        f"({_seeds(ranked.seeds)}: those that nine in ten rows share).{friedman}{critical}"
    )
    if ranked.left_out:
        yield f"Without a rank, as blocks are missing: {', '.join(ranked.left_out)}."


def _p_cell(value: float) -> Cell:
    return ABSENT if math.isnan(value) else Cell(shown_p(value), value, repr(value))


def _seeds(seeds: Sequence[int]) -> str:
    return f"seed{'s' if len(seeds) > 1 else ''} {', '.join(map(str, seeds))}"
