"""Runs of detection end to end on a few street scenes: which methods run, what they leave, going on after a stop."""

import json
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
import torch
import yaml
from collected import collect
from typer.testing import CliRunner

from gkdbench.cli.main import app
from gkdbench.data.corruptions import library
from gkdbench.data.dataset import open_split
from gkdbench.detection import detections_file
from gkdbench.detection.average_precision import coco_score, voc_score
from gkdbench.detection.detections_file import FILE
from gkdbench.detection.finding import judge_boxes
from gkdbench.engine.interruption import StopFlag
from gkdbench.errors import DataError, GkdbenchError, Interrupted, UsageError
from gkdbench.identity.run import DataDigests
from gkdbench.runs.plan import plan_run
from gkdbench.runs.record import read_record
from gkdbench.runs.trained import trained_model
from gkdbench.spec.catalogue import find_benchmark
from gkdbench.spec.objects import Detections, Objects
from gkdbench.spec.selection import Selection, resolve

RUNS = ("finetune", "frozen", "fitnet_mse", "vitkd", "gkd", "proteus", "g2sd", "tinymim")
LOGITS = ("vanilla_kd", "dist", "cwd", "cirkd", "af_dcd")
SPLITS = {
    "in-domain val": 5, "night": 3, "gaussian_noise-1": 5, "gaussian_noise-5": 5, "contrast-1": 5, "contrast-5": 5
}  # fmt: skip
"""Images of each."""
KINDS = {"kinds": ["gaussian_noise", "contrast"], "severities": [1, 5]}


def _vit(role: str, width: int) -> dict:
    return {
        "description": f"random ViT, {width} wide", "role": role, "timm": "vit_tiny_patch16_224", "weights": None,
        "arguments": {"embed_dim": width, "depth": 3, "num_heads": 2, "patch_size": 16, "img_size": [64, 128]},
        "patch": 16, "licence": "none",
    }  # fmt: skip


def _embedded() -> dict:
    return yaml.safe_load((find_benchmark("streets_det").folder / "streets_det.yaml").read_text())


def _content() -> dict:
    """Return the embedded benchmark with a corner of its data and of its decoder."""
    content = _embedded()
    stage = {"steps": 2, "batch": 2, "lr": 1e-3, "encoder_lr": 1e-3, "warmup": 1, "clip": 1.0, "size": [64, 128]}
    views = {**stage, "augmentation": {"kind": "detection_views"}}
    boxed = {"reader": "streets", "labels": "boxes"}
    small = {"width": 8, "scales": [4, 2, 1], "head_width": 16, "roi_size": 3, "rpn_samples": 16, "roi_samples": 12}
    return {
        **content, "name": "tiny_det", "ood_targets": ["night"],
        "source": {
            "train": {**boxed, "kind": "day", "seed": 1, "count": 6},
            "val": {**boxed, "kind": "day", "seed": 2, "count": 5},
        },
        "proxy": {"reader": "streets", "kind": "proxy", "seed": 3, "count": 4},
        "targets": {"night": {**boxed, "kind": "night", "seed": 4, "count": 3}, "corruptions": KINDS},
        "hidden_targets": {},
        "settings": {"f2l": {"description": "-", "pairs": ["tiny-wide:tiny-narrow"], "teacher_method": "teacher"}},
        "decoder": {**content["decoder"], **small, "score_threshold": 0.02, "rpn_kept_judging": [60, 40]},
        "inference": {"size": [64, 128], "batch": 2},
        "default_preset": "smoke",
        "presets": {
            "smoke": {
                "description": "seconds", "proxy": stage, "source": stage,
                **dict.fromkeys(("task", "joint", "teacher"), views),
            }
        },
    }  # fmt: skip


@dataclass(frozen=True)
class Written:
    """The benchmark on disk, and a way to write a changed one."""

    yaml: Path
    data_root: Path
    content: dict

    def rewrite(self, **changes):
        self.yaml.write_text(yaml.safe_dump({**self.content, **changes}, sort_keys=False))


@pytest.fixture(scope="module")
def scenes(tmp_path_factory):
    return tmp_path_factory.mktemp("scenes")


@pytest.fixture
def tiny_benchmark(tmp_path, scenes, monkeypatch):
    """Stand in for the benchmark of photographs, so that `shop` and `do` run this one."""
    monkeypatch.setenv("GKDBENCH_CACHE", str(scenes))
    home = tmp_path / "benchmark"
    home.mkdir()
    models = {"tiny-wide": _vit("foundation", 48), "tiny-narrow": _vit("local", 32)}
    (home / "models.yaml").write_text(yaml.safe_dump({"models": models}))
    made = Written(home / "tiny_det.yaml", tmp_path / "data", _content())
    made.rewrite()
    return made


def rows_of(shop, record):
    return pq.read_table(shop.store.run_folder(record.run_id) / FILE).to_pandas()


def trained(shop):
    return [title for title in shop.display.begun if "stage" in title]


def options_of(method):
    return {"options": ("heads=2",)} if method == "tinymim" else {}


@pytest.mark.parametrize("method", RUNS)
def test_a_method_runs_and_leaves_a_whole_record(do, shop, method):
    (record,) = do(method, **options_of(method))
    assert record.status == "done" and record.reason is None
    assert record.metric == "AP50" and record.mean_rule == "with_objects" and record.spec.task == "detection"
    results = {"in-domain val": record.in_domain, **record.targets}
    assert {name: result.n_images for name, result in results.items()} == SPLITS
    for result in results.values():
        assert 0 <= result.value <= 100 and result.miou is None and result.confusion == []
        assert set(result.per_class) == {"car", "person", "sign", "tree"}
        held = [value for value in result.per_class.values() if value is not None]
        assert result.value == pytest.approx(np.mean(held)) and result.classes_in_mean == len(held)
    assert all(np.isfinite(value) for stage in record.stages for value in stage.losses.values())
    assert record.stages[-1].losses["task"] > 0
    assert read_record(shop.store.run_folder(record.run_id) / "record.json") == record
    table = rows_of(shop, record)
    assert {name: int((table["split"] == name).sum()) for name in SPLITS} == SPLITS
    assert not list(shop.store.run_folder(record.run_id).glob(".*"))


@pytest.mark.parametrize("method", LOGITS)
def test_a_method_on_scores_of_pixels_is_unsupported_with_its_reason(do, shop, method):
    (record,) = do(method)
    assert record.status == "unsupported" and record.stages == [] and record.in_domain is None
    assert record.reason.startswith("needs a teacher with a trained head")
    assert record.reason.endswith(
        "(decoder 'faster-rcnn' of detection gives methods no class scores or features of every pixel)"
    )
    assert not (shop.store.run_folder(record.run_id) / FILE).exists()
    assert trained(shop) == []  # nothing was trained for it


@pytest.mark.parametrize("size", ["8", "40x8"])
def test_images_too_small_for_the_coarsest_level_are_named_when_a_run_is_planned(shop, size):
    def planned(option):
        (spec,) = resolve(Selection(("finetune",), (), ("streets_det",), options=(option,), with_teacher=False))
        return plan_run(spec, DataDigests(spec, shop.place), None)

    with pytest.raises(DataError, match=r"has a grid of \dx1; decoder 'faster-rcnn' needs 2 tokens a side; change the"):
        planned(f"recipe.joint.size={size}")
    assert planned(f"recipe.proxy.size={size}").stages  # which the method has not
    assert planned("recipe.joint.size=16").stages[0].recipe.size == (16, 16)


def test_cwd_runs_on_features_and_says_so_where_it_does_not(do):
    (refused,) = do("cwd")
    assert refused.status == "unsupported" and "-o on=features does not" in refused.reason
    (record,) = do("cwd", options=("on=features",))
    assert record.status == "done" and record.stages[-1].losses["cwd"] > 0


def test_a_method_that_looks_at_scores_in_its_loss_is_unsupported(do, tmp_path):
    file = tmp_path / "mine.py"
    file.write_text('''"""A plugin."""
from gkdbench.api import Stage

class Joint(Stage):
    """Pull scores to zero."""
    teacher = None
    def loss(self, step):
        return {"small": step.student().logits.square().mean()}

def mine(pair):
    """Pull scores to zero."""
    return [Joint()]
''')
    (record,) = do(f"{file}:mine")
    assert record.status == "unsupported"
    assert record.reason == "needs class scores of every pixel, and a detector scores boxes"


def test_a_method_that_looks_at_labels_of_pixels_is_unsupported(do, tmp_path):
    file = tmp_path / "mine.py"
    file.write_text('''"""A plugin."""
from gkdbench.api import Stage

class Joint(Stage):
    """Count pixels."""
    labels, teacher = True, None
    def loss(self, step):
        return {"count": step.labels.float().mean()}

def mine(pair):
    """Count pixels."""
    return [Joint()]
''')
    (record,) = do(f"{file}:mine")
    assert record.status == "unsupported"
    assert record.reason == "reads the class of every pixel, and the labels of detection are boxes"


def test_a_reason_that_has_nothing_to_do_with_the_task_stands_as_it_is(do, tmp_path):
    file = tmp_path / "mine.py"
    file.write_text('''"""A plugin."""
from gkdbench.api import Stage, Unsupported

def mine(pair):
    """Refuse."""
    raise Unsupported("wants a wider student")
''')
    (record,) = do(f"{file}:mine")
    assert (record.status, record.reason) == ("unsupported", "wants a wider student")


PYRAMIDS = '''"""A plugin."""
from gkdbench.api import Stage, Unsupported

class Joint(Stage):
    """Mimic the teacher's pyramid."""
    def loss(self, step):
        pairs = zip(step.student().pyramid, step.teacher().pyramid, strict=True)
        return {"pyramid": sum((s - t).square().mean() for s, t in pairs)}

def mine(pair):
    """Mimic the teacher's pyramid."""
    if not pair.teacher.pyramid_dim == pair.student.pyramid_dim == 8 or pair.teacher.has_head or pair.teacher.pixel_dim:
        raise Unsupported("told otherwise")
    return [Joint()]
'''


def test_a_plugin_sees_the_pyramids_of_both_sides(do, shop, tmp_path):
    file = tmp_path / "mine.py"
    file.write_text(PYRAMIDS)
    (record,) = do(f"{file}:mine")
    assert record.status == "done" and record.stages[-1].losses["pyramid"] > 0
    assert trained(shop) == ["teacher: stage teacher", "mine: stage joint"]


def test_the_teacher_is_trained_once_for_all(do, shop, tmp_path):
    file = tmp_path / "mine.py"
    file.write_text(PYRAMIDS)
    teacher, record = do(f"{file}:mine", with_teacher=True)
    assert (teacher.spec.method, record.spec.method) == ("teacher", "mine")
    assert teacher.status == "done" and teacher.run_id == record.teacher_run_id
    assert trained(shop) == ["teacher: stage teacher", "mine: stage joint"]
    assert teacher.model["encoder_params"] > record.model["encoder_params"]
    (gkd,) = do("gkd")
    assert trained(shop) == ["gkd: stage proxy", "gkd: stage source", "gkd: stage task"]
    assert [stage.name for stage in gkd.stages] == ["proxy", "source", "task"]


LEARNT = {
    "options": (
        "recipe.joint.steps=40", "recipe.joint.batch=4", "recipe.joint.lr=0.003", "recipe.joint.encoder_lr=0.003"
    )
}  # fmt: skip


@pytest.fixture
def learning(tiny_benchmark):
    """Have what is judged learnt, by a decoder and an encoder that can."""
    source, whole = tiny_benchmark.content["source"], _embedded()
    pair = {"description": "-", "pairs": ["streets-teacher:streets-foundation"], "teacher_method": "teacher"}
    tiny_benchmark.rewrite(source={**source, "train": source["val"]}, decoder=whole["decoder"], settings={"f2l": pair})


def test_the_file_scores_to_the_record_and_the_summary_is_what_its_means_are(do, shop, tiny_benchmark, learning):
    (record,) = do("finetune", **LEARNT)
    table, source = rows_of(shop, record), find_benchmark(str(tiny_benchmark.yaml))
    assert table.columns.to_list() == [
        "split", "image", "boxes", "labels", "scores", "true_boxes", "true_labels", "difficult"
    ]  # fmt: skip
    splits = {"in-domain val": source.benchmark.source.val, **source.benchmark.targets}
    assert record.in_domain.value > 2  # something was learnt, or this says little
    for name, result in {"in-domain val": record.in_domain, **record.targets}.items():
        dataset = open_split(splits[name], source.benchmark, source.folder, shop.place)
        rows = table[table["split"] == name]
        assert rows["image"].to_list() == [dataset.name(index) for index in range(len(dataset))]
        images = []
        for index, row in enumerate(rows.itertuples()):
            truth = Objects(row.true_boxes.reshape(-1, 4), row.true_labels.astype(np.int64), row.difficult.astype(bool))
            wanted = dataset.objects(index)
            assert truth.boxes.tolist() == wanted.boxes.tolist() and truth.labels.tolist() == wanted.labels.tolist()
            assert truth.difficult.tolist() == wanted.difficult.tolist()
            found = Detections(row.boxes.reshape(-1, 4), row.labels.astype(np.int64), row.scores)
            assert (np.diff(found.scores) <= 0).all() and len(found) <= 100
            assert (found.boxes >= 0).all() and (found.boxes <= [128, 64, 128, 64]).all()
            images.append((truth, found))
        overlaps = collect(images, 4)
        voc, coco = voc_score(overlaps), coco_score(overlaps)
        assert 100 * voc.mean == pytest.approx(result.value, abs=1e-9)
        for class_name, value in zip(record.classes, voc.ap, strict=True):
            told = result.per_class[class_name]
            assert (told is None) if np.isnan(value) else 100 * value == pytest.approx(told, abs=1e-9)
        assert 100 * coco.ap == pytest.approx(result.metrics["coco_ap"], abs=1e-9)
        assert 100 * voc.mean_11_point == pytest.approx(result.metrics["ap50_11point"], abs=1e-9)
    assert {name: (one.kind, one.severity) for name, one in record.corruptions.items()} == {
        f"{kind}-{severity}": (kind, severity) for kind in KINDS["kinds"] for severity in KINDS["severities"]
    }
    cells = [record.targets[name].value for name in record.corruptions]
    assert record.summary.mpc == pytest.approx(sum(cells) / 4, abs=1e-12)
    assert record.summary.rpc == pytest.approx(100 * sum(cells) / 4 / record.in_domain.value, abs=1e-9)
    assert record.summary.ood == record.targets["night"].value
    assert record.summary.gap == record.in_domain.value - record.summary.ood
    first = (shop.store.run_folder(record.run_id) / FILE).read_bytes()
    (again,) = do("finetune", fresh=True, **LEARNT)
    assert again.in_domain == record.in_domain and again.targets == record.targets
    assert (shop.store.run_folder(again.run_id) / FILE).read_bytes() == first


def test_a_part_of_the_corruptions_has_no_mean_over_them(do, shop):
    (record,) = do("finetune", targets=("night", "contrast-1"))
    assert set(record.corruptions) == {"contrast-1"} and record.summary.mpc is None and record.summary.rpc is None
    (whole,) = do("finetune")
    assert whole.stages[0].cached and whole.summary.mpc is not None
    assert whole.targets["contrast-1"] == record.targets["contrast-1"]


def test_a_second_run_is_cached_and_touches_nothing(do, shop):
    (first,) = do("frozen")
    folder = shop.store.run_folder(first.run_id)
    before = {path.name: path.stat().st_mtime_ns for path in folder.rglob("*")}
    assert FILE in before
    (second,) = do("frozen")
    assert second == first and shop.display.begun == []
    assert {path.name: path.stat().st_mtime_ns for path in folder.rglob("*")} == before


@pytest.mark.parametrize(
    ("title", "count"), [("stage joint", 2), ("in-domain val", 2), ("night", 2), ("contrast-5", 4)]
)
def test_an_interrupted_run_leaves_nothing_half_done_and_goes_on(do, shop, monkeypatch, title, count):
    options = {"options": ("recipe.joint.steps=4",)}
    monkeypatch.setattr(detections_file, "_BUFFERED", 2)  # so that rows are on disk when the run ends

    on_disk = []

    def progress(done, total, text=""):
        on_disk.extend(shop.store.root.rglob(f".{FILE}*"))
        if done >= count and (text == title or shop.display.begun[-1].endswith(title)):
            shop.stop.signal = "SIGINT"

    with monkeypatch.context() as patched:
        patched.setattr(shop.display, "progress", progress)
        with pytest.raises(Interrupted, match="SIGINT"):
            do("finetune", **options)
    (folder,) = (shop.store.root / "runs").iterdir()
    assert json.loads((folder / "record.json").read_text())["status"] == "interrupted"
    assert not (folder / FILE).exists()
    assert not [path for path in shop.store.root.rglob("*") if path.name.endswith((".tmp", ".partial"))]
    assert bool(on_disk) is (title != "stage joint")
    shop.stop.signal = None
    (record,) = do("finetune", **options)
    assert record.status == "done" and record.stages[0].cached is (title != "stage joint")
    (fresh,) = do("finetune", fresh=True, **options)
    assert fresh.in_domain == record.in_domain and fresh.targets == record.targets
    assert [stage.losses for stage in fresh.stages] == [stage.losses for stage in record.stages]


def test_objects_that_do_not_count_everywhere_are_one_clear_line(do, tiny_benchmark, monkeypatch):
    monkeypatch.setattr("gkdbench.detection.overlaps.Overlaps.positives", lambda self: np.zeros(4, int))
    with pytest.raises(GkdbenchError, match="in-domain val: its 5 images have no object that counts, so there is no"):
        do("finetune")


def test_another_loading_of_the_model_finds_the_same(do, shop, tiny_benchmark):
    (record,) = do("finetune")
    model = trained_model(record, shop.store, str(tiny_benchmark.yaml))
    benchmark = model.spec.benchmark
    dataset = open_split(benchmark.source.val, benchmark, model.spec.source.folder, shop.place)
    found = judge_boxes(
        model.network, dataset, benchmark.inference, device=torch.device("cpu"),
        precision=model.spec.preset.task.precision, stop=StopFlag(), meter=lambda done, total: None, keep=range(5),
    )  # fmt: skip
    rows = rows_of(shop, record)
    for index, row in enumerate(rows[rows["split"] == "in-domain val"].itertuples()):
        # attention is computed otherwise there, which is the same but for roundings
        np.testing.assert_allclose(row.boxes, found.kept[index].boxes.reshape(-1), atol=1e-2)
        np.testing.assert_allclose(row.scores, found.kept[index].scores, atol=1e-4)


def test_a_corruption_without_its_library_is_said_before_training(tiny_benchmark, monkeypatch, tmp_path):
    tiny_benchmark.rewrite(targets={**tiny_benchmark.content["targets"], "corruptions": {"kinds": ["fog"]}})
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(library.importlib.util, "find_spec", lambda name, *_: None)
    arguments = ["run", "--method", "finetune", "--setting", "f2l", "--benchmark", str(tiny_benchmark.yaml)]
    done = CliRunner().invoke(app, [*arguments, "--results", str(tmp_path / "results")])
    assert done.exit_code == UsageError.exit_code, done.output
    said = [line for line in done.stderr.splitlines() if "fog" in line]
    assert len(said) == 1 and "pip install" in said[0], done.output
    assert not list(Path(tmp_path / "results").rglob("*.safetensors"))
