"""Whether differences could be chance: paired bootstrap over images, signed ranks and ranks over targets and seeds."""

import os
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path
from statistics import fmean

from gkdbench.errors import DataError
from gkdbench.metrics.bootstrap import RULES, Difference, Pixels, Resampled, paired_difference, resampled_means
from gkdbench.metrics.statistics import Ranking, SignedRanks, average_ranks, holm, signed_ranks
from gkdbench.report import image_counts
from gkdbench.report.baseline import candidates
from gkdbench.report.comparison import IN_DOMAIN, Comparison, MethodRow, split_of
from gkdbench.report.effects import on
from gkdbench.report.image_counts import SplitCounts, counts_of
from gkdbench.report.pairing import OTHER_DATA, UNKNOWN_RULE, same_images, unlike
from gkdbench.runs.record import Record, SplitResult

NO_COUNTS = "no counts per image"
DAMAGED = "counts per image are damaged"
NOT_SCORED = "not scored"
NO_SEED = "no seed in common with the baseline"
MOST_SEEDS = 5
"""Seeds of a row that are resampled: more cost time and hardly change what other images would."""
_MOST_THREADS = 4
_MOST_ROWS_SHARE = 0.9


@dataclass(frozen=True)
class SplitTest:
    """A row against the baseline on one split."""

    difference: Difference | None
    """In points; None where nothing could be paired."""
    corrected: float
    """p corrected for the number of tests of the table (Holm); nan where there is none."""
    seeds: tuple[int, ...]
    """Seeds whose runs were paired."""
    why_not: Mapping[str, tuple[int, ...]]
    """Why seeds that both have, or all of them (no seeds named), could not be paired."""


@dataclass(frozen=True)
class RowTests:
    """A row against the baseline."""

    row: MethodRow
    splits: Mapping[str, SplitTest]


@dataclass(frozen=True)
class RowRanks:
    """A row against the baseline over targets and seeds."""

    row: MethodRow
    found: SignedRanks
    corrected: float
    """p corrected for the number of rows (Holm)."""
    seeds: tuple[int, ...]
    targets: int


def image_tests(
    comparison: Comparison, baseline: MethodRow, folders: Mapping[str, Path]
) -> tuple[tuple[RowTests, ...], tuple[str, ...]]:
    """Test every comparable row against the baseline on every split, over images; and a line per damaged file.

    Runs of the same seed are paired, on every resample of the same images; of many seeds the first few that both rows
    have. `folders`: where each run's files lie.
    """
    base = {record.spec.seed: record for record in baseline.records}
    rows = [row for row in candidates(comparison) if row is not baseline]
    if not comparison.counted:
        return tuple(_uncounted(comparison, baseline, row) for row in rows), ()
    paired = [sorted((r for r in row.records if r.spec.seed in base), key=_seed)[:MOST_SEEDS] for row in rows]
    readings = _Readings(comparison, folders)
    needed = sorted({_seed(record) for records in paired for record in records})
    below = {seed: readings.of_baseline(base[seed]) for seed in needed}
    found = []
    # Reading files and multiplying leave the interpreter free, so that threads share the processors.
    with ThreadPoolExecutor(_processors()) as pool:
        above = pool.map(readings.of, [record for records in paired for record in records])
        for row, records in zip(rows, paired, strict=True):
            of_row = {_seed(record): next(above) for record in records}
            splits = {split: _split_test(split, below, of_row) for split in tested(comparison)}
            found.append(RowTests(row, splits))
    return tuple(_corrected(found)), tuple(readings.warnings)


def tested(comparison: Comparison) -> tuple[str, ...]:
    """Return the splits that rows are set against each other on: all but corruptions, which are many and alike."""
    return (IN_DOMAIN, *comparison.singled)


def _uncounted(comparison: Comparison, baseline: MethodRow, row: MethodRow) -> RowTests:
    """Return the differences of a metric that no counts make up: without interval and p."""
    base = {record.spec.seed: record for record in baseline.records}
    return RowTests(row, {split: _plain(split, base, row) for split in tested(comparison)})


def _plain(split: str, base: Mapping[int, Record], row: MethodRow) -> SplitTest:
    nothing = float("nan")
    shared = [record for record in sorted(row.records, key=_seed) if _seed(record) in base]
    if not shared:
        return SplitTest(None, nothing, (), {NO_SEED: ()})
    changes: dict[int, float] = {}
    why_not: dict[str, list[int]] = {}
    images = 0
    for record in shared:
        first, second = split_of(base[_seed(record)], split), split_of(record, split)
        reason = NOT_SCORED if first is None or second is None else unlike(first, second)
        if reason is not None:
            why_not.setdefault(reason, []).append(_seed(record))
        elif first is not None and second is not None:
            changes[_seed(record)], images = second.value - first.value, second.n_images
    missing = {why: tuple(seeds) for why, seeds in why_not.items()}
    found = Difference(fmean(changes.values()), nothing, nothing, nothing, images) if changes else None
    return SplitTest(found, nothing, tuple(changes), missing)


def _seed(record: Record) -> int:
    return record.spec.seed


def _processors() -> int:
    known = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return min(known, _MOST_THREADS)


_Reading = Mapping[str, Resampled | str]
"""By split: the mIoU on every resample, or why there is none."""


class _Readings:
    """Reads runs' counts and judges them on resamples of the images that the baseline's first run was judged on."""

    def __init__(self, comparison: Comparison, folders: Mapping[str, Path]) -> None:
        self._comparison = comparison
        self._folders = folders
        self._excluded = [comparison.classes.index(name) for name in comparison.excluded if name in comparison.classes]
        self._standard: dict[str, tuple[SplitResult, SplitCounts]] = {}
        self._damage: dict[str, str] = {}

    @property
    def warnings(self) -> list[str]:
        """Return a line per damaged file."""
        return [self._damage[run] for run in sorted(self._damage)]

    def of_baseline(self, record: Record) -> _Reading:
        """Return a run's reading, and let its splits be the standard where they are the first."""
        return self._read(record, sets_standard=True)

    def of(self, record: Record) -> _Reading:
        """Return a run's reading of the splits that can be set against the baseline's."""
        return self._read(record, sets_standard=False)

    def _read(self, record: Record, sets_standard: bool) -> _Reading:
        if self._comparison.mean_rule not in RULES:
            return dict.fromkeys(tested(self._comparison), UNKNOWN_RULE)
        folder = self._folders.get(record.run_id)
        try:
            counts = counts_of(record, folder) if folder is not None else {}
        except DataError as error:
            self._damage[record.run_id] = str(error)
            return dict.fromkeys(tested(self._comparison), DAMAGED)
        reading: dict[str, Resampled | str] = {}
        usable: dict[str, Pixels] = {}
        for split in tested(self._comparison):
            result = split_of(record, split)
            one = counts.get(image_counts.IN_DOMAIN if split == IN_DOMAIN else split)
            why_not = self._fault(split, result, one, sets_standard)
            if why_not is None and one is not None:
                usable[split] = one.pixels
            else:
                reading[split] = why_not or NO_COUNTS
        means = resampled_means(list(usable.values()), self._comparison.mean_rule, excluded=self._excluded)
        return {**reading, **dict(zip(usable, means, strict=True))}

    def _fault(self, split: str, result: SplitResult | None, counts: SplitCounts | None, first: bool) -> str | None:
        if result is None:
            return NOT_SCORED
        if counts is None or not len(counts.counts):
            return NO_COUNTS
        standard = self._standard.get(split)
        if standard is None:
            if first:
                self._standard[split] = (result, counts)
            return None
        if (why_not := unlike(standard[0], result)) is not None:
            return why_not
        return None if same_images(standard[1], counts) else OTHER_DATA


def _split_test(split: str, below: Mapping[int, _Reading], above: Mapping[int, _Reading]) -> SplitTest:
    pairs: dict[int, tuple[Resampled, Resampled]] = {}
    why_not: dict[str, list[int]] = {}
    for seed, reading in sorted(above.items()):
        first, second = below[seed][split], reading[split]
        if isinstance(second, str):
            why_not.setdefault(second, []).append(seed)
        elif isinstance(first, str):
            why_not.setdefault(f"of the baseline: {first}", []).append(seed)
        else:
            pairs[seed] = (first, second)
    if not above:
        why_not[NO_SEED] = []
    difference = None
    if pairs:
        fractions = paired_difference([one for one, _ in pairs.values()], [two for _, two in pairs.values()])
        difference = replace(
            fractions, value=100 * fractions.value, low=100 * fractions.low, high=100 * fractions.high
        )  # fmt: skip
    return SplitTest(difference, float("nan"), tuple(pairs), {why: tuple(seeds) for why, seeds in why_not.items()})


def _corrected(found: Sequence[RowTests]) -> Iterable[RowTests]:
    corrected = holm(
        {
            (index, split): test.difference.p
            for index, one in enumerate(found)
            for split, test in one.splits.items()
            if test.difference is not None
        }
    )
    for index, one in enumerate(found):
        yield replace(
            one,
            splits={
                split: replace(test, corrected=corrected.get((index, split), test.corrected))
                for split, test in one.splits.items()
            },
        )


def averaged_targets(comparison: Comparison) -> tuple[str, ...]:
    """Return the targets of the OOD mean that were judged."""
    return tuple(target for target in comparison.averaged if target in comparison.targets)


def target_tests(comparison: Comparison, baseline: MethodRow) -> tuple[RowRanks, ...]:
    """Test every comparable row against the baseline over pairs of one target and one seed (Wilcoxon)."""
    targets = averaged_targets(comparison)
    below = _scores(baseline, targets)
    found = []
    for row in candidates(comparison):
        if row is baseline:
            continue
        above = _scores(row, targets)
        keys = [key for key in above if key in below]
        test = signed_ranks([below[key] for key in keys], [above[key] for key in keys])
        seeds, paired = {seed for _, seed in keys}, {target for target, _ in keys}
        found.append(RowRanks(row, test, test.p, tuple(sorted(seeds)), len(paired)))
    corrected = holm({index: one.found.p for index, one in enumerate(found)})
    return tuple(replace(one, corrected=corrected[index]) for index, one in enumerate(found))


def _scores(row: MethodRow, targets: Sequence[str]) -> dict[tuple[str, int], float]:
    """Return the row's scores by target and seed."""
    return {
        (target, record.spec.seed): value
        for target in targets
        for record in row.records
        if (value := on(target)(record)) is not None
    }


@dataclass(frozen=True)
class RankedRows:
    """Average ranks, of which rows and over which blocks."""

    ranking: Ranking
    names: Mapping[str, MethodRow]
    """Rows by their name."""
    seeds: tuple[int, ...]
    targets: tuple[str, ...]
    left_out: tuple[str, ...]
    """Names of comparable rows that lack a block."""


def rank_rows(comparison: Comparison) -> RankedRows | None:
    """Rank the comparable rows over blocks of one target and one seed; None for fewer than two rows with all blocks.

    Every row of a ranking needs every block. The seed that most rows have is taken, and every further one that keeps
    nine in ten of those rows: a single row of few seeds shall not cost all others theirs.
    """
    targets = averaged_targets(comparison)
    rows = candidates(comparison)
    complete = [_complete_seeds(row, targets) for row in rows]
    best = _shared_seeds(complete)
    if not best or sum(best <= seeds for seeds in complete) < 2:
        return None
    names = {row.name: row for row, seeds in zip(rows, complete, strict=True) if best <= seeds}
    scores = {
        name: [_scores(row, targets)[target, seed] for seed in sorted(best) for target in targets]
        for name, row in names.items()
    }
    left_out = tuple(row.name for row, seeds in zip(rows, complete, strict=True) if not best <= seeds)
    return RankedRows(average_ranks(scores), names, tuple(sorted(best)), targets, left_out)


def _shared_seeds(complete: Sequence[frozenset[int]]) -> frozenset[int]:
    counts = Counter(seed for seeds in complete for seed in seeds)
    taken: frozenset[int] = frozenset()
    for seed in sorted(counts, key=lambda seed: (-counts[seed], seed)):
        more = taken | {seed}
        if sum(more <= seeds for seeds in complete) >= _MOST_ROWS_SHARE * max(counts.values()):
            taken = more
    return taken


def _complete_seeds(row: MethodRow, targets: Sequence[str]) -> frozenset[int]:
    scored = Counter(seed for _, seed in _scores(row, targets))
    return frozenset(seed for seed, count in scored.items() if count == len(targets))
