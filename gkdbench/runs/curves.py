"""curves.json: what a run's stages logged, thinned out, beside its record; the report draws it without the store."""

import json
import math
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from gkdbench.engine.loop import LOG_EVERY
from gkdbench.runs.files import write_atomically

FILE = "curves.json"
SCHEMA = 1
MOST_POINTS = 200
RULE = (
    f"a point is the mean over `window` neighbouring lines of the stage's log, each the mean over {LOG_EVERY} steps; "
    "it stands at the last of these steps"
)


def write_curves(path: Path, logs: Iterable[tuple[str, Path]]) -> None:
    """Write the curves of a run's stages, given each one's name and log.jsonl.

    A stage whose log is gone, or shorter than a line, has no points. A term that a line lacks, and a value that is no
    number, stay out of means; a mean over nothing is null.
    """
    stages = [_stage(name, _lines(log)) for name, log in logs]
    text = json.dumps({"schema": SCHEMA, "rule": RULE, "stages": stages}, allow_nan=False, separators=(",", ":"))
    write_atomically(path, lambda stream: stream.write(f"{text}\n".encode()))


def _lines(log: Path) -> list[dict[str, Any]]:
    """Return the lines of a log that can be read."""
    try:
        texts = log.read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError):
        return []
    found = []
    for text in texts:
        try:
            line = json.loads(text)
        except ValueError:
            continue
        if isinstance(line, dict) and isinstance(line.get("step"), int) and isinstance(line.get("terms"), dict):
            found.append(line)
    return found


def _stage(name: str, lines: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    window = max(math.ceil(len(lines) / MOST_POINTS), 1)
    groups = [lines[first : first + window] for first in range(0, len(lines), window)]
    terms = dict.fromkeys(term for line in lines for term in line["terms"])
    return {
        "name": name,
        "window": window,
        "steps": [group[-1]["step"] for group in groups],
        "lr": [_mean(line.get("lr") for line in group) for group in groups],
        "terms": {term: [_mean(line["terms"].get(term) for line in group) for group in groups] for term in terms},
    }


def _mean(values: Iterable[Any]) -> float | None:
    known = [value for value in values if isinstance(value, int | float) and math.isfinite(value)]
    # six digits: more than a picture shows
    return float(f"{sum(known) / len(known):.6g}") if known else None
