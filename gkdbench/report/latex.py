"""Tables as LaTeX: booktabs rules, scaled to the page, turned where they are wide, in parts where they are long.

The output is ASCII and needs the packages booktabs and graphicx alone. Sizes are estimated from the number of
characters, and LaTeX scales down what is still too wide.
"""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

from gkdbench.report.layout import Cell, Column, Row, Table
from gkdbench.report.tex_text import tex_text

_CHAR, _GAP, _LINE, _NOTE_LINE = 0.165, 0.42, 0.42, 0.36
"""Width of a character and of the gap between columns, height of a line in the table and below it, in cm."""
_PAGE = (12.0, 18.5)
"""Width and height in cm that a table may take: LaTeX's article on A4, with some room for the caption."""
_NOTE_CHARS = 95
"""Characters of a note per line of 12 cm."""
_SMALLEST = 0.62
"""Scale below which an upright table is turned if that makes it larger."""
_MOST_NOTES = 0.4
"""Share of the height that notes may take below a table; if they need more, they follow as text."""


def latex(table: Table) -> str:
    """Return a table as one or more `table` floats to be included; best is bold, second best underlined."""
    shape = _shape(table)
    notes = list(_notes(table))
    chars = sum(_lines(note, shape.width) for note in notes)
    room = shape.height - chars * _NOTE_LINE
    apart = room < shape.height * (1 - _MOST_NOTES)
    parts = _parts(table.rows, shape.scale, shape.height, shape.height if apart else room)
    floats = []
    for number, rows in enumerate(parts, start=1):
        below = notes if number == len(parts) and not apart else []
        floats.append(_float(table, shape, rows, number, len(parts), below))
    if apart:
        floats.append(_text(notes))
    return "% needs \\usepackage{booktabs,graphicx}\n" + "".join(floats)


def latex_document(tables: Iterable[Table]) -> str:
    """Return a document that holds the tables, each on pages of its own, and compiles with pdflatex."""
    lines = [
        r"\documentclass[a4paper]{article}",
        r"\usepackage[T1]{fontenc}",
        r"\usepackage[utf8]{inputenc}",
        r"\usepackage{booktabs,graphicx}",
        r"\setlength{\textwidth}{16cm}\setlength{\oddsidemargin}{0cm}",
        r"\setlength{\textheight}{24.5cm}\setlength{\topmargin}{-1.5cm}",
        r"\renewcommand{\topfraction}{1}\renewcommand{\floatpagefraction}{0.1}",
        r"\begin{document}",
    ]
    for table in tables:
        lines.extend([latex(table).rstrip("\n"), r"\clearpage"])
    return "\n".join([*lines, r"\end{document}"]) + "\n"


@dataclass(frozen=True)
class _Shape:
    """How a table lies on the page."""

    turned: bool
    width: float
    """In cm, of the page as the table lies on it."""
    height: float
    scale: float


def _shape(table: Table) -> _Shape:
    contents = [[row.head + "  " * len(row.letters) for row in table.rows]]
    contents.extend([_widest(row.cells[i]) for row in table.rows] for i in range(len(table.columns) - 1))
    widths = [
        max(len(text) for text in (_short(column), *texts))
        for column, texts in zip(table.columns, contents, strict=True)
    ]
    needed = sum(widths) * _CHAR + len(widths) * _GAP
    upright, turned = (min(1.0, side / needed) for side in _PAGE)
    if upright >= _SMALLEST or upright == turned:
        return _Shape(False, *_PAGE, upright)
    return _Shape(True, _PAGE[1], _PAGE[0], turned)


def _widest(cell: Cell) -> str:
    """Return the part of a cell that takes most room; one over several columns takes none of its own."""
    return "" if cell.span > 1 else max(cell.stacked or (cell.text,), key=len)


def _short(column: Column) -> str:
    return column.short or column.title


def _parts(rows: Sequence[Row], scale: float, height: float, last: float) -> list[list[Row]]:
    """Cut rows into parts that fit a page, the last one above the notes; what belongs to a row stays with it."""
    blocks: list[list[Row]] = []
    for row in rows:
        if row.kind == "measured" and blocks:
            blocks[-1].append(row)
        else:
            blocks.append([row])
    parts: list[list[Row]] = [[]]
    used = 0.0
    # every part has its head, rules and caption
    head = 6 * _LINE
    left = sum(map(_height, rows)) * scale
    for block in blocks:
        size = sum(map(_height, block)) * scale
        room = (last if used + left + head <= height else height) - head
        if parts[-1] and used + size > room:
            parts.append([])
            used = 0.0
        parts[-1].extend(block)
        used, left = used + size, left - size
    return parts


def _height(row: Row) -> float:
    return _LINE * max(1, *(len(cell.stacked) for cell in row.cells), 1)


def _lines(note: str, width: float) -> int:
    return -(-len(note) // int(_NOTE_CHARS * width / _PAGE[0]))


def _float(
    table: Table, shape: _Shape, rows: Sequence[Row], number: int, parts: int, notes: Sequence[str]
) -> str:
    again = "" if parts == 1 else f" (part {number} of {parts})"
    caption = f"{tex_text(table.title, breakable=True)}{again}."
    if number == 1:
        caption += f" {tex_text(table.caption, breakable=True)}"
    lines = [r"\begin{table}[p]" if shape.turned or parts > 1 else r"\begin{table}[tp]", r"\sloppy\centering\small"]
    if shape.turned:
        lines.append(r"\rotatebox{90}{\begin{minipage}{0.95\textheight}\sloppy\centering\small")
    lines.extend([f"\\caption{{{caption}}}", *_tabular(table, rows)])
    lines.extend(f"\\par\\raggedright\\footnotesize {note}" for note in notes)
    if shape.turned:
        lines.append(r"\end{minipage}}")
    return "\n".join([*lines, r"\end{table}"]) + "\n"


def _tabular(table: Table, rows: Sequence[Row]) -> Iterator[str]:
    align = "".join("r" if column.numeric else "l" for column in table.columns)
    # as wide as it is, or as the line where it is wider
    yield r"\resizebox{\ifdim\width>\linewidth\linewidth\else\width\fi}{!}{%"
    yield f"\\begin{{tabular}}{{{align}}}"
    yield r"\toprule"
    yield from _groups(table.columns)
    yield " & ".join(tex_text(_short(column)) for column in table.columns) + r" \\"
    yield r"\midrule"
    before = ""
    for row in rows:
        if before == "measured" and row.kind != "measured":
            yield r"\addlinespace"
        yield _row(row)
        before = row.kind
    yield r"\bottomrule"
    yield r"\end{tabular}}"


def _groups(columns: Sequence[Column]) -> Iterator[str]:
    """Yield the line of headings over columns of a group, and the rules below them."""
    if not any(column.group for column in columns):
        return
    cells, rules = [], []
    start = 0
    while start < len(columns):
        group = columns[start].group
        end = start + 1
        while group and end < len(columns) and columns[end].group == group:
            end += 1
        cells.append(f"\\multicolumn{{{end - start}}}{{c}}{{{tex_text(group)}}}" if group else "")
        if group:
            rules.append(f"\\cmidrule(lr){{{start + 1}-{end}}}")
        start = end
    yield " & ".join(cells) + r" \\"
    yield "".join(rules)


def _row(row: Row) -> str:
    parts = [tex_text(row.head) + _letters(row.letters)]
    skip = 0
    for cell in row.cells:
        if skip:
            skip -= 1
            continue
        parts.append(_cell(cell))
        skip = cell.span - 1
    return " & ".join(parts) + r" \\"


def _cell(cell: Cell) -> str:
    first, *others = cell.stacked or (cell.text,)
    text = tex_text(first)
    if cell.rank:
        text = f"\\{'textbf' if cell.rank == 'best' else 'underline'}{{{text}}}"
    if others:
        below = "".join("\\\\" + tex_text(other) for other in others)
        text = f"\\shortstack[r]{{{text}{below}}}"
    return f"\\multicolumn{{{cell.span}}}{{l}}{{{text}}}" if cell.span > 1 else text


def _letters(letters: Sequence[str]) -> str:
    return f"$^{{{','.join(letters)}}}$" if letters else ""


def _notes(table: Table) -> Iterator[str]:
    if any(cell.rank for row in table.rows for cell in row.cells):
        yield "Bold: best; underlined: second best."
    yield from (tex_text(rule, breakable=True) for rule in table.rules)
    yield from (f"{_letters([letter])} {tex_text(note, breakable=True)}" for letter, note in table.footnotes)


def _text(notes: Sequence[str]) -> str:
    lines = "".join(f"{note}\\par\n" for note in notes)
    return f"{{\\sloppy\\raggedright\\footnotesize\n{lines}}}\n"
