"""What a finished run's model is good for: exports that load elsewhere, label maps in the data's own ids."""

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import load_file
from typer.testing import CliRunner

from gkdbench.cli.main import app
from gkdbench.engine.evaluation import judge
from gkdbench.engine.interruption import StopFlag
from gkdbench.errors import DataError, UsageError
from gkdbench.runs.export import Deployed, export_model
from gkdbench.runs.prediction import find_split, write_predictions
from gkdbench.runs.record import find_record
from gkdbench.runs.segmentation import official_ids
from gkdbench.runs.trained import trained_model
from gkdbench.spec.catalogue import find_benchmark


@pytest.fixture
def trained(do, shop, tiny_benchmark):
    (record,) = do("finetune")
    return trained_model(record, shop.store, str(tiny_benchmark.yaml))


def test_the_model_is_the_one_that_was_judged(trained, shop):
    spec = trained.spec
    from gkdbench.data.dataset import open_split

    dataset = open_split(spec.targets["dusk"], spec.benchmark, spec.source.folder, shop.place)
    judged = judge(
        trained.network, dataset, spec.benchmark.inference, ignore=spec.benchmark.ignore, device=torch.device("cpu"),
        precision=spec.preset.task.precision, stop=StopFlag(), meter=lambda done, total: None
    )  # fmt: skip
    assert judged.total.tolist() == trained.record.targets["dusk"].confusion


def test_whole_models_and_encoders_load_elsewhere(trained, tmp_path):
    weights, description = export_model(trained, "safetensors", tmp_path / "whole")
    tensors = load_file(weights)
    own = trained.network.state_dict()
    assert tensors.keys() == own.keys() and all(torch.equal(tensors[name], own[name]) for name in own)
    told = json.loads(description.read_text())
    assert told["run_id"] == trained.record.run_id and told["classes"] == trained.record.classes
    *_, description = export_model(trained, "timm", tmp_path / "encoder")
    done = subprocess.run(
        [sys.executable, "-c", "import runpy, torch; e = runpy.run_path('load.py')['encoder'].eval();"
         "torch.manual_seed(0); torch.save(e.forward_features(torch.rand(1, 3, 32, 48)), 'out.pt')"],
        cwd=tmp_path / "encoder", capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    torch.manual_seed(0)
    images = torch.rand(1, 3, 32, 48)
    with torch.no_grad():
        wanted = trained.network.encoder.model.forward_features(images)
    found = torch.load(tmp_path / "encoder" / "out.pt", weights_only=True)
    assert torch.allclose(found, wanted, atol=1e-5)


@pytest.mark.slow
def test_onnx_says_what_torch_says(trained, tmp_path):
    import onnxruntime

    path, _ = export_model(trained, "onnx", tmp_path)
    session = onnxruntime.InferenceSession(str(path))
    for batch in (1, 3):
        images = torch.rand(batch, 3, *trained.size, generator=torch.Generator().manual_seed(batch))
        (found,) = session.run(None, {"images": images.numpy()})
        with torch.no_grad():
            wanted = Deployed(trained)(images).numpy()
        assert found.shape == (batch, 3, *trained.size) and np.abs(found - wanted).max() < 1e-3


def test_label_maps_have_the_ids_of_the_data(trained, shop, tiny_benchmark, tmp_path):
    source = trained.spec.source
    ids = official_ids(source.benchmark)
    assert all(source.benchmark.label_map[int(label)] == index for index, label in enumerate(ids))
    made = write_predictions(
        trained, source, "dusk", tmp_path / "out", place=shop.place, device=torch.device("cpu"), overlays=1,
        meter=lambda done, total: None
    )  # fmt: skip
    files = sorted(made.labels.rglob("*.png"))
    assert len(files) == made.count == trained.record.targets["dusk"].n_images
    counts = np.zeros(3, np.int64)
    for file in files:
        with Image.open(file) as picture:
            assert picture.mode == "L" and picture.size == (48, 32)
            found = np.asarray(picture)
        assert set(np.unique(found)) <= {int(i) for i in ids}
        counts += [int((found == label).sum()) for label in ids]
    # predicted pixels by class, all of them where the truth is ignored too
    judged = np.array(trained.record.targets["dusk"].confusion).sum(axis=0)
    assert (counts >= judged).all() and counts.sum() == len(files) * 32 * 48
    assert len(list(made.overlays.rglob("*.png"))) == 1
    without = source.benchmark.model_copy(update={"label_map": {3: 0, 5: 1, 7: 255}})
    with pytest.raises(UsageError, match="no id of its label_map stands for class 'car'"):
        official_ids(without)
    with pytest.raises(UsageError, match=r"no target 'duks'; did you mean 'dusk'\?"):
        find_split(source, "duks")
    with pytest.raises(UsageError, match="classes are not the 3 that"):
        write_predictions(
            trained, find_benchmark("streets"), "night", tmp_path / "out", place=shop.place,
            device=torch.device("cpu"), overlays=0, meter=lambda done, total: None
        )  # fmt: skip


def test_what_is_not_there_is_said(trained, shop, tiny_benchmark):
    results = shop.store.root
    name = trained.record.run_id
    assert find_record(name[:-4], results).run_id == name
    with pytest.raises(DataError, match=r"\(runs there: 1\); did you mean"):
        find_record(name.replace("finetune", "fintune"), results)
    for change in ({"classes": trained.record.classes[::-1]}, {}):
        spec = trained.record.spec.model_copy(update={} if change else {"benchmark_version": 7})
        other = trained.record.model_copy(update={**change, "spec": spec})
        with pytest.raises(DataError, match=r"has another (classes|version) now \("):
            trained_model(other, shop.store, str(tiny_benchmark.yaml))
    failed = trained.record.model_copy(update={"status": "failed", "reason": "loss is nan"})
    with pytest.raises(DataError, match=r"failed \(loss is nan\); no model"):
        trained_model(failed, shop.store)
    stage = results / "stages" / trained.record.stages[-1].digest
    stage.rename(stage.with_name("gone"))
    with pytest.raises(DataError, match="its weights are not in"):
        trained_model(trained.record, shop.store, str(tiny_benchmark.yaml))


def test_the_commands(trained, shop, tiny_benchmark, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    common = ("--results", str(shop.store.root), "--benchmark", str(tiny_benchmark.yaml), "--json")
    name = trained.record.run_id
    done = CliRunner().invoke(app, ["export", name, "--format", "timm", *common])
    assert done.exit_code == 0, done.stderr
    names = [Path(file).name for file in json.loads(done.stdout)["files"]]
    assert names == ["encoder.safetensors", "load.py", "model.json"]
    wrong = CliRunner().invoke(app, ["export", name, "--format", "onx", *common])
    assert wrong.exit_code == 2
    assert "--format onx: must be one of safetensors, timm, onnx; did you mean 'onnx'?" in wrong.stderr
    data = ("--data-root", str(tiny_benchmark.data_root), "--device", "cpu")
    done = CliRunner().invoke(app, ["predict", name, "--target", "val", *common, *data])
    assert done.exit_code == 0, done.stderr
    told = json.loads(done.stdout)
    assert Path(told["labels"]).is_dir() and told["images"] == trained.record.in_domain.n_images
