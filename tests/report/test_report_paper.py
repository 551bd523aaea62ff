"""The published numbers: every cell of the packaged CSV files is shown exactly, in every format, and nothing else."""

import csv
import io
import os
import re
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest

from gkdbench.report.build import build_report
from gkdbench.report.latex import latex
from gkdbench.report.layout import Row, Table
from gkdbench.report.paper import Published, paper_tables, published_files, read_published
from gkdbench.report.study_entries import study_csv
from gkdbench.report.study_rows import filled_tables
from gkdbench.report.study_tables import published_tables
from gkdbench.report.tex_text import tex_text
from gkdbench.report.writers import markdown, plain_md, wide_csv

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
LAID_OUT = {"table1", "table6", "table7", "table8", "table9", "table10", "fig2_radar"}
TITLES = {
    "Cityscapes → ACDC-night": "Cityscapes → Night",
    "Cityscapes → ACDC-snow": "Cityscapes → Snow",
    "Cityscapes → ACDC-fog": "Cityscapes → Fog",
    "Cityscapes → ACDC-rain": "Cityscapes → Rain",
    "GTAV → Cityscapes": "GTAV → Citys",
    "GTAV → BDD100K": "GTAV → BDD",
    "GTAV → Mapillary": "GTAV → Map",
    "Potsdam-RGB → Potsdam-IRRG": "Potsdam-RGB → P-I",
    "Potsdam-RGB → Vaihingen-IRRG": "Potsdam-RGB → V-I",
    "EndoVis18 seq 1-4 → EndoVis18 seq 5-7": "EndoVis18 → seq 5-7",
    "Pascal VOC → Pascal VOC-corruptions": "Pascal VOC → VOC-C",
}
RADAR = {
    "GTAV → Cityscapes": "G2C",
    "GTAV → BDD100K": "G2B",
    "GTAV → Mapillary": "G2M",
    "Cityscapes → ACDC Avg": "C2A",
    "Potsdam-RGB → Avg(P-I,V-I)": "P2R",
}


def title_of(number: Published) -> str:
    title = f"{number.source} → {number.target}"
    return RADAR[title] if number.table == "Fig2" else TITLES.get(title, title)


def every_number() -> Iterator[tuple[str, Published]]:
    for name, text in published_files().items():
        yield from ((name, number) for number in read_published(text, name))


def tables_of(file: str, tables: tuple[Table, ...]) -> list[Table]:
    return [table for table in tables if any(rule.endswith(f"results/paper/{file}.csv.") for rule in table.rules)]


def says(table: Table, row: Row, fact: str) -> bool:
    return fact in table.caption or any(fact in cell.text for cell in row.cells)


def places_of(number: Published, file: str, tables: tuple[Table, ...]) -> list[tuple[Table, int, int]]:
    """Return where a number stands: table, row and cell that agree with every field of its line in the CSV."""
    return [
        (table, at, index)
        for table in tables_of(file, tables)
        for at, row in enumerate(table.rows)
        for index, column in enumerate(table.columns[1:])
        if column.title == title_of(number)
        and row.head == number.method
        and row.cells[index].number is not None
        and all(says(table, row, fact) for fact in number.key if fact)
    ]


def test_all_files_are_packaged() -> None:
    files = published_files()
    assert {name: len(read_published(text, name)) for name, text in files.items()} == ROWS
    assert list(files)[:3] == ["table1", "table6", "table7"]


def test_every_cell_is_shown_exactly_and_nothing_else() -> None:
    tables = published_tables(filled_tables((), {}))
    for name in ROWS:
        shown = Counter(
            cell.text
            for table in tables_of(name, tables)
            for row in table.rows
            for cell, column in zip(row.cells, table.columns[1:], strict=True)
            if cell.number is not None and column.title != "parameters, M"
        )
        assert shown == Counter(number.text for file, number in every_number() if file == name)


def test_every_line_of_the_csv_has_its_cell_in_markdown_and_csv() -> None:
    """Walk from each CSV line to its cell by table, method, facts and column, and read it where writers put it."""
    tables = published_tables(filled_tables((), {}))
    in_markdown = {
        table.slug: [line[2:-2].split(" | ") for line in markdown(table).splitlines() if line.startswith("| ")][1:]
        for table in tables
    }
    in_csv = {table.slug: list(csv.reader(io.StringIO(wide_csv(table))))[1:] for table in tables}
    for file, number in every_number():
        places = places_of(number, file, tables)
        (table, at, index) = next(
            (table, at, index) for table, at, index in places if table.rows[at].cells[index].text == number.text
        )
        assert in_markdown[table.slug][at][index + 1].strip("*") == plain_md(number.text)
        assert in_csv[table.slug][at][index + 1] == number.text


def unstacked(found: re.Match[str]) -> str:
    return found[1].replace(r"\\", " ")


def latex_columns(table: Table) -> dict[tuple[str, int], list[str]]:
    """Return the cells of a table's LaTeX, without ranks, by title and which column of that title it is."""
    columns: dict[tuple[str, int], list[str]] = {}
    for part in latex(table).split(r"\toprule")[1:]:
        head, body = (text.strip().splitlines() for text in part.split(r"\bottomrule")[0].split(r"\midrule"))
        titles = re.sub(r"\\shortstack\[.\]\{(.*?)\}(?= [&\\])", unstacked, head[-1]).removesuffix(r" \\").split(" & ")
        for line in body:
            for place, cell in enumerate(line.removesuffix(r" \\").split(" & ")):
                key = (titles[place], titles[:place].count(titles[place]))
                columns.setdefault(key, []).append(re.sub(r"^\\(?:textbf|underline)\{(.*)\}$", r"\1", cell))
    return columns


@pytest.mark.parametrize("table", published_tables(filled_tables((), {})), ids=lambda table: table.slug)
def test_latex_has_the_cells_in_their_places(table: Table) -> None:
    found = latex_columns(table)
    titles = [column.short or column.title for column in table.columns]
    for index, title in enumerate(titles[1:]):
        expected = [row.cells[index] for row in table.rows]
        if any(cell.number is not None for cell in expected) and "parameters" not in title:
            assert found[tex_text(title), titles[: index + 1].count(title)] == [tex_text(c.text) for c in expected]


def test_the_tidy_csv_has_every_number_of_the_laid_out_tables() -> None:
    lines = list(csv.DictReader(io.StringIO(study_csv(filled_tables((), {})))))
    assert {line["line"] for line in lines} == {"published"}
    facts = ("method", "setting", "role", "teacher", "teacher_arch", "student_init", "arch", "decoder", "params_m")
    keys = (*facts, "metric", "source", "target", "approximate")
    # a name that begins with + is kept from being a formula
    shown = Counter(tuple(line[key].removeprefix("'") for key in (*keys, "published")) for line in lines)
    printed = Counter(
        tuple(line[key] for key in (*keys, "value"))
        for name, text in published_files().items()
        for line in csv.DictReader(io.StringIO(text))
        if name in LAID_OUT or line["table"] == "review-note ablation"
    )
    assert shown == printed


def test_the_packaged_numbers_are_those_of_the_protocol() -> None:
    shared = os.environ.get("GKDBENCH_SHARED")
    if not shared:
        pytest.skip("GKDBENCH_SHARED names no folder with the protocol's tables")
    for name, text in published_files().items():
        original = (Path(shared) / "protocol" / "paper_tables" / f"{name}.csv").read_text(encoding="utf-8")
        assert list(csv.DictReader(io.StringIO(text))) == list(csv.DictReader(io.StringIO(original)))


def test_wide_csv_of_a_published_table_holds_the_printed_values() -> None:
    table = next(table for table in published_tables(filled_tables((), {})) if table.slug == "paper-table1")
    lines = list(csv.DictReader(io.StringIO(wide_csv(table))))
    gkd = [line for line in lines if line["method"] == "GKD"]
    assert [line["GTAV → Avg"] for line in gkd] == ["57.9", "54.1"]
    assert [line["Potsdam-RGB → V-I"] for line in gkd] == ["55.6", "48.7"]


def test_approximate_values_carry_a_tilde() -> None:
    tables = published_tables(filled_tables((), {}))
    tildes = [cell.text for table in tables for row in table.rows for cell in row.cells if cell.text.startswith("~")]
    assert len(tildes) == 23 + 3
    assert "~53" in tildes


def test_others_numbers_are_not_called_the_papers() -> None:
    for table in published_tables(filled_tables((), {})):
        second_hand = "third_party" in str(table.rules) or "review_note" in str(table.rules)
        assert ("arXiv 2603.02554" in table.rules[0]) != second_hand


def test_tables_without_a_layout_are_pivoted() -> None:
    whole = paper_tables()
    assert len(whole) == 11
    left = paper_tables(without={("table1", "1"), ("review_note", "review-note ablation")})
    assert {table.slug for table in whole} - {table.slug for table in left} == {
        "paper-table1",
        "paper-review-note-review-note-ablation",
    }


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
