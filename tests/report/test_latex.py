"""LaTeX: ASCII out of any text, tables that fit their page, and a document that pdflatex takes."""

import re
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gkdbench.report.comparison import compare
from gkdbench.report.latex import latex, latex_document
from gkdbench.report.layout import Cell, Column, Row, Table
from gkdbench.report.study_rows import filled_tables
from gkdbench.report.study_tables import published_tables
from gkdbench.report.tables import comparison_tables
from gkdbench.report.tex_page import column_parts, row_parts, shape_of
from gkdbench.report.tex_text import tex_text
from gkdbench.runs.record import Record

MakeRecord = Callable[..., Record]
HOSTILE = "<script>&%$#_{}~^\\ [x] *y* 'q' `z` ?` --opt – → ± − αΩς 😀 漢 é č ń \x01 \u202e “a” " + "x" * 200
SPECIAL = re.compile(r"(?<!\\)[&%#_]")


def compile_tex(folder: Path, document: str) -> str:
    """Run pdflatex and return its log; skip where there is none."""
    if shutil.which("pdflatex") is None:
        pytest.skip("pdflatex is not installed")
    (folder / "all.tex").write_text(document, encoding="ascii")
    command = ["pdflatex", "-interaction=nonstopmode", "-halt-on-error", "-no-shell-escape", "all.tex"]
    done = subprocess.run(command, cwd=folder, capture_output=True, check=False, timeout=120)
    log = (folder / "all.log").read_text(encoding="latin-1")
    assert done.returncode == 0, "\n".join(line for line in log.splitlines() if line.startswith(("!", "l.")))
    return log


def faults(log: str) -> list[str]:
    """Return what lies outside its page or line, by more than a hair."""
    wide = [float(width) for width in re.findall(r"Overfull \\hbox \(([\d.]+)pt", log)]
    return [*(f"{width} pt too wide" for width in wide if width > 2), *re.findall(r"Float too large.*", log)]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("a_b & 50 %", r"a\_b \& 50 \%"),
        ("#{x}$", r"\#\{x\}\$"),
        ("~57.9", r"$\sim$57.9"),
        ("^\\", r"\textasciicircum{}\textbackslash{}"),
        ("57.9 ± 0.8 (−0.4)", r"57.9 $\pm$ 0.8 ($-$0.4)"),
        ("GTAV → Avg – x", r"GTAV $\to$ Avg -- x"),
        ("--opt ---", r"-{}-opt -{}-{}-"),
        ("[a]*", "{[}a{]}{*}"),
        ("é č Å ß", r"\'{e} \v{c} \r{A} \ss{}"),
        ("αΩ ς", r"$\alpha$$\Omega$ {[}U+03C2{]}"),
        ("😀", "{[}U+1F600{]}"),
        ("a\n \tb\x01", "a b{[}U+0001{]}"),
    ],
)
def test_text(text: str, expected: str) -> None:
    assert tex_text(text) == expected


@given(st.text())
def test_any_text_is_ascii_of_one_line_with_balanced_braces(text: str) -> None:
    for breakable in (False, True):
        found = tex_text(text, breakable)
        assert found.isascii() and "\n" not in found and found.isprintable()
        plain = re.sub(r"\\[{}\\]", "", found)
        assert plain.count("{") == plain.count("}")
        assert not SPECIAL.search(found)


def wide_table(columns: int, rows: int, text: str = "57.9 ± 10.2", note: str = "A note.") -> Table:
    stacked = (text, "(−0.4, outside)")
    return Table(
        slug="wide",
        title="Wide",
        caption="A caption.",
        columns=(
            Column("method", False),
            *(Column(f"G{i // 4} → t{i}", group=f"G{i // 4}", short=f"t{i}") for i in range(columns)),
        ),
        rows=tuple(
            Row(
                f"method {number}",
                tuple(Cell(" ".join(stacked), float(i), stacked=stacked) for i in range(columns)),
                kind="measured" if number % 2 else "plain",
            )
            for number in range(rows)
        ),
        rules=(note,),
    )


def test_small_tables_are_one_upright_float() -> None:
    table = wide_table(3, 4)
    text = latex(table)
    assert text.count(r"\begin{table}") == 1 and "rotatebox" not in text and "part 1" not in text
    assert r"\multicolumn{3}{c}{G0}" in text and r"\cmidrule(lr){2-4}" in text
    assert r"\shortstack[r]{57.9 $\pm$ 10.2\\($-$0.4, outside)}" in text


def test_wide_tables_are_turned_then_cut_between_groups() -> None:
    assert shape_of(wide_table(8, 4)).turned
    pieces = list(column_parts(wide_table(24, 4)))
    assert len(pieces) > 1 and all(shape_of(piece).scale >= 0.55 for piece in pieces)
    assert [c.title for piece in pieces for c in piece.columns[1:]] == [c.title for c in wide_table(24, 4).columns[1:]]
    groups = [{column.group for column in piece.columns[1:]} for piece in pieces]
    assert not any(one & other for number, one in enumerate(groups) for other in groups[:number])
    assert all(piece.columns[0].title == "method" for piece in pieces)


def test_long_tables_are_cut_between_rows_that_do_not_belong_together() -> None:
    table = wide_table(3, 120)
    parts = row_parts(table, shape_of(table), last=10)
    assert len(parts) > 1 and [row for part in parts for row in part] == list(table.rows)
    assert all(part[0].kind == "plain" for part in parts)


def test_cells_over_several_columns_are_cut_too() -> None:
    table = wide_table(24, 2)
    joined = Row("failed", (Cell("out of memory", span=24), *[Cell("–")] * 23), kind="status")
    pieces = list(column_parts(Table(**{**vars(table), "rows": (*table.rows, joined)})))
    for piece in pieces:
        first = piece.rows[-1].cells[0]
        assert (first.text, first.span) == ("out of memory", len(piece.columns) - 1)
        assert len(piece.rows[-1].cells) == len(piece.columns) - 1


def test_many_notes_have_pages_of_their_own() -> None:
    table = Table(**{**vars(wide_table(3, 4)), "rules": tuple(f"Note {i}: " + "word " * 40 for i in range(60))})
    text = latex(table)
    assert text.count("Notes to Wide:") > 1
    assert [int(n) for n in re.findall(r"Note (\d+):", text)] == list(range(60))


def test_published_tables_compile_and_fit(tmp_path: Path) -> None:
    log = compile_tex(tmp_path, latex_document(published_tables(filled_tables((), {}))))
    assert faults(log) == []


def test_measured_tables_with_hostile_names_compile_and_fit(
    make: MakeRecord, study: MakeRecord, matrix: list[Record], tmp_path: Path
) -> None:
    odd = make("gkd", 7, run_id="odd", spec_method=HOSTILE, marks=[HOSTILE], spec_options={HOSTILE: HOSTILE})
    failed = make("cwd", 3, run_id="failed", spec_method=f"[{HOSTILE}", status="failed", reason=HOSTILE, summary=None)
    names = study("gtav", "cwd", 0, [45.0, 44.0, 50.0], "dinov2-b:deit-s", spec_options={HOSTILE: HOSTILE})
    rows = [
        study(name, method, seed, [40.0 + seed + i for i in range(count)], pair)
        for name, count in {"gtav": 3, "cityscapes": 4, "potsdam-rgb": 2}.items()
        for method in ("gkd", "cwd", "vanilla_kd", "finetune", "teacher")
        for pair in ("dinov2-b:deit-s", "dinov2-l:deit-b")
        for seed in range(3)
    ]
    records = [*matrix, odd, failed, names, *rows]
    measured = [table for comparison in compare(records, {}) for table in comparison_tables(comparison)]
    tables = [*published_tables(filled_tables(records, {})), *measured]
    document = latex_document(tables)
    assert "<script>" not in document
    assert faults(compile_tex(tmp_path, document)) == []


def test_each_file_stands_alone(tmp_path: Path) -> None:
    """What is included needs no more than the two packages that its first line names."""
    table = published_tables(filled_tables((), {}))[0]
    (tmp_path / "table.tex").write_text(latex(table), encoding="ascii")
    document = r"\documentclass{article}\usepackage{booktabs,graphicx}\begin{document}\input{table}\end{document}"
    assert faults(compile_tex(tmp_path, document)) == []
