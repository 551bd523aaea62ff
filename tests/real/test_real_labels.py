"""Labels of official releases, a few real files of each; skipped where the developers' data are not at hand."""

import json
import os
import shutil
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from splits import open_in

from gkdbench.data.readers import DatasetSplit
from gkdbench.errors import DataError
from gkdbench.spec.catalogue import find_benchmark
from gkdbench.spec.dataset_catalogue import find_dataset

SHARED = os.environ.get("GKDBENCH_SHARED")
pytestmark = pytest.mark.skipif(
    SHARED is None, reason="GKDBENCH_SHARED is not set: the developers' real data are not here"
)
DATA = Path(SHARED or ".") / "data"


def opened(tmp_path: Path, dataset: str, split: str, benchmark: str):
    known = find_benchmark(benchmark).benchmark
    chosen = DatasetSplit(reader="dataset", dataset=dataset, split=split)
    return open_in(tmp_path, chosen, known.classes, data=tmp_path), known


@pytest.mark.parametrize(
    ("dataset", "source", "root"),
    [("potsdam-rgb", "potsdam", "potsdam/RGB"), ("vaihingen-irrg", "vaihingen", "vaihingen")],
)
def test_converted_tiles(tmp_path, dataset, source, root):
    for kind in ("img_dir", "ann_dir"):
        shutil.copytree(DATA / "mmseg_samples" / source / kind, tmp_path / root / kind / "train")
    found, known = opened(tmp_path, dataset, "train", "potsdam-rgb")
    stored = np.asarray(Image.open(next((DATA / "mmseg_samples" / source / "ann_dir").iterdir())))
    truth = found.labels(0)
    assert found.image(0).shape == (512, 512, 3) and truth.shape == (512, 512) == stored.shape
    # the stored value is one more than the class; 0 is a boundary
    assert np.array_equal(truth, np.where(stored == 0, 255, stored - 1)) and len(known.classes) == 6
    assert len(np.unique(truth)) > 2


def test_mapillary_of_both_releases(tmp_path):
    sample = DATA / "mmseg_samples/mapillary"
    image = next((sample / "images").iterdir())
    for place, release in (("a", "v1.2"), ("b", "v2.0")):
        root = tmp_path / place / "mapillary/validation"
        (root / "images").mkdir(parents=True)
        (root / "labels").mkdir()
        shutil.copy(image, root / "images")
        shutil.copy(sample / release / f"{image.stem}.png", root / "labels")
    right, known = opened(tmp_path / "a", "mapillary", "val", "gtav")
    ids = np.asarray(Image.open(sample / "v1.2" / f"{image.stem}.png"))
    assert set(np.unique(ids)) == {17, 44, 45}
    truth = right.labels(0)
    assert (truth[ids == 17] == known.classes.index("building")).all()
    assert (truth[ids != 17] == known.classes.index("pole")).all()
    wrong, _ = opened(tmp_path / "b", "mapillary", "val", "gtav")
    with pytest.raises(DataError, match=r"label id 8[45] is not in the label map"):
        wrong.labels(0)


def test_masks_of_bdd100k(tmp_path):
    for name in ("label_testcases_semseg_mask", "label_testcases_to_rle_sem_seg_masks_0"):
        mask = DATA / "bdd100k_samples" / f"{name}.png"
        root = tmp_path / name / "bdd100k"
        (root / "labels/sem_seg/masks/val").mkdir(parents=True)
        (root / "images/10k/val").mkdir(parents=True)
        shutil.copy(mask, root / "labels/sem_seg/masks/val/x.png")
        ids = np.asarray(Image.open(mask))
        Image.fromarray(np.zeros((*ids.shape, 3), np.uint8)).save(root / "images/10k/val/x.jpg")
        found, _ = opened(tmp_path / name, "bdd100k", "val", "gtav")
        assert np.array_equal(found.labels(0), ids)  # train ids already


def test_colours_of_endovis18_are_those_of_the_challenge():
    official = {entry["name"]: (entry["classid"], tuple(entry["color"])) for entry in
                json.loads((DATA / "endovis18_labels/labels.json").read_text())}  # fmt: skip
    labels = find_dataset("endovis18").entry.labels
    assert labels is not None
    ours = {name: (number, members[0]) for number, (name, members) in enumerate(labels.classes.items())}
    assert ours == official
    known = find_benchmark("endovis18").benchmark
    assert dict(zip(known.classes, known.palette, strict=True)) == {
        name: colour for name, (_, colour) in official.items()
    }
