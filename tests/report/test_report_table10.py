"""Table 10: what was measured on VOC under 75 corruptions beside what the paper prints."""

from collections.abc import Callable
from typing import Any

from gkdbench.report.layout import Table
from gkdbench.report.study_rows import filled_tables
from gkdbench.report.study_tables import table_of
from gkdbench.runs.record import Record
from gkdbench.spec.catalogue import find_benchmark

MakeRecord = Callable[..., Record]
PAIR = "dinov2-b:deit-s"
VOC = find_benchmark("voc").benchmark
PRINTED = {"DINOv2": "79.9", "DeiT": "49.0", "CWD": "56.3", "Vitkd": "56.6", "GKD": "72.9"}


def corrupted(study: MakeRecord, method: str, seed: int, values: list[float], **changes: Any) -> Record:
    stated = {name: {"kind": split.kind, "severity": split.severity} for name, split in VOC.targets.items()}
    mean = sum(values) / len(values)
    summary = {"in_domain": 80.0, "ood": mean, "gap": 80.0 - mean, "worst_target": None, "mpc": mean,
               "rpc": 100 * mean / 80.0}  # fmt: skip
    given = {"metric": "AP50", "mean_rule": "with_objects", "corruptions": stated, "spec_task": "detection",
             "summary": summary}  # fmt: skip
    return study("voc", method, seed, values, PAIR, **given | changes)


def table10(records: list[Record]) -> Table:
    (found,) = [table for table in filled_tables(records, {}) if table.layout.id == "table10"]
    return table_of(found)


def test_all_that_is_printed_is_there() -> None:
    table = table10([])
    assert {row.head: row.cells[-1].text for row in table.rows} == PRINTED
    assert "F2L" in table.caption and any("severities" in rule for rule in table.rules)


def test_what_was_measured_stands_below_what_is_printed(study: MakeRecord) -> None:
    assert len(VOC.targets) == 75
    records = [corrupted(study, "gkd", seed, [72.0 + seed] * 75) for seed in range(3)]
    records += [corrupted(study, "finetune", 0, [49.0] * 75), corrupted(study, "teacher", 0, [70.0] * 75)]
    table = table10(records)
    rows = [(row.head, row.cells[0].text, row.cells[-1].text) for row in table.rows]
    assert ("GKD", "gkd, n=3", "73.0 ± 2.5 (+0.1, within)") in rows
    assert ("DeiT", "finetune, n=1: no interval", "49.0 (0.0)") in rows
    assert ("DINOv2", "teacher, n=1: no interval", "70.0 (-9.9)") in rows
    assert [value for _, kind, value in rows if kind == "published"] == list(PRINTED.values())
    (average,) = [rule for rule in table.rules if "unweighted means" in rule]
    assert "15 corruptions" in average and "at severities 1 to 5" in average and "gaussian_noise-1" not in average


def test_cwds_row_is_that_on_features(study: MakeRecord) -> None:
    default = {"on": "logits", "temperature": 4.0}
    features = {"on": "features", "temperature": 4.0}
    runs = [
        corrupted(study, "cwd", 0, [56.0] * 75, spec_options=features, spec_defaults=default),
        corrupted(study, "cwd", 1, [40.0] * 75, spec_options=features | {"temperature": 1.0}, spec_defaults=default),
        corrupted(study, "cwd", 2, [50.0] * 75, spec_options=default, spec_defaults=default),
    ]
    table = table10(runs)
    notes = dict(table.footnotes)
    lines = {row.cells[0].text: (row, [notes[letter] for letter in row.letters]) for row in table.rows
             if row.head == "CWD" and row.kind == "measured"}  # fmt: skip
    row, _ = lines["cwd (on=features), n=1: no interval"]
    assert row.cells[-1].text == "56.0 (-0.3)"
    for label, said in (
        ("cwd (on=features, temperature=1.0)", "the row's on=features (on=features, temperature=1.0)"),
        ("cwd", "the row's on=features (none)"),
    ):
        row, told = lines[f"{label}, n=1: no interval"]
        assert "(" not in row.cells[-1].text and any(f"options that are not {said}" in note for note in told)


def test_a_run_with_other_targets_gets_its_footnote(study: MakeRecord) -> None:
    some = [name for name, split in VOC.targets.items() if split.severity == 3]
    values = [73.0] * len(VOC.targets)
    whole = corrupted(study, "gkd", 0, values)
    part = whole.model_copy(
        update={
            "run_id": "part",
            "targets": {name: whole.targets[name] for name in some},
            "spec": whole.spec.model_copy(update={"targets": some}),
            "marks": ["other targets"],
            "summary": whole.summary and whole.summary.model_copy(update={"ood": None, "mpc": None, "rpc": None}),
        }
    )
    table = table10([part])
    (row,) = [row for row in table.rows if row.kind == "measured"]
    notes = dict(table.footnotes)
    said = " ".join(notes[letter] for letter in row.letters)
    assert "partial: of the targets 15 corruptions" in said and "at severity 3." in said and len(said) < 900
    assert row.cells[-1].text == "–"


def test_another_budget_or_decoder_is_set_against_nothing(study: MakeRecord) -> None:
    sizes = VOC.decoder.model_dump(mode="json") | {"width": 64}
    for changes, said in (({"spec_preset": "standard"}, "preset standard"), ({"spec_decoder": sizes}, "width 64")):
        table = table10([corrupted(study, "gkd", 0, [73.0] * 75, **changes)])
        (row,) = [row for row in table.rows if row.kind == "measured"]
        assert row.cells[-1].text == "73.0" and any(said in note for _, note in table.footnotes)
