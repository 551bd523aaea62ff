"""Can this be compared: each question answered fine on records that are alike, and beware on those that are not."""

from collections.abc import Callable
from typing import Any

import pytest

from gkdbench.report.comparison import compare
from gkdbench.report.finding import Finding, joined
from gkdbench.report.honesty import findings_markdown, honesty_findings
from gkdbench.report.paper import published_files
from gkdbench.report.reevaluation import reevaluation
from gkdbench.runs.record import Record

MakeRecord = Callable[..., Record]
BUDGET = {"source": {"images": 1600, "student_passes": 1600, "teacher_passes": 0}}
TAUGHT = {"source": {"images": 1600, "student_passes": 1600, "teacher_passes": 1600}}


def findings(records: list[Record], files: dict[str, str] | None = None) -> dict[str, Finding]:
    found = honesty_findings(records, compare(records), files)
    assert len({one.slug for one in found}) == len(found)
    return {one.slug: one for one in found}


@pytest.fixture
def alike(make: MakeRecord) -> list[Record]:
    """Return runs of teacher, baseline and another, three seeds each, that differ in nothing that matters."""
    return [make(method, seed) for method in ("teacher", "finetune", "vanilla_kd") for seed in range(3)]


def changed(record: Record, split: str = "fog", **changes: Any) -> Record:
    copy = record.model_copy(deep=True)
    for key, value in changes.items():
        setattr(copy.targets[split], key, value)
    return copy


MEASURED = (
    "budgets",
    "seeds",
    "references",
    "selection",
    "environments",
    "marks",
    "label-spaces",
    "protocols",
    "never-predicted",
    "classes-in-mean",
)


def test_runs_that_are_alike_are_fine(alike: list[Record]) -> None:
    found = findings(alike)
    assert {slug: found[slug].verdict for slug in MEASURED} == dict.fromkeys(MEASURED, "fine")
    assert all(one.sentences for one in found.values())


@pytest.mark.parametrize(
    ("slug", "change", "said"),
    [
        ("budgets", {"budget": {"source": {**TAUGHT["source"], "images": 3200}}}, "from 1,600 (finetune) to 3,200"),
        ("environments", {"commit": "fff0000"}, "runs differ in commit"),
        ("environments", {"environment": {"libraries": {"torch": "2.7.0"}}}, "libraries.torch"),
        ("marks", {"marks": ["limit"]}, "3 runs with marks"),
        ("marks", {"warnings": ["slow"]}, "3 runs with warnings"),
        ("seeds", {"spec_seed": 0}, "1 of 3 rows rest on fewer than 3 seeds"),
    ],
)
def test_what_differs_between_runs_is_told(
    alike: list[Record], make: MakeRecord, slug: str, change: dict[str, Any], said: str
) -> None:
    odd = [make("vanilla_kd", seed, **change) for seed in range(3)]
    if "spec_seed" in change:
        odd = odd[:1]
    found = findings([*alike[:6], *odd])[slug]
    assert found.beware and said in " ".join(found.sentences)


@pytest.mark.parametrize(
    ("slug", "change", "said"),
    [
        ("protocols", {"n_images": 7}, "different images or labels on fog"),
        ("never-predicted", {"never_predicted": ["pole"]}, "1 of 9 runs never predict a class that is there"),
        ("classes-in-mean", {"classes_in_mean": 7}, "another number of classes from run to run"),
    ],
)
def test_what_differs_between_results_is_told(
    alike: list[Record], slug: str, change: dict[str, Any], said: str
) -> None:
    found = findings([*alike[:8], changed(alike[8], **change)])[slug]
    assert found.beware and said in " ".join(found.sentences)


def test_augmentation_at_test_time_is_another_protocol(alike: list[Record]) -> None:
    odd = alike[8].model_copy(deep=True)
    odd.targets["fog"].protocol.tta = ["flip"]
    found = findings([*alike[:8], odd])["protocols"]
    text = " ".join(found.sentences)
    assert found.beware and "different protocols on fog" in text and "test-time augmentation" in text
    assert "test-time augmentation flip" in findings_markdown([found])


def test_a_class_that_no_run_has_is_skipped_alike_and_fine(alike: list[Record]) -> None:
    found = findings([changed(record, classes_in_mean=7) for record in alike])["classes-in-mean"]
    assert not found.beware and "fog (7 of 8)" in " ".join(found.sentences)


def test_missing_references_are_told(make: MakeRecord) -> None:
    found = findings([make("vanilla_kd", seed, budget=TAUGHT) for seed in range(3)])["references"]
    assert found.beware
    assert "the teacher and a student that no teacher taught is not among the runs" in found.sentences[0]


def test_other_label_spaces_and_versions_do_not_compare(alike: list[Record], make: MakeRecord) -> None:
    other = [make("finetune", seed, spec_benchmark_version=2, mean_rule="present_in_truth") for seed in range(3)]
    text = " ".join(findings([*alike, *other])["label-spaces"].sentences)
    assert "versions 1 and 2" in text and "2 metrics or rules of the mean" in text


def test_a_run_that_failed_is_named_with_its_reason(alike: list[Record], make: MakeRecord) -> None:
    found = findings([*alike, make("cwd", status="failed", reason="loss is NaN", summary=None)])["marks"]
    assert found.beware and "1 run without scores" in found.sentences[0]
    (row,) = found.tables[0].rows
    assert row.head == "streets-f2l-cwd-s0-0a1b2c3d" and row.cells[0].text == "failed: loss is NaN"


def test_published_findings_need_no_run() -> None:
    found = findings([])
    assert set(found) == {"published-averages", "third-party"}
    averages = found["published-averages"]
    assert "13 printed averages" in averages.sentences[0] and "12 printed low, 1 high" in averages.sentences[0]
    assert "13 of 13 are possible" in averages.sentences[1]
    assert len(averages.tables[0].rows) == 13


def test_the_re_evaluation_is_computed_and_an_observation() -> None:
    found = reevaluation(published_files())
    assert found is not None and len(found.classes) == 19 and found.zero == ("bicycle",)
    assert found.mean == pytest.approx(52.016, abs=5e-4) and found.mean_without_zero == pytest.approx(54.906, abs=5e-4)
    text = " ".join(findings([])["third-party"].sentences)
    assert "equal to the printed value to rounding" in text and "not a proof" in text and "another protocol" in text


def test_another_re_evaluation_says_what_its_numbers_say() -> None:
    content = published_files()["third_party"].replace("(single-scale),0.0,", "(single-scale),10.0,")
    text = " ".join(findings([], {"third_party": content})["third-party"].sentences)
    assert "exactly 0" not in text and "observation" not in text
    assert "third-party" not in findings([], {})
    header = content.splitlines()[0]
    assert "third-party" not in findings([], {"third_party": f"{header}\n"})


def test_the_markdown_holds_every_sentence_and_escapes(alike: list[Record], make: MakeRecord) -> None:
    hostile = make("<b>|`x`", budget=TAUGHT, marks=["<script>"])
    found = honesty_findings([*alike, hostile], compare([*alike, hostile]))
    text = findings_markdown(found)
    assert text.startswith("## Can this be compared?\n") and "<" not in text
    assert text.count("\n### ") == len(found) and text.count("(beware)") == sum(one.beware for one in found)


def test_long_lists_are_cut() -> None:
    names = ["a", "b", "c", "d", "e", "f"]
    assert [joined(names[:n]) for n in (1, 2, 5, 6)] == ["a", "a and b", "a, b, c, d and e", "a, b, c, d and 2 others"]
