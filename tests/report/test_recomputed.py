"""What a record states is computed again from what it holds; one that contradicts itself enters no table."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from typer.testing import CliRunner

from gkdbench.cli.main import app
from gkdbench.errors import DataError, UsageError
from gkdbench.identity.digest import run_name
from gkdbench.report.build import build_report
from gkdbench.report.image_counts import FILE, counts_of
from gkdbench.report.records import flat, load_records, sound_record
from gkdbench.runs.recomputed import contradiction
from gkdbench.runs.record import Record, read_record

PUBLISHED = Path(__file__).resolve().parents[2] / "results" / "published"
RECORDS = {file.parent.name: read_record(file) for file in sorted(PUBLISHED.glob("*/record.json"))}
RUN, OTHER = (next(name for name in RECORDS if name.startswith(start)) for start in
              ("streets-f2l-gkd-s0", "streets-f2l-finetune-s0"))  # fmt: skip
DETECTOR = next(name for name in RECORDS if name.startswith("streets_det-f2l-gkd"))
NIGHT = RECORDS[RUN].targets["night"].value
MakeRecord = Callable[..., Record]


@pytest.mark.parametrize("name", RECORDS)
def test_published_records_agree_with_themselves(name: str) -> None:
    assert sound_record(PUBLISHED / name / "record.json") == RECORDS[name]
    counts_of(RECORDS[name], PUBLISHED / name)


def edited(name: str, keys: str, value: Any) -> Record:
    """Return a published record with another value under dotted keys; a function gives it from the old one."""
    content = RECORDS[name].model_dump(mode="json", by_alias=True)
    *path, last = keys.split(".")
    section = content
    for key in path:
        section = section[int(key)] if isinstance(section, list) else section[key]
    last = int(last) if isinstance(section, list) else last
    section[last] = value(section[last]) if callable(value) else value
    return Record.model_validate(content)


EDITS = [
    ("targets.night.value", 99.9, f"'targets.night.value': 99.9 is written, {NIGHT:.10g} follows from the rest"),
    ("in_domain.value", 99.9, "key 'in_domain.value': 99.9 is written"),
    ("targets.fog.miou", None, "key 'targets.fog.miou': nothing is written"),
    ("targets.fog.per_class.road", 12.5, "key 'targets.fog.per_class.road': 12.5 is written"),
    ("targets.fog.per_class.road", None, "key 'targets.fog.per_class.road': nothing is written"),
    ("targets.fog.per_class.sea", 12.5, "key 'targets.fog.per_class.sea': 12.5 is written, nothing follows"),
    ("targets.fog.classes_in_mean", 3, "key 'targets.fog.classes_in_mean': 3 is written, 11 follows"),
    ("targets.fog.never_predicted", ["road"], "key 'targets.fog.never_predicted': road is written, nothing follows"),
    ("targets.fog.metrics.pixel_accuracy", 99.0, "key 'targets.fog.metrics.pixel_accuracy': 99 is written"),
    ("targets.fog.confusion.0.0", lambda count: count + 1000, "key 'targets.fog.value'"),
    ("targets.fog.confusion", [], "key 'targets.fog.confusion': not 11 rows of 11 counts"),
    ("targets.fog.confusion.3", [1], "key 'targets.fog.confusion': not 11 rows of 11 counts"),
    ("targets.fog.confusion.3.3", -1, "key 'targets.fog.confusion': a count is below 0 or above 2^48"),
    ("mean_rule", "median", "key 'mean_rule': 'median' is none of skip_absent"),
    ("mean_rule", "present_in_truth", None),  # all classes are there, so that the mean is the same
    ("excluded_from_mean", ["road"], "key 'in_domain.value'"),
    ("summary.in_domain", 70.0, "key 'summary.in_domain': 70 is written"),
    ("summary.ood", 70.0, "key 'summary.ood': 70 is written"),
    ("summary.ood", None, "key 'summary.ood': nothing is written"),
    ("summary.gap", 1.5, "key 'summary.gap': 1.5 is written"),
    ("summary.gap", None, "key 'summary.gap': nothing is written"),
    ("summary.worst_target", "fog", "key 'summary.worst_target': fog is written, night follows"),
    ("summary.ood_without.night", 12.0, "key 'summary.ood_without.night': 12 is written"),
    ("summary.groups", {"dark": {"mean": 1.0, "pooled": 1.0}}, "key 'summary.groups.dark'"),
    ("summary.mpc", 12.0, "key 'summary.mpc': 12 is written, nothing follows"),
    ("summary", None, "key 'status': 'done' is written, and the scores are missing"),
    ("ood_targets", ["fog", "rain"], "key 'summary.ood'"),
    ("spec.targets", ["fog"], "key 'targets'"),
    ("spec.seed", 5, "key 'run_id'"),
    ("spec.method", "cwd", "key 'run_id'"),
    ("digest", "f" * 64, "key 'run_id'"),
    ("run_id", OTHER, "key 'run_id'"),
]


@pytest.mark.parametrize(("keys", "value", "said"), EDITS, ids=[f"{keys}={value}"[:40] for keys, value, _ in EDITS])
def test_an_edit_of_any_figure_is_named_with_what_is_written_and_what_follows(
    keys: str, value: Any, said: str | None
) -> None:
    found = contradiction(edited(RUN, keys, value))
    assert (found is None) if said is None else (found is not None and said in found)


@pytest.mark.parametrize(
    ("keys", "value", "said"),
    [
        ("targets.night.value", 99.9, "key 'targets.night.value': 99.9 is written"),
        ("targets.night.per_class.person", 99.0, "key 'targets.night.value'"),
        ("targets.night.per_class.person", 140.0, "key 'targets.night.per_class.person': 140 is written, 100 follows"),
        ("targets.night.classes_in_mean", 1, "key 'targets.night.classes_in_mean': 1 is written"),
        ("targets.night.never_predicted", ["person"], "key 'targets.night.never_predicted': person is written"),
        ("summary.ood", 99.0, "key 'summary.ood': 99 is written"),
    ],
)
def test_a_detectors_figures_are_held_against_its_aps(keys: str, value: Any, said: str) -> None:
    assert said in str(contradiction(edited(DETECTOR, keys, value)))


@settings(max_examples=25, deadline=None)
@given(
    st.sampled_from(["in_domain", "targets.night", "targets.camera"]),
    st.sampled_from(["value", "miou", "per_class.road", "per_class.person", "metrics.pixel_accuracy"]),
    st.floats(0.001, 30),
)
def test_no_change_beyond_rounding_goes_unseen(split: str, key: str, by: float) -> None:
    assert f"key '{split}.{key}': " in str(contradiction(edited(RUN, f"{split}.{key}", lambda value: value + by)))
    assert contradiction(edited(RUN, f"{split}.{key}", lambda value: value + by * 1e-9)) is None


LEAVES = st.one_of(
    st.none(), st.booleans(), st.integers(), st.floats(), st.text(max_size=9), st.just([]), st.just({}),
    st.sampled_from(["../x", "=1", 2**62, 10**400, 1e300, [[]], [None], {"a": {}}]),
)  # fmt: skip


@settings(max_examples=60, deadline=None)
@given(st.data())
def test_whatever_stands_in_a_record_it_is_read_as_it_was_or_named(
    tmp_path_factory: pytest.TempPathFactory, data: st.DataObject
) -> None:
    content: Any = RECORDS[RUN].model_dump(mode="json", by_alias=True)
    section, path = content, []
    while True:
        keys = sorted(section) if isinstance(section, dict) else range(len(section))
        path.append(data.draw(st.sampled_from(keys)))
        inner = section[path[-1]]
        if not isinstance(inner, dict | list) or not inner or data.draw(st.integers(0, 4)) == 0:
            break
        section = inner
    section[path[-1]] = data.draw(LEAVES)
    folder = tmp_path_factory.mktemp("edited") / "runs" / RUN
    folder.mkdir(parents=True)
    (folder / "record.json").write_text(json.dumps(content), encoding="utf-8")
    loaded = load_records(folder.parent.parent)
    assert len(loaded.records) + len(loaded.skipped) == 1
    for line in loaded.skipped:
        assert str(folder / "record.json") in line and "\n" not in line
    for record in loaded.records:
        if record.status == "done":
            assert values(record) == pytest.approx(values(RECORDS[RUN]))


def values(record: Record) -> dict[str, float]:
    """Return every figure that tables show, by dotted key."""
    splits = {"in": record.in_domain, **record.targets}
    shown = {name: (one.value, one.miou, *one.per_class.values()) for name, one in splits.items() if one}
    summary = record.summary.model_dump() if record.summary else {}
    return flat({"summary": {key: summary[key] for key in ("in_domain", "ood", "gap")}}) | {
        f"{name}.{place}": value for name, held in shown.items() for place, value in enumerate(held)
    }


def test_corruptions_make_up_mpc_and_rpc(make: MakeRecord) -> None:
    stated = {
        name: {"kind": kind, "severity": 1 + number % 2}
        for number, (name, kind) in enumerate([("night", "blur"), ("fog", "blur"), ("rain", "frost")])
    }
    record = make("gkd", corruptions=stated)
    assert record.summary is not None and contradiction(record) is None  # frost-2 is missing: there is no mPC
    del record.corruptions["rain"]
    record.summary.mpc = (record.targets["night"].value + record.targets["fog"].value) / 2
    record.summary.rpc = 100 * record.summary.mpc / record.summary.in_domain
    assert contradiction(record) is None
    record.summary.rpc += 1
    assert "key 'summary.rpc'" in str(contradiction(record))
    record.targets["fog"].n_images += 1  # not of the clean images: there is no rPC
    assert "nothing follows" in str(contradiction(record))


def test_of_chosen_targets_means_lie_between_the_values(make: MakeRecord) -> None:
    record = make("gkd", marks=["other targets"])
    assert record.summary is not None
    for ood, sound in ((None, True), (record.targets["night"].value, True), (99.0, False)):
        record.summary.ood = ood
        record.summary.gap = None if ood is None else record.summary.in_domain - ood
        record.summary.ood_without = {}
        assert (contradiction(record) is None) == sound


@pytest.fixture
def results(tmp_path: Path) -> Path:
    for name in (RUN, OTHER):
        shutil.copytree(PUBLISHED / name, tmp_path / "runs" / name)
    return tmp_path


def write(results: Path, record: Record, folder: str = RUN) -> Path:
    path = results / "runs" / folder / "record.json"
    path.write_text(json.dumps(record.model_dump(mode="json", by_alias=True)), encoding="utf-8")
    return path


def test_an_edited_record_enters_no_table_and_is_listed_as_skipped(results: Path) -> None:
    path = write(results, edited(RUN, "targets.night.value", 99.9))
    built = build_report(results, results / "out", ["md", "csv"])
    (line,) = built.skipped
    assert line.startswith(f"{path}: key 'targets.night.value': 99.9 is written, ") and built.records == 1
    assert "## Skipped records" in built.markdown and "| 99.9 |" not in built.markdown
    assert RUN not in (results / "out" / "results.csv").read_text(encoding="utf-8")
    compared = CliRunner().invoke(app, ["compare", RUN, OTHER, "--results", str(results)])
    assert compared.exit_code == 3 and "key 'targets.night.value': 99.9 is written" in compared.output
    listed = CliRunner().invoke(app, ["list", "runs", "--results", str(results)]).output
    assert next(line for line in listed.splitlines() if RUN in line).split()[1] == "unreadable"


def test_a_record_in_another_runs_folder_is_skipped(results: Path) -> None:
    (results / "runs" / RUN).rename(results / "runs" / "renamed")
    loaded = load_records(results)
    assert [record.run_id for record in loaded.records] == [OTHER]
    assert f"key 'run_id': {RUN} in a folder 'renamed'" in loaded.skipped[0]


@pytest.mark.parametrize("name", ["../../x", "/etc/x", "a/b", "..", ".hidden", "-x", "", "a\nb", "x" * 256, "é", "a b"])
def test_names_that_become_paths_are_one_part_of_one(results: Path, name: str) -> None:
    for keys, value in (
        ("run_id", name),
        ("digest", name),
        ("teacher_run_id", name),
        ("stages.0.digest", name),
        ("spec.benchmark", name),
        ("spec.setting", name),
        ("targets", {name: RECORDS[RUN].targets["fog"].model_dump(mode="json")}),
    ):
        content = RECORDS[RUN].model_dump(mode="json", by_alias=True)
        *path, last = keys.split(".")
        section: Any = content
        for key in path:
            section = section[int(key)] if isinstance(section, list) else section[key]
        section[last] = value
        file = results / "runs" / RUN / "record.json"
        file.write_text(json.dumps(content), encoding="utf-8")
        with pytest.raises(UsageError, match="must be 1 to 255 letters, digits") as caught:
            read_record(file)
        assert str(file) in str(caught.value) and keys.split(".")[0] in str(caught.value)
        assert len(load_records(results).records) == 1


@pytest.mark.parametrize("method", ["unfrozen-gkd", "decoupled(dist)", "ema(gkd, x=1)", "my file.py:Stage", "é/ü"])
def test_ids_that_runs_are_given_can_be_read_again(make: MakeRecord, method: str) -> None:
    run = run_name("streets", "f2l", method, 12, "0a1b2c3d" * 8)
    assert contradiction(make(method, 12, run_id=run)) is None


def rewritten(results: Path, change: Callable[[pa.Table], pa.Table], name: str = RUN) -> Path:
    file = results / "runs" / name / FILE
    pq.write_table(change(pq.read_table(file)), file)
    return file


def counts(change: Callable[[Any], Any]) -> Callable[[pa.Table], pa.Table]:
    """Return what changes the column of counts."""

    def changed(table: pa.Table) -> pa.Table:
        column = table["counts"].combine_chunks()
        flat = change(np.asarray(column.flatten()).astype(np.int64))
        lists = pa.FixedSizeListArray.from_arrays(pa.array(flat), len(flat) // len(table))
        return table.set_column(table.schema.get_field_index("counts"), "counts", lists)

    return changed


def renamed(old: str, new: str) -> Callable[[pa.Table], pa.Table]:
    def changed(table: pa.Table) -> pa.Table:
        names = [new if name == old else name for name in table["split"].to_pylist()]
        return table.set_column(table.schema.get_field_index("split"), "split", pa.array(names))

    return changed


DAMAGE = {
    "zeros": (counts(np.zeros_like), "do not add up to the record's"),
    "overflow": (counts(lambda flat: np.full_like(flat, 2**62)), "do not add up to the record's"),
    "wrapped": (counts(lambda flat: np.where(np.arange(len(flat)) % 484 == 0, 2**62, flat)), "do not add up"),
    "below zero": (counts(lambda flat: -flat), "holds numbers below 0"),
    "one pixel more": (counts(lambda flat: flat + (np.arange(len(flat)) == 7)), "do not add up to the record's"),
    "other shape": (counts(lambda flat: flat[: len(flat) // 121 * 100]), "lists of 100 numbers, not 121"),
    "renamed": (renamed("night", "nihgt"), "split 'nihgt': the record knows no such split"),
    "a split less": (lambda table: table.filter(pa.array([n != "fog" for n in table["split"].to_pylist()])),
                     "split 'fog': no counts, and the record has a result"),
    "an image less": (lambda table: table.slice(1), "counts of 199 images, and the record's result is of 200"),
}  # fmt: skip


@pytest.mark.parametrize("kind", DAMAGE)
def test_counts_that_are_not_the_records_are_refused(results: Path, kind: str) -> None:
    change, said = DAMAGE[kind]
    file = rewritten(results, change)
    with pytest.raises(DataError, match=said) as caught:
        counts_of(RECORDS[RUN], file.parent)
    assert str(file) in str(caught.value)


def test_refused_counts_are_named_and_enter_no_statistics(results: Path) -> None:
    change, said = DAMAGE["overflow"]
    file = rewritten(results, change)
    shown = CliRunner().invoke(app, ["compare", OTHER, RUN, "--results", str(results), "--json"])
    told = json.loads(shown.stdout)
    assert shown.exit_code == 0 and str(file) in told["warnings"][0] and said in told["warnings"][0]
    assert {one["difference"] for one in told["splits"].values()} == {None}
    assert told["splits"]["night"]["second"] == NIGHT
    built = build_report(results, results / "out", ["md"])
    assert built.records == 2 and [line for line in built.warnings if str(file) in line and said in line]
