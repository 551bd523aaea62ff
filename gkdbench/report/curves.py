"""Learning curves that a run left in its folder; a damaged file costs its curves, not the report."""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from gkdbench.report.bounds import LARGEST, is_text

FILE = "curves.json"
SCHEMA = 1
_LARGEST = 32 * 2**20
"""Bytes: a run writes some 200 points a stage, a hundredth of it."""


@dataclass(frozen=True)
class StageCurves:
    """What one stage logged."""

    name: str
    steps: tuple[int, ...]
    terms: dict[str, tuple[float | None, ...]]
    """Each weighted term of the loss at each step; None where it was not logged, or no number that can be drawn."""
    lr: tuple[float | None, ...] = ()
    """Learning rate at each step; empty where it was not logged."""

    def total(self) -> tuple[float | None, ...]:
        """Return the sum of the terms at each step; None where none of them has a value."""
        sums = []
        for values in zip(*self.terms.values(), strict=True):
            known = [value for value in values if value is not None]
            sums.append(sum(known) if known else None)
        return tuple(sums)


def read_curves(folder: Path) -> tuple[tuple[StageCurves, ...] | None, str]:
    """Return the stages of a run's curves; None and a sentence why where there are none to show."""
    path = folder / FILE
    try:
        if path.stat().st_size > _LARGEST:
            return None, f"{path}: larger than {_LARGEST >> 20} MiB; its curves are left out"
        content = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return None, f"{path}: the run left no curves"
    except (OSError, ValueError, RecursionError) as error:
        return None, f"{path}: cannot be read ({type(error).__name__}); its curves are left out"
    try:
        return _stages(content), ""
    except (KeyError, TypeError, ValueError) as error:
        return None, f"{path}: damaged or of another schema ({error}); its curves are left out"


def _stages(content: Any) -> tuple[StageCurves, ...]:
    if not isinstance(content, dict) or content.get("schema") != SCHEMA:
        raise ValueError(f"schema {SCHEMA} is expected")
    stages = content["stages"]
    if not isinstance(stages, list):
        raise ValueError("'stages' is no list")
    return tuple(_stage(stage) for stage in stages)


def _stage(content: Any) -> StageCurves:
    if not isinstance(content, dict) or not isinstance(content["terms"], dict):
        raise ValueError("a stage has no terms")
    steps = content["steps"]
    if not isinstance(steps, list) or not all(type(step) is int and abs(step) < LARGEST for step in steps):
        raise ValueError("'steps' are no whole numbers below 1e15")
    name, terms = str(content["name"]), content["terms"]
    if not all(map(is_text, (name, *terms))):
        raise ValueError("a name holds half a character (a lone surrogate)")
    values = {term: _numbers(logged, len(steps)) for term, logged in terms.items()}
    lr = content.get("lr") or []
    return StageCurves(name, tuple(steps), values, _numbers(lr, len(steps)) if lr else ())


def _numbers(values: Any, count: int) -> tuple[float | None, ...]:
    if not isinstance(values, list) or len(values) != count:
        raise ValueError("a curve has not a value per step")
    return tuple(_number(value) for value in values)


def _number(value: Any) -> float | None:
    if value is None:
        return None
    if not isinstance(value, int | float) or isinstance(value, bool):
        raise ValueError("a value is no number")
    return float(value) if -LARGEST < value < LARGEST else None
