"""A benchmark of the study runs from imitations of the official releases to its record, in seconds."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from releases import CITYSCAPES_IDS, encoded, photo, picture, unpacked, zipped

from gkdbench.data.dataset import DataPlace
from gkdbench.errors import DataError
from gkdbench.runs.runner import run
from gkdbench.runs.segmentation import official_encoding
from gkdbench.spec.catalogue import find_benchmark
from gkdbench.spec.dataset_catalogue import find_dataset
from gkdbench.spec.selection import Selection, resolve

PAIR = "timm/vit_tiny_patch16_224:timm/test_vit"


def scene(seed: int, size: tuple[int, int], ids, void: int) -> np.ndarray:
    """Label content: road below, sky above, a car, an ignored border."""
    truth = np.full(size, 10, np.uint8)
    truth[size[0] // 2 :] = 0
    truth[size[0] // 2 : size[0] // 2 + 8, 10 + seed : 40 + seed] = 13
    truth[:, :2] = 255
    return encoded(truth, ids, void).astype(np.uint8)


def write_releases(root: Path) -> None:
    files = {}
    for n in range(3):
        files[f"images/0000{n}.png"] = picture(photo(n, (60, 110)))
        files[f"labels/0000{n}.png"] = picture(scene(n, (60, 110), CITYSCAPES_IDS, 4), palette=True)
    for part in ("images", "labels"):
        zipped(root / f"gtav/01_{part}.zip", {name: c for name, c in files.items() if name.startswith(part)})
    unpacked(root / "cityscapes", {
        "leftImg8bit/val/ulm/ulm_0_leftImg8bit.png": picture(photo(5, (64, 128))),
        "gtFine/val/ulm/ulm_0_gtFine_labelIds.png": picture(scene(5, (64, 128), CITYSCAPES_IDS, 4)),
    })  # fmt: skip
    unpacked(root / "bdd100k", {
        "images/10k/val/a.jpg": picture(photo(6, (72, 128)), "JPEG"),
        "labels/sem_seg/masks/val/a.png": picture(scene(6, (72, 128), range(19), 255)),
    })  # fmt: skip
    mapillary = np.full(256, 65)
    mapillary[[0, 10, 13]] = 13, 27, 55
    unpacked(root / "mapillary", {
        "validation/images/m.jpg": picture(photo(7, (90, 120)), "JPEG"),
        "validation/labels/m.png": picture(scene(7, (90, 120), mapillary[:19], 65), palette=True),
    })  # fmt: skip


def write_pool(root: Path) -> None:
    unpacked(root / "imagenet/train/n01", {f"n01_{n}.JPEG": picture(photo(n, (50, 40)), "JPEG") for n in range(4)})


@pytest.mark.slow
def test_gtav_from_official_files_to_a_record(shop, tmp_path):
    write_releases(tmp_path / "data")
    here = replace(shop, place=DataPlace(tmp_path / "data", tmp_path / "cache"))
    chosen = Selection(
        methods=("gkd",), benchmarks=("gtav",), preset="smoke", pair=PAIR, decoder="linear", with_teacher=False
    )
    # a method without a proxy stage needs no pool, one with such a stage says so before anything is trained
    (plain,) = resolve(replace(chosen, methods=("frozen",), targets=("bdd",)))
    assert run(plain, here).record.status == "done"
    (spec,) = resolve(chosen)
    with pytest.raises(DataError, match="no folder imagenet or"):
        run(spec, here)
    write_pool(tmp_path / "data")
    here.digests.clear()
    record = run(spec, here).record
    assert record.status == "done" and [stage.name for stage in record.stages] == ["proxy", "source", "task"]
    assert {name: result.n_images for name, result in record.targets.items()} == {"citys": 1, "bdd": 1, "map": 1}
    pixels = {name: sum(map(sum, result.confusion)) for name, result in record.targets.items()}
    # at the label's own size, ignored columns left out; Mapillary at half size
    assert pixels == {"citys": 64 * 126, "bdd": 72 * 126, "map": 45 * 59}
    assert record.targets["bdd"].protocol != record.targets["citys"].protocol
    assert all(len(result.data) == 16 for result in record.targets.values())
    assert any("trained on" in warning for warning in record.warnings)
    assert run(spec, here).cached
    # a further benchmark of the same source trains nothing anew
    night = {
        f"rgb_anon/{c}/val/G/{c}_rgb_anon.png": picture(photo(8, (54, 96))) for c in ("night", "snow", "fog", "rain")
    }
    night |= {f"gt/{c}/val/G/{c}_gt_labelTrainIds.png": picture(scene(8, (54, 96), range(19), 255))
              for c in ("night", "snow", "fog", "rain")}  # fmt: skip
    unpacked(tmp_path / "data/acdc", night)
    (other,) = resolve(replace(chosen, benchmarks=("gtav-acdc",)))
    again = run(other, here).record
    assert all(stage.cached for stage in again.stages) and again.summary.groups["acdc"].pooled > 0


def test_predictions_for_colour_labels_are_colours_again():
    benchmark = find_benchmark("potsdam-rgb").benchmark
    labels = find_dataset("potsdam-irrg").entry.labels
    assert labels is not None
    found = official_encoding(benchmark, labels)
    assert found.tolist() == [list(colour) for colour in benchmark.palette]
    city = find_benchmark("gtav").benchmark
    assert tuple(official_encoding(city, find_dataset("cityscapes").entry.labels)) == CITYSCAPES_IDS
    halved = official_encoding(city, find_dataset("mapillary-half").entry.labels)
    assert halved[:3].tolist() == [7, 2, 17]  # of several ids, the smallest
