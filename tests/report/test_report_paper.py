"""The published numbers: every cell of the packaged CSV files is shown exactly, and nothing else."""

import csv
import io
from collections import Counter
from pathlib import Path

import pytest

from gkdbench.report.build import build_report
from gkdbench.report.paper import paper_tables, published_files, read_published
from gkdbench.report.writers import wide_csv

ROWS = {
    "table1": 216,
    "table6": 33,
    "table7": 36,
    "table8": 126,
    "table9": 5,
    "table10": 5,
    "review_note": 22,
    "fig2_radar": 100,
    "third_party": 23,
}


def printed(value: str, approximate: bool) -> str:
    return f"~{value}" if approximate else value


def test_all_files_are_packaged() -> None:
    files = published_files()
    assert {name: len(read_published(text, name)) for name, text in files.items()} == ROWS
    assert list(files)[:3] == ["table1", "table6", "table7"]


def test_every_cell_is_shown_exactly() -> None:
    """Walk from each CSV line to its cell by table, method, facts and column title."""
    tables = paper_tables()
    seen = 0
    for name, text in published_files().items():
        file = f"results/paper/{name}.csv."
        own = [table for table in tables if any(rule.endswith(file) for rule in table.rules)]
        values = Counter(
            cell.text
            for table in own
            for row in table.rows
            for cell, column in zip(row.cells, table.columns[1:], strict=True)
            if " → " in column.title and cell.number is not None
        )
        numbers = read_published(text, name)
        assert values == Counter(printed(n.value, n.approximate) for n in numbers)
        for number in numbers:
            matches = [
                row.cells[index].text
                for table in own
                for row in table.rows
                for index, column in enumerate(table.columns[1:])
                if column.title == f"{number.source} → {number.target}"
                and row.head == number.method
                and all(
                    fact in table.caption or fact in {cell.text for cell in row.cells} for fact in number.key if fact
                )
            ]
            assert printed(number.value, number.approximate) in matches
            seen += 1
    assert seen == sum(ROWS.values())


def test_wide_csv_of_a_published_table_holds_the_printed_values() -> None:
    table = next(table for table in paper_tables() if table.slug == "paper-table1")
    lines = list(csv.DictReader(io.StringIO(wide_csv(table))))
    gkd = [line for line in lines if line["method"] == "GKD"]
    assert [line["GTAV → Avg"] for line in gkd] == ["57.9", "54.1"]
    assert [line["Potsdam-RGB → Vaihingen-IRRG"] for line in gkd] == ["55.6", "48.7"]


def test_approximate_values_carry_a_tilde() -> None:
    tables = paper_tables()
    tildes = [cell.text for table in tables for row in table.rows for cell in row.cells if cell.text.startswith("~")]
    assert len(tildes) == 23 + 3
    assert "~53" in tildes


def test_others_numbers_are_not_called_the_papers() -> None:
    for table in paper_tables():
        second_hand = "third_party" in str(table.rules) or "review_note" in str(table.rules)
        assert ("arXiv 2603.02554" in table.rules[0]) != second_hand


@pytest.mark.parametrize("make_results", [True, False])
def test_paper_only_needs_no_results(tmp_path: Path, make_results: bool) -> None:
    results = tmp_path / "results"
    if make_results:
        results.mkdir()
    report = build_report(results, tmp_path / "out", paper_only=True)
    assert (report.records, report.tables, report.skipped) == (0, 0, ())
    assert "No records" not in report.markdown
    page = (tmp_path / "out" / "report.html").read_text(encoding="utf-8")
    assert "No records" not in page and "Table 8: F2L, DINO students" in page
    # The merged file has every source line, unchanged.
    merged = (tmp_path / "out" / "published.csv").read_text(encoding="utf-8").splitlines()
    sources = [line for text in published_files().values() for line in text.splitlines()[1:]]
    assert merged[1:] == sources
