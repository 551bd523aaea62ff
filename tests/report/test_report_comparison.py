"""What shares a table, what shares a mean, and what is said about the rest."""

from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace

import pytest

from gkdbench.report.comparison import Comparison, compare
from gkdbench.report.layout import ranks
from gkdbench.report.records import load_records
from gkdbench.report.tables import class_table, cost_table, method_table
from gkdbench.report.terminal import terminal_tables
from gkdbench.runs.record import Record
from gkdbench.spec.methods import find_method

MakeRecord = Callable[..., Record]
Store = Callable[..., Path]


def only(records: list[Record]) -> Comparison:
    (comparison,) = compare(records)
    return comparison


def cells(comparison: Comparison, head: str) -> dict[str, str]:
    table = method_table(comparison)
    row = next(row for row in table.rows if row.head == head)
    titles = [column.title for column in table.columns[1:]]
    return dict(zip(titles, (cell.text for cell in row.cells), strict=True))


def test_mean_and_interval_are_computed_unrounded(make: MakeRecord) -> None:
    runs = [make("gkd", seed, [value, 50, 50, 50]) for seed, value in enumerate([60.04, 60.05, 60.16])]
    shown = cells(only(runs), "gkd")
    # sample deviation 0.0666, times 4.303 (Student, two degrees of freedom), over the root of three
    assert shown["in-domain"] == "60.1 ± 0.2"
    assert shown["night"] == "50.0 ± 0.0"
    assert shown["n"] == "3"
    table = method_table(only(runs))
    cell = table.rows[0].cells[0]
    assert cell.precise == "60.08 ± 0.17"
    assert cell.hover == "95 % interval 59.92 to 60.25; seeds: 60.04, 60.05, 60.16"
    assert any("± is half the width of the 95 % t-interval" in rule for rule in table.rules)


def test_a_single_seed_has_no_interval(make: MakeRecord) -> None:
    shown = cells(only([make("gkd", 0, [61.25, 40, 50, 60])]), "gkd")
    assert shown == {
        "in-domain": "61.2",
        "night": "40.0",
        "fog": "50.0",
        "rain": "60.0",
        "OOD mean": "50.0",
        "OOD without night": "55.0",
        "gap": "11.2",
        "n": "1",
    }


def test_teacher_first_then_by_ood_and_never_ranked(matrix: list[Record]) -> None:
    table = method_table(only(matrix))
    heads = [row.head for row in table.rows]
    assert heads == ["teacher", "frozen", "finetune", "vanilla_kd", "gkd", "cwd"]
    assert all(cell.rank == "" for cell in table.rows[0].cells)
    ood = [column.title for column in table.columns].index("OOD mean") - 1
    ranked = {row.head: row.cells[ood].rank for row in table.rows if row.kind == "plain"}
    assert ranked == {"frozen": "", "finetune": "", "vanilla_kd": "second", "gkd": "best"}


def test_teacher_is_told_by_its_stages_not_by_its_name(make: MakeRecord) -> None:
    stages = [s.model_dump() for s in make("teacher").stages]
    comparison = only([make("oracle", stages=stages), make("gkd")])
    assert [row.teacher for row in comparison.rows] == [True, False]


def test_gap_is_not_ranked(matrix: list[Record]) -> None:
    table = method_table(only(matrix))
    gap = [column.title for column in table.columns].index("gap") - 1
    assert all(row.cells[gap].rank == "" for row in table.rows if row.kind == "plain")


def test_ranks() -> None:
    assert ranks([1.0, 3.0, 2.0, None]) == ["", "best", "second", ""]
    assert ranks([3.0, 3.0, 2.0]) == ["best", "best", "second"]
    assert ranks([1.0, 2.0]) == ["", "best"]
    assert ranks([1.0, None]) == ["", ""]


def test_runs_without_figures_are_rows_that_say_why(make: MakeRecord) -> None:
    runs = [
        make("gkd", 0, [60, 50, 50, 50]),
        make("gkd", 1, status="failed", reason="NaN\nat step 3", summary=None),
        make("gkd", 2, status="interrupted", reason="SIGTERM", summary=None),
        make("vitkd", 0, status="unsupported", reason="no cls token", summary=None, stages=[]),
    ]
    table = method_table(only(runs))
    assert table.rows[0].cells[-1].text == "1"
    assert table.rows[0].cells[0].text == "60.0"
    notes = dict(table.footnotes)
    said = {row.cells[0].text: notes[row.letters[0]] for row in table.rows[1:]}
    assert said == {
        "failed (seed 1)": "failed: NaN at step 3",
        "interrupted (seed 2)": "interrupted: SIGTERM",
        "unsupported (seed 0)": "unsupported: no cls token",
    }


def test_marked_runs_share_no_mean_and_no_rank(make: MakeRecord) -> None:
    runs = [make("gkd", seed, [60, 50, 50, 50]) for seed in range(2)]
    runs.append(make("gkd", 2, [90, 90, 90, 90], marks=["limit"], run_id="marked"))
    runs.append(make("finetune", 0, [50, 40, 40, 40]))
    table = method_table(only(runs))
    counts = {(row.head, row.letters): row.cells[-1].text for row in table.rows}
    assert counts == {("finetune", ()): "1", ("gkd", ()): "2", ("gkd", ("a",)): "1"}
    assert table.footnotes[0][1].startswith("limit: ")
    best = [row for row in table.rows if row.cells[0].rank == "best"]
    assert [(row.head, row.letters) for row in best] == [("gkd", ())]


def test_another_budget_or_recipe_shares_no_mean(make: MakeRecord) -> None:
    less = {"source": {"images": 800, "student_passes": 800, "teacher_passes": 0}}
    other = {"joint": {"steps": 50, "batch": 16}}
    runs = [make("gkd", seed) for seed in range(2)]
    runs.append(make("gkd", 2, budget=less))
    runs.append(make("gkd", 3, spec_recipe=other))
    table = method_table(only(runs))
    assert sorted(row.cells[-1].text for row in table.rows) == ["1", "1", "2"]
    notes = " ".join(note for _, note in table.footnotes)
    assert "another budget" in notes and "800" in notes
    assert "another recipe" in notes and "joint" in notes


def test_a_budget_of_whole_numbers_is_the_one_that_a_file_gives_back(make: MakeRecord) -> None:
    budget = {"source": {"images": 800, "student_passes": 800, "teacher_passes": 0}}
    runs = [make("gkd", 0, budget=budget), make("gkd", 1, budget=budget)]
    runs[0].budget = {role: {name: int(value) for name, value in part.items()} for role, part in budget.items()}
    runs[1].budget = {role: {name: float(value) for name, value in part.items()} for role, part in budget.items()}
    assert [row.cells[-1].text for row in method_table(only(runs)).rows] == ["2"]


def test_runs_on_other_data_share_no_mean(make: MakeRecord) -> None:
    runs = [make("gkd", 0), make("gkd", 1), make("finetune"), make("frozen"), make("cwd")]
    for record in runs[:-1]:
        for name, result in record.targets.items():
            result.data = f"{name}-as-it-was"
    runs[2].targets["fog"].data = "fog-relabelled"
    by_label = {row.label: row for row in only(runs).rows}
    assert not by_label["finetune"].comparable and "other images or labels" in by_label["finetune"].footnotes[0]
    # a record that does not say what was judged may stand beside those that do: its ground truth is as large
    assert by_label["gkd"].comparable and by_label["frozen"].comparable and by_label["cwd"].comparable


@pytest.mark.parametrize("stated", [True, False])
def test_without_a_digest_the_ground_truth_tells_other_data(make: MakeRecord, stated: bool) -> None:
    runs = [make("gkd"), make("finetune"), make("frozen"), make("cwd")]
    for record in runs[:2] if stated else []:
        record.targets["fog"].data = "fog-as-it-was"
    runs[2].targets["fog"].confusion[0][0] += 5  # pixels of a class that the others' ground truth has not
    predicted = runs[3].targets["fog"].confusion[0]
    predicted[0], predicted[1] = predicted[0] - 1, predicted[1] + 1  # the same ground truth, predicted otherwise
    by_label = {row.label: row for row in only(runs).rows}
    assert not by_label["frozen"].comparable and "other images or labels" in by_label["frozen"].footnotes[0]
    assert all(by_label[name].comparable for name in ("gkd", "finetune", "cwd"))
    fewer = runs[1].model_copy(deep=True)
    fewer.targets["fog"].n_images, fewer.targets["fog"].data = 7, ""
    (row,) = [row for row in only([runs[0], runs[3], fewer]).rows if row.label == "finetune"]
    assert not row.comparable


def test_a_table_of_some_targets_says_so_in_its_title(make: MakeRecord) -> None:
    whole, part = make("gkd"), make("frozen", spec_targets=["night"])
    part.marks = ["other targets"]
    titles = {comparison.title for comparison in compare([whole, part])}
    assert len(titles) == 2 and any(title.endswith(", targets night alone") for title in titles)


def test_options_and_code_make_rows(make: MakeRecord) -> None:
    runs = [
        make("gkd", 0, spec_options={"weight": 1.0}),
        make("gkd", 1, spec_options={"weight": 2.0}),
        make("gkd", 2, spec_options={"weight": 1.0}, spec_code="edited-1"),
    ]
    (comparison,) = compare(runs, {"gkd": {"weight": 1.0}})
    assert sorted(row.label for row in comparison.rows) == ["gkd", "gkd", "gkd (weight=2.0)"]
    assert {len(row.records) for row in comparison.rows} == {1}
    assert sum("another version" in " ".join(row.footnotes) for row in comparison.rows) == 2
    assert sorted(row.label for row in only(runs).rows)[0] == "gkd (weight=1.0)"


def test_a_seed_counts_once(make: MakeRecord) -> None:
    runs = [
        make("gkd", 0, [60, 50, 50, 50], run_id="old"),
        make("gkd", 0, [70, 60, 60, 60], run_id="new", started="2026-02-01T00:00:00Z"),
    ]
    (row,) = only(runs).rows
    assert [record.run_id for record in row.records] == ["new"]
    assert "run more than once" in row.footnotes[0]


def test_tables_are_split_by_what_is_not_comparable(make: MakeRecord) -> None:
    runs = [
        make("gkd"),
        make("gkd", spec_setting="f2f"),
        make("gkd", spec_preset="smoke"),
        make("gkd", spec_benchmark_version=2),
        make("gkd", spec_decoder={"name": "linear"}),
        make("gkd", spec_targets=["night"]),
        make("gkd", mean_rule="present_in_truth"),
    ]
    made = compare(runs)
    assert len(made) == len(runs)
    assert len({comparison.slug for comparison in made}) == len(runs)


def test_mixed_environments_and_budgets_are_said(make: MakeRecord) -> None:
    more = {"proxy": {"images": 3000}, "source": {"images": 1600}}
    runs = [make("finetune"), make("gkd", budget=more, environment={"torch": "2.9.1"})]
    notes = " ".join(only(runs).notes)
    assert "torch 2.6.0" in notes and "torch 2.9.1" in notes
    assert "1,600 training images (finetune) to 4,600 (gkd)" in notes
    assert only([make("gkd", 0), make("gkd", 1)]).notes == ()


def test_missing_target_shows_a_gap_not_a_number(make: MakeRecord) -> None:
    run = make("gkd").model_copy(deep=True)
    assert run.summary is not None
    del run.targets["fog"]
    run.summary.ood, run.summary.gap, run.summary.ood_without = None, None, {}
    shown = cells(only([run]), "gkd")
    assert (shown["fog"], shown["OOD mean"], shown["gap"]) == ("–", "–", "–")


def test_class_table(make: MakeRecord) -> None:
    first, second = make("gkd", 0), make("gkd", 1)
    assert first.in_domain is not None and second.in_domain is not None
    first.in_domain.per_class.update(road=90.0, sky=None)
    second.in_domain.per_class.update(road=80.0, sky=70.0)
    second.in_domain.never_predicted.append("bicycle")
    table = class_table(only([first, second]))
    assert [row.cells[0].text for row in table.rows] == ["in-domain", "night", "fog", "rain"]
    by_title = {c.title: cell for c, cell in zip(table.columns[1:], table.rows[0].cells, strict=True)}
    assert by_title["road"].text == "85.0"
    assert by_title["road"].precise == "85.00 ± 63.53"
    assert by_title["sky"].text == "70.0 (n=1)"
    assert "never predicted on in-domain: bicycle (seed 1)." in [n for _, n in table.footnotes]


def test_cost_table(matrix: list[Record]) -> None:
    table = cost_table(only(matrix))
    row = next(row for row in table.rows if row.head == "teacher")
    titles = [column.title for column in table.columns[1:]]
    shown = dict(zip(titles, (cell.text for cell in row.cells), strict=True))
    assert shown["training images seen"] == "1,600"
    assert shown["wall time, s"] == "20.5" and shown["of it here, s"] == "0.0"
    assert shown["parameters, M"] == "1.23"


def test_own_run_wins_over_the_committed_one(make: MakeRecord, store: Store) -> None:
    results = store(make("gkd", 0, [70, 60, 60, 60]))
    store(make("gkd", 0, [10, 10, 10, 10]), make("gkd", 1), folder="published")
    for published in (None, results / "published"):
        loaded = load_records(results, published)
        assert len(loaded.records) == 2
        first = loaded.records[0]
        assert first.in_domain is not None and first.in_domain.value == 70


def test_unreadable_records_are_listed_once(make: MakeRecord, store: Store) -> None:
    results = store(make("gkd"))
    for name, text in {"a": '{"schema": 2}', "b": "{", "c": '{"schema": 1}', "d": "[]"}.items():
        place = results / "published" / name
        place.mkdir(parents=True)
        (place / "record.json").write_text(text)
    loaded = load_records(results, results / "published")
    assert len(loaded.records) == 1
    assert len(loaded.skipped) == 4
    assert all("\n" not in line for line in loaded.skipped)
    assert "schema 2" in loaded.skipped[0]


@pytest.mark.parametrize("text", ["[" * 200_000, '{"schema": ' + "9" * 5000 + "}", '{"schema": 1e999}', "null", ""])
def test_a_damaged_record_is_named_and_the_rest_is_read(make: MakeRecord, store: Store, text: str) -> None:
    results = store(make("gkd"), make("cwd"))
    file = next(results.glob("runs/*cwd*/record.json"))
    file.write_text(text)
    loaded = load_records(results)
    assert [record.spec.method for record in loaded.records] == ["gkd"]
    (line,) = loaded.skipped
    assert str(file) in line and "\n" not in line


def test_a_missing_directory_has_no_records(tmp_path: Path) -> None:
    assert load_records(tmp_path / "nowhere", tmp_path / "none").records == ()


def test_terminal_rows_have_equal_length(matrix: list[Record]) -> None:
    (table,) = terminal_tables(matrix)
    assert {len(row) for row in table.rows} == {len(table.rows[0])}
    assert table.rows[0][0] == "method"
    assert table.rows[5][5].endswith("**")
    assert table.rows[-1][1].startswith("failed") and any("loss is NaN" in note for note in table.notes)


@pytest.mark.parametrize("value", [-0.04, 0.0])
def test_no_negative_zero(make: MakeRecord, value: float) -> None:
    run = make("gkd")
    assert run.summary is not None
    run.summary.gap = value
    assert cells(only([run]), "gkd")["gap"] == "0.0"


def test_labels_leave_out_the_defaults_of_installed_methods_only(
    make: MakeRecord, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = []

    def find(name: str) -> SimpleNamespace:
        asked.append(name)
        option = SimpleNamespace(name="weight", default=1.0, required=False)
        return SimpleNamespace(options=(option,))

    monkeypatch.setattr("gkdbench.report.records.find_method", find)
    runs = [
        make("gkd", spec_options={"weight": 1.0}),
        make("/etc/x.py:gkd", spec_options={"weight": 1.0}, run_id="path"),
    ]
    heads = [row[0] for row in terminal_tables(runs)[0].rows[1:]]
    assert sorted(heads) == ["/etc/x.py:gkd (weight=1.0)", "gkd"]
    assert asked == ["gkd"]
    own = make("gkd", spec_options={"weight": 1.0}, spec_method_source="./gkd.py", run_id="own")
    assert terminal_tables([own])[0].rows[1][0] == "gkd (weight=1.0)"


def test_a_variants_label_shows_what_differs_from_the_variant(make: MakeRecord) -> None:
    """Not what differs from the method it stands for; inside a combinator alike."""
    options = {option.name: option.default for option in find_method("gkd-qsd").options}
    for name in ("gkd-qsd", "decoupled(gkd-qsd)"):
        for changes, label in (({}, name), ({"cls": True, "weight": 2.0}, f"{name} (cls=true, weight=2.0)")):
            run = make(name, spec_options={**options, **changes}, spec_method_source="gkdbench 0.1.0")
            assert terminal_tables([run])[0].rows[1][0] == label


def test_a_strangers_method_is_not_labelled_by_our_defaults(make: MakeRecord) -> None:
    options = {option.name: option.default for option in find_method("gkd").options}
    run = make("gkd", spec_options=options, spec_method_source="not-installed 1.0")
    assert "weight=1.0" in terminal_tables([run])[0].rows[1][0]
    deep = "decoupled(" * 3000 + "gkd" + ")" * 3000
    (table,) = terminal_tables([make(deep, spec_options={"weight": 1.0}, run_id="deep")])
    assert table.rows[1][0].startswith("decoupled(")
