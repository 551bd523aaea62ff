"""How large an effect is: against the baseline, against the teacher, and on the worst target. Seed by seed."""

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass

from gkdbench.metrics.statistics import Interval, t_interval
from gkdbench.report.comparison import Comparison, MethodRow
from gkdbench.runs.record import Record


@dataclass(frozen=True)
class Effect:
    """A figure of a row over the seeds that it can be told for."""

    by_seed: Mapping[int, float]

    @property
    def interval(self) -> Interval:
        """Return the mean with its 95 % t-interval over seeds."""
        return t_interval(tuple(self.by_seed.values()))


@dataclass(frozen=True)
class WorstTarget:
    """The target with the lowest mean over seeds."""

    name: str
    score: Effect
    others: tuple[str, ...]
    """Targets that are the worst of some seed, where it is not the same for all."""


@dataclass(frozen=True)
class Effects:
    """What a row's runs achieve, in points or percent; None where it cannot be told."""

    row: MethodRow
    gain: Effect | None
    """OOD mean above the baseline of the same seed, points."""
    retained: Effect | None
    """OOD mean over that of the run's teacher, percent."""
    closed: Effect | None
    """Gain over what the run's teacher is above the baseline of the same seed, percent."""
    gap: Effect | None
    """In-domain minus OOD mean, points."""
    worst: WorstTarget | None
    notes: tuple[str, ...] = ()
    """What must be said of them: that another run stands in for a teacher's run that is not there."""


def gain_over(row: MethodRow, baseline: MethodRow | None) -> Effect | None:
    """Return how far a row's OOD mean is above the baseline's of the same seed, in points; None without such a pair."""
    base = _by_seed(baseline, ood)
    return _effect({seed: value - base[seed] for seed, value in _by_seed(row, ood).items() if seed in base})


def effects(comparison: Comparison, baseline: MethodRow | None) -> tuple[Effects, ...]:
    """Return the effects of every row that has figures.

    A run is set against the baseline's run of its own seed, and against the run of the teacher that it names, or that
    is of its teacher seed. Rows that are kept out of the ranking are set against nothing.
    """
    taught = _teachers(comparison)
    return tuple(
        _effects(comparison, row, baseline if row.comparable and row is not baseline else None, taught)
        for row in comparison.rows
        if row.status == "done"
    )


@dataclass(frozen=True)
class _Teacher:
    """What a run is set against: the OOD mean of a run of its teacher."""

    ood: float
    stands_in: bool
    """It is not the run that was named."""


def _teachers(comparison: Comparison) -> Callable[[Record], _Teacher | None]:
    """Return what finds a run's teacher; without the run that it names, one of the largest row."""
    rows = [row for row in comparison.rows if row.teacher and row.comparable and row.status == "done"]
    by_run = {record.run_id: value for row in rows for record in row.records if (value := ood(record)) is not None}
    by_seed = _by_seed(max(rows, key=lambda row: len(row.records), default=None), ood)

    def find(record: Record) -> _Teacher | None:
        name, seed = record.teacher_run_id, record.spec.teacher_seed
        if name is not None and name in by_run:
            return _Teacher(by_run[name], stands_in=False)
        return _Teacher(by_seed[seed], stands_in=name is not None) if seed in by_seed else None

    return find


def _effects(
    comparison: Comparison,
    row: MethodRow,
    baseline: MethodRow | None,
    taught: Callable[[Record], _Teacher | None],
) -> Effects:
    base = _by_seed(baseline, ood)
    retained: dict[int, float] = {}
    closed: dict[int, float] = {}
    replaced: list[int] = []
    for record in row.records if row.comparable and not row.teacher else ():
        seed, value, teacher = record.spec.seed, ood(record), taught(record)
        if value is None or teacher is None:
            continue
        if teacher.stands_in:
            replaced.append(seed)
        if teacher.ood > 0:
            retained[seed] = 100 * value / teacher.ood
        below = base.get(seed)
        if below is not None and teacher.ood > below:
            closed[seed] = 100 * (value - below) / (teacher.ood - below)
    notes = _stand_ins(sorted(replaced)) if retained or closed else ()
    return Effects(row, gain_over(row, baseline), _effect(retained), _effect(closed), _effect(_by_seed(row, gap)),
                   _worst(row, comparison.shifts), notes)  # fmt: skip


def _stand_ins(seeds: Sequence[int]) -> tuple[str, ...]:
    if not seeds:
        return ()
    listed = f"seed{'s' if len(seeds) > 1 else ''} {', '.join(map(str, seeds))}"
    return (
        f"{listed}: the run of the teacher that is named is not among the comparable rows; a run of the same teacher "
        "seed stands in for it.",
    )


def _worst(row: MethodRow, targets: Iterable[str]) -> WorstTarget | None:
    scores = {target: found for target in targets if (found := _by_seed(row, on(target)))}
    complete = {target: found for target, found in scores.items() if len(found) == len(row.records)}
    if not complete:
        return None
    means = {target: math.fsum(found.values()) / len(found) for target, found in complete.items()}
    name = min(means, key=lambda target: means[target])
    each = [min(complete, key=lambda target: complete[target][seed]) for seed in complete[name]]
    return WorstTarget(name, Effect(complete[name]), tuple(sorted({one for one in each if one != name})))


def _effect(by_seed: Mapping[int, float]) -> Effect | None:
    return Effect(dict(sorted(by_seed.items()))) if by_seed else None


def _by_seed(row: MethodRow | None, pick: Callable[[Record], float | None]) -> dict[int, float]:
    found = {record.spec.seed: pick(record) for record in row.records} if row else {}
    return {seed: value for seed, value in found.items() if value is not None}


def ood(record: Record) -> float | None:
    """Return a run's OOD mean, if it is a number."""
    return _finite(record.summary.ood if record.summary else None)


def gap(record: Record) -> float | None:
    """Return a run's generalisation gap, if it is a number."""
    return _finite(record.summary.gap if record.summary else None)


def on(target: str) -> Callable[[Record], float | None]:
    """Return what a run scored on a target, if it is a number."""

    def pick(record: Record) -> float | None:
        result = record.targets.get(target)
        return _finite(result.value if result else None)

    return pick


def _finite(value: float | None) -> float | None:
    return value if value is not None and math.isfinite(value) else None
