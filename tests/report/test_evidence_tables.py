"""The statistics as tables: what is shown, what each p pairs, and what is said where there is nothing."""

import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from gkdbench.report.comparison import compare
from gkdbench.report.evidence import Evidence, evidence
from gkdbench.report.evidence_tables import evidence_tables
from gkdbench.report.latex import latex
from gkdbench.report.layout import Table
from gkdbench.report.records import installed_defaults, load_records
from gkdbench.report.writers import markdown, wide_csv
from gkdbench.runs.record import Record

MakeRecord = Callable[..., Record]
PUBLISHED = Path(__file__).resolve().parents[2] / "results" / "published"


def tables_of(found: Evidence) -> dict[str, Table]:
    return {table.heading: table for table in evidence_tables(found)}


def cells(table: Table, head: str, second: str = "") -> dict[str, str]:
    row = next(row for row in table.rows if row.head == head and second in ("", row.cells[0].text))
    return {column.title: cell.text for column, cell in zip(table.columns[1:], row.cells, strict=True)}


@pytest.fixture(scope="module")
def committed(tmp_path_factory: pytest.TempPathFactory) -> Evidence:
    """Return the evidence of some committed runs, of which one has no counts and one row fog in another order."""
    results = tmp_path_factory.mktemp("results")
    for name in ("teacher-s0", "finetune-s*", "vanilla_kd-s*", "dist-s0", "cwd-s0", "g2sd-s0"):
        for folder in PUBLISHED.glob(f"streets-f2l-{name}-*"):
            shutil.copytree(folder, results / "runs" / folder.name)
    for file in results.glob("runs/streets-f2l-dist-s0-*/images.parquet"):
        file.unlink()
    (file,) = results.glob("runs/streets-f2l-cwd-s0-*/images.parquet")
    table = pq.read_table(file)
    order = np.arange(len(table))
    fog = np.flatnonzero(np.array(table["split"].to_pylist()) == "fog")
    order[fog[:2]] = fog[1::-1]
    pq.write_table(table.take(pa.array(order)), file)
    loaded = load_records(results)
    (comparison,) = compare(loaded.records, installed_defaults(loaded.records))
    return evidence(comparison, loaded.folders)


def test_every_table_is_there(committed: Evidence) -> None:
    assert list(tables_of(committed)) == ["Effects", "Differences", "Tests", "Over all targets"]
    assert committed.baseline is not None and committed.baseline.label == "finetune"
    assert committed.ranking is not None and committed.ranking.blocks == 6 and committed.warnings == ()
    slugs = [table.slug for table in evidence_tables(committed)]
    assert len(set(slugs)) == 4 and all(slug.startswith(committed.comparison.slug) for slug in slugs)


def test_effects_are_shown_with_their_intervals(committed: Evidence) -> None:
    table = tables_of(committed)["Effects"]
    shown = cells(table, "vanilla_kd")
    # as the method table has it: 29.0 above 27.8, the same three seeds
    assert shown["OOD gain over finetune"] == "+1.2 ± 0.6" and shown["n"] == "3" and shown["worst target"] == "night"
    assert cells(table, "g2sd")["OOD gain over finetune"].startswith("+") and "±" not in cells(table, "g2sd")["gap"]
    assert cells(table, "finetune")["OOD gain over finetune"] == "–"
    assert table.rows[0].kind == "teacher" and "same seed" in table.rules[0]


def test_a_difference_says_its_interval_its_p_and_what_was_paired(committed: Evidence) -> None:
    wide, long = tables_of(committed)["Differences"], tables_of(committed)["Tests"]
    shown = cells(long, "vanilla_kd", "fog")
    assert shown["paired"] == "200 images, seeds 0, 1, 2" and shown["difference"] == "+3.3"
    assert float(shown["low"]) < 3.3 < float(shown["high"]) and float(shown["p"]) <= float(shown["p (Holm)"])
    row = next(row for row in wide.rows if row.head == "vanilla_kd")
    cell = row.cells[[column.title for column in wide.columns].index("fog") - 1]
    assert cell.text == "+3.3*" and cell.number == pytest.approx(3.3, abs=0.05)
    assert f"interval {shown['low']}"[:12] in cell.hover and cell.hover.endswith("200 images, seeds 0, 1, 2")
    assert row.cells[-1].text == "3"
    said = " ".join(wide.rules)
    assert "10,000 resamples" in said and "not about other seeds" in said and "Holm" in said


def test_what_could_not_be_paired_says_why(committed: Evidence) -> None:
    wide, long = tables_of(committed)["Differences"], tables_of(committed)["Tests"]
    dist = next(row for row in wide.rows if row.head == "dist")
    assert dist.cells[0].text == "no counts per image (seed 0)" and dist.cells[0].span == 7
    assert cells(long, "dist", "fog")["paired"] == "nothing: no counts per image (seed 0)"
    assert cells(wide, "cwd")["fog"] == "–" and cells(wide, "cwd")["rain"] != "–"
    notes = dict(wide.footnotes)
    (letter,) = next(row for row in wide.rows if row.head == "cwd").letters
    assert notes[letter] == "not paired on fog: judged on other images or labels (seed 0)."
    # 2 rows on 7 splits, one without fog: 20 tests
    assert "Of 20 tests no corrected p is below 0.0040." in " ".join(long.rules)


def test_ranks_and_signed_ranks_say_what_they_pair(committed: Evidence) -> None:
    table = tables_of(committed)["Over all targets"]
    assert cells(table, "finetune")["paired"] == "the baseline"
    assert cells(table, "vanilla_kd")["paired"] == "18 pairs: 6 targets, seeds 0, 1, 2"
    shown = cells(table, "g2sd")
    assert shown["p"] == "0.0312" and shown["paired"] == "6 pairs: 6 targets, seed 0; p cannot be below 0.0312"
    assert "teacher" not in [row.head for row in table.rows]
    said = " ".join(table.rules)
    assert (
        "no independent pairs" in said and "Friedman" in said and "Nemenyi" in said and "5 rows over 6 blocks" in said
    )


def test_every_writer_takes_them(committed: Evidence) -> None:
    for table in evidence_tables(committed):
        assert {len(row.cells) for row in table.rows} == {len(table.columns) - 1}
        assert markdown(table) and latex(table) and len(wide_csv(table).splitlines()) == len(table.rows) + 1


def test_without_a_baseline_there_are_no_gains_and_no_tests(make: MakeRecord) -> None:
    (comparison,) = compare([make("teacher"), make("gkd"), make("cwd")])
    found = evidence(comparison, {})
    tables = tables_of(found)
    assert list(tables) == ["Effects", "Over all targets"]
    assert "no comparable row of a baseline" in tables["Effects"].rules[0].lower()
    assert cells(tables["Effects"], "gkd")["OOD gain over the baseline"] == "–"
    assert found.ranking is not None


def test_runs_without_files_have_all_but_the_tests_over_images(matrix: list[Record]) -> None:
    (comparison,) = compare(matrix)
    found = evidence(comparison, {})
    tables = tables_of(found)
    assert {row.cells[0].text for row in tables["Differences"].rows} == {"no counts per image (seeds 0, 1, 2)",
                                                                        "no counts per image (seed 0)"}  # fmt: skip
    assert cells(tables["Over all targets"], "gkd")["paired"].startswith("9 pairs")
    assert evidence(comparison, {}, "vanilla_kd").baseline is not None


def test_a_table_of_very_many_tests_says_that_none_can_be_small(
    committed: Evidence, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("gkdbench.report.evidence_tables.RESAMPLES", 300)
    assert "so none can be below 0.05" in tables_of(committed)["Tests"].rules[1]


def test_nothing_is_made_of_runs_that_failed(make: MakeRecord) -> None:
    (comparison,) = compare([make("gkd", status="failed", reason="x", summary=None)])
    assert evidence_tables(evidence(comparison, {})) == ()
