"""Tables as LaTeX: booktabs rules, scaled to the page, turned where they are wide, in parts where they are large.

The output is ASCII and needs the packages booktabs and graphicx alone.
"""

from collections.abc import Iterable, Iterator, Sequence

from gkdbench.report.layout import Cell, Column, Row, Table
from gkdbench.report.tex_page import (
    PAGE,
    Shape,
    cell_lines,
    column_parts,
    note_height,
    row_parts,
    shape_of,
    title_lines,
    wrapped,
)
from gkdbench.report.tex_text import tex_text
from gkdbench.report.visible_text import with_minus

_MOST_NOTES = 0.4
"""Share of the height that notes may take below a table; if they need more, they have pages of their own."""


def latex(table: Table) -> str:
    """Return a table as one or more `table` floats to be included; best is bold, second best underlined."""
    notes = list(_notes(table))
    pieces = list(column_parts(table))
    last = shape_of(pieces[-1])
    needed = sum(note_height(note, last.width) for note in notes)
    apart = needed > _MOST_NOTES * last.height
    parts: list[tuple[Table, Shape, list[Row]]] = []
    for piece in pieces:
        shape = shape_of(piece)
        room = shape.height - (0 if apart or piece is not pieces[-1] else needed)
        parts.extend((piece, shape, rows) for rows in row_parts(piece, shape, room))
    floats = []
    for number, (piece, shape, rows) in enumerate(parts, start=1):
        again = f" (part {number} of {len(parts)})" if len(parts) > 1 else ""
        caption = f"{tex_text(table.title, breakable=True)}{again}."
        caption += f" {tex_text(table.caption, breakable=True)}" if number == 1 else ""
        below = notes if number == len(parts) and not apart else []
        floats.append(_float(piece, shape, rows, caption, below))
    if apart:
        floats.extend(_note_floats(table, notes))
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


def _float(table: Table, shape: Shape, rows: Sequence[Row], caption: str, notes: Sequence[str]) -> str:
    lines = [r"\begin{table}[p]" if shape.turned else r"\begin{table}[tp]", r"\centering\small\sloppy"]
    if shape.turned:
        lines.append(r"\rotatebox{90}{\begin{minipage}{0.95\textheight}\centering\small\sloppy")
    lines.extend([f"\\caption{{{caption}}}", r"\vspace{4pt}", *_tabular(table, rows)])
    if notes:
        lines.append(r"\par\raggedright\footnotesize\vspace{2pt}")
        lines.extend(f"{note}\\par" for note in notes)
    if shape.turned:
        lines.append(r"\end{minipage}}")
    return "\n".join([*lines, r"\end{table}"]) + "\n"


def _note_floats(table: Table, notes: Sequence[str]) -> Iterator[str]:
    """Yield floats of notes: text would not stay behind the table."""
    pages: list[list[str]] = [[]]
    used = 0.0
    for note in notes:
        height = note_height(note, PAGE[0])
        if pages[-1] and used + height > PAGE[1]:
            pages.append([])
            used = 0.0
        pages[-1].append(note)
        used += height
    title = tex_text(f"Notes to {table.title}:", breakable=True)
    for page in pages:
        lines = "\n".join(f"{note}\\par" for note in page)
        yield f"\\begin{{table}}[p]\n\\raggedright\\footnotesize\\sloppy\n{title}\\par\n{lines}\n\\end{{table}}\n"


def _tabular(table: Table, rows: Sequence[Row]) -> Iterator[str]:
    align = "".join("r" if column.numeric else "l" for column in table.columns)
    # as wide as it is, or as the line where it is wider
    yield r"\resizebox{\ifdim\width>\linewidth\linewidth\else\width\fi}{!}{%"
    yield f"\\begin{{tabular}}{{{align}}}"
    yield r"\toprule"
    yield from _groups(table.columns)
    titles = [
        _stack(list(map(tex_text, title_lines(table, index))), column.numeric)
        for index, column in enumerate(table.columns)
    ]
    yield " & ".join(titles) + r" \\"
    yield r"\midrule"
    before = ""
    for row in rows:
        if before == "measured" and row.kind != "measured":
            yield r"\addlinespace"
        yield _row(row, table.columns)
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


def _row(row: Row, columns: Sequence[Column]) -> str:
    parts = [_stack(list(map(tex_text, wrapped(row.head))), False) + _letters(row.letters)]
    place = 0
    while place < len(row.cells):
        cell = row.cells[place]
        parts.append(_cell(cell, columns[place + 1].numeric))
        place += cell.span
    return " & ".join(parts) + r" \\"


def _cell(cell: Cell, numeric: bool) -> str:
    if cell.span > 1:
        return f"\\multicolumn{{{cell.span}}}{{l}}{{{tex_text(cell.text)}}}"
    lines = [tex_text(with_minus(line) if numeric else line) for line in cell_lines(cell, numeric)]
    if cell.rank:
        lines[0] = f"\\{'textbf' if cell.rank == 'best' else 'underline'}{{{lines[0]}}}"
    return _stack(lines, numeric)


def _stack(lines: Sequence[str], numeric: bool) -> str:
    """Return lines one below the other."""
    if len(lines) == 1:
        return lines[0]
    below = "\\\\".join(lines)
    return f"\\shortstack[{'r' if numeric else 'l'}]{{{below}}}"


def _letters(letters: Sequence[str]) -> str:
    return f"$^{{{','.join(letters)}}}$" if letters else ""


def _notes(table: Table) -> Iterator[str]:
    if any(cell.rank for row in table.rows for cell in row.cells):
        yield "Bold: best; underlined: second best."
    yield from (tex_text(rule, breakable=True) for rule in table.rules)
    yield from (f"{_letters([letter])} {tex_text(note, breakable=True)}" for letter, note in table.footnotes)
