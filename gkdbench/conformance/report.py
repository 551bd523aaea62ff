"""What the checks found: rows, a verdict, and a table for people."""

from collections import Counter
from collections.abc import Iterable
from dataclasses import asdict, dataclass, field, replace
from typing import Any, Literal

Outcome = Literal["passed", "failed", "unsupported", "skipped", "note"]
OUTCOMES: tuple[Outcome, ...] = ("passed", "failed", "unsupported", "skipped", "note")


@dataclass(frozen=True)
class Row:
    """One check of one stage on one toy pair."""

    check: str
    pair: str
    outcome: Outcome
    detail: str = ""
    where: str = ""
    """The line to look at, as file:line; empty where there is none."""
    stage: str = ""


@dataclass
class Verdicts:
    """All rows of one method."""

    method: str
    rows: list[Row] = field(default_factory=list)
    seconds: float = 0.0

    @property
    def ok(self) -> bool:
        """Whether no check failed."""
        return not self.failures

    @property
    def failures(self) -> list[Row]:
        """The rows of failed checks."""
        return [row for row in self.rows if row.outcome == "failed"]

    def as_json(self) -> dict[str, Any]:
        """Return the verdict as plain values."""
        rows = [asdict(row) for row in self.rows]
        return {"method": self.method, "ok": self.ok, "seconds": round(self.seconds, 2), "rows": rows}

    def table(self) -> str:
        """Return the verdict as text: counts per check, then everything that is not simply passed."""
        counts = Counter((row.check, row.outcome) for row in self.rows)
        lines = [f"{'check':13}" + "".join(f"{outcome:>13}" for outcome in OUTCOMES)]
        for check in dict.fromkeys(row.check for row in self.rows):
            lines.append(f"{check:13}" + "".join(f"{counts[check, outcome] or '-':>13}" for outcome in OUTCOMES))
        lines.append("")
        for outcome in OUTCOMES[1:]:
            lines += _said(row for row in self.rows if row.outcome == outcome)
        number = len(self.failures)
        state = "conforms" if self.ok else f"does not conform: {number} failed check{'s' * (number != 1)}"
        return "\n".join([*lines, f"{self.method} {state} ({self.seconds:.1f} s)"])


def _said(rows: Iterable[Row]) -> list[str]:
    """Return one line per distinct finding with the pairs that have it."""
    found: dict[Row, list[str]] = {}
    for row in rows:
        found.setdefault(replace(row, pair=""), []).append(row.pair)
    lines = []
    for row, pairs in found.items():
        place = f"{row.check} of stage {row.stage}" if row.stage else row.check
        on = ", ".join(dict.fromkeys(pair for pair in pairs if pair))
        where = f" ({row.where})" if row.where else ""
        lines.append(f"{row.outcome}: {place}{f' [{on}]' if on else ''}: {row.detail}{where}")
    return lines
