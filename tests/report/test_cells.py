"""Foreign text in a table is text wherever the table is read: in a spreadsheet, a browser, an editor, a terminal."""

import csv
import io
from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gkdbench.report.html_table import table_rows
from gkdbench.report.latex import latex
from gkdbench.report.layout import Cell, Column, Row, Table
from gkdbench.report.visible_text import csv_cell, visible
from gkdbench.report.writers import long_csv, markdown, wide_csv
from gkdbench.runs.record import Record

ACTING = ["\x00", "\x07", "\x1b", "\x7f", "\x9b", "\u202e", "\u2066", "\u200f", "\r"]
FORMULAS = ["=1+1", "+cmd|' /C calc'!A0", "-2+3", "@SUM(A1)", "\t=1", "\r=1", "  =1", "\n@x", "-", "\uff1d1", "-1e5x"]
NUMBERS = ["-3.2", "+1.25", "-1,234.5", "-1e-05", "-3.2 ± 0.4", "+3.3*", "+3.3**", "-inf", "3.2", "-0"]


def table(text: str) -> Table:
    return Table(
        slug="s", title=text, caption=text, columns=(Column("name", False), Column("value", False)),
        rows=(Row(text, (Cell(text),), letters=("a",)),), rules=(text,), footnotes=(("a", text),)
    )  # fmt: skip


def csv_rows(text: str) -> list[list[str]]:
    return list(csv.reader(io.StringIO(text)))


@pytest.mark.parametrize("formula", FORMULAS)
def test_no_cell_of_csv_is_a_formula(formula: str) -> None:
    (_, row) = csv_rows(wide_csv(table(formula)))
    assert row == [f"'{' '.join(formula.split())}"] * 3


@pytest.mark.parametrize("number", NUMBERS)
def test_numbers_stay_numbers(number: str) -> None:
    assert csv_rows(wide_csv(table(number)))[1] == [number] * 3


@given(st.floats())
def test_no_number_that_is_written_unrounded_is_taken_for_a_formula(value: float) -> None:
    assert csv_cell(repr(value)) == repr(value)


@given(st.text())
def test_cells_of_csv_begin_no_formula_and_hold_nothing_that_acts(text: str) -> None:
    cell = csv_cell(text)
    assert cell == visible(cell) and "\n" not in cell
    if cell.startswith(("=", "+", "-", "@")):
        float(cell.split(" ")[0].rstrip("*").replace(",", ""))


@pytest.mark.parametrize("acting", ACTING)
@pytest.mark.parametrize("write", [wide_csv, markdown, latex, lambda one: str(table_rows(one))])
def test_what_acts_on_its_surroundings_is_in_no_file(write: Callable[[Table], str], acting: str) -> None:
    written = write(table(f"a{acting}b"))
    assert acting not in written and written.count("a") >= 2


def test_the_long_csv_is_guarded_too(make: Callable[..., Record]) -> None:
    record = make("gkd", spec_pair="=a:b", spec_options={"x": "@y"}, marks=["-2+3\x1b"], spec_method="+gkd", run_id="r")
    rows = list(csv.DictReader(io.StringIO(long_csv([record]))))
    assert {(row["pair"], row["method"], row["marks"]) for row in rows} == {("'=a:b", "'+gkd", "'-2+3[U+001B]")}
    gap = next(row["value"] for row in rows if row["split"] == "gap")
    assert record.summary is not None and gap == repr(record.summary.gap)
