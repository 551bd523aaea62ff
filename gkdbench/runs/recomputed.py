"""A record against itself: what counts and values make up is computed again, what is written otherwise named."""

from collections.abc import Iterator
from statistics import fmean
from typing import Any

import numpy as np

from gkdbench.identity.digest import run_name
from gkdbench.metrics.confusion import RULES
from gkdbench.runs.record import Record, SplitResult, Summary
from gkdbench.runs.scoring import pooled_score, summary_of
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
    found = pooled_score(record, [result])
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
    averaged = record.ood_targets or record.spec.targets
    due = _keys(summary_of(record, [*record.targets], averaged, [*summary.ood_without], record.corruptions))
    # which of chosen targets the benchmark hides, a record does not tell: then some figures are only looked at roughly
    if "other targets" in record.marks:
        due |= _roughly(record, summary)
    # of several that are equally low any will do
    values = {name: result.value for name, result in record.targets.items()}
    if values and values.get(summary.worst_target or "") == min(values.values()):
        due["worst_target"] = summary.worst_target
    written = _keys(summary)
    for name, value in due.items():
        yield from _unlike(f"summary.{name}", written[name], value)


def _keys(summary: Summary) -> dict[str, Any]:
    return dict(summary) | {"groups": {name: dict(group) for name, group in summary.groups.items()}}


def _roughly(record: Record, summary: Summary) -> dict[str, Any]:
    """Return figures of chosen targets as they are written, or the nearest within the bounds of what they are of."""
    assert record.in_domain is not None
    inside, values = record.in_domain.value, [result.value for result in record.targets.values()]
    corrupted = [record.targets[name].value for name in record.corruptions if name in record.targets]
    mpc = _within(summary.mpc, corrupted) if corrupted else None
    due: dict[str, Any] = {"mpc": mpc, "rpc": None}
    if mpc is not None and summary.rpc is not None and inside:
        due["rpc"] = 100 * mpc / inside
    if summary.worst_target is None:
        due["worst_target"] = None
    if not record.ood_targets:
        ood = _within(summary.ood, values)
        without = {name: _within(value, values) for name, value in summary.ood_without.items()}
        due |= {"ood": ood, "ood_without": without, "gap": None if ood is None else inside - ood}
    return due
