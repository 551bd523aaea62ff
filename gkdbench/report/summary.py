"""What a reader should know after ten seconds: what was measured, and who is best beside teacher and baseline."""

from collections.abc import Sequence
from dataclasses import replace

from gkdbench.report.baseline import candidates
from gkdbench.report.comparison import Comparison, MethodRow, Stat
from gkdbench.report.effects import gain_over
from gkdbench.report.finding import counted, joined
from gkdbench.report.layout import Cell, Column, Row, Table
from gkdbench.report.run_checks import untaught
from gkdbench.report.tables import ABSENT, mean_cell, shown, signed
from gkdbench.runs.record import Record


def summary_sentence(records: Sequence[Record], comparisons: Sequence[Comparison]) -> str:
    """Return how much was measured, in one sentence."""
    done = sum(record.status == "done" for record in records)
    others = f" ({done} finished)" if done < len(records) else ""
    benchmarks = sorted({f"{one.spec.benchmark} v{one.spec.benchmark_version}" for one in records})
    settings = sorted({one.spec.setting.upper() for one in records})
    methods = {one.spec.method for one in records}
    seeds = sorted({one.spec.seed for one in records})
    return (
        f"{counted(len(records), 'run')}{others} of {counted(len(methods), 'method')} on {joined(benchmarks)}, "
        f"{'settings' if len(settings) > 1 else 'setting'} {joined(settings)}, "
        f"{'seeds' if len(seeds) > 1 else 'seed'} {joined([str(seed) for seed in seeds], 6)}: "
        f"{counted(len(comparisons), 'comparison')}, every figure computed from the runs' records."
    )


def glance_table(compared: Sequence[tuple[Comparison, MethodRow | None]]) -> Table:
    """Return a row per comparison and its baseline: OOD means of the teacher, the best students, the baseline."""
    with_baseline = any(baseline for _, baseline in compared)
    return Table(
        slug="glance",
        title="At a glance",
        caption="OOD mean in percent: over targets that no method trained on. Best of the comparable rows; n: seeds.",
        columns=(
            Column("comparison", False),
            Column("teacher"),
            Column("best student with a teacher"),
            Column("best student without"),
            *([Column("baseline"), Column("gain over it, points")] if with_baseline else []),
            Column("runs"),
        ),
        rows=tuple(_row(one, baseline, with_baseline) for one, baseline in compared),
        rules=(
            "Without a teacher: the budget counts no pass of one. Gain: of the best with a teacher over the baseline's "
            "runs of the same seeds (n where these are fewer), as in the table of effects. The best of many rows is "
            "partly the luckiest: read it with its seeds and the intervals below.",
        ),
    )


def _row(comparison: Comparison, baseline: MethodRow | None, with_baseline: bool) -> Row:
    rows = candidates(comparison)
    teachers = [row for row in comparison.rows if row.teacher and row.status == "done" and row.comparable]
    best = _best([row for row in rows if not untaught(row)])
    base = _best([baseline] if baseline else [])
    gained = _gained(best[0], baseline) if best else ABSENT
    runs = sum(len(row.records) for row in comparison.rows)
    return Row(
        comparison.title,
        (
            _cell(_best(teachers), False),
            _cell(best, True),
            _cell(_best([row for row in rows if untaught(row)]), True),
            *([_cell(base, True), gained] if with_baseline else []),
            Cell(str(runs), float(runs)),
        ),
    )


def _gained(best: MethodRow, baseline: MethodRow | None) -> Cell:
    gain = gain_over(best, baseline)
    if gain is None:
        return ABSENT
    mean, few = gain.interval.mean, f" (n={len(gain.by_seed)})" if len(gain.by_seed) != len(best.records) else ""
    return replace(mean_cell(gain.interval, tuple(gain.by_seed.values())), text=f"{signed(mean, 1)}{few}")


def _best(rows: Sequence[MethodRow]) -> tuple[MethodRow, Stat] | None:
    known = [(row, stat) for row in rows if (stat := row.stat(lambda r: r.summary.ood if r.summary else None))]
    return max(known, key=lambda one: one[1].mean, default=None)


def _cell(found: tuple[MethodRow, Stat] | None, named: bool) -> Cell:
    if found is None:
        return ABSENT
    row, stat = found
    value, who = shown(stat.mean, 1), f"{row.name}, n={stat.n}" if named else f"n={stat.n}"
    return Cell(f"{value} ({who})", stat.mean, precise=f"{shown(stat.mean, 2)} ({who})", stacked=(value, who))
