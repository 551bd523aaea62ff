"""Detectors in the report: corruptions taken together, AP50 by its name, no statistics that AP does not have."""

import csv
import io
import json
from collections.abc import Callable
from itertools import product
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from gkdbench.cli.main import app
from gkdbench.report.build import build_report
from gkdbench.report.comparison import Comparison, compare
from gkdbench.report.corruptions import targets_told
from gkdbench.report.evidence import evidence
from gkdbench.report.evidence_tables import evidence_tables
from gkdbench.report.layout import Table
from gkdbench.report.pairing import OTHER_DATA
from gkdbench.report.run_comparison import compare_runs
from gkdbench.report.run_views import run_views
from gkdbench.report.score_checks import score_findings
from gkdbench.report.tables import class_table, comparison_tables, method_table
from gkdbench.report.terminal import terminal_tables
from gkdbench.report.writers import long_csv
from gkdbench.runs.record import Record

MakeRecord = Callable[..., Record]
Store = Callable[..., Path]
CLASSES = ["car", "person"]
DOMAINS = ["night", "fog"]
MADE = {f"{kind}-{level}": (kind, level) for kind, level in product(("blur", "noise"), (1, 3, 5))}
METRICS = {"ap50_11point": 51.0, "coco_ap": 22.5, "coco_ap75": 9.0, "coco_ap_small": 22.0}


def found(value: float, per_class: dict[str, float | None] | None = None) -> dict[str, Any]:
    return {
        "value": value,
        "metrics": METRICS,
        "per_class": per_class or {"car": value + 4, "person": value - 4},
        "classes_in_mean": 2,
        "never_predicted": [],
        "confusion": [],
        "n_images": 20,
        "protocol": {"resize": [64, 128], "window": None},
    }


@pytest.fixture
def detector(make: MakeRecord) -> MakeRecord:
    """Return a function that makes a detector's record: in-domain 50 + more, domains, and 6 corruptions."""

    def one(method: str = "gkd", seed: int = 0, more: float = 0.0, **changes: Any) -> Record:
        # 30, 20, 10 by severity under blur, 10 more under noise: mPC 25
        values = {name: more + 10 * (kind == "noise") + 35 - 5 * (2 * (level // 2) + 1) for name, (kind, level)
                  in MADE.items()}  # fmt: skip
        mpc = sum(values.values()) / len(values)
        inside = 50.0 + more
        targets = {"night": found(12.0 + more), "fog": found(32.0 + more)}
        targets |= {name: found(value) for name, value in values.items()}
        ood = 22.0 + more
        summary = {"in_domain": inside, "ood": ood, "gap": inside - ood, "worst_target": "blur-5", "mpc": mpc,
                   "rpc": 100 * mpc / inside}  # fmt: skip
        stated: dict[str, Any] = {
            "metric": "AP50",
            "mean_rule": "with_objects",
            "classes": CLASSES,
            "ood_targets": DOMAINS,
            "corruptions": {name: {"kind": kind, "severity": level} for name, (kind, level) in MADE.items()},
            "spec_task": "detection",
            "spec_targets": list(targets),
            "in_domain": found(inside),
            "targets": targets,
            "summary": summary,
        }
        return make(method, seed, **stated | changes)

    return one


@pytest.fixture
def comparison(detector: MakeRecord) -> Comparison:
    records = [detector("teacher", 0, 9.0), detector("finetune", 0), detector("finetune", 1, 1.0)]
    (found,) = compare([*records, detector("gkd", 0, 5.0), detector("gkd", 1, 7.0)])
    return found


def cells(table: Table) -> list[dict[str, str]]:
    titles = [column.title for column in table.columns]
    return [dict(zip(titles, [row.head, *(c.text for c in row.cells)], strict=True)) for row in table.rows]


def test_corruptions_are_two_columns_of_the_method_table(comparison: Comparison, detector: MakeRecord) -> None:
    table = method_table(comparison)
    titles = [column.title for column in table.columns]
    assert titles == ["method", "in-domain", "night", "fog", "OOD mean", "gap", "mPC", "rPC, %", "n"]
    (finetune,) = [row for row in cells(table) if row["method"] == "finetune"]
    # mPC 25 and 26, rPC 50.0 and 26 / 51 = 51.0
    assert finetune["mPC"].startswith("25.5 ±") and finetune["rPC, %"].startswith("50.5 ±")
    rank = {row.head: {title: cell.rank for title, cell in zip(titles[1:], row.cells, strict=True)} for row in
            table.rows}  # fmt: skip
    assert rank["gkd"]["mPC"] == "best" and rank["gkd"]["rPC, %"] == "" and rank["teacher"]["mPC"] == ""
    rules = " ".join(table.rules)
    assert "a class without an object that counts is skipped" in rules and "AP50 in percent" in table.caption
    assert "blur and noise at severities 1, 3, 5" in rules and "targets night, fog. Gap" in rules
    (shown,) = terminal_tables([detector()])
    assert shown.rows[0] == tuple(titles)


def test_each_corruption_stands_in_a_table_of_its_own(comparison: Comparison) -> None:
    _, table, *_ = comparison_tables(comparison)
    assert table.title.startswith("Corruptions: ") and table.slug.endswith("-corruptions")
    assert [column.title for column in table.columns] == ["method", "severity", "blur", "noise", "all kinds"]
    rows = [row for row in cells(table) if row["method"] == "teacher"]
    assert [(row["severity"], row["blur"], row["noise"], row["all kinds"]) for row in rows] == [
        ("mean", "29.0", "39.0", "34.0"), ("1", "39.0", "49.0", "44.0"), ("3", "29.0", "39.0", "34.0"),
        ("5", "19.0", "29.0", "24.0"),
    ]  # fmt: skip
    best = [row.head for row in table.rows if row.cells[1].rank == "best"]
    assert best == ["gkd"] * 4


def test_a_mean_over_corruptions_needs_all_of_them(detector: MakeRecord) -> None:
    record = detector()
    del record.targets["noise-3"]
    (comparison,) = compare([record])
    _, table, *_ = comparison_tables(comparison)
    (mean, _, three, _) = cells(table)
    assert (mean["blur"], mean["noise"], mean["all kinds"]) == ("20.0", "–", "–") and three["noise"] == "–"


def test_classes_are_by_ap50_and_corruptions_one_line(comparison: Comparison) -> None:
    table = class_table(comparison)
    assert table.caption.startswith("AP50 per class")
    rows = [row for row in cells(table) if row["method"] == "teacher"]
    assert [(row["split"], row["car"]) for row in rows] == [
        ("in-domain", "63.0"), ("night", "25.0"), ("fog", "45.0"), ("all corruptions", "38.0")
    ]  # fmt: skip


def test_differences_have_no_intervals_and_say_why(comparison: Comparison, tmp_path: Path) -> None:
    tables = {table.title.split(":")[0]: table for table in evidence_tables(evidence(comparison, {}, "finetune"))}
    assert list(tables) == ["Effects", "Differences", "Over all targets"]
    table = tables["Differences"]
    assert table.caption.startswith("AP50 minus that of finetune") and "AP is no sum over images" in table.rules[0]
    (gkd,) = cells(table)
    # 5 - 0 and 7 - 1, seed by seed
    assert gkd == {"method": "gkd", "in-domain": "+5.5", "night": "+5.5", "fog": "+5.5", "n": "2"}
    assert not any("images.parquet" in rule or "*" in rule for rule in table.rules)
    (ranks,) = [row for row in cells(tables["Over all targets"]) if row["method"] == "gkd"]
    # the targets that the benchmark names, not 6 more of the same images
    assert ranks["paired"].startswith("4 pairs: 2 targets, seeds 0, 1")
    (worst,) = {row["worst target"] for row in cells(tables["Effects"])}
    assert worst == "night"


def test_wilcoxon_over_corruptions_warns_that_they_are_the_same_images(detector: MakeRecord) -> None:
    names = list(MADE)
    records = [detector(method, 0, more, ood_targets=[], spec_targets=names) for method, more in
               (("finetune", 0.0), ("gkd", 2.0))]  # fmt: skip
    for record in records:
        for name in DOMAINS:
            del record.targets[name]
    (comparison,) = compare(records)
    assert comparison.shifts == tuple(names) and comparison.singled == ()
    table = evidence_tables(evidence(comparison, {}, "finetune"))[-1]
    assert any("Corruptions are the same images again" in rule for rule in table.rules)
    assert any("targets blur and noise at severities 1, 3, 5" in rule for rule in table.rules)


def test_a_run_shows_the_figures_that_others_report(detector: MakeRecord) -> None:
    (view,) = run_views([detector()], {})
    titles = [column.title for column in view.scores.columns]
    assert titles[:6] == ["split", "AP50", "AP50, 11 points", "COCO AP", "COCO AP75", "COCO AP small"]
    assert "never detected" in titles and "mPC 25.00, rPC 50.0 %" in view.scores.rules[-1]
    assert view.classes is not None and view.classes.caption.startswith("AP50 per class in percent")


def test_the_long_csv_names_quantities(detector: MakeRecord) -> None:
    lines = list(csv.DictReader(io.StringIO(long_csv([detector()]))))
    value = {(line["quantity"], line["split"], line["class"]): line["value"] for line in lines}
    assert float(value["summary", "mPC", ""]) == 25.0 and float(value["coco_ap", "night", ""]) == 22.5
    assert float(value["AP50", "fog", "car"]) == 36.0 and not any(quantity == "IoU" for quantity, *_ in value)


def test_nothing_of_the_report_speaks_of_pixels(detector: MakeRecord, store: Store, tmp_path: Path) -> None:
    results = store(*(detector(method, seed, seed) for method in ("teacher", "finetune", "gkd") for seed in (0, 1)))
    built = build_report(results, tmp_path / "out", ["html", "md", "csv", "tex"])
    assert built.warnings == ()
    figures = (tmp_path / "out" / "figures" / "captions.md").read_text(encoding="utf-8").split("## paper-radar")[0]
    measured = built.markdown.split("## The study's tables")[0]
    ours = measured.split("### Do published averages")[0]
    for text in (figures, ours):
        assert "IoU" not in text and "pixels" not in text and "images.parquet" not in text
    assert "AP50 of every class in percent, averaged over the targets that are no corruptions and have" in figures
    drawings = {path.stem.rsplit("-", 1)[1]: path.read_text(encoding="utf-8") for path in
                (tmp_path / "out" / "figures").glob("streets-*.svg")}  # fmt: skip
    assert "AP50, %" in drawings["classes"] and "mPC" in drawings["targets"] and "blur" in drawings["corruptions"]
    assert not any("IoU" in svg or "blur-3" in svg for svg in drawings.values())


def test_targets_are_told_shortly(detector: MakeRecord) -> None:
    made = detector().corruptions
    assert targets_told(["fog", *made], made) == "fog, blur and noise at severities 1, 3, 5"
    assert targets_told(["noise-5", "blur-1"], made) == "noise at severity 5, blur at severity 1"


def test_two_detectors_side_by_side_have_no_intervals(detector: MakeRecord, store: Store, tmp_path: Path) -> None:
    first, second = detector("finetune"), detector("gkd", 0, 5.0)
    results = store(first, second)
    asked = ["compare", first.run_id, second.run_id, "--results", str(results)]
    done = CliRunner().invoke(app, [*asked, "--split", "all corruptions", "--html", str(tmp_path / "page.html")])
    assert done.exit_code == 0, done.output
    (table,) = [part for part in done.stdout.split("\n\n") if part.startswith("AP50  ")]
    header, _, *rows = [line.split() for line in table.splitlines()]
    assert header == ["AP50", "first", "second", "difference"]
    assert rows[0][-3:] == ["50.0", "55.0", "+5.0"] and rows[-1] == ["all", "corruptions", "25.0", "30.0", "+5.0"]
    assert "AP50 on all corruptions" in done.stdout and "images.parquet" not in done.output
    assert done.output.count("AP is no sum over images") == 1
    told = json.loads(CliRunner().invoke(app, [*asked, "--json"]).stdout)
    assert list(told["splits"]) == ["in-domain val", "night", "fog", *MADE]
    car = told["splits"]["fog"]["classes"]["car"]
    assert car == {"first": 36.0, "second": 41.0, "difference": None}
    page = (tmp_path / "page.html").read_text(encoding="utf-8")
    assert "IoU" not in page and "95 % interval" not in page and "not paired" not in page and "blur-3" not in page
    assert "AP is no sum over images" in page and "all corruptions: mean over blur and noise at severities" in page


def test_detectors_judged_on_other_images_say_so(detector: MakeRecord) -> None:
    first, second = detector("finetune"), detector("gkd", 0, 5.0)
    second.targets["night"].n_images = second.targets["blur-1"].n_images = 7
    told = compare_runs(first, second, ({}, {}))
    assert told.unpaired == {"night": OTHER_DATA, "all corruptions": OTHER_DATA}


def test_what_is_said_of_75_corruptions_takes_one_line(detector: MakeRecord) -> None:
    records = [detector(method) for method in ("finetune", "gkd")]
    for name in ("blur-5", "noise-5", "night"):
        records[1].targets[name].never_predicted = ["person"]
    _, protocols, never, _ = score_findings(compare(records))
    (table,) = protocols.tables
    assert [row.cells[0].text for row in table.rows] == [
        "in-domain", "night", "fog", "blur and noise at severities 1, 3, 5"
    ]  # fmt: skip
    (table,) = never.tables
    assert "never detect a class" in never.sentences[0] and "Such a class has AP50 0" in never.sentences[-1]
    assert [(row.head, *(cell.text for cell in row.cells)) for row in table.rows] == [
        ("gkd", "all corruptions", "person (on 2 of 6)"), ("gkd", "night", "person (seed 0)")
    ]  # fmt: skip
