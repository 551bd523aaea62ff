"""A table's heads and rows as HTML, written here rather than in a template: a page has tens of thousands of cells."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from html import escape
from itertools import groupby

from markupsafe import Markup

from gkdbench.report.layout import Cell, Column, Row, Table
from gkdbench.report.visible_text import visible, with_minus

LONG = 40
"""Letters from which a cell of words breaks into lines."""
_WRAPPED = {"best": ("<strong>", "</strong>"), "second": ("<u>", "</u>"), "": ("", "")}


@dataclass(frozen=True)
class Link:
    """Where a row's head leads on the page."""

    anchor: str
    """An id on the page, without #."""
    text: str
    """What stands there where a row has several; a single one is the row's head itself."""
    title: str = ""


@dataclass(frozen=True)
class RowFacts:
    """What the page knows about a row beyond its cells."""

    links: tuple[Link, ...] = ()
    apart: bool = False
    """Kept out of the ranking; a reader may hide it."""


def header_rows(table: Table, sortable: bool = True) -> Markup:
    """Return the `<tr>` elements of a table's head: two where columns share a heading; sortable titles are buttons."""
    grouped = any(column.group for column in table.columns)
    upper: list[str] = []
    lower: list[str] = []
    for group, members in groupby(enumerate(table.columns), key=lambda one: one[1].group):
        columns = list(members)
        if group:
            upper.append(f'<th scope="colgroup" colspan={len(columns)} class="group">{_plain(group)}</th>')
            lower.extend(_title(column, place, column.short or column.title, sortable) for place, column in columns)
        else:
            down = " rowspan=2" if grouped else ""
            upper.extend(_title(column, place, column.title, sortable, down) for place, column in columns)
    rows = [upper, lower] if grouped else [upper]
    return Markup("\n".join(f"<tr>{''.join(row)}</tr>" for row in rows))


def _title(column: Column, place: int, text: str, sortable: bool, more: str = "") -> str:
    mark = ' class="num"' if column.numeric else ""
    # A title of one word never breaks; one of several may.
    shown = f"<span{'' if ' ' in text else ' class=one'}>{_plain(text)}</span>"
    inner = f'<button type="button">{shown}</button>' if sortable else shown
    at = f" data-column={place}" if sortable else ""
    return f'<th scope="col"{mark}{at}{more}>{inner}</th>'


def table_rows(
    table: Table, facts: Callable[[Row], RowFacts] = lambda row: RowFacts(), sortable: bool = True
) -> Markup:
    """Return the `<tr>` elements of a table's body; all text is escaped."""
    return Markup("\n".join(_row(table, row, facts(row), sortable) for row in table.rows))


def _row(table: Table, row: Row, facts: RowFacts, sortable: bool) -> str:
    classes = [*([] if row.kind == "plain" else [row.kind]), *(["apart"] if facts.apart else [])]
    mark = f' class="{" ".join(classes)}"' if classes else ""
    return f'<tr{mark}><th scope="row">{_head(row, facts.links)}</th>{"".join(_cells(table, row, sortable))}</tr>'


def _head(row: Row, links: Sequence[Link]) -> str:
    name, letters = _plain(row.head), f"<sup>{escape(','.join(row.letters))}</sup>" if row.letters else ""
    if len(links) == 1:
        return f"{_anchor(links[0], name)}{letters}"
    several = ", ".join(_anchor(link, _plain(link.text)) for link in links)
    return f"{name}{letters} <small>{several}</small>" if several else f"{name}{letters}"


def _anchor(link: Link, text: str) -> str:
    title = f' title="{_plain(link.title)}"' if link.title else ""
    return f'<a href="#{escape(link.anchor)}"{title}>{text}</a>'


def _cells(table: Table, row: Row, sortable: bool) -> Iterator[str]:
    skip = 0
    for column, cell in zip(table.columns[1:], row.cells, strict=True):
        if skip:
            skip -= 1
            continue
        skip = cell.span - 1
        yield _cell(cell, column.numeric and cell.span == 1, sortable)


def _cell(cell: Cell, numeric: bool, sortable: bool) -> str:
    # Quoted only where it must be: most of a page is cells.
    wide = "" if numeric or len(cell.text) <= LONG or cell.stacked else "long"
    classes = " ".join(part for part in ("num" if numeric else wide, cell.rank) if part)
    mark = f' class="{classes}"' if " " in classes else f" class={classes}" if classes else ""
    span = f" colspan={cell.span}" if cell.span > 1 else ""
    known = sortable and cell.number is not None and cell.number == cell.number
    number = f" data-sort={cell.number:.9g}" if known else ""
    shown = _number if numeric else str
    precise = _precise(cell) if numeric else cell.precise
    hover = cell.hover or (precise if precise and precise != shown(cell.text) else "")
    title = f' title="{_plain(hover)}"' if hover else ""
    before, after = _WRAPPED[cell.rank]
    text = " <br>".join(_plain(shown(part)) for part in cell.stacked or (cell.text,))
    return f"<td{mark}{span}{number}{title}>{before}{text}{after}</td>"


def _number(text: str) -> str:
    """Return a number with its signs; in a cell that breaks into lines ± stays with what follows."""
    return with_minus(text).replace("± ", "±\u00a0")


def _precise(cell: Cell) -> str:
    """Return a figure with more digits than its cell shows, but no more than anybody reads."""
    try:
        return _number(f"{float(cell.precise or ''):.6g}")
    except ValueError:
        return _number(cell.precise or "")


def _plain(text: str) -> str:
    return escape(visible(text))
