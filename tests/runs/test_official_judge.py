"""A record says of Cityscapes' classes what the official evaluator says of the label maps that `predict` wrote."""

import json

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from PIL import Image
from typer.testing import CliRunner

from gkdbench.cli.main import app
from gkdbench.models.segmentor import Segmentor

ABSENT, ONLY_PREDICTED = 3, 16  # wall, train
SIZE = (64, 96)
WINDOW = {"window": [32, 48], "stride": [21, 32]}


def by_red(segmentor, images, size):
    """Score class k by how near the red of a pixel is to 10 k, but never the absent one."""
    red = 255 * images[:, :1]
    scores = -(red - 10.0 * torch.arange(19).view(1, 19, 1, 1)).square()
    scores[:, ABSENT] = -1e9
    return F.interpolate(scores, size=size, mode="bilinear", align_corners=False)


def blocks(rng, classes):
    """Return a map of 8 x 8 blocks, each of one of the classes."""
    coarse = rng.choice(classes, (SIZE[0] // 8, SIZE[1] // 8))
    return np.kron(coarse, np.ones((8, 8), np.int64)).astype(np.uint8)


@pytest.fixture
def cityscapes(tiny_benchmark, cityscapes_evaluator, write_ids):
    """Rewrite the tiny benchmark with Cityscapes' classes and label ids; its targets are right two times in three."""
    labels = [label for label in cityscapes_evaluator.labels if label.id >= 0]
    named = {label.trainId: label for label in labels if 0 <= label.trainId < 19}
    void = [label.id for label in labels if label.trainId not in named]
    rng = np.random.default_rng(3)
    classes = np.setdiff1d(np.arange(19), [ABSENT])
    for number in range(4):
        truth = blocks(rng, np.setdiff1d(classes, [ONLY_PREDICTED]))
        shown = np.where(blocks(rng, [0, 1, 2]) > 0, truth, blocks(rng, classes))
        ids = np.array([named[k].id for k in range(19)])[truth]
        for value in void:  # every id that is not judged occurs
            ids[rng.random(SIZE) < 0.01] = value
        write_ids(tiny_benchmark.label(f"test/{number}"), ids)
        picture = np.stack([10 * shown, np.zeros_like(shown), np.zeros_like(shown)], axis=-1).astype(np.uint8)
        Image.fromarray(picture).save(tiny_benchmark.image(f"test/{number}"))
    tiny_benchmark.rewrite(
        classes=[named[k].name for k in range(19)],
        palette=[list(named[k].color) for k in range(19)],
        label_map={label.id: label.trainId if label.trainId in named else 255 for label in labels},
        inference={"size": list(SIZE), "fit": "native", **WINDOW, "batch": 2},
        inference_of={"dawn": {"size": [44, 90], "fit": "inside", **WINDOW}},
    )
    return tiny_benchmark


@pytest.mark.parametrize("target", ["dusk", "dawn"])
def test_the_record_says_what_the_official_evaluator_says(
    do, shop, cityscapes, cityscapes_evaluator, tmp_path, monkeypatch, target
):
    monkeypatch.setattr(Segmentor, "scores", by_red)
    (record,) = do("frozen")
    out = tmp_path / "out"
    done = CliRunner().invoke(
        app, ["predict", record.run_id, "--target", target, "--benchmark", str(cityscapes.yaml), "--out", str(out),
              "--results", str(shop.store.root), "--data-root", str(cityscapes.data_root), "--device", "cpu", "--json"]
    )  # fmt: skip
    assert done.exit_code == 0, done.stderr
    predicted = sorted((out / "labels").rglob("*.png"))
    truths = [cityscapes.label(path.relative_to(out / "labels").with_suffix("").as_posix()) for path in predicted]
    result = record.targets[target]
    assert len(predicted) == result.n_images and json.loads(done.stdout)["ids"]["bicycle"] == 33
    theirs = cityscapes_evaluator.evaluateImgLists([str(p) for p in predicted], [str(p) for p in truths],
                                                   cityscapes_evaluator.args)  # fmt: skip
    for number, name in enumerate(record.classes):
        ours, official = result.per_class[name], theirs["classScores"][name]
        if ours is None:
            assert np.isnan(official) and number == ABSENT
        else:
            assert ours / 100 == pytest.approx(official, abs=1e-6)
    assert result.per_class[record.classes[ONLY_PREDICTED]] == 0.0 and result.classes_in_mean == 18
    assert result.value / 100 == pytest.approx(theirs["averageScoreClasses"], abs=1e-6)
    assert 0.2 < result.value / 100 < 0.9
    assert result.protocol.fit == {"dusk": "native", "dawn": "inside"}[target]
