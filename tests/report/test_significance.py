"""What could be chance: tests against the baseline over images and targets, ranks, and why something has none."""

import json
import math
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from statistics import fmean
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from scipy import stats

from gkdbench.metrics.bootstrap import paired_bootstrap
from gkdbench.metrics.confusion import score
from gkdbench.report import image_counts, significance
from gkdbench.report.baseline import baseline_row
from gkdbench.report.comparison import IN_DOMAIN, Comparison, MethodRow, compare
from gkdbench.report.image_counts import read_image_counts
from gkdbench.report.records import installed_defaults, load_records
from gkdbench.report.significance import RowTests, image_tests, rank_rows, target_tests
from gkdbench.runs.record import Record

MakeRecord = Callable[..., Record]
PUBLISHED = Path(__file__).resolve().parents[2] / "results"
RUNS = ("finetune-s0", "finetune-s1", "finetune-s2", "vanilla_kd-s0", "vanilla_kd-s1", "vanilla_kd-s2", "dist-s0")


@pytest.fixture
def few(tmp_path: Path) -> Path:
    """Return a results directory with three seeds of two committed rows and one of a third."""
    for name in RUNS:
        (folder,) = PUBLISHED.glob(f"published/streets-f2l-{name}-*")
        shutil.copytree(folder, tmp_path / "runs" / folder.name)
    return tmp_path


def folder_of(results: Path, name: str) -> Path:
    (folder,) = results.glob(f"runs/streets-f2l-{name}-*")
    return folder


def outcome(results: Path) -> tuple[Comparison, dict[str, RowTests], tuple[str, ...]]:
    loaded = load_records(results)
    (comparison,) = compare(loaded.records, installed_defaults(loaded.records))
    base = baseline_row(comparison)
    assert base is not None and base.label == "finetune"
    found, warnings = image_tests(comparison, base, loaded.folders)
    return comparison, {one.row.label: one for one in found}, warnings


def change(folder: Path, edit: Callable[[dict[str, Any]], object]) -> None:
    record = json.loads((folder / "record.json").read_text())
    edit(record)
    (folder / "record.json").write_text(json.dumps(record))


def test_a_single_seed_is_tested_as_two_runs_are(few: Path) -> None:
    comparison, found, warnings = outcome(few)
    assert list(found) == ["vanilla_kd", "dist"] and warnings == ()
    first, second = (read_image_counts(folder_of(few, name), 11) for name in ("finetune-s0", "dist-s0"))
    for split, test in found["dist"].splits.items():
        name = image_counts.IN_DOMAIN if split == IN_DOMAIN else split
        wanted = paired_bootstrap(first[name].counts, second[name].counts, comparison.mean_rule)
        one = test.difference
        assert one is not None and test.seeds == (0,) and one.images == 200
        assert (one.value, one.low, one.high) == pytest.approx(
            (100 * wanted.value, 100 * wanted.low, 100 * wanted.high)
        )
        assert one.p == wanted.p <= test.corrected


def test_seeds_are_paired_and_their_differences_averaged(few: Path) -> None:
    comparison, found, _ = outcome(few)
    rows = {row.label: {r.spec.seed: r for r in row.records} for row in comparison.rows}
    for split, test in found["vanilla_kd"].splits.items():
        assert test.seeds == (0, 1, 2) and test.difference is not None and not test.why_not
        values = [
            {s: (r.in_domain if split == IN_DOMAIN else r.targets[split]).value for s, r in rows[name].items()}
            for name in ("finetune", "vanilla_kd")
        ]
        assert test.difference.value == pytest.approx(np.mean([values[1][s] - values[0][s] for s in range(3)]))
        assert test.difference.low < test.difference.value < test.difference.high


def test_p_is_corrected_over_the_whole_table(few: Path) -> None:
    _, found, _ = outcome(few)
    tests = [test for one in found.values() for test in one.splits.values()]
    smallest = min(test.difference.p for test in tests if test.difference)
    assert len(tests) == 14 and min(test.corrected for test in tests) == pytest.approx(14 * smallest)


def test_the_first_seeds_stand_for_many(few: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    _, every, _ = outcome(few)
    monkeypatch.setattr(significance, "MOST_SEEDS", 2)
    _, found, _ = outcome(few)
    assert {test.seeds for test in found["vanilla_kd"].splits.values()} == {(0, 1)}
    assert found["dist"].splits["fog"].difference == every["dist"].splits["fog"].difference


def test_what_is_missing_or_damaged_is_said_and_the_rest_is_tested(few: Path) -> None:
    (folder_of(few, "dist-s0") / "images.parquet").unlink()
    (folder_of(few, "vanilla_kd-s1") / "images.parquet").write_bytes(b"PAR1 and no more")
    _, found, warnings = outcome(few)
    (warning,) = warnings
    assert "vanilla_kd-s1" in warning and "images.parquet: cannot be read as counts of 11 classes" in warning
    for test in found["dist"].splits.values():
        assert test.difference is None and dict(test.why_not) == {"no counts per image": (0,)}
    for test in found["vanilla_kd"].splits.values():
        assert test.seeds == (0, 2) and dict(test.why_not) == {"counts per image are damaged": (1,)}


def test_a_baseline_without_counts_leaves_nothing_to_pair(few: Path) -> None:
    for seed in (0, 1):
        (folder_of(few, f"finetune-s{seed}") / "images.parquet").unlink()
    _, found, _ = outcome(few)
    assert dict(found["dist"].splits["fog"].why_not) == {"of the baseline: no counts per image": (0,)}
    assert found["vanilla_kd"].splits["fog"].seeds == (2,)


def test_counts_that_are_not_the_records_are_not_used(few: Path) -> None:
    file = folder_of(few, "dist-s0") / "images.parquet"
    shutil.copyfile(folder_of(few, "finetune-s0") / "images.parquet", file)
    _, found, warnings = outcome(few)
    (warning,) = warnings
    assert warning == f"{file}: split 'in-domain val': the counts of the images do not add up to the record's"
    for test in found["dist"].splits.values():
        assert test.difference is None and dict(test.why_not) == {"counts per image are damaged": (0,)}
    assert found["vanilla_kd"].splits["fog"].difference is not None


def test_other_images_in_other_order_are_not_paired(few: Path) -> None:
    file = folder_of(few, "dist-s0") / "images.parquet"
    table = pq.read_table(file)
    order = np.arange(len(table))
    order[:2] = [1, 0]  # of the in-domain split
    pq.write_table(table.take(pa.array(order)), file)
    _, found, _ = outcome(few)
    assert dict(found["dist"].splits[IN_DOMAIN].why_not) == {"judged on other images or labels": (0,)}
    assert found["dist"].splits["rain"].difference is not None


def test_an_unknown_rule_of_the_mean_is_said(few: Path) -> None:
    def nothing_on_void(record: dict[str, Any]) -> None:
        record["mean_rule"] = "void_is_error"
        for result in (record["in_domain"], *record["targets"].values()):
            result["void"] = [0] * len(record["classes"])

    for folder in few.glob("runs/*"):
        change(folder, nothing_on_void)
    _, found, _ = outcome(few)
    assert dict(found["dist"].splits["fog"].why_not) == {"the bootstrap does not know this rule of the mean": (0,)}


def test_rows_of_other_seeds_have_no_partner(few: Path) -> None:
    folder = folder_of(few, "dist-s0")
    moved = folder.with_name(folder.name.replace("-s0-", "-s7-"))
    folder.rename(moved)
    change(moved, lambda record: record.update(run_id=moved.name, spec={**record["spec"], "seed": 7}))
    _, found, _ = outcome(few)
    assert dict(found["dist"].splits["fog"].why_not) == {"no seed in common with the baseline": ()}


def test_classes_in_no_mean_are_left_out(few: Path) -> None:
    def without(record: dict[str, Any]) -> None:
        record["excluded_from_mean"] = ["sky", "road"]
        values = {}
        for name, result in {"in": record["in_domain"], **record["targets"]}.items():
            held = {n: v for n, v in result["per_class"].items() if v is not None and n not in ("sky", "road")}
            values[name] = fmean(held.values())
            result.update(value=values[name], miou=values[name], classes_in_mean=len(held))
        inside, ood = values.pop("in"), fmean(values.values())
        odd = {name: fmean(v for n, v in values.items() if n != name) for name in record["summary"]["ood_without"]}
        worst = min(values, key=lambda name: values[name])
        record["summary"].update(in_domain=inside, ood=ood, ood_without=odd, gap=inside - ood, worst_target=worst)

    _, before, _ = outcome(few)
    for folder in few.glob("runs/*"):
        change(folder, without)
    comparison, found, _ = outcome(few)
    left_out = [comparison.classes.index(name) for name in ("sky", "road")]
    means = [
        score(np.array(json.loads((folder_of(few, name) / "record.json").read_text())["targets"]["fog"]["confusion"]),
              "skip_absent", excluded=left_out).mean
        for name in ("finetune-s0", "dist-s0")
    ]  # fmt: skip
    after = found["dist"].splits["fog"].difference
    assert after is not None and after.value == pytest.approx(100 * (means[1] - means[0]))
    assert after != before["dist"].splits["fog"].difference


def test_the_same_records_give_the_same_numbers(few: Path) -> None:
    assert [one.splits for one in outcome(few)[1].values()] == [one.splits for one in outcome(few)[1].values()]


def only(records: list[Record]) -> Comparison:
    (comparison,) = compare(records)
    return comparison


def rows_of(comparison: Comparison) -> dict[str, MethodRow]:
    return {row.label: row for row in comparison.rows}


def scores(make: MakeRecord, method: str, *by_seed: tuple[float, float, float], **changes: Any) -> Iterator[Record]:
    for seed, targets in enumerate(by_seed):
        yield make(method, seed, [60.0, *targets], **changes)


def test_signed_ranks_pair_targets_and_seeds(make: MakeRecord) -> None:
    first = [(30.0, 40.0, 50.0), (31.0, 42.0, 49.0)]
    second = [(33.0, 41.0, 52.0), (35.0, 41.5, 53.5)]
    runs = [*scores(make, "finetune", *first), *scores(make, "gkd", *second, (70.0, 70.0, 70.0)), make("teacher")]
    comparison = only([*runs, *scores(make, "cwd", (30.0, 40.0, 50.0))])
    found = {one.row.label: one for one in target_tests(comparison, rows_of(comparison)["finetune"])}
    assert set(found) == {"gkd", "cwd"}  # neither the baseline nor the teacher
    one = found["gkd"]
    # seed 2 has no partner
    assert (one.found.pairs, one.seeds, one.targets) == (6, (0, 1), 3)
    wanted = stats.wilcoxon(np.ravel(second), np.ravel(first)).pvalue
    assert one.found.p == pytest.approx(wanted) == one.corrected  # the other row has no p
    assert one.found.least == 2**-5
    same = found["cwd"]
    assert math.isnan(same.found.p) and math.isnan(same.corrected) and same.found.pairs == 3


def test_ranks_need_every_block(make: MakeRecord) -> None:
    runs = [
        *scores(make, "finetune", (30, 40, 50), (31, 41, 51)),
        *scores(make, "gkd", (35, 45, 49), (36, 46, 52)),
        *scores(make, "cwd", (33, 39, 48), (30, 40, 47)),
        make("frozen", 5, [60, 10, 10, 10]),
        make("teacher", 0, [70, 60, 60, 60]),
    ]
    found = rank_rows(only(runs))
    assert found is not None and found.seeds == (0, 1) and found.left_out == ("frozen",)
    table = [[30, 40, 50, 31, 41, 51], [35, 45, 49, 36, 46, 52], [33, 39, 48, 30, 40, 47]]
    wanted = stats.rankdata(-np.array(table, float), axis=0).mean(1)
    assert [found.ranking.ranks[name] for name in ("finetune", "gkd", "cwd")] == pytest.approx(wanted.tolist())
    assert found.ranking.blocks == 6 and found.ranking.p == pytest.approx(stats.friedmanchisquare(*table).pvalue)


def test_seeds_of_a_ranking_keep_most_rows(make: MakeRecord) -> None:
    three = [(30.0, 40.0, 50.0)] * 3
    many = [record for n in range(10) for record in scores(make, f"m{n}", *three)]
    found = rank_rows(only([*many, *scores(make, "one", three[0])]))
    assert found is not None and found.seeds == (0, 1, 2) and found.left_out == ("one",)
    found = rank_rows(only([*many[:9], *scores(make, "one", three[0]), *scores(make, "two", three[0])]))
    assert found is not None and found.seeds == (0,) and not found.left_out
    pairs = [make(name, seed) for name, seeds in (("a", (0, 1)), ("b", (1, 2)), ("c", (2, 0))) for seed in seeds]
    found = rank_rows(only(pairs))
    assert found is not None and found.seeds == (0,) and found.left_out == ("b",)


def test_rows_of_one_name_are_ranked_apart(make: MakeRecord) -> None:
    runs = [make("gkd", 0, spec_code=code, run_id=code) for code in ("one", "two")]
    found = rank_rows(only([*runs, make("finetune")]))
    assert found is not None and set(found.names) == {"gkd #1", "gkd #2", "finetune"}


def test_there_is_no_ranking_of_one(make: MakeRecord) -> None:
    assert rank_rows(only([make("gkd"), make("teacher")])) is None
    assert rank_rows(only([make("gkd", 0), make("finetune", 1)])) is None
    partial = make("finetune")
    del partial.targets["fog"]
    assert rank_rows(only([make("gkd"), partial])) is None
