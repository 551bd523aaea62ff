"""The page of two runs, without a browser."""

from pathlib import Path

import pytest
from typer.testing import CliRunner

from gkdbench.cli.main import app
from gkdbench.report.compare_page import matrix_table, render_comparison, splits_table
from gkdbench.report.forest import Dot, forest
from gkdbench.report.image_counts import read_image_counts
from gkdbench.report.run_comparison import RunComparison, compare_runs
from gkdbench.runs.record import find_record

RESULTS = Path(__file__).resolve().parents[2] / "results"
FIRST, SECOND = "streets-f2l-finetune-s0", "streets-f2l-vanilla_kd-s0"


def compared(with_counts: bool = True) -> RunComparison:
    first, second = (find_record(name, RESULTS) for name in (FIRST, SECOND))
    counts = [
        read_image_counts(RESULTS / "published" / one.run_id, len(one.classes)) if with_counts else {}
        for one in (first, second)
    ]
    return compare_runs(first, second, (counts[0], counts[1]))


def test_tables_hold_the_numbers_behind_what_they_show() -> None:
    found = compared()
    splits = splits_table(found)
    for row in splits.rows:
        one = found.splits[row.head]
        assert one.difference is not None
        assert [cell.number for cell in row.cells] == [
            one.first, one.second, one.second - one.first, one.difference.low, one.difference.high,
            one.difference.p, one.corrected, 200,
        ]  # fmt: skip
    assert splits.rules == ()
    for row in matrix_table(found).rows:
        for cell, one in zip(row.cells, found.splits.values(), strict=True):
            of_class = one.classes[row.head]
            assert of_class.difference is not None
            sure = not of_class.difference.low <= 0 <= of_class.difference.high
            assert (cell.rank != "") == sure
            if sure:
                assert cell.rank == ("best" if of_class.difference.value > 0 else "second")


def test_what_cannot_be_paired_says_why_and_has_no_interval() -> None:
    found = compared(with_counts=False)
    table = splits_table(found)
    assert len(table.rules) == len(found.splits) and "images.parquet" in table.rules[0]
    assert [cell.text for cell in table.rows[0].cells[3:]] == ["–"] * 5
    page = render_comparison(found)
    assert "images.parquet" in page and 'class="range"' not in page


def test_hostile_names_stay_text() -> None:
    found = compared()
    attack = "<script>alert(1)</script>\"'"
    for record in (found.first, found.second):
        record.command = attack
        record.spec.method = attack
        record.metric = attack
    found.spec[attack] = (attack, attack)
    page = render_comparison(found)
    assert attack not in page and page.count("<script") == 1


@pytest.mark.parametrize(
    ("value", "ends"), [(0.0, "−0.1 +0.1"), (0.49, "−0.5 +0.5"), (7.3, "−8 +8"), (99.0, "−100 +100")]
)
def test_the_scale_holds_the_farthest_dot(value: float, ends: str) -> None:
    drawn = forest([Dot("a", -value / 2), Dot("<b>", value, value - 0.0, value)], "label")
    assert all(f">{end}<" in drawn for end in ends.split()) and "<b>" not in drawn
    assert forest([], "label") == ""


def test_the_command_writes_the_page_and_names_what_is_in_its_way(tmp_path: Path) -> None:
    words = ["compare", FIRST, SECOND, "--results", str(RESULTS), "--html"]
    page = tmp_path / "new/compare.html"
    done = CliRunner().invoke(app, [*words, str(page)])
    assert done.exit_code == 0 and "made otherwise" in done.output and f"page: {page}" in done.output
    assert page.read_text(encoding="utf-8").startswith("<!DOCTYPE html>")
    folder = CliRunner().invoke(app, [*words, str(tmp_path)])
    assert folder.exit_code == 2 and ": a folder, and" in folder.output and "\n" not in folder.output.strip()
    blocked = CliRunner().invoke(app, [*words, str(page / "below.html")])
    assert blocked.exit_code == 3 and "Traceback" not in blocked.output
