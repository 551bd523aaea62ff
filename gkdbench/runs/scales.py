"""The scale audit: what each weighted term is worth at step 0, beside the task loss."""

from collections.abc import Mapping

FAR = 1000.0
"""A term this many times the task loss, or this fraction of it, hardly trades off with it."""


def shown(stage: str, terms: Mapping[str, float]) -> str:
    """Return one line for a person: `stage joint, step 0: task 2.399, kl 0.048 (0.02 x task)`."""
    task = terms.get("task")
    parts = [
        f"{name} {value:.4g}" + (f" ({value / task:.2g} x task)" if task and name != "task" else "")
        for name, value in terms.items()
    ]
    return f"stage {stage}, step 0: {', '.join(parts)}"


def warnings(stage: str, terms: Mapping[str, float]) -> list[str]:
    """Return one line per term that is more than a thousand times the task loss or under a thousandth of it."""
    task = terms.get("task")
    if not task:
        return []
    return [
        f"stage {stage}: term {name!r} starts at {value:.3g}, the task loss at {task:.3g}"
        for name, value in terms.items()
        if name != "task" and not task / FAR <= abs(value) <= task * FAR
    ]
