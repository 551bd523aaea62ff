"""Targets that stand together, means over some targets and without some classes: columns, and a line that says so."""

import csv
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from gkdbench.metrics.confusion import score
from gkdbench.report.build import build_report
from gkdbench.report.comparison import compare
from gkdbench.report.tables import class_table, method_table
from gkdbench.report.terminal import terminal_tables
from gkdbench.runs.record import GroupResult, Record

MakeRecord = Callable[..., Record]
Store = Callable[..., Path]


def grouped(make: MakeRecord, method: str, mean: float, **changes: Any) -> Record:
    """Return a record whose OOD mean is over fog alone, with night and rain as a group."""
    record = make(method, **{"groups": {"dark": ["night", "rain"]}, "ood_targets": ["fog"], **changes})
    assert record.summary is not None
    summary = record.summary.model_dump() | {"groups": {"dark": {"mean": mean, "pooled": mean - 1.5}}}
    return Record.model_validate(record.model_dump() | {"summary": summary})


def test_groups_are_columns_of_the_method_table(make: MakeRecord) -> None:
    failed = grouped(make, "cwd", 0.0, status="failed", reason="nan")
    (comparison,) = compare([grouped(make, "gkd", 41.25), grouped(make, "finetune", 33.125), failed])
    table = method_table(comparison)
    titles = [column.title for column in table.columns]
    assert titles[5:] == ["OOD mean", "OOD without night", "dark mean", "dark pooled", "gap", "n"]
    rows = {row.head: [cell.text for cell in row.cells] for row in table.rows}
    assert rows["gkd"][6:8] == ["41.2", "39.8"] and rows["finetune"][6:8] == ["33.1", "31.6"]
    ranks = {row.head: [cell.rank for cell in row.cells[6:8]] for row in table.rows}
    assert ranks["gkd"] == ["best", "best"]
    rules = " ".join(table.rules)
    assert "unweighted mean over the targets fog." in rules
    assert "dark: the targets night, rain; their mean, and the mIoU of their pixels pooled." in rules
    (shown,) = terminal_tables([grouped(make, "gkd", 41.25)])
    assert "dark pooled" in shown.rows[0]
    assert any(note.startswith("dark: the targets night, rain;") for note in shown.notes)


def test_excluded_classes_are_named(make: MakeRecord) -> None:
    (comparison,) = compare([make("gkd", excluded_from_mean=["pole", "sky"])])
    assert method_table(comparison).rules[0].endswith("one only predicted scores 0), without pole, sky.")
    assert "In no mean: pole, sky." in class_table(comparison).rules
    assert {"pole", "sky"} <= {column.title for column in class_table(comparison).columns}


def test_records_with_other_means_make_another_table_and_others_stay_as_they_were(make: MakeRecord) -> None:
    plain = make("gkd")
    (alone,) = compare([plain])
    assert alone.groups == {} and alone.averaged == alone.targets and alone.excluded == ()
    assert [column.title for column in method_table(alone).columns][5:] == ["OOD mean", "OOD without night", "gap", "n"]
    both = compare([plain, grouped(make, "finetune", 30.0)])
    assert len(both) == 2 and {len(c.groups) for c in both} == {0, 1}
    assert len(compare([plain, make("finetune", excluded_from_mean=["sky"])])) == 2


def test_groups_nobody_scored_have_no_column(make: MakeRecord) -> None:
    (comparison,) = compare([make("gkd", groups={"dark": ["night", "snow"]})])
    assert comparison.groups == {} and "dark" not in " ".join(method_table(comparison).rules)


def test_every_writer_shows_groups(make: MakeRecord, store: Store, tmp_path: Path) -> None:
    runs = [make("gkd", 0, values, groups={"dark": ["night", "rain"]}) for values in ([60, 41.5, 50, 41.0],)]
    runs.append(make("finetune", 0, [55, 33.125, 30, 33.125], groups={"dark": ["night", "rain"]}))
    for run in runs:
        assert run.summary is not None
        two = [run.targets[name] for name in ("night", "rain")]
        pooled = score(np.sum([one.confusion for one in two], axis=0), run.mean_rule).mean
        run.summary.groups = {"dark": GroupResult(mean=(two[0].value + two[1].value) / 2, pooled=100 * pooled)}
    results = store(*runs)
    report = build_report(results, tmp_path / "out", ("html", "md", "csv", "tex"))
    assert "| dark mean | dark pooled |" in report.markdown and "dark: the targets night, rain" in report.markdown
    page = (tmp_path / "out" / "report.html").read_text(encoding="utf-8")
    assert "dark pooled" in page and "dark: the targets night, rain" in page
    with (tmp_path / "out" / "results.csv").open(encoding="utf-8", newline="") as stream:
        found = {(line["method"], line["split"]): line["value"] for line in csv.DictReader(stream)}
    assert found["gkd", "dark mean"] == "41.25" and found["finetune", "dark mean"] == "33.125"
    assert float(found["finetune", "dark pooled"]) == pooled * 100
