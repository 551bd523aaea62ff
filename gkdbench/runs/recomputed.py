"""A record against itself: what counts and values make up is computed again, what is written otherwise named."""

from collections.abc import Iterator
from statistics import fmean
from typing import Any

import numpy as np

from gkdbench.identity.digest import run_name
from gkdbench.metrics.confusion import RULES, Score, score
from gkdbench.metrics.robustness import robustness
from gkdbench.runs.record import Record, SplitResult, Summary
from gkdbench.spec.task import TASKS

COUNTED = TASKS["segmentation"].metric
"""The metric of records that hold counts of pixels."""
ROUNDING = 1e-6
"""Points; sums in another order differ by far less."""
MOST_PIXELS = 2**48
"""Of a class in a split; far more than any has, and sums of such counts are exact."""
_MOST = 3
"""Contradictions that a line names."""


def contradiction(record: Record) -> str | None:
    """Say in one line where a record contradicts itself; None where all that can be computed again agrees."""
    wrong = [*_identity(record)]
    # figures of counts that are no counts, and means of values that are wrong, would only be more of the same
    wrong = wrong or [*_shapes(record)]
    try:
        wrong = wrong or [*_split_figures(record), *_summary_figures(record)]
    except (ValueError, OverflowError) as error:
        return f"its figures cannot be computed again ({error})"
    more = f" (and {len(wrong) - _MOST} more keys)" if len(wrong) > _MOST else ""
    return f"{'; '.join(wrong[:_MOST])}{more}" if wrong else None


def _identity(record: Record) -> Iterator[str]:
    spec = record.spec
    name = run_name(spec.benchmark, spec.setting, spec.method, spec.seed, record.digest)
    yield from _unlike("run_id", record.run_id, name)
    if record.status == "done":
        yield from _unlike("targets", sorted(record.targets), sorted(spec.targets))
        if record.in_domain is None or record.summary is None:
            yield "key 'status': 'done' is written, and the scores are missing"


def _shapes(record: Record) -> Iterator[str]:
    """Tell of counts that cannot be computed with."""
    if record.metric != COUNTED:
        return
    if record.mean_rule not in RULES:
        yield f"key 'mean_rule': {record.mean_rule!r} is none of {', '.join(RULES)}"
    size = len(record.classes)
    for split, result in _splits(record).items():
        lines = [*result.confusion, *([result.void] if result.void or record.mean_rule == "void_is_error" else [])]
        if len(result.confusion) != size or any(len(line) != size for line in lines):
            yield f"key '{split}.confusion': not {size} rows of {size} counts"
        elif not all(0 <= count <= MOST_PIXELS for line in lines for count in line):
            yield f"key '{split}.confusion': a count is below 0 or above 2^48"


def _splits(record: Record) -> dict[str, SplitResult]:
    inside = {} if record.in_domain is None else {"in_domain": record.in_domain}
    return inside | {f"targets.{name}": result for name, result in record.targets.items()}


def _unlike(key: str, written: Any, due: Any) -> Iterator[str]:
    """Tell of each key below which something else is written than is due."""
    if isinstance(written, dict) and isinstance(due, dict):
        for name in sorted({*written, *due}):
            yield from _unlike(f"{key}.{name}", written.get(name), due.get(name))
        return
    both = isinstance(written, float) and isinstance(due, float)
    if abs(written - due) >= ROUNDING if both else written != due:
        yield f"key {key!r}: {_shown(written)} is written, {_shown(due)} follows from the rest of the record"


def _shown(value: Any) -> str:
    if isinstance(value, list):
        return ", ".join(value) or "nothing"
    return "nothing" if value is None else f"{value:.10g}" if isinstance(value, float) else str(value)


def _split_figures(record: Record) -> Iterator[str]:
    for split, result in _splits(record).items():
        due = _counted(record, result) if record.metric == COUNTED else _averaged(record, result)
        for name, value in due.items():
            said = getattr(result, name)
            yield from _unlike(f"{split}.{name}", sorted(said) if isinstance(said, list) else said, value)


def _counted(record: Record, result: SplitResult) -> dict[str, Any]:
    """Return what counts of pixels make up, by key."""
    found = _score(record, [result])
    accuracy = {"pixel_accuracy": 100 * found.accuracy} if "pixel_accuracy" in result.metrics else {}
    return {
        "value": 100 * found.mean,
        "miou": 100 * found.mean,
        "metrics": result.metrics | accuracy,
        "per_class": {
            name: None if np.isnan(iou) else float(100 * iou)
            for name, iou in zip(record.classes, found.iou, strict=True)
        },
        "classes_in_mean": found.in_mean,
        "never_predicted": sorted(record.classes[i] for i in found.never_predicted),
    }


def _score(record: Record, results: list[SplitResult]) -> Score:
    counts = np.array([result.confusion for result in results], np.int64).sum(0)
    void = np.array([result.void for result in results], np.int64).sum(0)
    excluded = [i for i, name in enumerate(record.classes) if name in record.excluded_from_mean]
    return score(counts, record.mean_rule, void, excluded)


def _averaged(record: Record, result: SplitResult) -> dict[str, Any]:
    """Return what APs make up, by key; they themselves rank the boxes of all images, which no record holds."""
    held = {name: value for name in record.classes if (value := result.per_class.get(name)) is not None}
    return {
        "value": fmean(held.values()) if held else 0.0,
        "per_class": {name: None if name not in held else _within(held[name], [0.0, 100.0]) for name in record.classes},
        "classes_in_mean": len(held),
        "never_predicted": sorted(name for name in result.never_predicted if held.get(name) == 0),
    }


def _within(value: float | None, bounds: list[float]) -> float | None:
    """Return a value, or the nearest that lies within the bounds."""
    return value if value is None else min(max(value, min(bounds)), max(bounds))


def _summary_figures(record: Record) -> Iterator[str]:
    summary = record.summary
    if summary is None or record.in_domain is None:
        return
    values = {name: result.value for name, result in record.targets.items()}
    # which of chosen targets the benchmark hides, a record does not tell: then means are only looked at roughly
    chosen = "other targets" in record.marks
    means = _chosen_means(summary, values) if chosen and not record.ood_targets else _means(record, summary, values)
    robust = _chosen_robustness(record, summary) if chosen else _robustness(record)
    # of several that are equally low any will do
    lowest = [name for name in values if values[name] == min(values.values())]
    worst = summary.worst_target
    due = {
        "in_domain": record.in_domain.value,
        **means,
        "groups": {
            name: _group(record, [record.targets[member] for member in members])
            for name, members in record.groups.items()
            if all(member in values for member in members)
        },
        "gap": None if means["ood"] is None else record.in_domain.value - means["ood"],
        "worst_target": worst if worst in lowest or (chosen and worst is None) else next(iter(lowest), None),
        **robust,
    }
    written = dict(summary) | {"groups": {name: dict(group) for name, group in summary.groups.items()}}
    for name, value in due.items():
        yield from _unlike(f"summary.{name}", written[name], value)


def _means(record: Record, summary: Summary, values: dict[str, float]) -> dict[str, Any]:
    averaged = record.ood_targets or record.spec.targets
    complete = all(name in values for name in averaged)
    return {
        "ood": fmean(values[name] for name in averaged) if complete else None,
        "ood_without": {
            odd: fmean(values[name] for name in averaged if name != odd)
            for odd in summary.ood_without
            if complete and odd in averaged and len(averaged) > 1
        },
    }


def _chosen_means(summary: Summary, values: dict[str, float]) -> dict[str, Any]:
    bounds = [*values.values()]
    without = {name: _within(value, bounds) for name, value in summary.ood_without.items()}
    return {"ood": _within(summary.ood, bounds), "ood_without": without}


def _robustness(record: Record) -> dict[str, float | None]:
    assert record.in_domain is not None
    cells = {(one.kind, one.severity): record.targets.get(name) for name, one in record.corruptions.items()}
    kinds, severities = (list(dict.fromkeys(part)) for part in (zip(*cells, strict=True) if cells else ((), ())))
    alike = all(result is None or result.n_images == record.in_domain.n_images for result in cells.values())
    found = robustness(
        {cell: None if result is None else result.value for cell, result in cells.items()},
        record.in_domain.value if alike else None,
        [str(kind) for kind in kinds],
        [int(severity) for severity in severities],
    )
    return {"mpc": found.mpc, "rpc": None if found.rpc is None else 100 * found.rpc}


def _chosen_robustness(record: Record, summary: Summary) -> dict[str, float | None]:
    assert record.in_domain is not None
    corrupted = [record.targets[name].value for name in record.corruptions if name in record.targets]
    mpc = _within(summary.mpc, corrupted) if corrupted else None
    inside = record.in_domain.value
    return {"mpc": mpc, "rpc": 100 * mpc / inside if mpc is not None and summary.rpc is not None and inside else None}


def _group(record: Record, results: list[SplitResult]) -> dict[str, float | None]:
    pooled = 100 * _score(record, results).mean if record.metric == COUNTED else None
    return {"mean": fmean(result.value for result in results), "pooled": pooled}
