"""Splits judged by protocols of their own, means over some targets and classes, and targets taken together."""

import numpy as np
import pyarrow.parquet as pq
import pytest
import torch
from PIL import Image

from gkdbench.data.dataset import DataPlace, open_split
from gkdbench.engine.evaluation import judge
from gkdbench.engine.interruption import StopFlag
from gkdbench.errors import UsageError
from gkdbench.identity.run import DataDigests, run_digest
from gkdbench.metrics.confusion import score
from gkdbench.runs.prediction import write_predictions
from gkdbench.runs.record import SplitResult, read_record
from gkdbench.runs.segmentation import official_encoding, official_ids
from gkdbench.runs.trained import trained_model
from gkdbench.spec.benchmark import Benchmark
from gkdbench.spec.catalogue import find_benchmark
from gkdbench.spec.dataset import Labels
from gkdbench.spec.documents import parse
from gkdbench.spec.selection import Selection, resolve

WHOLE = {"size": [32, 48], "window": [32, 48], "stride": [21, 32]}
NATIVE = {**WHOLE, "fit": "native", "size": [8, 8]}
INSIDE = {**WHOLE, "fit": "inside", "size": [40, 120]}
# enough that all classes are predicted, and wrongly at some pixels
LEARNT = {"options": ("recipe.joint.steps=80", "recipe.joint.lr=0.01", "recipe.joint.encoder_lr=0.003")}


def digest_of(path, **selection):
    chosen = Selection(methods=("finetune",), benchmarks=(str(path),), with_teacher=False, **selection)
    (spec,) = resolve(chosen)
    return run_digest(spec, DataDigests(spec, DataPlace(path.parent.parent / "data")))


def test_each_split_is_judged_by_its_own_protocol(do, shop, tiny_benchmark):
    tiny_benchmark.rewrite(inference=WHOLE, inference_of={"dusk": NATIVE, "val": INSIDE})
    (record,) = do("finetune", **LEARNT)
    told = {"val": record.in_domain.protocol, **{n: r.protocol for n, r in record.targets.items()}}
    assert {name: (how.fit, how.resize) for name, how in told.items()} == {
        "val": ("inside", [40, 120]), "dusk": ("native", []), "dawn": ("stretch", [32, 48])
    }  # fmt: skip
    assert all(how.window == [32, 48] and how.stride == [21, 32] for how in told.values())
    written = (shop.store.run_folder(record.run_id) / "record.json").read_text()
    assert written.count('"fit"') == 2 and '"void"' not in written and '"excluded_from_mean"' not in written
    model = trained_model(record, shop.store, str(tiny_benchmark.yaml))
    spec, benchmark = model.spec, model.spec.benchmark
    for name, split, result in (
        ("val", benchmark.source.val, record.in_domain), ("dusk", spec.targets["dusk"], record.targets["dusk"])
    ):  # fmt: skip
        dataset = open_split(split, benchmark, spec.source.folder, shop.place)
        for how, same in ((benchmark.inference_for(name), True), (benchmark.inference, False)):
            found = judge(
                model.network, dataset, how, ignore=255, device=torch.device("cpu"), precision="32-true",
                stop=StopFlag(), meter=lambda done, total: None
            )  # fmt: skip
            # images of dusk are of the window's size already: native and stretched to it are the same there
            assert (found.total.tolist() == result.confusion) is (same or name == "dusk")
    (again,) = do("finetune", **LEARNT)
    assert again == record and shop.display.begun == []


def test_images_that_differ_in_size_are_judged_at_their_own(do, shop, tiny_benchmark):
    for number, size in enumerate([(80, 30), (40, 100)]):
        for file in (tiny_benchmark.image(f"test/{number}"), tiny_benchmark.label(f"test/{number}")):
            with Image.open(file) as picture:
                picture.resize(size, Image.Resampling.NEAREST).save(file)
    tiny_benchmark.rewrite(inference={**WHOLE, "batch": 3}, inference_of={"dusk": {**NATIVE, "batch": 3}})
    (record,) = do("finetune", **LEARNT)
    table = pq.read_table(shop.store.run_folder(record.run_id) / "images.parquet").to_pandas()
    assert table.columns.to_list() == ["split", "image", "counts"]
    dusk = table[table["split"] == "dusk"].set_index("image")["counts"]
    labels = {}
    for name in dusk.index:
        with Image.open(tiny_benchmark.label(name)) as picture:
            labels[name] = np.asarray(picture)
    assert {label.shape for label in labels.values()} == {(30, 80), (100, 40), (32, 48)}
    for name, label in labels.items():  # rows of the counts are the truth's pixels, whatever was predicted
        assert dusk[name].reshape(3, 3).sum(1).tolist() == [int((label == k).sum()) for k in range(3)]
    model = trained_model(record, shop.store, str(tiny_benchmark.yaml))
    made = write_predictions(
        model, model.spec.source, "dusk", shop.store.root / "out", place=shop.place, device=torch.device("cpu"),
        overlays=0, meter=lambda done, total: None
    )  # fmt: skip
    for name, label in labels.items():
        with Image.open(made.labels / f"{name}.png") as picture:
            found = np.asarray(picture)
        assert found.shape == label.shape
        known = label != 11
        counts = np.bincount(label[known].astype(int) * 3 + found[known], minlength=9)
        assert counts.tolist() == dusk[name].tolist()


def test_protocols_and_means_count_where_they_say_something(tiny_benchmark):
    plain = digest_of(tiny_benchmark.yaml)
    assert digest_of(tiny_benchmark.rewrite(inference_of={}, groups={}, excluded_from_mean=[])) == plain
    for changes in (
        {"inference_of": {"val": {"size": [32, 48], "batch": 1}}},
        {"inference_of": {"dusk": {**WHOLE, "size": [48, 72]}}},
        {"excluded_from_mean": ["car"]},
        {"ood_targets": ["dawn"]},
        {"groups": {"dim": ["dusk", "dawn"]}},
    ):
        assert digest_of(tiny_benchmark.rewrite(**changes)) != plain, changes
    tiny_benchmark.rewrite()
    without = digest_of(tiny_benchmark.yaml, targets=("dawn",))
    other = {"inference_of": {"dusk": {**WHOLE, "size": [48, 72]}}}
    assert digest_of(tiny_benchmark.rewrite(**other), targets=("dawn",)) == without  # dusk is not judged


def test_some_targets_make_the_mean_and_some_stand_together(do, shop, tiny_benchmark):
    more = {**tiny_benchmark.content["targets"], "late": {**tiny_benchmark.content["targets"]["dusk"]}}
    more["late"]["list"] = "lists/val.txt"
    tiny_benchmark.rewrite(targets=more, ood_targets=["dusk", "late"], groups={"low": ["dusk", "dawn"], "all": [*more]})
    (record,) = do("finetune", **LEARNT)
    values = {name: result.value for name, result in record.targets.items()}
    assert record.summary.ood == pytest.approx((values["dusk"] + values["late"]) / 2, abs=1e-12)
    assert record.summary.gap == record.in_domain.value - record.summary.ood
    assert record.ood_targets == ["dusk", "late"] and record.groups == {"low": ["dusk", "dawn"], "all": [*more]}
    assert set(record.summary.groups) == {"low", "all"}
    for name, members in record.groups.items():
        counts = sum(np.array(record.targets[member].confusion) for member in members)
        found = record.summary.groups[name]
        assert found.mean == pytest.approx(np.mean([values[member] for member in members]), abs=1e-12)
        assert found.pooled == pytest.approx(100 * score(counts, "skip_absent").mean, abs=1e-12)
        assert found.pooled != pytest.approx(found.mean, abs=1e-6)
    assert read_record(shop.store.run_folder(record.run_id) / "record.json") == record
    (part,) = do("finetune", targets=("dusk", "dawn"), **LEARNT)
    assert set(part.summary.groups) == {"low"} and part.summary.ood is None and part.summary.gap is None
    (part,) = do("finetune", targets=("late", "dusk"), **LEARNT)
    assert part.summary.groups == {} and part.summary.ood == pytest.approx(record.summary.ood)


def test_pixels_without_a_truth_count_as_errors_where_the_rule_says_so(do, shop, tiny_benchmark):
    (plain,) = do("finetune", **LEARNT)
    tiny_benchmark.rewrite(mean_rule="void_is_error", groups={"low": ["dusk", "dawn"]})
    (record,) = do("finetune", **LEARNT)
    assert record.stages[0].cached and record.mean_rule == "void_is_error"
    for name, result in record.targets.items():
        before = plain.targets[name]
        assert result.confusion == before.confusion and before.void == []
        assert sum(result.void) == 4 * result.n_images  # four ignored pixels an image
        counts, void = np.array(result.confusion), np.array(result.void)
        union = counts.sum(0) + counts.sum(1) - counts.diagonal() + void
        expected = 100 * counts.diagonal() / union
        assert list(result.per_class.values()) == pytest.approx(expected.tolist())
        assert result.value < before.value
    table = pq.read_table(shop.store.run_folder(record.run_id) / "images.parquet").to_pandas()
    for name, result in {"in-domain val": record.in_domain, **record.targets}.items():
        rows = table[table["split"] == name]
        for column, whole in (("void", result.void), ("counts", np.ravel(result.confusion).tolist())):
            assert np.stack(rows[column].to_list()).astype(np.int64).sum(0).tolist() == whole
    counts, void = (sum(np.array(getattr(r, k)) for r in record.targets.values()) for k in ("confusion", "void"))
    pooled = score(counts, "void_is_error", void).mean
    assert record.summary.groups["low"].pooled == pytest.approx(100 * pooled)


def test_excluded_classes_are_printed_and_enter_no_mean(do, tiny_benchmark):
    (plain,) = do("finetune", **LEARNT)
    tiny_benchmark.rewrite(excluded_from_mean=["car"], groups={"low": ["dusk", "dawn"]})
    (record,) = do("finetune", **LEARNT)
    assert record.excluded_from_mean == ["car"]
    for name, result in record.targets.items():
        assert result.per_class == plain.targets[name].per_class and result.classes_in_mean == 2
        assert result.value == pytest.approx((result.per_class["sky"] + result.per_class["road"]) / 2)
    counts = sum(np.array(result.confusion) for result in record.targets.values())
    iou = score(counts, "skip_absent").iou
    assert record.summary.groups["low"].pooled == pytest.approx(100 * (iou[0] + iou[1]) / 2)


def test_another_benchmark_of_another_size_is_predicted_at_its_own(do, shop, tiny_benchmark, tmp_path):
    """A model fitted to 32 x 48 predicts in windows of 24 x 40, as if it had been judged so."""
    (record,) = do("finetune", **LEARNT)
    model = trained_model(record, shop.store, str(tiny_benchmark.yaml))
    path = tiny_benchmark.rewrite(inference={"size": [40, 60], "window": [24, 40], "stride": [16, 24]})
    other = find_benchmark(str(path))
    arguments = {"place": shop.place, "device": torch.device("cpu"), "overlays": 0, "meter": lambda done, total: None}
    made = write_predictions(model, other, "dusk", tmp_path / "other", **arguments)
    (judged,) = do("finetune", **LEARNT)
    refitted = trained_model(judged, shop.store, str(path))
    expected = write_predictions(refitted, other, "dusk", tmp_path / "own", **arguments)
    names = sorted(file.relative_to(made.labels) for file in made.labels.rglob("*.png"))
    assert len(names) == 3
    for name in names:
        assert (made.labels / name).read_bytes() == (expected.labels / name).read_bytes()
    tiny_benchmark.rewrite()
    back = write_predictions(model, find_benchmark(str(path)), "dusk", tmp_path / "back", **arguments)
    assert model.network.encoder.size == (32, 48)
    assert any((back.labels / name).read_bytes() != (made.labels / name).read_bytes() for name in names)


def test_ids_are_those_of_the_targets_dataset(tiny_content):
    benchmark = parse(Benchmark, tiny_content, "my.yaml")
    labels = Labels(classes={"road": [7, 6], "sky": [23], "car": [26]}, ignored=[0])
    assert official_ids(benchmark, labels).tolist() == [23, 6, 26] and official_ids(benchmark).tolist() == [0, 1, 2]
    colours = Labels(kind="colours", classes={"road": [(1, 2, 3)], "sky": [(3, 2, 1)], "car": [(4, 4, 4)]})
    assert official_encoding(benchmark, colours).tolist() == [[3, 2, 1], [1, 2, 3], [4, 4, 4]]
    with pytest.raises(UsageError, match="stands for class 'car'"):
        official_ids(benchmark, Labels(classes={"road": [7], "sky": [23]}))


def test_records_from_before_still_read_and_are_written_as_they_were():
    old = {
        "value": 1.0, "miou": 1.0, "metrics": {}, "per_class": {}, "classes_in_mean": 0, "never_predicted": [],
        "confusion": [[1]], "n_images": 1,
        "protocol": {"resize": [4, 4], "window": None, "stride": None, "tta": []},
    }  # fmt: skip
    result = SplitResult.model_validate(old)
    assert result.void == [] and result.protocol.fit == "stretch"
    assert result.model_dump(mode="json") == old
