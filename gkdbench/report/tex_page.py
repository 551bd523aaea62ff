"""How a table lies on pages: turned or not, cut into sets of columns and of rows that stay legible.

Sizes are estimates from the number of characters; LaTeX scales down what is still too wide.
"""

import textwrap
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

from gkdbench.report.layout import Cell, Column, Row, Table

PAGE = (12.0, 18.5)
"""Width and height in cm that a table may take: LaTeX's article on A4, with some room for the caption."""
LINE, NOTE_LINE = 0.42, 0.36
"""Height of a line in the table and below it, in cm."""
WRAPPED = 28
"""Characters of a text cell's line."""
_CHAR, _GAP = 0.165, 0.42
"""Width of a character and of the gap between columns, in cm."""
_NOTE_CHARS = 95
"""Characters of a note per line of 12 cm."""
_UPRIGHT, _LEGIBLE = 0.62, 0.55
"""Scale below which an upright table is turned, and below which a turned one is cut."""
_HEAD = 6 * LINE
"""Caption, titles and rules of every part."""


@dataclass(frozen=True)
class Shape:
    """How a part of a table lies on the page."""

    turned: bool
    scale: float

    @property
    def width(self) -> float:
        """Return the line's width in cm."""
        return PAGE[1] if self.turned else PAGE[0]

    @property
    def height(self) -> float:
        """Return the height in cm that is left across the line."""
        return PAGE[0] if self.turned else PAGE[1]


def shape_of(table: Table) -> Shape:
    """Return whether a table is turned and how much it is scaled down."""
    needed = sum(_width(table, index) for index in range(len(table.columns)))
    upright, turned = (min(1.0, side / needed) for side in PAGE)
    return Shape(False, upright) if upright >= _UPRIGHT or upright == turned else Shape(True, turned)


def column_parts(table: Table) -> Iterator[Table]:
    """Yield the table in as many sets of columns as keep it legible, each with the columns that say what a row is.

    Columns of a group stay together.
    """
    if shape_of(table).scale >= _LEGIBLE:
        yield table
        return
    columns = table.columns
    grouped = [index for index, column in enumerate(columns) if column.group]
    first = grouped[0] if grouped else next((i for i, c in enumerate(columns) if c.numeric), len(columns))
    fixed = list(range(first))
    room = PAGE[1] / _LEGIBLE - sum(_width(table, index) for index in fixed)
    sets: list[list[int]] = [[]]
    for unit in _units(columns, first):
        if sets[-1] and sum(_width(table, index) for index in (*sets[-1], *unit)) > room:
            sets.append([])
        sets[-1].extend(unit)
    for chosen in sets:
        yield _narrowed(table, [*fixed, *chosen])


def _units(columns: Sequence[Column], start: int) -> list[list[int]]:
    units: list[list[int]] = []
    for index in range(start, len(columns)):
        if units and columns[index].group and columns[index].group == columns[index - 1].group:
            units[-1].append(index)
        else:
            units.append([index])
    return units


def _narrowed(table: Table, chosen: Sequence[int]) -> Table:
    return replace(
        table,
        columns=tuple(table.columns[index] for index in chosen),
        rows=tuple(replace(row, cells=_chosen_cells(row.cells, chosen)) for row in table.rows),
    )


def _chosen_cells(cells: Sequence[Cell], chosen: Sequence[int]) -> tuple[Cell, ...]:
    """Return the cells of some columns (0 is the row's head); one over several covers those of them that are left."""
    kept: list[Cell] = []
    place = 0
    while place < len(cells):
        cell = cells[place]
        covered = [index for index in range(place + 1, place + cell.span + 1) if index in chosen]
        kept.extend(replace(cell, span=len(covered) - number) for number in range(len(covered)))
        place += cell.span
    return tuple(kept)


def row_parts(table: Table, shape: Shape, last: float) -> list[list[Row]]:
    """Cut rows into parts that fit a page, the last one into `last` cm; measured rows stay with theirs."""
    numeric = [column.numeric for column in table.columns[1:]]
    blocks: list[list[Row]] = []
    for row in table.rows:
        if row.kind == "measured" and blocks:
            blocks[-1].append(row)
        else:
            blocks.append([row])
    sizes = [sum(_height(row, numeric) for row in block) * shape.scale for block in blocks]
    parts: list[list[Row]] = [[]]
    used, left = 0.0, sum(sizes)
    for block, size in zip(blocks, sizes, strict=True):
        # from here on the rest fits the page: it must leave room for the notes
        room = (last if used + left + _HEAD <= shape.height else shape.height) - _HEAD
        if parts[-1] and used + size > room:
            parts.append([])
            used = 0.0
        parts[-1].extend(block)
        used, left = used + size, left - size
    return parts


def note_height(note: str, width: float) -> float:
    """Return the height of a note below a table of a width, in cm."""
    return -(-len(note) // int(_NOTE_CHARS * width / PAGE[0])) * NOTE_LINE


def wrapped(text: str) -> list[str]:
    """Return a text cell's lines."""
    return textwrap.wrap(text, WRAPPED) or [""]


def title_lines(table: Table, index: int) -> list[str]:
    """Return a column's title in lines: one per word where the column is narrower than the title."""
    title = table.columns[index].short or table.columns[index].title
    return [title] if len(title) <= _content(table, index) else title.split()


def _width(table: Table, index: int) -> float:
    widest = max(_content(table, index), *map(len, title_lines(table, index)), 1)
    return widest * _CHAR + _GAP


def _content(table: Table, index: int) -> int:
    """Return the characters of a column's widest line; a cell over several columns takes no room of its own."""
    if index == 0:
        found = [max(map(len, wrapped(row.head))) + 2 * len(row.letters) for row in table.rows]
    else:
        numeric = table.columns[index].numeric
        found = [len(line) for row in table.rows for line in cell_lines(row.cells[index - 1], numeric)]
    return max(found, default=0)


def cell_lines(cell: Cell, numeric: bool) -> list[str]:
    """Return a cell's lines: its parts, or long text wrapped."""
    if cell.span > 1:
        return [""]
    lines = cell.stacked or (cell.text,)
    return list(lines) if numeric else [part for line in lines for part in wrapped(line)]


def _height(row: Row, numeric: Sequence[bool]) -> float:
    lines = [len(cell_lines(cell, right)) for cell, right in zip(row.cells, numeric, strict=True)]
    return LINE * max(len(wrapped(row.head)), *lines)
