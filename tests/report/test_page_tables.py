"""Tables as HTML: escaped, linked with their runs, grouped heads."""

import re
from collections.abc import Callable
from html.parser import HTMLParser

from hypothesis import given
from hypothesis import strategies as st

from gkdbench.report.comparison import compare
from gkdbench.report.html_table import Link, RowFacts, header_rows, table_rows
from gkdbench.report.layout import Cell, Column, Row, Table
from gkdbench.report.row_links import ComparisonRows, RunLinks
from gkdbench.report.run_views import anchor
from gkdbench.report.tables import comparison_tables, method_table
from gkdbench.report.visible_text import visible
from gkdbench.runs.record import Record

MakeRecord = Callable[..., Record]


class Reader(HTMLParser):
    """Collect texts, attributes and the names of tags."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.attributes: list[tuple[str, str | None]] = []
        self.texts: list[str] = []
        self.feed(text)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.attributes.extend(attrs)

    def handle_data(self, data: str) -> None:
        self.texts.append(data)


def table(*rows: Row, columns: tuple[Column, ...] = (Column("name", False), Column("value"))) -> Table:
    return Table("slug", "title", "caption", columns, rows)


@given(st.text(), st.text(), st.text())
def test_whatever_the_text_it_stays_text(head: str, text: str, hover: str) -> None:
    row = Row(head, (Cell(text, 1.0, hover=hover),), letters=(head,))
    found = Reader(str(table_rows(table(row), lambda _: RowFacts((Link("a", text, hover), Link("b", head))))))
    assert set(found.tags) <= {"tr", "th", "td", "sup", "small", "a"}
    assert {name for name, _ in found.attributes} <= {"scope", "class", "data-sort", "title", "href"}
    shown = "".join(found.texts).replace("\r", "")
    # a parser reads \r as a line break; nothing else may be lost
    assert visible(text).replace("\r", "") in shown.replace("±\u00a0", "± ").replace("−", "-")
    assert visible(head).replace("\r", "") in shown


def test_numbers_are_told_to_the_script_and_no_number_is_not() -> None:
    rows = str(table_rows(table(Row("a", (Cell("1.2", 1.23456789012),)), Row("b", (Cell("x", float("nan")),)))))
    assert "data-sort=1.23456789>" in rows and rows.count("data-sort") == 1
    assert "data-sort" not in table_rows(table(Row("a", (Cell("1.2", 1.2),))), sortable=False)


def test_what_people_read_has_a_minus_sign_and_few_digits() -> None:
    one = Cell("-0.3", -0.3, precise="-0.30000000000000004")
    several = Cell("57.9 ± 1.2 (-0.4, within)", 57.9, stacked=("57.9 ± 1.2", "(-0.4, within)"))
    longer = Cell("-2.1", -2.1234, "-2.1234567")
    rows = str(table_rows(table(Row("a-1", (one,)), Row("b", (longer,)), Row("c", (several,)))))
    assert "data-sort=-0.3>−0.3</td>" in rows and ">a-1<" in rows
    assert 'title="−2.12346">−2.1</td>' in rows
    assert "57.9 ±\u00a01.2 <br>(−0.4, within)" in rows
    words = table(Row("a", (Cell("x -1", hover="-1"),)), columns=(Column("name", False), Column("words", False)))
    assert "x -1" in table_rows(words) and 'title="-1"' in table_rows(words)


def test_a_cell_over_several_columns_hides_those_behind_it() -> None:
    columns = (Column("name", False), Column("one"), Column("two"), Column("three"))
    row = Row("a", (Cell("failed", span=2), Cell("-"), Cell("0", 0.0)), kind="status")
    text = str(table_rows(table(row, columns=columns)))
    assert text.count("<td") == 2 and "colspan=2" in text and 'class="status"' in text


def test_columns_that_share_a_heading_stand_below_it() -> None:
    columns = (Column("name", False), Column("A → b", group="A", short="b"), Column("A → c", group="A", short="c"))
    text = str(header_rows(table(columns=columns)))
    assert text.count("<tr>") == 2
    assert '<th scope="colgroup" colspan=2 class="group">A</th>' in text and "rowspan=2" in text
    assert re.findall(r"data-column=(\d)", text) == ["0", "1", "2"]
    assert "button" not in header_rows(table(), sortable=False)


def test_anchors_are_plain_and_apart() -> None:
    assert anchor("streets-f2l-gkd-s0-12") == "run-streets-f2l-gkd-s0-12"
    odd = {anchor(name) for name in ("a b", "a/b", "a<b", 'a"b', "a\udcffb")}
    assert len(odd) == 5
    assert all(set(name) <= set("abcdefghijklmnopqrstuvwxyz0123456789-") for name in odd)


def test_rows_lead_to_their_runs(matrix: list[Record]) -> None:
    (comparison,) = compare(matrix)
    rows = ComparisonRows(comparison, RunLinks(matrix))
    for one in comparison_tables(comparison):
        facts = {row.head: rows.facts_in(one)(row) for row in one.rows}
        assert [link.text for link in facts["gkd"].links] == ["seed 0", "seed 1", "seed 2"]
        assert [link.title for link in facts["frozen"].links] == ["streets-f2l-frozen-s0-0a1b2c3d"]
        assert not any(found.apart for found in facts.values())


def test_rows_of_one_name_lead_each_to_its_own_runs(make: MakeRecord) -> None:
    records = [
        make("gkd", 0),
        make("gkd", 1, marks=["limit"]),
        make("gkd", 2, status="failed", reason="loss is NaN", summary=None),
    ]
    (comparison,) = compare(records)
    methods = method_table(comparison)
    facts = ComparisonRows(comparison, RunLinks(records)).facts_in(methods)
    found = [(row.kind, *(link.text for link in facts(row).links), facts(row).apart) for row in methods.rows]
    assert sorted(found) == [("plain", "seed 0", False), ("plain", "seed 1", True), ("status", "seed 2", False)]
