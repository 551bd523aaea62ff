"""Two runs side by side: what differs in how they were made, and whether they differ on the same images."""

import math
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from statistics import fmean
from typing import Any

from gkdbench.errors import UsageError
from gkdbench.metrics.bootstrap import RESAMPLES, RULES, Difference, paired_bootstrap, paired_class_bootstrap
from gkdbench.metrics.statistics import holm
from gkdbench.report.corruptions import TOGETHER
from gkdbench.report.image_counts import FILE, IN_DOMAIN, SplitCounts
from gkdbench.report.pairing import (
    NO_SUM,
    OTHER_DATA,
    UNKNOWN_RULE,
    same_images,
    unlike,
)
from gkdbench.report.records import budget_total, flat, plain
from gkdbench.runs.recomputed import COUNTED
from gkdbench.runs.record import Record, SplitResult

UNTOLD = ("code", "targets")
"""Parts of a spec that are shown otherwise."""
COSTS = {
    "images": "images seen",
    "student_passes": "passes of the student",
    "teacher_passes": "passes of the teacher",
    "training_s": "seconds of training",
    "parameters": "parameters",
}
"""What is told of cost: key for scripts, title for people."""
NOTHING_TO_PAIR = "its metric is no sum over images"
CODE = "code"
"""Key of the method's code, told where one method was run in two versions."""


@dataclass(frozen=True)
class ClassDifference:
    """One class on one split, in points."""

    first: float | None
    second: float | None
    difference: Difference | None
    """None where there is nothing to pair."""


@dataclass(frozen=True)
class SplitDifference:
    """One split, in points of its metric."""

    first: float
    second: float
    difference: Difference | None
    corrected: float
    """p corrected for the number of splits (Holm); nan where there is none."""
    why_not: str | None
    """Why nothing could be paired."""
    classes: dict[str, ClassDifference]


@dataclass(frozen=True)
class RunComparison:
    """The second run against the first."""

    first: Record
    second: Record
    spec: dict[str, tuple[str, str]]
    """What differs in how they were made, in words."""
    made: dict[str, tuple[Any, Any]]
    """The same as records hold it, by dotted keys of the spec, `commit` and `code`; None where one has no such key."""
    splits: dict[str, SplitDifference]
    cost: dict[str, tuple[float | None, float | None]]
    """By the titles of COSTS."""

    @property
    def intervals(self) -> bool:
        """Say whether the metric is one that intervals over images can be told of."""
        return self.first.metric == COUNTED

    @property
    def told(self) -> dict[str, SplitDifference]:
        """Return the splits that a reader sees: of corruptions, which may be 75, their mean."""
        corrupted = {name: one for name, one in self.splits.items() if name in self.first.corruptions}
        found = {name: one for name, one in self.splits.items() if name not in corrupted}
        return {**found, TOGETHER: _together(list(corrupted.values()))} if corrupted else found

    @property
    def unpaired(self) -> dict[str, str]:
        """Return the splits that are shown and say by themselves why nothing could be paired."""
        return {
            name: one.why_not for name, one in self.told.items() if one.why_not and one.why_not != NOTHING_TO_PAIR
        }

    @property
    def paired(self) -> str:
        """What the p values pair, or why there are none."""
        if self.first.metric != COUNTED:
            return f"No intervals and no p values: {NO_SUM}."
        return (
            "Intervals (95 %) and p values: bootstrap over images, both runs judged on the same resample of the same "
            f"images ({RESAMPLES:,} resamples, percentile); seeds are not resampled, so a difference says nothing "
            "about other seeds. p of splits is also corrected for their number (Holm), p of classes is not."
        )


def compare_runs(
    first: Record,
    second: Record,
    counts: tuple[Mapping[str, SplitCounts], Mapping[str, SplitCounts]],
    damaged: Collection[str] = (),
) -> RunComparison:
    """Compare two finished runs; `counts` are their per-image counts by split, `damaged` the ids of runs without.

    Raises UsageError where a comparison would mean nothing: other classes, another mean, a run that is not done.
    """
    for record in (first, second):
        if record.status != "done" or record.in_domain is None:
            raise UsageError(f"{record.run_id}: {record.status}; only finished runs can be compared")
    for what, here, there in (
        ("benchmark", first.spec.benchmark, second.spec.benchmark),
        ("benchmark version", first.spec.benchmark_version, second.spec.benchmark_version),
        ("classes", first.classes, second.classes),
        ("metric", first.metric, second.metric),
        ("rule of the mean", first.mean_rule, second.mean_rule),
        ("classes left out of the mean", first.excluded_from_mean, second.excluded_from_mean),
    ):
        if here != there:
            raise UsageError(f"{first.run_id} and {second.run_id}: another {what} ({plain(here)} and {plain(there)})")
    before, after = _splits(first), _splits(second)
    missing = {name: _missing(name, (first, second), counts, damaged) for name in before}
    found = {
        name: _split(first, before[name], after[name], counts[0].get(name), counts[1].get(name), missing[name])
        for name in before
        if name in after
    }
    corrected = holm({name: one.difference.p if one.difference else math.nan for name, one in found.items()})
    made = dict(_differing(first, second))
    return RunComparison(
        first,
        second,
        dict(_in_words(key, *pair) for key, pair in made.items()),
        {key: (_value(here), _value(there)) for key, (here, there) in made.items()},
        {name: replace(one, corrected=corrected[name]) for name, one in found.items()},
        _cost(first, second),
    )


def _together(corrupted: Sequence[SplitDifference]) -> SplitDifference:
    """Return the mean over corruptions; of a class over those for which both runs have it."""
    classes = {}
    for name in corrupted[0].classes:
        pairs = [
            (of_class.first, of_class.second)
            for one in corrupted
            if (of_class := one.classes[name]).first is not None and of_class.second is not None
        ]
        sides = [fmean(side) for side in zip(*pairs, strict=True)] if pairs else [None, None]
        classes[name] = ClassDifference(sides[0], sides[1], None)
    reasons = dict.fromkeys(one.why_not for one in corrupted if one.why_not and one.why_not != NOTHING_TO_PAIR)
    return SplitDifference(
        fmean(one.first for one in corrupted),
        fmean(one.second for one in corrupted),
        None,
        math.nan,
        "; ".join(map(str, reasons)) or NOTHING_TO_PAIR,
        classes,
    )


def _splits(record: Record) -> dict[str, SplitResult]:
    assert record.in_domain is not None
    return {IN_DOMAIN: record.in_domain, **record.targets}


def _missing(
    split: str,
    records: tuple[Record, Record],
    counts: tuple[Mapping[str, SplitCounts], Mapping[str, SplitCounts]],
    damaged: Collection[str],
) -> str:
    """Say which of the runs have no counts of a split; empty where both have."""
    lacking = dict.fromkeys(
        f"{record.run_id} {'has damaged' if record.run_id in damaged else 'has no'} counts per image"
        for record, known in zip(records, counts, strict=True)
        if split not in known
    )
    return f"{' and '.join(lacking)} ({FILE})" if lacking else ""


def _split(
    record: Record,
    first: SplitResult,
    second: SplitResult,
    before: SplitCounts | None,
    after: SplitCounts | None,
    missing: str,
) -> SplitDifference:
    why_not = _unpaired(record, first, second, before, after, missing)
    whole: Difference | None = None
    classes: list[Difference | None] = [None] * len(record.classes)
    if why_not is None:
        assert before is not None and after is not None
        left_out = [record.classes.index(name) for name in record.excluded_from_mean]
        whole = _points(paired_bootstrap(before.counts, after.counts, record.mean_rule, excluded=left_out))
        classes = [_points(one) for one in paired_class_bootstrap(before.counts, after.counts, record.mean_rule)]
    return SplitDifference(
        first.value,
        second.value,
        whole,
        math.nan,
        why_not,
        {
            name: ClassDifference(first.per_class.get(name), second.per_class.get(name), one)
            for name, one in zip(record.classes, classes, strict=True)
        },
    )


def _unpaired(
    record: Record,
    first: SplitResult,
    second: SplitResult,
    before: SplitCounts | None,
    after: SplitCounts | None,
    missing: str,
) -> str | None:
    """Say why images of a split cannot be paired; None where they can."""
    if (why_not := unlike(first, second)) is not None:
        return why_not
    if record.metric != COUNTED:
        return NOTHING_TO_PAIR
    if before is None or after is None:
        return missing
    if record.mean_rule not in RULES:
        return UNKNOWN_RULE
    return None if same_images(before, after) else OTHER_DATA


def _points(one: Difference) -> Difference:
    """Return a difference of fractions in percent points."""
    return Difference(100 * one.value, 100 * one.low, 100 * one.high, one.p, one.images)


_ABSENT = object()


def _differing(first: Record, second: Record) -> Iterator[tuple[str, tuple[Any, Any]]]:
    here, there = (flat(record.spec.model_dump(mode="json")) for record in (first, second))
    for known, record in ((here, first), (there, second)):
        known["commit"] = _ABSENT if record.commit is None else record.commit
    for key in dict.fromkeys([*here, *there]):
        pair = here.get(key, _ABSENT), there.get(key, _ABSENT)
        # by their text: to Python 1, 1.0 and True are equal
        if key.split(".")[0] not in UNTOLD and _told(pair[0]) != _told(pair[1]):
            yield key, pair
    if first.spec.method == second.spec.method and first.spec.code != second.spec.code:
        yield CODE, (first.spec.code, second.spec.code)


def _in_words(key: str, here: Any, there: Any) -> tuple[str, tuple[str, str]]:
    if key == CODE:
        return "the method's code", (here[:8], there[:8])
    return key, (_told(here), _told(there))


def _told(value: Any) -> str:
    return "–" if value is _ABSENT else plain(value)


def _value(value: Any) -> Any:
    return None if value is _ABSENT else value


def _cost(first: Record, second: Record) -> dict[str, tuple[float | None, float | None]]:
    sides = []
    for record in (first, second):
        sides.append(
            {
                "images": budget_total(record, "images"),
                "student_passes": budget_total(record, "student_passes"),
                "teacher_passes": budget_total(record, "teacher_passes"),
                "training_s": record.cost.get("from_scratch", {}).get("wall_s"),
                "parameters": record.model.get("params"),
            }
        )
    return {title: (sides[0][key], sides[1][key]) for key, title in COSTS.items()}
