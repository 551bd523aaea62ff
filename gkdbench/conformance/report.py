"""What the checks found: rows, a verdict, and a table for people."""

from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass, field
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
        return {
            "method": self.method,
            "ok": self.ok,
            "seconds": round(self.seconds, 2),
            "rows": [asdict(row) for row in self.rows],
        }

    def table(self) -> str:
        """Return the verdict as text: counts per check, then everything that is not simply passed."""
        lines = [*_aligned([["check", *OUTCOMES], *_counts(self.rows)]), ""]
        for outcome in ("failed", "unsupported", "skipped", "note"):
            lines += _said([row for row in self.rows if row.outcome == outcome])
        state = "conforms" if self.ok else f"does not conform: {_number(len(self.failures), 'failed check')}"
        return "\n".join([*lines, f"{self.method} {state} ({self.seconds:.1f} s)"])


def _number(count: int, what: str) -> str:
    return f"{count} {what}{'s' * (count != 1)}"


def _counts(rows: Sequence[Row]) -> list[list[str]]:
    checks = dict.fromkeys(row.check for row in rows)
    return [
        [check, *(str(sum(r.check == check and r.outcome == o for r in rows) or "-") for o in OUTCOMES)]
        for check in checks
    ]


def _aligned(cells: Sequence[Sequence[str]]) -> list[str]:
    widths = [max(len(row[column]) for row in cells) for column in range(len(cells[0]))]
    lines = []
    for row in cells:
        first, *others = zip(row, widths, strict=True)
        lines.append("  ".join([first[0].ljust(first[1]), *(cell.rjust(width) for cell, width in others)]).rstrip())
    return lines


def _said(rows: Iterable[Row]) -> list[str]:
    """Return one line per distinct finding with the pairs that have it."""
    found: dict[tuple[str, str, str, str, str], list[str]] = {}
    for row in rows:
        found.setdefault((row.outcome, row.check, row.stage, row.detail, row.where), []).append(row.pair)
    lines = []
    for (outcome, check, stage, detail, where), pairs in found.items():
        place = f"{check} of stage {stage}" if stage else check
        on = ", ".join(dict.fromkeys(pair for pair in pairs if pair))
        lines.append(f"{outcome}: {place}{f' [{on}]' if on else ''}: {detail}{f' ({where})' if where else ''}")
    return lines
