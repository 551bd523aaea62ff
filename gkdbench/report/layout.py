"""A table as every writer sees it: columns, rows of cells, caption, rules and footnotes."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Literal

Rank = Literal["", "best", "second"]


@dataclass(frozen=True)
class Cell:
    """What one cell shows, and the number behind it."""

    text: str
    number: float | None = None
    """What the cell sorts by; None: by its text."""
    precise: str | None = None
    """What the CSV shows; None: the text."""
    rank: Rank = ""
    hover: str = ""
    span: int = 1
    """Columns it fills where a writer can join cells."""
    interval: tuple[float, float] | None = None
    """Ends of the 95 % interval, which the CSV gives columns of their own."""
    values: tuple[float, ...] = ()
    """What it is the mean of, by seed, for the same CSV."""
    stacked: tuple[str, ...] = ()
    """The text in parts, for writers that can set them one below the other; empty: it has no parts."""


@dataclass(frozen=True)
class Column:
    """A column's title and whether its cells are figures."""

    title: str
    numeric: bool = True
    group: str = ""
    """What it shares with its neighbours, for writers that can set a heading over them."""
    short: str = ""
    """Its title below that heading."""


@dataclass(frozen=True)
class Row:
    """A row: its name, the letters of its footnotes, its cells."""

    head: str
    cells: tuple[Cell, ...]
    letters: tuple[str, ...] = ()
    kind: Literal["plain", "teacher", "status", "measured"] = "plain"
    """measured: it belongs to the published row above it."""


@dataclass(frozen=True)
class Table:
    """One table; `columns[0]` is the title of the row heads."""

    slug: str
    title: str
    caption: str
    columns: tuple[Column, ...]
    rows: tuple[Row, ...]
    rules: tuple[str, ...] = ()
    """Definitions and remarks printed under the table."""
    footnotes: tuple[tuple[str, str], ...] = ()

    @property
    def heading(self) -> str:
        """Return what it shows, where the surroundings say of what."""
        return self.title.split(":")[0]


@dataclass
class Lettering:
    """Hands out a letter per distinct footnote, in order of first use."""

    letters: dict[str, str] = field(default_factory=dict)

    def mark(self, notes: Iterable[str]) -> tuple[str, ...]:
        """Return the letters of these footnotes."""
        return tuple(self.letters.setdefault(note, _letter(len(self.letters))) for note in notes)

    def listing(self) -> tuple[tuple[str, str], ...]:
        """Return (letter, footnote) in order."""
        return tuple((letter, note) for note, letter in self.letters.items())


def _letter(index: int) -> str:
    """Return a, b, ..., z, aa, ab, ..."""
    text = ""
    index += 1
    while index:
        index, rest = divmod(index - 1, 26)
        text = chr(ord("a") + rest) + text
    return text


def ranks(values: Sequence[float | None]) -> list[Rank]:
    """Mark the highest value, and the second where three or more compete; equals share a mark."""
    levels = sorted({value for value in values if value is not None}, reverse=True)
    competing = sum(value is not None for value in values)
    if competing < 2:
        return [""] * len(values)
    best = levels[0]
    second = levels[1] if len(levels) > 1 and competing > 2 else None
    return [
        "" if value is None else "best" if value == best else "second" if value == second else "" for value in values
    ]
