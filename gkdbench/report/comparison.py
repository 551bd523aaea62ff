"""From records to comparisons: which runs share a table, which a mean, and what must be said."""

import hashlib
import json
import math
import re
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from gkdbench.metrics.statistics import Interval, t_interval
from gkdbench.report.corruptions import targets_told
from gkdbench.report.origins import mixed_commits, mixed_environments, table_notes
from gkdbench.report.pairing import OTHER_DATA, same_data, truth_pixels
from gkdbench.report.records import budget_key, class_metric, is_teacher, one_line, plain, shown_options
from gkdbench.report.titles import decoder_in_short, distinct_titles
from gkdbench.runs.recomputed import COUNTED
from gkdbench.runs.record import Corruption, Record, SplitResult

MEAN_RULES = {
    "skip_absent": "a class absent from ground truth and prediction is skipped, one only predicted scores 0",
    "present_in_truth": "only classes present in the ground truth enter the mean",
    "void_is_error": "as skip_absent, and predictions where the ground truth is ignored count as wrong",
    "with_objects": "a class without an object that counts is skipped",
}
IN_DOMAIN = "in-domain"


@dataclass(frozen=True)
class Stat:
    """One figure over the seeds of a row, unrounded."""

    mean: float
    sd: float | None
    """Sample standard deviation over seeds (n - 1); None for a single seed."""
    values: tuple[float, ...]

    @property
    def n(self) -> int:
        """Return the number of seeds."""
        return len(self.values)

    @property
    def interval(self) -> Interval:
        """Return the mean with its 95 % t-interval over seeds."""
        return t_interval(self.values)


@dataclass(frozen=True)
class MethodRow:
    """The runs that share one mean; with a status other than done, runs without figures."""

    label: str
    records: tuple[Record, ...]
    teacher: bool = False
    comparable: bool = True
    """May be ranked against the table's other comparable rows."""
    footnotes: tuple[str, ...] = ()
    status: str = "done"
    reason: str = ""
    number: int = 0
    """Among comparable rows of the same label, from 1; 0: no other has it."""

    @property
    def name(self) -> str:
        """Return what tables and figures call it: the label, numbered where several comparable rows share it."""
        return f"{self.label} #{self.number}" if self.number else self.label

    @property
    def seeds(self) -> tuple[int, ...]:
        """Return the seeds in order."""
        return tuple(sorted(record.spec.seed for record in self.records))

    def stat(self, pick: Callable[[Record], float | None]) -> Stat | None:
        """Average a figure over the seeds that have it."""
        found = (pick(record) for record in sorted(self.records, key=lambda r: r.spec.seed))
        values = tuple(value for value in found if value is not None and value == value)
        if self.status != "done" or not values:
            return None
        mean, n = math.fsum(values) / len(values), len(values)
        # not statistics.stdev: its fractions would take most of the time of a table
        spread = math.sqrt(math.fsum((value - mean) ** 2 for value in values) / (n - 1)) if n > 1 else None
        return Stat(mean, spread, values)


@dataclass(frozen=True)
class Comparison:
    """All runs that answer the same question: one table."""

    slug: str
    title: str
    subtitle: str
    metric: str
    mean_rule: str
    classes: tuple[str, ...]
    targets: tuple[str, ...]
    excluded: tuple[str, ...]
    """Classes that enter no mean."""
    averaged: tuple[str, ...]
    """Targets that the OOD mean is over."""
    left_out: tuple[str, ...]
    """Targets that a second OOD mean leaves out."""
    groups: Mapping[str, tuple[str, ...]]
    """Targets that were scored together too, by the group's name."""
    rows: tuple[MethodRow, ...]
    notes: tuple[str, ...]
    """What the reader must know about the table as a whole."""
    corruptions: Mapping[str, Corruption] = field(default_factory=dict)
    """Of each target that is the in-domain images, corrupted, what was done to them."""

    @property
    def class_metric(self) -> str:
        """Return what a class is judged by."""
        return class_metric(self.metric)

    @property
    def never(self) -> str:
        """Return what is said of a class that is there and was not found anywhere."""
        return "never predicted" if self.counted else "never detected"

    @property
    def counted(self) -> bool:
        """Say whether the metric is made of counts that images have, and that add up."""
        return self.metric == COUNTED

    @property
    def shifts(self) -> tuple[str, ...]:
        """Return the targets that are no corruptions; all of them where there is none but corruptions.

        Corruptions are many and of the same images: their mean stands for them where targets are shown one by one.
        """
        return tuple(target for target in self.targets if target not in self.corruptions) or self.targets

    @property
    def singled(self) -> tuple[str, ...]:
        """Return the targets that tables give a column each: those that are no corruptions."""
        return tuple(target for target in self.targets if target not in self.corruptions)

    @property
    def shifts_told(self) -> str:
        """Return what `shifts` are, in words."""
        return "targets" if self.shifts == self.targets else "targets that are no corruptions"

    def told(self, targets: Iterable[str]) -> str:
        """Return targets by name, corruptions among them by kind and severity."""
        return targets_told(targets, self.corruptions)

    @property
    def splits(self) -> tuple[str, ...]:
        """Return the in-domain split and the targets."""
        return (IN_DOMAIN, *self.targets)


def split_of(record: Record, split: str) -> SplitResult | None:
    """Return a split's result: the in-domain validation set or a target."""
    return record.in_domain if split == IN_DOMAIN else record.targets.get(split)


def compare(
    records: Iterable[Record], defaults: Mapping[str, Mapping[str, Any]] | None = None
) -> tuple[Comparison, ...]:
    """Group records into comparable tables; labels omit options that equal `defaults`."""
    groups: defaultdict[str, list[Record]] = defaultdict(list)
    for record in records:
        groups[_table_key(record)].append(record)
    slugs = Counter(_slug(group[0]) for group in groups.values())
    titles = distinct_titles({key: group[0] for key, group in groups.items()})
    made = []
    for key, group in groups.items():
        slug = _slug(group[0])
        if slugs[slug] > 1:
            slug += "-" + hashlib.sha256(key.encode()).hexdigest()[:6]
        made.append(_comparison(slug, titles[key], group, defaults or {}))
    return tuple(sorted(made, key=lambda comparison: comparison.slug))


def _table_key(record: Record) -> str:
    spec = record.spec
    return _canonical(
        [
            *(spec.benchmark, spec.benchmark_version, spec.setting, spec.pair, spec.preset),
            *(spec.decoder, sorted(spec.targets)),
            # Equal for one version of a benchmark; if not, its figures are not comparable.
            *(record.metric, record.mean_rule, record.classes),
            # Of what records got later only what says something, so that older tables keep their names.
            *([key, part] for key in ("excluded_from_mean", "ood_targets", "groups") if (part := getattr(record, key))),
        ]
    )


def _canonical(value: Any) -> str:
    return json.dumps(value, sort_keys=True, default=str)


def _slug(record: Record) -> str:
    """Return a file name: records are foreign text, so everything but letters and digits goes."""
    spec = record.spec
    name = f"{spec.benchmark}-v{spec.benchmark_version}-{spec.setting}-{spec.pair}-{spec.preset}"
    return re.sub(r"[^a-z0-9]+", "-", name.lower()).strip("-")[:120]


def _comparison(
    slug: str, title: str, records: Sequence[Record], defaults: Mapping[str, Mapping[str, Any]]
) -> Comparison:
    first = records[0]
    spec = first.spec
    done = [r for r in records if r.status == "done" and r.summary is not None]
    rows = [*_done_rows(done, defaults), *_status_rows(records, defaults)]
    left_out = {name for r in done if r.summary for name in r.summary.ood_without}
    grouped = {name for r in done if r.summary for name in r.summary.groups}
    told = f"preset {spec.preset}, decoder {decoder_in_short(spec.decoder)}"
    return Comparison(
        slug=slug,
        title=title,
        subtitle=f"Teacher {spec.teacher}, student {spec.student}, {told}.",
        metric=first.metric,
        mean_rule=first.mean_rule,
        classes=tuple(first.classes),
        targets=tuple(spec.targets),
        excluded=tuple(first.excluded_from_mean),
        averaged=tuple(first.ood_targets or spec.targets),
        left_out=tuple(sorted(left_out)),
        groups={name: tuple(targets) for name, targets in first.groups.items() if name in grouped},
        rows=tuple(_numbered(sorted(rows, key=_order))),
        notes=tuple(table_notes(done, _budgets(rows))),
        corruptions={target: record.corruptions[target] for record in records for target in record.corruptions
                     if target in spec.targets},
    )  # fmt: skip


def _budgets(rows: Iterable[MethodRow]) -> dict[str, float]:
    """Return how many images each comparable row trained on."""
    return {
        row.name: sum(v for k, v in budget_key(row.records[0]) if k.endswith(".images"))
        for row in rows
        if row.comparable and not row.teacher and row.status == "done"
    }


def _order(row: MethodRow) -> tuple[bool, bool, float, str]:
    """Teacher first, then by OOD mean, lowest first; rows without figures last."""
    ood = row.stat(lambda r: r.summary.ood if r.summary else None)
    return (row.status != "done", not row.teacher, ood.mean if ood else -1.0, row.label)


def _numbered(rows: Sequence[MethodRow]) -> Iterator[MethodRow]:
    """Number comparable rows that share a label, in their order; a number that another row is called by is skipped."""
    shared = Counter(row.label for row in rows if row.comparable)
    taken = {row.label for row in rows}
    numbers: Counter[str] = Counter()
    for row in rows:
        if not row.comparable or shared[row.label] == 1:
            yield row
            continue
        numbers[row.label] += 1
        while f"{row.label} #{numbers[row.label]}" in taken:
            numbers[row.label] += 1
        yield replace(row, number=numbers[row.label])


def _identity(record: Record) -> str:
    """What makes two runs one row but for the seed; the teacher's own seed is its run's."""
    spec = record.spec
    seed = None if is_teacher(record) else spec.teacher_seed
    return _canonical([spec.method, spec.options, spec.teacher, spec.student, spec.code, seed])


def _splits(record: Record) -> dict[str, SplitResult]:
    splits = {IN_DOMAIN: record.in_domain, **record.targets}
    return {name: result for name, result in splits.items() if result is not None}


def _protocol(record: Record) -> str:
    return _canonical({k: v.protocol.model_dump() for k, v in _splits(record).items()})


def _judged(record: Record) -> str:
    """What was judged, as far as the record tells: digests of the data, or what one can count of them."""
    return _canonical({k: v.data or [v.n_images, truth_pixels(v)] for k, v in _splits(record).items()})


def _usual_data(records: Sequence[Record]) -> Record | None:
    """Return a record that was judged on what most were; those that state it by digests decide, if there are any."""
    stating = [r for r in records if any(result.data for result in _splits(r).values())] or list(records)
    usual = _majority(_judged(r) for r in stating)
    return next((r for r in sorted(stating, key=lambda r: r.run_id) if _judged(r) == usual), None)


def _other_data(record: Record, usual: Record | None) -> bool:
    known = _splits(usual) if usual is not None else {}
    return any(k in known and not same_data(known[k], v) for k, v in _splits(record).items())


def _majority(values: Iterable[str]) -> str | None:
    counts = Counter(values)
    return min(counts, key=lambda value: (-counts[value], value)) if counts else None


def _reference(records: Sequence[Record]) -> dict[str, str | None]:
    """Return each recipe section's usual content: a run may record only the stages it has."""
    sections = {key for record in records for key in record.spec.recipe}
    return {key: _majority(_canonical(r.spec.recipe[key]) for r in records if key in r.spec.recipe) for key in sections}


def _done_rows(done: Sequence[Record], defaults: Mapping[str, Mapping[str, Any]]) -> list[MethodRow]:
    unmarked = [r for r in done if not r.marks] or list(done)
    recipe, protocol = _reference(unmarked), _majority(_protocol(r) for r in unmarked)
    data = _usual_data(unmarked)
    by_identity: defaultdict[str, list[Record]] = defaultdict(list)
    for record in done:
        by_identity[_identity(record)].append(record)
    rows = []
    for same in by_identity.values():
        budget = _majority(str(budget_key(r)) for r in same if not r.marks)
        shares: defaultdict[tuple[str, ...], list[Record]] = defaultdict(list)
        for record in same:
            shares[tuple(_oddities(record, recipe, protocol, data, budget))].append(record)
        for oddities, runs in shares.items():
            counted, superseded = _one_per_seed(runs)
            origins = [*mixed_commits(counted), *mixed_environments(counted)]
            notes = [*oddities, *_siblings(counted[0], done), *superseded, *origins]
            rows.append(
                MethodRow(
                    label=_label(counted[0], defaults),
                    records=tuple(counted),
                    teacher=is_teacher(counted[0]),
                    comparable=not oddities,
                    footnotes=tuple(notes),
                )
            )
    return rows


def _label(record: Record, defaults: Mapping[str, Mapping[str, Any]]) -> str:
    options = shown_options(record, defaults)
    return f"{record.spec.method} ({options})" if options else record.spec.method


def _oddities(
    record: Record, recipe: Mapping[str, str | None], protocol: str | None, data: Record | None, budget: str | None
) -> list[str]:
    """Say why a run may not share a mean or a ranking with the table's others; empty: it may."""
    found = []
    if record.marks:
        overrides = ", ".join(f"{k}={plain(v)}" for k, v in sorted(record.spec.recipe_overrides.items()))
        found.append("; ".join(sorted(record.marks)) + (f" ({overrides})" if overrides else ""))
    changed = [k for k, v in sorted(record.spec.recipe.items()) if _canonical(v) != recipe.get(k)]
    if changed and not record.spec.recipe_overrides:
        found.append(f"another recipe than the other rows ({', '.join(changed)})")
    if protocol is not None and _protocol(record) != protocol:
        found.append("judged by another protocol (sizes, window or test-time augmentation)")
    if _other_data(record, data):
        found.append(f"{OTHER_DATA} (the data of a split have changed between the runs)")
    if budget is not None and str(budget_key(record)) != budget and not record.marks:
        seen = ", ".join(f"{name} {value:,.0f}" for name, value in budget_key(record))
        found.append(f"another budget than this method's other runs ({seen or 'not recorded'})")
    return [f"{text}: kept out of means and ranking of the other rows." for text in found]


def _siblings(record: Record, done: Sequence[Record]) -> list[str]:
    """Say what tells rows of the same name apart."""
    spec = record.spec
    same = [r.spec for r in done if (r.spec.method, r.spec.options) == (spec.method, spec.options)]
    notes = []
    if len({other.code for other in same}) > 1:
        notes.append(f"code {spec.code[:8]} ({spec.method_source}): another version of a method is another row.")
    if len({other.teacher_seed for other in same}) > 1 and not is_teacher(record):
        notes.append(f"teacher of seed {spec.teacher_seed}.")
    return notes


def _one_per_seed(records: Sequence[Record]) -> tuple[list[Record], list[str]]:
    """Keep the latest run of each seed: one counted twice would pass for two."""
    latest: dict[int, Record] = {}
    notes = []
    for record in sorted(records, key=lambda r: (r.started, r.run_id)):
        older = latest.get(record.spec.seed)
        if older is not None:
            notes.append(
                f"seed {record.spec.seed} was run more than once; {record.run_id} counts, {older.run_id} does not."
            )
        latest[record.spec.seed] = record
    return [latest[seed] for seed in sorted(latest)], notes


def _status_rows(records: Sequence[Record], defaults: Mapping[str, Mapping[str, Any]]) -> list[MethodRow]:
    """Return a row per method and reason for the runs that have no figures."""
    groups: defaultdict[tuple[str, str, str], list[Record]] = defaultdict(list)
    for record in records:
        if record.status != "done":
            reason = one_line(record.reason or "")
            groups[_label(record, defaults), record.status, reason].append(record)
        elif record.summary is None:
            groups[_label(record, defaults), "failed", "the record has no scores"].append(record)
    return [
        MethodRow(label, tuple(runs), is_teacher(runs[0]), False, (), status, reason)
        for (label, status, reason), runs in groups.items()
    ]
