"""What the page tells about runs, and the page as a whole."""

import base64
import hashlib
import json
import re
from collections.abc import Callable
from pathlib import Path

import pytest

from gkdbench.report import run_views as views
from gkdbench.report.comparison import compare
from gkdbench.report.page import PageContent, Section, render_page
from gkdbench.report.run_views import run_views, runs_table, shown_protocol
from gkdbench.report.summary import glance_table, summary_sentence
from gkdbench.report.tables import comparison_tables
from gkdbench.runs.record import Protocol, Record

MakeRecord = Callable[..., Record]


def page_of(records: list[Record]) -> str:
    sections = tuple(Section(one, comparison_tables(one), ()) for one in compare(records))
    return render_page(PageContent("1", sections, (), run_views(records, {}), (), "results"))


def test_equal_recipes_and_environments_are_printed_once(matrix: list[Record]) -> None:
    page = page_of(matrix)
    assert page.count('<details id="recipe-') == 2  # of the teacher and of the students
    assert page.count('<details id="environment-') == 1
    assert page.count('href="#recipe-') == len(matrix)


def test_the_only_script_is_the_one_that_the_policy_names(matrix: list[Record]) -> None:
    page = page_of(matrix)
    (script,) = re.findall(r"<script>(.*?)</script>", page, re.DOTALL)
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    assert f"script-src &#39;sha256-{digest}&#39;" in page and "default-src &#39;none&#39;" in page


def test_two_pages_are_equal(matrix: list[Record]) -> None:
    assert page_of(matrix) == page_of(list(matrix))


def test_a_run_has_scores_classes_stages_losses(make: MakeRecord) -> None:
    (view,) = run_views([make("gkd")], {})
    assert [row.head for row in view.scores.rows] == ["in-domain", "night", "fog", "rain"]
    assert view.classes is not None and len(view.classes.rows) == 4
    assert view.stages.rows[0].head == "joint" and view.losses is not None
    assert [cell.text for cell in view.losses.rows[0].cells] == ["task", "2.01", "0.51"]
    assert dict(view.cost)["model: params"] == "1,234,567"
    assert (view.curves, view.no_curves) == ("", "")


def test_a_role_of_data_is_not_taken_for_a_stage_of_the_same_name(make: MakeRecord) -> None:
    budget = {"source": {"images": 1600, "student_passes": 1700}, "proxy": {"images": 4, "teacher_passes": 5}}
    record = make("gkd", budget=budget)
    record.stages[0].name = "source"
    (view,) = run_views([record], {})
    assert view.budget.columns[0].title == "role of the data" and view.stages.columns[0].title == "stage"
    found = [(row.head, *(cell.text for cell in row.cells)) for row in view.budget.rows]
    assert [column.title for column in view.budget.columns[1:]] == ["images", "teacher passes", "student passes"]
    assert found == [("proxy", "4", "5", "–"), ("source", "1,600", "–", "1,700")]
    assert view.budget.caption in page_of([record]) and not any("source" in key for key, _ in view.cost)


def test_a_file_beside_a_record_is_no_skipped_record(make: MakeRecord) -> None:
    views = run_views([make("gkd")], {})
    page = render_page(PageContent("1", (), (), views, (), "results", left_out=("r/images.parquet: damaged",)))
    section = page.split('<section id="left-out">')[1].split("</section>")[0]
    assert "<h2>Files that could not be read</h2>" in section and "<li>r/images.parquet: damaged</li>" in section
    assert 'href="#left-out"' in page and "Skipped records" not in page
    assert 'id="left-out"' not in page_of([make("gkd")])


def test_classes_stay_away_where_a_page_would_grow_too_large(make: MakeRecord, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(views, "MOST_CLASS_CELLS", 31)
    record = make("gkd")
    assert run_views([record], {})[0].classes is None
    page = page_of([record])
    assert "Values per class: in the tables of the comparison." in page


def test_curves_come_from_the_runs_folder_and_damage_is_told(make: MakeRecord, tmp_path: Path) -> None:
    record = make("gkd")
    stages = [{"name": "joint", "steps": [10, 20, 30], "terms": {"task": [3.0, 2.0, 1.0]}, "lr": []}]
    (tmp_path / "curves.json").write_text(json.dumps({"schema": 1, "stages": stages}))
    (view,) = run_views([record], {}, {record.run_id: tmp_path})
    assert view.curves.startswith("<svg") and view.no_curves == ""
    (tmp_path / "curves.json").write_text("{")
    (view,) = run_views([record], {}, {record.run_id: tmp_path})
    assert view.curves == "" and "curves.json: cannot be read" in view.no_curves
    (tmp_path / "curves.json").unlink()
    (view,) = run_views([record], {}, {record.run_id: tmp_path})
    assert (view.curves, view.no_curves) == ("", "")


def test_runs_without_scores_keep_their_row(make: MakeRecord) -> None:
    failed = make("gkd", status="failed", reason="no", summary=None, in_domain=None, targets={}, stages=[])
    (view,) = run_views([failed], {})
    assert view.classes is None and view.scores.rows == () and view.losses is None
    (row,) = runs_table([view]).rows
    assert [cell.text for cell in row.cells[4:9]] == ["failed", "–", "–", "–", "20.5"]
    assert "No stage recorded." in page_of([failed])


def test_protocols_are_told_in_words() -> None:
    assert shown_protocol(Protocol(resize=[64, 128], window=None)) == "64x128"
    assert shown_protocol(Protocol(resize=[], window=[512, 512], stride=[341, 341], tta=["flip"])) == (
        "own size, window 512x512 every 341x341, test-time augmentation flip"
    )
    assert shown_protocol(Protocol(resize=[64, 128], fit="short", window=None)) == "64x128, short"


def test_the_summary_names_the_best(make: MakeRecord) -> None:
    taught = {"source": {"images": 1600, "student_passes": 1600, "teacher_passes": 1600}}
    records = [
        make("teacher", values=[80, 60, 60, 60]),
        make("finetune", values=[70, 30, 30, 30]),
        make("vanilla_kd", values=[70, 40, 40, 40], budget=taught),
        make("gkd", values=[70, 50, 50, 50], budget=taught, marks=["limit"]),
        make("cwd", status="failed", reason="no", summary=None),
    ]
    assert summary_sentence(records, compare(records)).startswith(
        "5 runs (4 finished) of 5 methods on streets v1, setting F2L, seed 0: 1 comparison"
    )
    (one,) = compare(records)
    baseline = next(row for row in one.rows if row.label == "finetune")
    (row,) = glance_table([(one, baseline)]).rows
    assert [cell.text for cell in row.cells] == [
        "60.0 (n=1)", "40.0 (vanilla_kd, n=1)", "30.0 (finetune, n=1)", "30.0 (finetune, n=1)", "+10.0", "5",
    ]  # fmt: skip
    assert len(glance_table([(one, None)]).columns) == 5


def test_a_thousand_runs_make_a_page_of_bearable_size(make: MakeRecord) -> None:
    one = make("gkd")
    records = [
        one.model_copy(
            update={"run_id": f"r{i}", "spec": one.spec.model_copy(update={"seed": i, "options": {"x": i // 3}})}
        )
        for i in range(1000)
    ]
    assert len(page_of(records)) < 20 * 10**6
