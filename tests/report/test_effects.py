"""How large effects are: against baseline and teacher, seed by seed; and which row is the baseline."""

from collections.abc import Callable
from pathlib import Path

import pytest

from gkdbench.errors import UsageError
from gkdbench.report import baseline
from gkdbench.report.baseline import baseline_row, baselines, check_baseline
from gkdbench.report.comparison import Comparison, compare
from gkdbench.report.effects import Effects, effects
from gkdbench.runs.record import Record

MakeRecord = Callable[..., Record]


def only(records: list[Record]) -> Comparison:
    (comparison,) = compare(records)
    return comparison


def found(records: list[Record], name: str | None = None) -> dict[str, Effects]:
    comparison = only(records)
    return {one.row.label: one for one in effects(comparison, baseline_row(comparison, name))}


def test_effects_by_hand(make: MakeRecord) -> None:
    runs = [
        make("teacher", 0, [70, 50, 60, 70]),  # OOD 60
        make("finetune", 0, [60, 30, 40, 50]),  # 40
        make("finetune", 1, [60, 33, 40, 50]),  # 41
        make("gkd", 0, [62, 45, 50, 55]),  # 50
        make("gkd", 1, [62, 30, 45, 51]),  # 42
    ]
    one = found(runs)["gkd"]
    assert one.gain is not None and one.gain.by_seed == pytest.approx({0: 10, 1: 1})
    assert one.gain.interval.mean == pytest.approx(5.5)
    assert one.gain.interval.half == pytest.approx(12.7062047 * 4.5)  # sd over the root of two seeds
    assert one.retained is not None and one.retained.by_seed == pytest.approx({0: 100 * 50 / 60, 1: 70})
    assert one.closed is not None and one.closed.by_seed == pytest.approx({0: 50, 1: 100 / 19})
    assert one.gap is not None and one.gap.by_seed == pytest.approx({0: 12, 1: 20})
    assert one.worst is not None and one.worst.name == "night" and one.worst.score.by_seed == {0: 45, 1: 30}
    assert one.worst.others == ()
    base, teacher = found(runs)["finetune"], found(runs)["teacher"]
    assert base.gain is None and base.closed is None and base.retained is not None
    assert teacher.gain is not None and teacher.gain.by_seed == pytest.approx({0: 20})
    assert teacher.retained is None and teacher.closed is None and teacher.gap is not None


def test_a_seed_without_a_partner_counts_for_no_gain(make: MakeRecord) -> None:
    runs = [make("finetune", 0, [60, 40, 40, 40]), *(make("gkd", seed, [60, 50, 50, 50]) for seed in range(3))]
    one = found(runs)["gkd"]
    assert one.gain is not None and one.gain.by_seed == {0: 10}
    assert one.gap is not None and set(one.gap.by_seed) == {0, 1, 2}
    assert one.retained is None and one.closed is None  # no teacher
    assert found([make("finetune", 1), make("gkd", 0)])["gkd"].gain is None


def test_a_run_is_set_against_its_own_teacher(make: MakeRecord) -> None:
    teachers = [make("teacher", seed, [70, ood, ood, ood]) for seed, ood in enumerate((50, 80))]
    named = make("gkd", 0, [60, 40, 40, 40], teacher_run_id=teachers[1].run_id)
    by_seed = make("cwd", 0, [60, 40, 40, 40], spec_teacher_seed=1)
    first = make("dist", 0, [60, 40, 40, 40])
    unknown = make("vitkd", 0, [60, 40, 40, 40], spec_teacher_seed=5)
    rows = found([*teachers, named, by_seed, first, unknown])
    shares = {name: rows[name].retained for name in ("gkd", "cwd", "dist", "vitkd")}
    assert {name: one and one.by_seed[0] for name, one in shares.items()} == {
        "gkd": 50,
        "cwd": 50,
        "dist": 80,
        "vitkd": None,
    }


def test_nothing_is_closed_where_the_teacher_is_not_above(make: MakeRecord) -> None:
    runs = [make("teacher", 0, [70, 40, 40, 40]), make("finetune", 0, [60, 41, 41, 41]), make("gkd", 0)]
    one = found(runs)["gkd"]
    assert one.closed is None and one.gain is not None and one.retained is not None


def test_rows_kept_out_of_the_ranking_are_set_against_nothing(make: MakeRecord) -> None:
    rows = found([make("teacher"), make("finetune"), make("gkd", marks=["limit"])])
    assert (rows["gkd"].gain, rows["gkd"].retained, rows["gkd"].closed) == (None, None, None)
    assert rows["gkd"].gap is not None


def test_the_worst_target_is_that_of_the_mean_and_others_are_named(make: MakeRecord) -> None:
    runs = [make("gkd", 0, [60, 30, 33, 50]), make("gkd", 1, [60, 32, 30, 50])]
    worst = found(runs)["gkd"].worst
    assert worst is not None and worst.name == "night" and worst.others == ("fog",)
    partial = make("gkd", 1, [60, 1, 30, 50])
    partial.targets["night"].value = float("nan")  # not all seeds have it
    worst = found([runs[0], partial])["gkd"].worst
    assert worst is not None and worst.name == "fog"


def test_the_baseline_is_what_the_benchmarks_say(
    make: MakeRecord, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert "finetune" in baselines()
    runs = [
        make("finetune", 0),
        make("finetune", 0, spec_options={"lr": 1.0}, run_id="other"),
        make("gkd"),
        make("cwd"),
    ]
    row = baseline_row(only(runs))
    assert row is not None and row.label == "finetune"
    (tmp_path / "statistics").mkdir()
    (tmp_path / baseline.FILE).write_text("baselines: [dist, cwd]")
    monkeypatch.setattr(baseline, "folders", lambda: (tmp_path,))
    row = baseline_row(only(runs))
    assert row is not None and row.label == "cwd"
    (tmp_path / baseline.FILE).write_text("baseline: cwd")
    with pytest.raises(UsageError, match=r"baselines.yaml: key 'baseline' is not known; did you mean 'baselines'"):
        baselines()


def test_a_baseline_may_be_a_row_or_a_method(make: MakeRecord) -> None:
    runs = [make("gkd"), *(make("cwd", seed, spec_options={"tau": tau}, run_id=f"{seed}{tau}")
                           for tau, seeds in ((1.0, 1), (2.0, 2)) for seed in range(seeds))]  # fmt: skip
    comparison = only(runs)
    labels = {name: (row := baseline_row(comparison, name)) and row.label for name in ("cwd (tau=1.0)", "cwd", "x")}
    assert labels == {"cwd (tau=1.0)": "cwd (tau=1.0)", "cwd": "cwd (tau=2.0)", "x": None}
    check_baseline([comparison], "gkd")
    with pytest.raises(UsageError, match=r"--baseline: no comparable row 'gdk' in any table; did you mean 'gkd'"):
        check_baseline([comparison], "gdk")


def test_the_teacher_and_marked_rows_are_no_baseline(make: MakeRecord) -> None:
    comparison = only([make("teacher"), make("finetune", marks=["limit"]), make("gkd")])
    assert baseline_row(comparison) is None and baseline_row(comparison, "teacher") is None
