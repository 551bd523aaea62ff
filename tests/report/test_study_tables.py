"""The study's tables: runs beside the printed numbers, intervals by hand, and why a line may not be compared."""

import csv
import io
import math
import time
from collections.abc import Callable, Iterable
from pathlib import Path

import pytest
import yaml

from gkdbench.errors import DataError, UsageError
from gkdbench.report import table_layout
from gkdbench.report.layout import Row, Table
from gkdbench.report.study_entries import study_csv
from gkdbench.report.study_rows import filled_tables, uneven_averages
from gkdbench.report.study_tables import published_tables, table_of
from gkdbench.report.table_layout import Layout, layouts
from gkdbench.runs.record import Record
from gkdbench.spec.documents import parse

MakeRecord = Callable[..., Record]
DEIT_S = "dinov2-b:deit-s"
DEIT_B = "dinov2-l:deit-b"
T2 = 4.302652729911275
"""0.975 quantile of Student's t with 2 degrees of freedom, from printed tables."""


def study_tables(records: Iterable[Record]) -> list[Table]:
    return [table_of(one) for one in filled_tables(records, {})]


def table_named(records: list[Record], slug: str = "paper-table1") -> Table:
    return next(table for table in study_tables(records) if table.slug == slug)


def cells(table: Table, row: Row) -> dict[str, str]:
    """Return a row's cells by title, with the facts that all rows share left out."""
    return {column.title: cell.text for column, cell in zip(table.columns[1:], row.cells, strict=True)}


def rows_of(table: Table, head: str, network: str) -> list[dict[str, str]]:
    return [found for row in table.rows if row.head == head and (found := cells(table, row))["network"] == network]


def notes_of(table: Table, values: str) -> list[str]:
    """Return the footnotes of the line whose cell `values` begins so."""
    notes = dict(table.footnotes)
    row = next(row for row in table.rows if row.cells[0].text.startswith(values))
    return [notes[letter] for letter in row.letters]


def three(study: MakeRecord, benchmark: str = "gtav", method: str = "gkd", **changes: object) -> list[Record]:
    """Return seeds 0 to 2 of GKD's row with DeiT-S; Citys 54.0, 55.0, 56.0, BDD 49.0, 49.5, 50.0, Map 57.8 each."""
    values = [[54.0, 49.0, 57.8], [55.0, 49.5, 57.8], [56.0, 50.0, 57.8]]
    return [study(benchmark, method, seed, values[seed], DEIT_S, **changes) for seed in range(3)]


def test_layouts_cover_the_papers_tables_in_order() -> None:
    ids = ["table1", "table6", "table7", "table8", "table9", "table10", "fig2", "ablation", "streets"]
    assert [layout.id for layout in layouts()] == ids
    assert [table.slug for table in study_tables(())] == [f"paper-{name}" for name in ids[:-1]]
    assert [table.slug for table in published_tables(filled_tables((), {}))][8:] == [
        "paper-review-note-review-note-main",
        "paper-review-note-abstract-headline",
        "paper-third-party",
    ]


def test_measured_lines_stand_below_the_printed_row(study: MakeRecord) -> None:
    table = table_named(three(study))
    printed, measured = rows_of(table, "GKD", "DeiT ViT-S")
    assert printed["values"] == "published" and measured["values"] == "gkd, n=3"
    # sd of 54, 55, 56 is 1: half-width t / sqrt(3) = 2.484; the printed 54.9 lies within 55.0 +- 2.5
    assert printed["GTAV → Citys"] == "54.9" and measured["GTAV → Citys"] == "55.0 ± 2.5 (+0.1, within)"
    # equal seeds: an interval of no width holds the very value, and nothing else
    assert measured["GTAV → Map"] == "57.8 ± 0.0 (0.0, within)"
    assert measured["GTAV → BDD"] == "49.5 ± 1.2 (-0.3, within)"
    # the average is of unrounded figures: (55.0 + 49.5 + 57.8) / 3 = 54.1; printed 54.1
    assert measured["GTAV → Avg"] == "54.1 ± 1.2 (0.0, within)"
    assert measured["Cityscapes → Avg"] == "–"
    assert len(rows_of(table, "GKD", "DeiT ViT-B")) == 1
    assert any("gtav: citys, bdd, map" in rule and "unrounded" in rule for rule in table.rules)
    assert any("95 % t-interval" in rule for rule in table.rules)


def test_outside_and_single_seeds(study: MakeRecord) -> None:
    outside = [study("gtav", "gkd", seed, [50.0 + seed / 10, 49.8, 57.8], DEIT_S) for seed in range(3)]
    (_, line) = rows_of(table_named(outside), "GKD", "DeiT ViT-S")
    assert line["GTAV → Citys"] == "50.1 ± 0.2 (-4.8, outside)"
    (_, line) = rows_of(table_named(outside[:1]), "GKD", "DeiT ViT-S")
    assert line["values"] == "gkd, n=1: no interval" and line["GTAV → Citys"] == "50.0 (-4.9)"


def test_tidy_csv_has_the_same_numbers_unrounded(study: MakeRecord) -> None:
    lines = list(csv.DictReader(io.StringIO(study_csv(filled_tables(three(study), {})))))
    (line,) = [
        line
        for line in lines
        if (line["table"], line["line"], line["column"]) == ("table1", "measured", "GTAV → Citys")
    ]
    half = T2 / math.sqrt(3)
    assert float(line["measured_mean"]) == pytest.approx(55.0)
    assert [float(line[key]) for key in ("low", "high")] == pytest.approx([55.0 - half, 55.0 + half])
    assert float(line["difference"]) == pytest.approx(0.1)
    facts = ("method", "arch", "published", "approximate", "n", "seeds", "within", "comparable")
    assert [line[key] for key in facts] == ["GKD", "ViT-S", "54.9", "False", "3", "0 1 2", "True", "True"]
    # the same runs answer Tables 6, 7 and Figure 2
    measured = {line["table"] for line in lines if line["line"] == "measured"}
    assert measured == {"table1", "table6", "table7", "fig2"}


def test_lines_join_benchmarks_and_say_where_seeds_are_fewer(study: MakeRecord) -> None:
    more = [study("cityscapes", "gkd", seed, [39.0 + seed, 60.0, 72.0, 58.0], DEIT_S) for seed in range(2)]
    measured = rows_of(table_named([*three(study), *more]), "GKD", "DeiT ViT-S")[1:]
    assert len(measured) == 1
    assert measured[0]["GTAV → Citys"] == "55.0 ± 2.5 (+0.1, within)"
    # t with one degree of freedom: 12.706 * 0.7071 / sqrt(2) = 6.353
    assert measured[0]["Cityscapes → Night"] == "39.5 ± 6.4 (n=2) (+0.2, within)"


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"spec_preset": "standard"}, "preset standard, not paper"),
        ({"marks": ["tta"], "spec_tta": ["scale 0.75", "flip"]}, "test-time augmentation (scale 0.75, flip)"),
        ({"marks": ["custom recipe"], "spec_recipe_overrides": {"joint.lr": 0.1}}, "custom recipe (joint.lr=0.1)"),
        ({"spec_options": {"proxy": False}}, "options that are not the method's defaults (proxy=false)"),
        ({"spec_method_source": "/home/me/gkd.py", "spec_code": "other"}, "code of /home/me/gkd.py"),
        ({"spec_benchmark_version": 7}, "version 7 of gtav, not 1"),
        ({"mean_rule": "present_in_truth"}, "other classes or another mean than gtav states"),
        ({"spec_decoder": {"name": "mask2former", "width": 64}}, "another decoder than gtav states (width 64)"),
    ],
)
def test_what_departs_stands_apart_with_the_reason(study: MakeRecord, changes: dict[str, object], said: str) -> None:
    odd = [study("gtav", "gkd", seed, [60.0, 60.0, 60.0], DEIT_S, tail="odd", **changes) for seed in range(3)]
    table = table_named([*three(study), *odd])
    _, plain, apart = rows_of(table, "GKD", "DeiT ViT-S")
    assert plain["GTAV → Citys"] == "55.0 ± 2.5 (+0.1, within)"
    assert apart["GTAV → Citys"] == "60.0 ± 0.0"  # neither a difference nor a verdict
    row = table.rows[[cells(table, row) for row in table.rows].index(apart)]
    note = dict(table.footnotes)[row.letters[0]]
    assert note.startswith("Not comparable with the printed values, and not ranked: ") and said in note
    assert not any(cell.rank for cell in row.cells)


def test_partial_runs_stand_apart(study: MakeRecord) -> None:
    partial = study("gtav", "gkd", 0, [60.0], DEIT_S, marks=["other targets"])
    table = table_named([*three(study), partial])
    *_, apart = rows_of(table, "GKD", "DeiT ViT-S")
    assert (apart["GTAV → Citys"], apart["GTAV → BDD"], apart["GTAV → Avg"]) == ("60.0", "–", "–")
    assert "of the targets citys, bdd, map only citys" in notes_of(table, "gkd, n=1")[0]


def test_another_window_is_another_protocol(study: MakeRecord) -> None:
    record = study("gtav", "gkd", 0, [60.0, 60.0, 60.0], DEIT_S)
    citys = record.targets["citys"]
    changed = citys.model_copy(update={"protocol": citys.protocol.model_copy(update={"stride": [256, 256]})})
    other = record.model_copy(update={"targets": {**record.targets, "citys": changed}})
    assert "another protocol than gtav states (citys)" in notes_of(table_named([other]), "gkd")[0]


def test_mixed_environments_are_not_ranked(study: MakeRecord) -> None:
    runs = three(study)
    runs[2] = runs[2].model_copy(update={"environment": {"device": "cuda", "libraries": {"torch": "2.6.0"}}})
    (note,) = notes_of(table_named(runs), "gkd")
    assert "mixed environments: device cpu, torch 2.6.0 (seeds 0, 1) and device cuda, torch 2.6.0 (seed 2)" in note
    other = [r.model_copy(update={"environment": {"device": "cuda"}}) for r in three(study, method="cwd")]
    assert any("different environments" in rule for rule in table_named([*three(study), *other]).rules)


def test_teachers_and_baselines_answer_wherever_they_were_run(study: MakeRecord) -> None:
    """The student of a teacher's run does not matter, nor the teacher of an undistilled one's; doubles count once."""
    teachers = [
        study("gtav", "teacher", 0, [60.0, 55.0, 62.0], DEIT_S),
        study("gtav", "teacher", 0, [60.0, 55.0, 62.0], "dinov2-b:dinov2-s", "f2f"),
        study("gtav", "teacher", 1, [61.0, 55.0, 62.0], "dinov2-b:dino-s"),
    ]
    baselines = [
        study("gtav", "finetune", 0, [35.0, 34.0, 43.0], DEIT_S),
        study("gtav", "frozen", 0, [36.0, 34.0, 43.0], DEIT_S),
        study("gtav", "finetune", 0, [53.0, 51.0, 57.0], "dinov2-b:dinov2-s", "f2f"),
    ]
    records = [*teachers, *baselines]
    table = table_named(records)
    (_, teacher) = rows_of(table, "DINOv2", "ViT-B")
    assert (teacher["values"], teacher["GTAV → Citys"]) == ("teacher, n=2", "60.5 ± 6.4 (+0.9, within)")
    assert len(rows_of(table, "DINOv2", "ViT-L")) == 1
    _, tuned, frozen = rows_of(table, "DeiT", "DeiT ViT-S")
    assert tuned["values"].startswith("finetune") and frozen["values"].startswith("frozen")
    assert (tuned["GTAV → Citys"], frozen["GTAV → Citys"]) == ("35.0 (+0.1)", "36.0 (+1.1)")
    _, reference = rows_of(table, "DINOv2", "DINOv2 ViT-S")
    assert reference["GTAV → Citys"] == "53.0 (-0.2)"
    figure = table_named(records, "paper-fig2")
    student = next(row for row in figure.rows if row.head == "DINOv2 student" and row.kind == "measured")
    assert cells(figure, student)["G2C"] == "53.0 (-0.2)"


def test_both_readings_of_vanilla_kd(study: MakeRecord) -> None:
    records = [study("gtav", name, 0, [45.0, 44.0, 50.0], DEIT_S) for name in ("vanilla_kd", "fitnet_mse")]
    lines = rows_of(table_named(records), "Vanilla KD", "DeiT ViT-S")
    assert [line["values"].split(",")[0] for line in lines] == ["published", "fitnet_mse", "vanilla_kd"]


def test_ranks_stay_among_equals(study: MakeRecord) -> None:
    odd = study("gtav", "gkd", 0, [99.0, 99.0, 99.0], DEIT_S, spec_preset="standard")
    cwd = study("gtav", "cwd", 0, [45.0, 44.0, 50.0], DEIT_S)
    base = study("gtav", "finetune", 0, [35.0, 46.0, 43.0], DEIT_S)
    strong = study("gtav", "teacher", 0, [80.0, 80.0, 80.0], DEIT_S)
    large = study("gtav", "cwd", 0, [70.0, 70.0, 70.0], DEIT_B)
    table = table_named([*three(study), odd, cwd, base, strong, large])
    place = [column.title for column in table.columns].index("GTAV → Citys") - 1
    ranks = {(row.head, row.cells[place].text): row.cells[place].rank for row in table.rows}
    assert ranks["GKD", "54.9"] == "best" and ranks["Proteus", "47.4"] == "second"
    assert ranks["GKD", "58.3"] == "best" and ranks["CWD", "49.3"] == "second"
    assert ranks["DINOv2", "63.3"] == ranks["DINOv2", "59.6"] == ""
    assert ranks["GKD", "55.0 ± 2.5 (+0.1, within)"] == "best"
    assert ranks["CWD", "45.0 (-0.9)"] == "second" and ranks["DeiT", "35.0 (+0.1)"] == ""
    assert ranks["GKD", "99.0"] == ranks["DINOv2", "80.0 (+20.4)"] == ""
    assert ranks["CWD", "70.0 (+20.7)"] == ""  # nobody of its size to compete with


def test_approximate_numbers_win_nothing_and_take_marks_away() -> None:
    table = table_named([], "paper-fig2")
    titles = [column.title for column in table.columns]
    role, place = titles.index("network") - 1, titles.index("P2R") - 1
    f2f_small = [row for row in table.rows if row.cells[role].text == "DINOv2 ViT-S"]
    assert {row.cells[place].text for row in f2f_small} == {"~64.0", "62.7", "~62.0", "~58.2", "~63.8"}
    assert {row.cells[place].rank for row in f2f_small} == {""}
    ablation = table_named([], "paper-ablation")
    assert {row.cells[-3].text: row.cells[-3].rank for row in ablation.rows} == {
        **{"49.9": "", "~53": "", "~56": "", "~57": "", "57.9": "best"}
    }


def test_group_figures_and_figures_without_counterpart(study: MakeRecord) -> None:
    records = [study("gtav-acdc", "gkd", seed, [46.0 + seed] * 4, DEIT_S) for seed in range(3)]
    table = table_named(records, "paper-table6")
    (line,) = [cells(table, row) for row in table.rows if row.kind == "measured"]
    assert line["GTAV → ACDC"] == "47.0 ± 2.5 (+0.5, within)"
    assert line["GTAV → ACDC pooled"] == "46.0 ± 2.5"


def test_decoders_tell_rows_apart(study: MakeRecord) -> None:
    semfpn = {"name": "semfpn", "width": 256, "head_width": 128, "dropout": 0.1, "reads": [1 / 3, 1 / 2, 2 / 3, 1.0]}
    records = [*three(study), study("gtav", "gkd", 0, [54.0, 50.0, 56.0], DEIT_S, spec_decoder=semfpn)]
    table = table_named(records, "paper-table7")
    lines = {cells(table, row)["decoder"]: cells(table, row) for row in table.rows if row.kind == "measured"}
    assert lines["SemFPN"]["GTAV → Citys"] == "54.0 (-0.7)"
    assert lines["Mask2Former"]["GTAV → Citys"] == "55.0 ± 2.5 (+0.1, within)"
    assert len(rows_of(table_named(records), "GKD", "DeiT ViT-S")) == 2


def test_unfinished_runs_are_said(study: MakeRecord) -> None:
    failed = study("gtav", "gkd", 1, [1.0] * 3, DEIT_S, status="failed", reason="loss is NaN", summary=None)
    table = table_named([failed])
    row = next(row for row in table.rows if row.kind == "status")
    assert "failed (gtav seed 1)" in [cell.text for cell in row.cells]
    assert table.footnotes[-1][1] == "failed: loss is NaN"


def test_the_ablation_takes_variants_and_another_world(study: MakeRecord, make: MakeRecord) -> None:
    own = [study("gtav", "gkd-single-mse", 0, [48.0, 48.0, 54.0], DEIT_B)]
    table = table_named(own, "paper-ablation")
    line = next(cells(table, row) for row in table.rows if row.kind == "measured")
    assert line["GTAV → Avg"] == "50.0 (+0.1)"
    assert "streets (another world) → F2L OOD" in line


def test_streets_rows_are_the_runs(matrix: list[Record]) -> None:
    table = table_named(matrix, "study-streets")
    assert table.rows[0].head == "teacher"
    assert {row.head for row in table.rows} >= {"gkd", "finetune", "cwd"}
    # the synthetic benchmark is not the installed one, and its teacher is another
    assert all("streets" in dict(table.footnotes)[row.letters[0]] for row in table.rows if row.kind != "status")
    assert not any(cell.rank for row in table.rows for cell in row.cells)


def test_thirteen_printed_averages_are_uneven() -> None:
    found = uneven_averages()
    counts = {table: sum(one.table == table for one in found) for table in ("table1", "table6", "table7", "table8")}
    assert counts == {"table1": 3, "table6": 2, "table7": 1, "table8": 7} and len(found) == 13
    first = found[0]
    assert (first.row, first.column) == ("Vanilla KD, DeiT ViT-B, Mask2Former", "GTAV → Avg")
    assert (first.printed, first.mean, first.recomputed) == ("49.9", "49.967", "50.0")
    assert sum(one.printed > one.recomputed for one in found) == 1  # the others look truncated
    table = table_named([])
    assert [note for _, note in table.footnotes] == [one.remark for one in found if one.table == "table1"]


def test_the_order_of_records_does_not_matter(study: MakeRecord) -> None:
    records = [*three(study), *three(study, method="cwd", spec_preset="standard", tail="x")]
    assert study_tables(records) == study_tables(records[::-1])
    assert study_csv(filled_tables(records, {})) == study_csv(filled_tables(records[::-1], {}))


def test_a_thousand_records_are_quick(study: MakeRecord) -> None:
    methods = ("gkd", "cwd", "af_dcd", "vitkd", "proteus", "vanilla_kd", "finetune", "frozen")
    values = {"gtav": 3, "cityscapes": 4, "potsdam-rgb": 2}
    records = [
        study(name, method, seed, [50.0 + seed % 7] * count, pair)
        for name, count in values.items()
        for method in methods
        for pair in (DEIT_S, DEIT_B)
        for seed in range(21)
    ]
    assert len(records) == 1008
    start = time.perf_counter()
    filled = filled_tables(records, {})
    assert time.perf_counter() - start < 5  # about one second; the machine may be busy
    (gkd,) = [s for s in filled[0].systems if s.name == "GKD" and s.facts["arch"] == "ViT-S"]
    assert [line.n for line in gkd.lines] == [21]


LAYOUT = {
    "id": "mine",
    "title": "Mine",
    "order": 1,
    "source": {"file": "table9", "table": "9"},
    "preset": "paper",
    "columns": [
        {"title": "seq", "published": {"source": "EndoVis18 seq 1-4", "target": "EndoVis18 seq 5-7"}},
    ],
    "rows": {
        "methods": {"CWD": "cwd", "Vitkd": "vitkd", "GKD": "gkd"},
        "models": {"DINOv2 ViT-B": "dinov2-b", "DeiT ViT-S": "deit-s"},
        "decoders": {"Mask2Former": "mask2former"},
    },
}


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"titel": "x"}, "key 'titel' is not known; did you mean 'title'"),
        ({"columns": [{"title": "x"}]}, "key 'columns.0': column 'x' needs published, measured or both"),
        (
            {"columns": [{"title": "x", "measured": {"benchmark": "gtav", "what": "tarket citys"}}]},
            "key 'columns.0.measured': what 'tarket citys' is none of in_domain, ood, gap, mpc, rpc, target NAME",
        ),
        ({"source": None}, "rows and source come together"),
        ({"rows": None}, "either rows .* or records"),
        ({"columns": LAYOUT["columns"] * 2}, "columns: 'seq' appears twice"),
    ],
)
def test_faults_of_a_layout_name_the_key(changes: dict[str, object], said: str) -> None:
    with pytest.raises(UsageError, match=said) as caught:
        parse(Layout, LAYOUT | changes, "tables/mine.yaml")
    assert str(caught.value).startswith("tables/mine.yaml: ")


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"source": {"file": "table99", "table": "9"}}, "'source.file': 'table99' is missing; did you mean 'table9'"),
        ({"source": {"file": "table9", "table": "1"}}, "key 'source.table': '1' is missing"),
        ({"source": {"file": "table10", "table": "10"}}, "key 'columns': 'Pascal VOC → Pascal VOC-corruptions'"),
        (
            {"rows": {**LAYOUT["rows"], "methods": {"CWD": "cwd", "ViTKD": "vitkd", "GKD": "gkd"}}},
            "key 'rows.methods': 'Vitkd' is missing",
        ),
    ],
)
def test_a_layout_must_cover_what_was_printed(
    changes: dict[str, object], said: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path / "tables"
    folder.mkdir()
    (folder / "mine.yaml").write_text(yaml.safe_dump(LAYOUT | changes))
    monkeypatch.setattr(table_layout, "folders", lambda: (tmp_path,))
    with pytest.raises(DataError, match=said) as caught:
        filled_tables((), {})
    assert str(caught.value).startswith("tables/mine.yaml: ")


def test_two_layouts_of_one_id(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "tables").mkdir()
    for name in ("a", "b"):
        (tmp_path / "tables" / f"{name}.yaml").write_text(yaml.safe_dump(LAYOUT))
    monkeypatch.setattr(table_layout, "folders", lambda: (tmp_path,))
    with pytest.raises(DataError, match=r"b\.yaml: key 'id': 'mine' is taken by .*a\.yaml"):
        layouts()
