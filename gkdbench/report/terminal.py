"""The method table for a terminal: plain strings. Loads neither plots nor templates."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from gkdbench.report.comparison import compare
from gkdbench.report.records import installed_defaults
from gkdbench.report.tables import method_table
from gkdbench.report.visible_text import with_minus
from gkdbench.runs.record import Record


@dataclass(frozen=True)
class TerminalTable:
    """One comparison: a title, rows of strings of equal length with the header first, remarks."""

    title: str
    metric: str
    """What the figures are, in percent."""
    rows: tuple[tuple[str, ...], ...]
    notes: tuple[str, ...]


def terminal_tables(
    records: Iterable[Record], defaults: Mapping[str, Mapping[str, Any]] | None = None
) -> tuple[TerminalTable, ...]:
    """Return the method table of each comparison; best and second best end in ** and *."""
    chosen = tuple(records)
    known = installed_defaults(chosen) if defaults is None else defaults
    made = []
    for comparison in compare(chosen, known):
        table = method_table(comparison)
        marked = {"best": "**", "second": "*", "": ""}
        rows = [tuple(column.title for column in table.columns)]
        for row in table.rows:
            head = row.head + "".join(f" [{letter}]" for letter in row.letters)
            rows.append((head, *(with_minus(cell.text) + marked[cell.rank] for cell in row.cells)))
        notes = [*table.rules, *(f"[{letter}] {note}" for letter, note in table.footnotes)]
        if any(cell.rank for row in table.rows for cell in row.cells):
            notes.insert(0, "**: best, *: second best among comparable rows without the teacher.")
        made.append(TerminalTable(table.title, comparison.metric, tuple(rows), tuple(notes)))
    return tuple(made)
