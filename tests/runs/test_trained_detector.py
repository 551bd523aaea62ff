"""What a finished run's detector is good for: examples beside its record, COCO's JSON, weights that find the same."""

import contextlib
import io
import json
from dataclasses import replace

import numpy as np
import pytest
import torch
import yaml
from lightning_fabric import Fabric
from PIL import Image
from safetensors.torch import load_file
from typer.testing import CliRunner

from gkdbench.cli.display import PlainDisplay
from gkdbench.cli.main import app
from gkdbench.data.dataset import DataPlace, open_split
from gkdbench.detection.detector import Detector
from gkdbench.detection.finding import find_boxes
from gkdbench.detection.prediction import overlay
from gkdbench.engine.interruption import StopFlag
from gkdbench.errors import UsageError
from gkdbench.models.encoder import Encoder
from gkdbench.report.examples import read_examples
from gkdbench.runs.export import export_model
from gkdbench.runs.prediction import write_predictions
from gkdbench.runs.runner import run
from gkdbench.runs.stages import fit_for_judging
from gkdbench.runs.store import Store
from gkdbench.runs.trained import trained_model
from gkdbench.runs.workshop import Workshop
from gkdbench.spec.catalogue import find_benchmark
from gkdbench.spec.objects import Detections
from gkdbench.spec.selection import Selection, resolve

CORRUPTED = [f"{kind}-{level}" for kind in ("contrast", "pixelate") for level in (1, 2, 3)]


@pytest.fixture(scope="module")
def detector(tmp_path_factory):
    """A run of a few steps on a small streets_det: shop, its model, and the benchmark's YAML."""
    tmp_path = tmp_path_factory.mktemp("detector")
    content = yaml.safe_load((find_benchmark("streets_det").folder / "streets_det.yaml").read_text())
    content |= {"name": "tiny_det", "ood_targets": ["night"], "hidden_targets": {}}
    night = content["targets"]["night"] | {"count": 6}
    content["targets"] = {"night": night, "corruptions": {"kinds": ["contrast", "pixelate"], "severities": [1, 2, 3]}}
    content["source"]["train"]["count"], content["source"]["val"]["count"] = 16, 8
    content["proxy"]["count"] = 16
    content["inference"]["batch"] = 5
    preset = content["presets"]["smoke"]
    preset.pop("limits")
    preset["joint"] = {**preset["joint"], "steps": 12}
    path = tmp_path / "tiny_det.yaml"
    path.write_text(yaml.safe_dump(content, sort_keys=False))
    torch.set_num_threads(1)
    store = Store(tmp_path / "results")
    store.prepare()
    fabric = Fabric(accelerator="cpu", devices=1)
    here = Workshop(store, DataPlace(None, tmp_path / "cache"), fabric, StopFlag(), PlainDisplay())
    chosen = Selection(methods=("finetune",), benchmarks=(str(path),), preset="smoke", with_teacher=False)
    (spec,) = resolve(chosen)
    record = run(spec, here).record
    assert record.status == "done" and record.warnings == []
    return here, trained_model(record, here.store, str(path)), path


def pycocotools_stats(folder):
    tools = pytest.importorskip("pycocotools.coco")
    from pycocotools.cocoeval import COCOeval

    with contextlib.redirect_stdout(io.StringIO()):
        truth = tools.COCO(str(folder / "images.json"))
        scored = COCOeval(truth, truth.loadRes(str(folder / "results.json")), "bbox")
        scored.evaluate()
        scored.accumulate()
        scored.summarize()
    return scored.stats


def predicted(detector, target, out, overlays=0, source=None):
    here, model, _ = detector
    return write_predictions(
        model, source or model.spec.source, target, out, place=here.place, device=torch.device("cpu"),
        overlays=overlays, meter=lambda done, total: None
    )  # fmt: skip


def test_what_is_written_scores_what_the_record_says(detector, tmp_path):
    _, model, _ = detector
    for target, result in (("val", model.record.in_domain), ("contrast-2", model.record.targets["contrast-2"])):
        made = predicted(detector, target, tmp_path / target, overlays=2)
        stats = pycocotools_stats(tmp_path / target)
        wanted = [result.metrics[key] / 100 for key in ("coco_ap", "coco_ap50", "coco_ap75", "coco_ap_small")]
        assert [stats[0], stats[1], stats[2], stats[3]] == pytest.approx(wanted, abs=1e-6)
        assert made.count == result.n_images == 8 and made.boxes > 20 and made.without_truth == ""
        assert wanted[1] > 0  # something is found, so that the figures can differ
        drawn = sorted((tmp_path / target / "overlays").rglob("*.png"))
        assert len(drawn) == 2
        with Image.open(drawn[0]) as picture:
            assert picture.size == (640, 320)  # 128x64, enlarged
    document = json.loads((tmp_path / "val" / "images.json").read_text())
    assert [one["name"] for one in document["categories"]] == ["car", "person", "sign", "tree"]
    assert document["images"][0] == {"id": 1, "file_name": "day/0", "height": 64, "width": 128}
    assert any(one["iscrowd"] for one in document["annotations"])  # things of few pixels


@pytest.mark.parametrize(
    "annotations, why", [({"annotations": None}, "not labelled"), ({}, "no annotation for image 'p0'")]
)
def test_images_without_boxes_are_predicted_too(detector, tmp_path, annotations, why):
    here, model, path = detector
    photos = tmp_path / "data" / "mine"
    photos.mkdir(parents=True)
    for number, size in enumerate([(50, 40), (200, 90)]):
        Image.new("RGB", size, (90, 90, 200)).save(photos / f"p{number}.png")
    content = yaml.safe_load(path.read_text())
    content["targets"] = {"photos": {"reader": "voc", "root": "mine", "images": "{stem}.png", **annotations}}
    content |= {"name": "own_photos", "ood_targets": ["photos"]}
    (tmp_path / "own.yaml").write_text(yaml.safe_dump(content))
    there = (replace(here, place=DataPlace(tmp_path / "data", here.place.cache)), model, path)
    made = predicted(there, "photos", tmp_path / "out", source=find_benchmark(str(tmp_path / "own.yaml")))
    assert made.count == 2 and why in made.without_truth
    document = json.loads(made.images.read_text())
    assert "annotations" not in document and [one["width"] for one in document["images"]] == [50, 200]
    for row in json.loads(made.results.read_text()):
        size = document["images"][row["image_id"] - 1]
        x, y, width, height = row["bbox"]
        assert x >= 0 and y >= 0 and x + width <= size["width"] + 1e-4 and y + height <= size["height"] + 1e-4


def test_exported_weights_find_the_same_boxes(detector, tmp_path):
    here, model, _ = detector
    weights, description = export_model(model, "safetensors", tmp_path / "whole")
    assert json.loads(description.read_text())["decoder"]["name"] == "faster-rcnn"
    spec = model.spec
    again = Detector(Encoder(spec.student.entry), spec.benchmark.decoder, len(spec.benchmark.classes))
    fit_for_judging(again, spec, "student", model.network.encoder.patch)
    again.add_head(0)
    again.load_state_dict(load_file(weights))
    for network in (again, model.network):
        network.use_plain_attention()  # kernels round each in its own way
    dataset = open_split(spec.targets["night"], spec.benchmark, spec.source.folder, here.place)
    images = [dataset.image(number) for number in range(len(dataset))]
    found, wanted = (
        find_boxes(network.eval(), images, spec.benchmark.inference, torch.device("cpu"), "32-true")
        for network in (again, model.network)
    )
    assert sum(map(len, wanted)) > 0
    for one, other in zip(found, wanted, strict=True):
        assert np.array_equal(one.boxes, other.boxes) and np.array_equal(one.scores, other.scores)
        assert np.array_equal(one.labels, other.labels)
    with pytest.raises(UsageError, match=r"--format onnx: .* is a run of detection; safetensors and timm have"):
        export_model(model, "onnx", tmp_path / "onnx")
    assert not list((tmp_path / "onnx").glob("*"))


def test_examples_are_boxes_and_few_corruptions_have_any(detector):
    here, model, _ = detector
    left, why = read_examples(here.store.run_folder(model.record.run_id))
    assert left is not None and why == "" and left.task == "detection"
    splits = list(dict.fromkeys(one.split for one in left.every))
    assert splits == ["in-domain val", "night", "contrast-1", "contrast-2", "pixelate-1", "pixelate-3"]
    assert "of every split that is no corruption, and of 4 of the 6 that are one, the 2 images" in left.rule
    assert all(set(one.files) == {"image", "features"} and one.size == (64, 128) for one in left.every)
    (first, _) = left.of("in-domain val")
    # corruptions show the images that the split itself shows
    assert [one.image for one in left.of("pixelate-3")] == [one.image for one in left.of("in-domain val")]
    dataset = open_split(model.spec.benchmark.source.val, model.spec.benchmark, model.spec.source.folder, here.place)
    (index,) = [number for number in range(len(dataset)) if dataset.name(number) == first.image]
    truth, objects = left.found(first, "truth"), dataset.objects(index)
    pixels = truth.places * [128, 64, 128, 64]
    order = [np.lexsort(boxes.T) for boxes in (pixels, objects.boxes)]
    np.testing.assert_allclose(pixels[order[0]], objects.boxes[order[1]], rtol=0, atol=0.01)
    areas = (truth.places[:, 2:] - truth.places[:, :2]).prod(axis=1)
    assert (np.diff(areas) <= 1e-12).all()  # large ones first: small ones stay visible
    assert truth.last.sum() == objects.difficult.sum()
    assert (left.found(first, "prediction").last <= 1).all()


def test_the_commands_tell_of_boxes(detector, tmp_path, monkeypatch):
    here, model, path = detector
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("GKDBENCH_CACHE", str(here.place.cache))
    common = ("--results", str(here.store.root), "--benchmark", str(path))
    name = model.record.run_id
    asked = ["predict", name, "--target", "night", *common, "--device", "cpu"]
    done = CliRunner().invoke(app, [*asked, "--json"])
    assert done.exit_code == 0, done.output
    told = json.loads(done.stdout)
    assert told["images"] == 6 and told["categories"] == {"car": 1, "person": 2, "sign": 3, "tree": 4}
    assert len(json.loads((tmp_path / told["results"]).read_text())) == told["boxes"]
    assert told["without_truth"] is None
    done = CliRunner().invoke(app, asked)
    assert done.exit_code == 0 and "category_id" in done.stdout and "annotations, for pycocotools" in done.output


def test_overlays_name_what_is_sure(detector):
    _, model, _ = detector
    image = np.full((64, 128, 3), 127, np.uint8)
    boxes = np.array([[10, 20, 60, 50], [70, 0, 120, 30]], np.float32)
    found = Detections(boxes, np.array([0, 2]), np.array([0.9, 0.4], np.float32))
    pixels = np.asarray(overlay(image, found, model.spec.benchmark))
    colours = {tuple(colour) for colour in pixels.reshape(-1, 3)}
    assert (0, 0, 142) in colours and (220, 220, 0) not in colours  # the car alone
    edge = np.argwhere((pixels == (0, 0, 142)).all(axis=2))
    assert edge[:, 0].max() == pytest.approx(250, abs=2) and edge[:, 1].min() == pytest.approx(50, abs=2)
