"""The benchmark voc runs from imitations of the official files to its record; images and detector are made small."""

import json
from dataclasses import replace
from pathlib import Path

import pytest
import yaml
from releases import photo, picture, tarred, unpacked
from typer.testing import CliRunner
from voc_files import annotation, image, release

from gkdbench.cli.main import app
from gkdbench.data.corruptions.plain import PLAIN
from gkdbench.data.dataset import DataPlace
from gkdbench.errors import DataError
from gkdbench.metrics.robustness import robustness
from gkdbench.runs.runner import run
from gkdbench.spec.catalogue import find_benchmark
from gkdbench.spec.selection import Selection, resolve

PAIR = "timm/vit_tiny_patch16_224:timm/test_vit"
BOXES = (("person", (1, 1, 30, 40), False), ("dog", (10, 5, 20, 25), True))
TARGETS = ("gaussian_noise-5", "contrast-2", "pixelate-1")
"""Of kinds that need no library."""


def official_files() -> dict[str, dict[str, bytes]]:
    """The three archives, with a few images each."""
    files = {
        "VOCtrainval_06-Nov-2007.tar": release("VOCdevkit/VOC2007/", {"trainval": ["000005", "000012"]}, BOXES),
        "VOCtest_06-Nov-2007.tar": release("VOCdevkit/VOC2007/", {"test": ["000001", "000002"]}, BOXES),
        "VOCtrainval_11-May-2012.tar": release("VOCdevkit/VOC2012/", {"trainval": ["2008_000008"]}, BOXES[:1]),
    }
    # lying and standing images, and one without an object
    files["VOCtest_06-Nov-2007.tar"] |= {
        "VOCdevkit/VOC2007/JPEGImages/000002.jpg": image(3, (60, 40)),
        "VOCdevkit/VOC2007/Annotations/000002.xml": annotation([], (60, 40)),
    }
    return files


@pytest.fixture(params=["tars", "folders"])
def data(tmp_path, request) -> Path:
    for name, files in official_files().items():
        if request.param == "tars":
            tarred(tmp_path / "data/voc" / name, files)
        else:
            unpacked(tmp_path / "data/voc", files)
    pool = {f"n01_{n}.JPEG": picture(photo(n, (50, 40)), "JPEG") for n in range(4)}
    unpacked(tmp_path / "data/imagenet/train/n01", pool)
    return tmp_path / "data"


@pytest.fixture
def small(tmp_path) -> str:
    """The benchmark's own file, with images of 96x96 in place of 800x800 and a narrow detector."""
    source = find_benchmark("voc")
    content = yaml.safe_load((source.folder / "voc.yaml").read_text())
    content["name"], box = "small-voc", [96, 96]
    content["inference"] |= {"size": box, "window": box, "stride": box}
    content["decoder"] |= {"width": 16, "head_width": 16, "rpn_kept": [50, 20], "rpn_kept_judging": [50, 20]}
    preset = content["presets"]["smoke"]
    preset["limits"] |= {"val": 2, "target": 2}
    for stage in ("task", "joint", "teacher"):
        preset[stage] = {**preset[stage], "steps": 1, "size": box}
    for stage in ("proxy", "source"):
        preset[stage] = {**preset[stage], "steps": 1, "size": [56, 56] if stage == "proxy" else [64, 64]}
    path = tmp_path / "small-voc.yaml"
    path.write_text(yaml.safe_dump(content, sort_keys=False))
    return str(path)


def test_from_official_files_to_a_record(shop, data, small):
    here = replace(shop, place=DataPlace(data, data.parent / "cache"))
    assert {name.rpartition("-")[0] for name in TARGETS} <= PLAIN.keys()
    chosen = Selection(
        methods=("gkd",), benchmarks=(small,), preset="smoke", pair=PAIR, targets=TARGETS, with_teacher=False
    )
    (spec,) = resolve(chosen)
    record = run(spec, here).record
    assert record.status == "done" and [stage.name for stage in record.stages] == ["proxy", "source", "task"]
    assert list(record.targets) == list(TARGETS) and record.marks == ["other targets", "other pair", "limit"]
    for result in (record.in_domain, *record.targets.values()):
        # a class has a figure where an object counts: the dogs are difficult
        counted = {name for name, value in result.per_class.items() if value is not None}
        assert result.n_images == 2 and counted == {"person"} and result.classes_in_mean == 1
        assert result.protocol.window == [96, 96] and "ap50_11point" in result.metrics
    # of 75 targets three were judged: there is no mean over all of them
    assert record.summary.ood is record.summary.mpc is None
    assert run(spec, here).cached


def test_the_ood_mean_is_mpc(shop, data, small):
    text = Path(small).read_text()
    content = yaml.safe_load(text)
    content["targets"] = {"corruptions": {"kinds": ["contrast", "pixelate"], "severities": [1, 4]}}
    Path(small).write_text(yaml.safe_dump(content))
    here = replace(shop, place=DataPlace(data, data.parent / "cache"))
    chosen = Selection(methods=("frozen",), benchmarks=(small,), preset="smoke", pair=PAIR, with_teacher=False)
    (spec,) = resolve(chosen)
    record = run(spec, here).record
    cells = {(kind, at): record.targets[f"{kind}-{at}"].value for kind in ("contrast", "pixelate") for at in (1, 4)}
    found = robustness(cells, record.in_domain.value, ["contrast", "pixelate"], [1, 4])
    assert record.summary.ood == pytest.approx(found.mpc, abs=1e-12) == record.summary.mpc
    assert {name: (one.kind, one.severity) for name, one in record.corruptions.items()} == {
        f"{kind}-{at}": (kind, at) for kind, at in cells
    }


def test_the_check_of_the_data_counts_images_boxes_and_corruptions(data, small, monkeypatch):
    monkeypatch.setenv("GKDBENCH_CACHE", str(data.parent / "cache"))
    words = ["check", "data", small, "--data-root", str(data), "--out", str(data.parent / "sheet.png"), "--json"]
    shown = CliRunner().invoke(app, words)
    told = json.loads(shown.stdout)
    # an imitation is not the release
    assert shown.exit_code == 3 and {one["kind"] for one in told["problems"]} == {"count"}, told["problems"]
    parts = told["splits"]
    assert {name: part["boxes"]["difficult"] for name, part in parts.items() if part["boxes"]} == {
        "source train": 2, "source val": 1,
    }  # fmt: skip
    (corrupted,) = told["corrupted"]
    assert (corrupted["of"], len(corrupted["kinds"]), corrupted["images"]) == ("source val", 15, 150)


def test_a_missing_year_ends_a_run_before_it_trains(shop, data, small):
    (archive,) = data.glob("voc/*2012.tar") if list(data.glob("voc/*.tar")) else [data / "voc/VOCdevkit/VOC2012"]
    archive.rename(data / "elsewhere")
    here = replace(shop, place=DataPlace(data, data.parent / "cache"))
    chosen = Selection(methods=("frozen",), benchmarks=(small,), preset="smoke", pair=PAIR, with_teacher=False)
    (spec,) = resolve(chosen)
    with pytest.raises(DataError, match=r"trainval\.txt with year 2012; (not there: .*)?there it is 2007"):
        run(spec, here)
    assert not shop.display.begun
