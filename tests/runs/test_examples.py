"""What a run leaves for pictures: images chosen by rule, what it predicted for them, features, learning curves."""

import errno
import hashlib
import json

import numpy as np
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from gkdbench.data.dataset import open_split
from gkdbench.errors import Interrupted
from gkdbench.metrics.confusion import tally
from gkdbench.models.feature_picture import fitted, token_colours
from gkdbench.report.curves import read_curves
from gkdbench.report.examples import read_examples
from gkdbench.runs import curves, segmentation
from gkdbench.runs import examples as written
from gkdbench.runs.curves import MOST_POINTS, write_curves
from gkdbench.runs.examples import MOST, MOST_CORRUPTED, Examples, shares
from gkdbench.runs.record import read_record
from gkdbench.runs.trained import trained_model

LONGER = {"options": ("recipe.joint.steps=40", "recipe.joint.lr=0.01")}


def left_by(shop, record):
    found, why = read_examples(shop.store.run_folder(record.run_id))
    assert found is not None and why == ""
    return found


def first_by_name(names, count=2):
    return sorted(names, key=lambda name: hashlib.sha256(name.encode()).hexdigest())[:count]


def test_the_rule_chooses_and_files_hold_what_was_judged(do, shop, tiny_benchmark):
    (record,) = do("finetune", **LONGER)
    left = left_by(shop, record)
    assert left.classes == ("sky", "road", "car") and left.palette.tolist() == [[0, 0, 255], [128] * 3, [255, 0, 0]]
    assert (left.encoder.model, left.encoder.trained) == ("student", True)
    assert "of every split the 2 images whose names have the smallest SHA-256" in left.rule
    model = trained_model(record, shop.store, str(tiny_benchmark.yaml))
    benchmark, source = model.spec.benchmark, model.spec.source
    table = pq.read_table(shop.store.run_folder(record.run_id) / "images.parquet").to_pandas()
    splits = {"in-domain val": benchmark.source.val, **benchmark.targets}
    seen = []
    for split, spec in splits.items():
        dataset = open_split(spec, benchmark, source.folder, shop.place)
        names = [dataset.name(index) for index in range(len(dataset))]
        assert [one.image for one in left.of(split)] == first_by_name(names)
        for one in left.of(split):
            index = names.index(one.image)
            truth, prediction = left.labels(one, "truth"), left.labels(one, "prediction")
            assert (truth == dataset.labels(index)).all()
            assert (left.colours(one, "image") == dataset.image(index)).all()
            (row,) = table[(table["split"] == split) & (table["image"] == one.image)]["counts"]
            assert tally(truth, prediction, 3, 255).counts.reshape(-1).tolist() == row.tolist()
            image = Image.fromarray(np.array(dataset.image(index)))
            seen.append((one, np.asarray(fitted(model.network.encoder, image))))
    assert len(seen) == 2 + 2 + 1  # dawn has one image
    for (one, _), wanted in zip(seen, token_colours(model.network.encoder, (s for _, s in seen)), strict=True):
        assert (left.colours(one, "features") == wanted).all() and wanted.shape == (4, 6, 3)


def test_the_choice_is_no_methods_and_among_the_images_judged(do, shop, tiny_benchmark):
    frozen, finetune, teacher = (left_by(shop, record) for record in do("frozen", "finetune", "teacher"))
    chosen = [[(one.split, one.image) for one in each.every] for each in (frozen, finetune, teacher)]
    assert chosen[0] == chosen[1] == chosen[2]
    told = [(each.encoder.model, each.encoder.trained) for each in (frozen, finetune, teacher)]
    assert told == [("student", False), ("student", True), ("teacher", False)]
    presets = tiny_benchmark.content["presets"]
    presets["smoke"]["limits"] = {"proxy": 4, "target": 1, "val": 1}
    tiny_benchmark.rewrite(presets=presets)
    (limited,) = do("frozen")
    judged = pq.read_table(shop.store.run_folder(limited.run_id) / "images.parquet").to_pandas()
    assert {(one.split, one.image) for one in left_by(shop, limited).every} == set(zip(judged["split"], judged["image"],
                                                                                       strict=True))  # fmt: skip


def test_a_run_that_was_cut_off_ends_with_all_files(do, shop, monkeypatch):
    draw = Examples.draw_features

    def cut(self, encoder):
        raise Interrupted("stopped")

    monkeypatch.setattr(Examples, "draw_features", cut)
    with pytest.raises(Interrupted):
        do("finetune")
    (path,) = shop.store.root.glob("runs/*/record.json")
    broken = read_record(path)
    assert broken.status == "interrupted" and broken.summary is not None and list(broken.targets) == ["dusk", "dawn"]
    assert not (path.parent / "examples").exists()
    monkeypatch.setattr(Examples, "draw_features", draw)
    (record,) = do("finetune")
    assert record.status == "done" and all("features" in one.files for one in left_by(shop, record).every)
    assert (path.parent / "curves.json").is_file()


def full_disk(monkeypatch, module):
    write = module.write_atomically

    def full(path, _):
        def fails(stream):
            raise OSError(errno.ENOSPC, "No space left on device")

        write(path, fails)

    monkeypatch.setattr(module, "write_atomically", full)


def test_examples_that_cannot_be_written_are_a_warning(do, shop, monkeypatch):
    full_disk(monkeypatch, written)
    (record,) = do("finetune")
    (warning,) = [text for text in record.warnings if "random weights" not in text]
    assert record.status == "done" and record.summary is not None
    assert warning.startswith("no examples: ") and "examples/00-image.png: the disk is full" in warning
    folder = shop.store.run_folder(record.run_id)
    assert read_examples(folder)[0] is None  # no index before its files
    assert read_record(folder / "record.json") == record and (folder / "curves.json").is_file()
    assert f"warning: {warning}" in shop.display.said
    monkeypatch.undo()
    (again,) = do("finetune", fresh=True)
    assert again.summary == record.summary and warning not in again.warnings and len(left_by(shop, again).every) == 5


def test_curves_that_cannot_be_written_are_a_warning_after_the_scores(do, shop, monkeypatch):
    full_disk(monkeypatch, curves)
    saved = []
    write_record = type(shop.store).write_record

    def watched(self, record):
        saved.append((record.summary is not None, any("curves" in text for text in record.warnings)))
        write_record(self, record)

    monkeypatch.setattr(type(shop.store), "write_record", watched)
    (record,) = do("finetune")
    (warning,) = [text for text in record.warnings if "random weights" not in text]
    assert record.status == "done" and "no learning curves: " in warning and "the disk is full" in warning
    assert (True, False) in saved and saved[-1] == (True, True)  # the scores were safe before
    assert len(left_by(shop, record).every) == 5


def test_features_that_cannot_be_drawn_cost_their_pictures_alone(do, shop, monkeypatch):
    def breaks(encoder, images):
        raise ValueError("the encoder's features are not finite")

    monkeypatch.setattr(written, "token_colours", breaks)
    (record,) = do("finetune")
    assert record.status == "done" and "no picture of the features: the encoder's features are not finite" in (
        record.warnings
    )
    assert {kind for one in left_by(shop, record).every for kind in one.files} == {"image", "truth", "prediction"}


def test_examples_made_anew_take_the_place_of_the_old(do, shop):
    (record,) = do("finetune")
    folder = shop.store.run_folder(record.run_id) / "examples"
    before = {path.name: path.read_bytes() for path in folder.iterdir()}
    for name in ("77-image.png", "123-prediction.png", "08-features.jpg"):
        (folder / name).write_bytes(b"old")
    theirs = {"notes.txt": b"a person's", "01-notes.txt": b"a person's", "07-mine.png": b"a person's"}
    for name, content in theirs.items():
        (folder / name).write_bytes(content)
    do("finetune", fresh=True)
    after = {path.name: path.read_bytes() for path in folder.iterdir()}
    assert after == {**before, **theirs}
    assert len(before) == 5 * 4 + 1


class Photographs:
    """Large images of noise."""

    def __len__(self):
        return 3

    def name(self, index):
        return f"<b>/{index}"

    def image(self, index):
        return np.random.default_rng(index).integers(0, 255, (900, 1400, 3)).astype(np.uint8)

    def labels(self, index):
        ids = np.zeros((900, 1400), np.uint8)
        ids[:, 700:] = 2
        ids[:10] = 255
        return ids


def test_large_images_are_left_small(tiny_benchmark, do, shop, tmp_path):
    (record,) = do("frozen")
    model = trained_model(record, shop.store, str(tiny_benchmark.yaml))
    many = Examples(model.spec.benchmark, ["in-domain val", "far"])
    photographs = Photographs()
    chosen = many.choose("far", photographs)
    assert len(chosen) == 2 and many.choose("elsewhere", photographs) == []
    many.add("far", photographs, {index: photographs.labels(index) for index in chosen}, model.network.encoder)
    many.write(tmp_path, model="student", trained=False)
    left, _ = read_examples(tmp_path)
    (one, _) = left.of("far")
    assert one.files["image"].endswith(".jpg") and left.colours(one, "image").shape == (329, 512, 3)
    ids = left.labels(one, "truth")
    assert (
        ids.shape == (329, 512) and set(np.unique(ids)) == {0, 2, 255} and (ids == left.labels(one, "prediction")).all()
    )
    with Image.open(tmp_path / "examples" / one.files["truth"]) as picture:
        assert picture.mode == "P" and picture.convert("RGB").getpixel((500, 300)) == (255, 0, 0)
    assert sum(path.stat().st_size for path in (tmp_path / "examples").iterdir()) < 2**19
    (entry, _) = json.loads((tmp_path / "examples" / "examples.json").read_text())["examples"]
    assert entry["size"] == [900, 1400] and entry["image"].startswith("<b>/")


@given(st.integers(1, 200))
def test_however_many_splits_there_are_the_examples_are_few(count):
    splits = [f"t{number}" for number in range(count)]
    found = shares(splits)
    assert 0 < sum(found.values()) <= MOST and list(found) == [split for split in splits if split in found]
    assert splits[0] in found and splits[-1] in found
    assert set(found.values()) == ({2} if count <= MOST // 2 else {1})
    assert len(found) == min(count, MOST)


@given(st.integers(0, 30), st.integers(0, 100))
def test_corruptions_show_few_images_between_them(others, corrupted):
    made = [f"c{number}" for number in range(corrupted)]
    splits = [f"t{number}" for number in range(others)] + made
    found = shares(splits, made)
    assert sum(found.values()) <= MOST and sum(split in found for split in made) <= MOST_CORRUPTED
    if others + min(corrupted, MOST_CORRUPTED) <= MOST:
        assert set(splits[:others]) <= set(found) and sum(split in found for split in made) == min(corrupted, 4)


def log_of(path, lines):
    path.write_text("".join((line if isinstance(line, str) else json.dumps(line)) + "\n" for line in lines))
    return path


def test_curves_are_means_of_neighbouring_lines(tmp_path):
    lines = [{"step": 10 * (n + 1), "terms": {"task": float(n), "fea": 2.0}, "lr": 0.1} for n in range(1001)]
    del lines[0]["terms"]["fea"]
    lines[6]["terms"] = {"task": 6.0, "fea": float("nan")}
    short = [{"step": 10, "terms": {"task": 1.23456789}, "lr": 0.5}, "{broken", "[]", {"step": 20, "terms": {}}]
    write_curves(
        tmp_path / "curves.json",
        [("joint", log_of(tmp_path / "a", lines)), ("task", log_of(tmp_path / "b", short)), ("gone", tmp_path / "c")],
    )
    stages, why = read_curves(tmp_path)
    assert why == "" and [stage.name for stage in stages] == ["joint", "task", "gone"]
    joint, task, gone = stages
    assert len(joint.steps) == 167 <= MOST_POINTS and joint.steps[:2] == (60, 120) and joint.steps[-1] == 10010
    assert joint.terms["task"][:2] == (2.5, 8.5) and joint.terms["task"][-1] == 998.0
    assert set(joint.terms["fea"]) == {2.0} and set(joint.lr) == {0.1}
    assert (task.steps, task.terms, task.lr) == ((10, 20), {"task": (1.23457, None)}, (0.5, None))
    assert gone.steps == ()


@given(st.integers(0, 1500))
def test_no_stage_has_more_points_than_a_picture_shows(tmp_path_factory, count):
    folder = tmp_path_factory.getbasetemp() / "curves"
    folder.mkdir(exist_ok=True)
    lines = [{"step": n + 1, "terms": {"task": 1.0}, "lr": 0.1} for n in range(count)]
    write_curves(folder / "curves.json", [("joint", log_of(folder / "log", lines))])
    ((stage,), _) = read_curves(folder)
    assert min(count, MOST_POINTS // 2) <= len(stage.steps) <= MOST_POINTS
    assert not count or stage.steps[-1] == count


def test_a_run_on_cached_stages_has_their_curves(do, shop):
    (first,) = do("finetune", targets=("dusk",), **LONGER)
    (second,) = do("finetune", **LONGER)
    assert second.stages[0].cached and second.run_id != first.run_id
    one, two = (shop.store.run_folder(record.run_id) / "curves.json" for record in (first, second))
    ((stage,), _) = read_curves(two.parent)
    assert stage.name == "joint" and stage.steps == (10, 20, 30, 40) and list(stage.terms) == ["task"]
    assert one.read_bytes() == two.read_bytes()


def test_only_the_chosen_predictions_are_held(do, shop, monkeypatch):
    kept = []
    judge = segmentation.judge

    def watched(*args, **more):
        result = judge(*args, **more)
        kept.append((sorted(result.kept), len(result.names)))
        return result

    monkeypatch.setattr(segmentation, "judge", watched)
    do("frozen")
    assert [(len(numbers), count) for numbers, count in kept] == [(2, 2), (2, 3), (1, 1)]
