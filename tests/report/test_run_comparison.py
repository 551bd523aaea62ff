"""Two runs side by side: paired on the same images, or told why not."""

import json
import shutil
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from typer.testing import CliRunner

from gkdbench.cli.main import app
from gkdbench.errors import DataError, UsageError
from gkdbench.report.image_counts import IN_DOMAIN, read_image_counts
from gkdbench.report.run_comparison import compare_runs
from gkdbench.runs.record import Record, find_record

PUBLISHED = Path(__file__).resolve().parents[2] / "results"
FIRST, SECOND = "streets-f2l-finetune-s0", "streets-f2l-vanilla_kd-s0"


def loaded(name: str) -> tuple[Record, dict]:
    record = find_record(name, PUBLISHED)
    return record, read_image_counts(PUBLISHED / "published" / record.run_id, len(record.classes))


def test_committed_runs_are_compared_on_their_images():
    (first, before), (second, after) = loaded(FIRST), loaded(SECOND)
    found = compare_runs(first, second, (before, after))
    assert list(found.splits) == [IN_DOMAIN, *first.targets]
    assert found.spec["method"] == ("finetune", "vanilla_kd") and "seed" not in found.spec
    for name, one in found.splits.items():
        assert one.why_not is None and one.difference is not None and one.difference.images == 200
        assert one.difference.value == pytest.approx(one.second - one.first)
        assert one.difference.low < one.difference.value < one.difference.high
        assert one.corrected >= one.difference.p
        for label, of_class in one.classes.items():
            if of_class.first is not None and of_class.second is not None:
                assert of_class.difference.value == pytest.approx(of_class.second - of_class.first), (name, label)
    assert found.cost["passes of the teacher"] == (0, 12800)


def test_a_run_does_not_differ_from_itself():
    record, counts = loaded(FIRST)
    found = compare_runs(record, record, (counts, counts))
    assert found.spec == {}
    for one in found.splits.values():
        assert (one.difference.value, one.difference.low, one.difference.high, one.difference.p) == (0, 0, 0, 1)


def test_what_cannot_be_paired_is_told():
    (first, before), (second, after) = loaded(FIRST), loaded(SECOND)
    bare = compare_runs(first, second, (before, {}))
    why_not = f"{second.run_id} has no counts per image (images.parquet)"
    assert {one.why_not for one in bare.splits.values()} == {why_not}
    assert bare.splits["fog"].second == second.targets["fog"].value and bare.splits["fog"].difference is None
    changed = second.model_copy(deep=True)
    changed.targets["fog"].protocol.tta = ["flip"]
    changed.targets["city"].confusion[0][0] += 1
    found = compare_runs(first, changed, (before, after))
    assert found.splits["fog"].why_not == "judged by another protocol"
    # no digest says what was judged, but the ground truth has other pixels
    assert found.splits["city"].why_not == "judged on other images or labels"
    assert found.splits["snow"].difference is not None
    renamed = dict(after)
    renamed["snow"] = type(after["snow"])(after["snow"].names[::-1], after["snow"].counts)
    relabelled = after["fog"].counts.copy()
    relabelled[[0, 1]] = relabelled[[1, 0]]  # adds up, but images have each other's ground truth
    renamed["fog"] = type(after["fog"])(after["fog"].names, relabelled)
    found = compare_runs(first, second, (before, renamed))
    assert {found.splits[name].why_not for name in ("snow", "fog")} == {"judged on other images or labels"}


def test_runs_that_have_nothing_in_common_are_refused():
    (first, before), (second, after) = loaded(FIRST), loaded(SECOND)
    for change, said in (
        ({"status": "failed"}, "only finished runs"),
        ({"classes": ["a"]}, "another classes"),
        ({"mean_rule": "present_in_truth"}, "another rule of the mean"),
    ):
        with pytest.raises(UsageError, match=said):
            compare_runs(first, second.model_copy(update=change), (before, after))


def test_damaged_counts_are_named(tmp_path):
    record, counts = loaded(FIRST)
    assert np.array_equal(counts["fog"].counts.sum(0), record.targets["fog"].confusion)
    assert read_image_counts(tmp_path / "none", 11) == {}
    (tmp_path / "images.parquet").write_bytes(b"PAR1 not")
    with pytest.raises(DataError, match=r"images.parquet: cannot be read as counts of 11 classes"):
        read_image_counts(tmp_path, 11)
    whole = (PUBLISHED / "published" / record.run_id / "images.parquet").read_bytes()
    for content in (b"", whole[: len(whole) // 2], whole[:2000] + b"\xff" * 400 + whole[2400:]):
        (tmp_path / "images.parquet").write_bytes(content)
        with pytest.raises(DataError, match="cannot be read as counts"):
            read_image_counts(tmp_path, 11)


def lists(values: list[int], size: int, kind: pa.DataType = pa.uint16()) -> pa.Array:
    return pa.FixedSizeListArray.from_arrays(pa.array(values, kind), size)


@pytest.mark.parametrize(
    ("columns", "said"),
    [
        ({"split": ["a"], "image": ["1"]}, "counts"),
        ({"split": ["a"], "image": ["1"], "counts": [3]}, "holds int64"),
        ({"split": ["a"], "image": ["1"], "counts": lists([1] * 9, 9)}, "cannot be read as counts of 2 classes"),
        ({"split": ["a"], "image": ["1"], "counts": lists([1, 2, 3, None], 4)}, "empty cells"),
        ({"split": ["a"], "image": [None], "counts": lists([1] * 4, 4)}, "empty cells"),
        ({"split": ["a"], "image": ["1"], "counts": lists([1, -1, 0, 0], 4, pa.int32())}, "below 0"),
        ({"split": ["a"], "image": ["1"], "counts": lists([0.5] * 4, 4, pa.float32())}, "not lists of whole numbers"),
    ],
)
def test_counts_of_another_make_are_refused(tmp_path, columns, said):
    pq.write_table(pa.table(columns), tmp_path / "images.parquet")
    with pytest.raises(DataError, match=said):
        read_image_counts(tmp_path, 2)


def test_splits_that_are_mixed_are_sorted_out(tmp_path):
    table = pa.table({"split": ["b", "a", "b"], "image": ["1", "2", "3"], "counts": lists(list(range(12)), 4)})
    pq.write_table(table, tmp_path / "images.parquet")
    found = read_image_counts(tmp_path, 2)
    assert {name: (one.names.to_pylist(), one.counts[:, 0, 0].tolist()) for name, one in found.items()} == {
        "b": (["1", "3"], [0, 8]),
        "a": (["2"], [4]),
    }


def test_the_command(tmp_path):
    for name in (FIRST, SECOND):
        run = find_record(name, PUBLISHED).run_id
        shutil.copytree(PUBLISHED / "published" / run, tmp_path / "results/runs" / run)
    words = ["compare", FIRST, SECOND, "--results", str(tmp_path / "results")]
    shown = CliRunner().invoke(app, [*words, "--split", "night"])
    assert shown.exit_code == 0 and "IoU on night" in shown.output and "made otherwise" in shown.output
    told = json.loads(CliRunner().invoke(app, [*words, "--json"]).stdout)
    assert told["splits"]["night"]["difference"]["images"] == 200
    assert told["spec"]["method"] == ["finetune", "vanilla_kd"]
    assert set(told["splits"]["night"]["classes"]) == set(find_record(FIRST, PUBLISHED).classes)
    wrong = CliRunner().invoke(app, [*words, "--split", "nihgt"])
    assert wrong.exit_code == 2 and "did you mean 'night'" in wrong.output
    absent = CliRunner().invoke(app, ["compare", FIRST, "streets-f2l-nothing", "--results", str(tmp_path / "results")])
    assert absent.exit_code == 3 and "no run 'streets-f2l-nothing' in" in absent.output
