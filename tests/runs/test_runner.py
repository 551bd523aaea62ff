"""Runs end to end on generated images: records, shared stages, caching, failures."""

import json

import numpy as np
import pyarrow.parquet as pq
import pytest
import torch
from safetensors.torch import load_file

from gkdbench.errors import DataError, GkdbenchError, Interrupted, UsageError
from gkdbench.identity.run import DataDigests, run_digest
from gkdbench.metrics.confusion import score
from gkdbench.runs.record import read_record
from gkdbench.runs.runner import run
from gkdbench.spec.selection import Selection, resolve, selection_of

METHODS = ("finetune", "frozen", "vanilla_kd", "gkd")


def test_every_method_leaves_a_complete_record(do, shop):
    records = do(*METHODS, with_teacher=True)
    assert [r.spec.method for r in records] == ["teacher", *METHODS]
    for record in records:
        assert record.status == "done" and record.reason is None
        assert set(record.targets) == {"dusk", "dawn"}
        values = [result.value for result in record.targets.values()]
        assert record.summary.ood == pytest.approx(np.mean(values))
        assert record.summary.gap == pytest.approx(record.in_domain.value - record.summary.ood)
        again = read_record(shop.store.run_folder(record.run_id) / "record.json")
        assert again == record
        for result in (record.in_domain, *record.targets.values()):
            counts = np.array(result.confusion)
            assert 100 * score(counts, "skip_absent").mean == pytest.approx(result.value)
            assert counts.sum() == result.n_images * (32 * 48 - 4)  # four ignored pixels an image
    by_name = {r.spec.method: r for r in records}
    assert by_name["vanilla_kd"].teacher_run_id == by_name["teacher"].run_id
    assert [s.name for s in by_name["gkd"].stages] == ["proxy", "source", "task"]
    assert by_name["gkd"].budget["proxy"] == {"images": 4, "student_passes": 6, "teacher_passes": 4}
    assert "random weights" in by_name["gkd"].warnings[0]


def test_parquet_counts_add_up_to_the_confusion_matrix(do, shop):
    (record,) = do("finetune")
    table = pq.read_table(shop.store.run_folder(record.run_id) / "images.parquet").to_pandas()
    assert len(table) == 2 + 3 + 1
    for split, result in {"in-domain val": record.in_domain, **record.targets}.items():
        rows = np.stack(table[table["split"] == split]["counts"].to_list()).astype(np.int64)
        assert rows.sum(0).reshape(3, 3).tolist() == result.confusion
    assert rows.dtype == np.int64 and table["counts"][0].dtype == np.uint16


def test_a_second_run_is_cached_and_rewrites_nothing(do, shop):
    (first,) = do("gkd")
    path = shop.store.run_folder(first.run_id) / "record.json"
    written = path.stat().st_mtime_ns
    (second,) = do("gkd")
    assert second == first and path.stat().st_mtime_ns == written
    assert shop.display.begun == []


def test_the_teachers_head_is_trained_once(do, shop):
    do("vanilla_kd")
    trained = [t for t in shop.display.begun if "stage" in t]
    assert trained == ["teacher: stage teacher", "vanilla_kd: stage joint"]
    do("vanilla_kd", options=("temperature=2",), with_teacher=True)
    assert [t for t in shop.display.begun if "stage" in t] == ["vanilla_kd: stage joint"]
    assert any("stage teacher: cached" in said for said in shop.display.said)


def test_changing_a_later_stage_keeps_the_earlier_ones(do, shop):
    (first,) = do("gkd")
    (second,) = do("gkd", options=("recipe.task.steps=3",))
    assert [s.cached for s in second.stages] == [True, True, False]
    assert [s.digest for s in second.stages[:2]] == [s.digest for s in first.stages[:2]]
    assert second.run_id != first.run_id and second.marks == ["custom recipe", "limit"]


def test_other_sizes_and_limits_are_marked_run_and_repeated(do, shop, tiny_benchmark):
    (plain,) = do("gkd")
    (one,) = do("gkd", options=("recipe.task.size=16x32", "limits.target=1", "limits.source=3"))
    assert one.status == "done" and one.marks == ["custom recipe", "custom limits", "limit"]
    assert {name: result.n_images for name, result in one.targets.items()} == {"dusk": 1, "dawn": 1}
    assert one.spec.recipe["task"]["size"] == [16, 32] and one.digest != plain.digest
    assert one.targets["dusk"].protocol == plain.targets["dusk"].protocol  # judged as ever
    again = read_record(shop.store.run_folder(one.run_id) / "record.json")
    (spec,) = resolve(selection_of(again.spec, benchmark=str(tiny_benchmark.yaml)))
    assert run_digest(spec, DataDigests(spec, shop.place)) == one.digest


def test_a_size_of_no_whole_patches_is_named_before_anything_is_trained(do, shop):
    for option, said in (
        ("recipe.task.size=33x48", "on the 33x48 images of recipe 'task'"),
        ("recipe.proxy.size=36", "on the 36x36 images of recipe 'proxy'"),
    ):
        with pytest.raises(DataError, match=said + ".*are no whole patches of 8 .*; change the recipe's size"):
            do("gkd", options=(option,))
        assert not any("stage" in title for title in shop.display.begun)


def test_adding_a_target_never_retrains(do, shop):
    do("finetune", targets=("dusk",))
    (record,) = do("finetune")
    assert [s.cached for s in record.stages] == [True]


def test_fresh_trains_again_and_gives_the_same_numbers(do):
    (first,) = do("gkd")
    (second,) = do("gkd", fresh=True)
    assert not any(s.cached for s in second.stages)
    assert second.in_domain == first.in_domain and second.targets == first.targets
    assert [s.losses for s in second.stages] == [s.losses for s in first.stages]


def test_seeds_differ_and_heads_start_alike(do):
    one, two = do("finetune", seeds=(0, 1))
    assert one.stages[0].digest != two.stages[0].digest
    frozen, finetune = do("frozen", "finetune")
    assert frozen.stages[0].first_losses["task"] == pytest.approx(finetune.stages[0].first_losses["task"], rel=1e-5)


def test_the_encoder_carries_over_and_stays_frozen_in_the_task_stage(do, shop):
    (record,) = do("gkd")
    folders = [shop.store.root / "stages" / s.digest for s in record.stages]
    proxy, source, task = (load_file(folder / "encoder.safetensors") for folder in folders)
    assert all(torch.equal(task[name], source[name]) for name in source)
    assert any(not torch.equal(source[name], proxy[name]) for name in source)
    assert not (folders[0] / "head.safetensors").exists()
    assert sorted(p.name for p in folders[2].iterdir()) == [
        "artefact.json", "encoder.safetensors", "head.safetensors", "log.jsonl"
    ]  # fmt: skip


PLUGIN = '''"""A plugin."""
import torch
from gkdbench.api import Stage

class Joint(Stage):
    """Pull tokens to zero."""
    teacher = None
    def loss(self, step):
        return {{"small": {weight} * step.student().tokens.square().mean()}}

def mine(pair, *, factor: float = 1.0):
    """{doc}"""
    return [Joint()]
'''


def test_an_edited_plugin_is_trained_again_and_a_reworded_one_is_not(do, shop, tmp_path):
    file = tmp_path / "mine.py"
    file.write_text(PLUGIN.format(weight=0.1, doc="First words."))
    (first,) = do(f"{file}:mine")
    file.write_text(PLUGIN.format(weight=0.1, doc="Other words."))
    (reworded,) = do(f"{file}:mine")
    file.write_text(PLUGIN.format(weight=0.2, doc="Other words."))
    (edited,) = do(f"{file}:mine")
    assert reworded.run_id == first.run_id
    assert edited.run_id != first.run_id and not edited.stages[0].cached
    assert edited.stages[0].first_losses["small"] == pytest.approx(2 * first.stages[0].first_losses["small"])


@pytest.mark.parametrize(
    ("body", "status", "message"),
    [
        ("from gkdbench.api import Unsupported\n    raise Unsupported('no cls token')", "unsupported", "no cls token"),
        ("return []", "failed", "returned no list of stages"),
        ("return [3]", "failed", "returned a int, not a Stage"),
        ("raise RuntimeError('boom')", "failed", "RuntimeError: boom"),
    ],
)
def test_a_method_that_cannot_run_leaves_a_record_that_says_so(shop, tiny_benchmark, tmp_path, body, status, message):
    file = tmp_path / "odd.py"
    file.write_text(f"def odd(pair):\n    {body}\n")
    chosen = Selection(methods=(f"{file}:odd",), benchmarks=(str(tiny_benchmark.yaml),), with_teacher=False)
    (spec,) = resolve(chosen)
    try:
        record = run(spec, shop).record
    except GkdbenchError as error:
        assert status == "failed" and message in str(error)
        (path,) = shop.store.root.glob("runs/*/record.json")
        record = read_record(path)
    assert record.status == status and message in record.reason


HARMFUL = '''"""A plugin."""
from gkdbench.api import Stage

class Joint(Stage):
    """Does harm in training."""
    teacher = "encoder"
    def loss(self, step):
        if step.index == 1:
            {harm}
        return {{"small": 0.1 * step.student().tokens.square().mean()}}

def mine(pair):
    """Harm."""
    {early}
    return [Joint()]
'''


@pytest.mark.parametrize(
    ("harm", "message"),
    [
        ("raise SystemExit(0)", "SystemExit: 0 (at mine.py:9; gkdbench check method says more)"),
        (
            "open('/absent/file')",
            "FileNotFoundError: [Errno 2] No such file or directory: '/absent/file' (at mine.py:9; gkdbench check",
        ),
        ("raise GeneratorExit('out')", "GeneratorExit: out (at mine.py:9; gkdbench check method says more)"),
        (
            "step._module.teacher.encoder.model.norm.weight.data.mul_(2)",
            "stage 'joint', after step 2: teacher.encoder.model.norm.weight was changed",
        ),
    ],
)
def test_a_method_that_does_harm_in_training_is_a_failed_run(do, shop, tmp_path, harm, message):
    file = tmp_path / "mine.py"
    file.write_text(HARMFUL.format(harm=harm, early="pass"))
    with pytest.raises(GkdbenchError) as raised:
        do(f"{file}:mine")
    assert raised.value.exit_code == 1 and str(raised.value).startswith(message)
    (path,) = shop.store.root.glob("runs/*/record.json")
    record = read_record(path)
    assert (record.status, record.reason, record.stages) == ("failed", str(raised.value), [])
    assert not list(shop.store.root.glob("stages/*/artefact.json"))


def test_a_method_that_ends_the_program_before_training_is_refused(do, shop, tmp_path):
    file = tmp_path / "mine.py"
    file.write_text(HARMFUL.format(harm="pass", early="raise SystemExit(0)"))
    with pytest.raises(UsageError, match=rf"method 'mine' ends the program .* SystemExit\(0\) at {file}:14; raise"):
        do(f"{file}:mine")
    (path,) = shop.store.root.glob("runs/*/record.json")
    assert read_record(path).status == "failed"
    file.write_text("import sys\nsys.exit()\ndef mine(pair):\n    return []\n")
    with pytest.raises(UsageError, match=rf"method 'mine' \({file}\) ends .* at {file}:2; raise"):
        do(f"{file}:mine")


def test_long_names_make_short_run_ids_that_still_differ(do, tmp_path):
    name = "a" * 240
    (tmp_path / "long.py").write_text(PLUGIN.format(weight=0.1, doc="Long.").replace("def mine", f"def {name}"))
    one, two = do(f"{tmp_path}/long.py:{name}", seeds=(0, 1))
    assert one.status == two.status == "done" and len({one.run_id, two.run_id}) == 2
    assert one.run_id == f"tiny-f2l-{name}"[:200] + f"-s0-{one.digest[:8]}" and len(one.run_id) < 255


def test_a_failed_run_is_never_answered_from_the_cache(do, shop, tiny_benchmark):
    label = tiny_benchmark.label("test/3")
    good = label.read_bytes()
    label.write_bytes(good[:20])
    with pytest.raises(DataError, match=r"test/3\.png: cannot be read"):
        do("finetune")
    (path,) = shop.store.root.glob("runs/*/record.json")
    broken = read_record(path)
    assert broken.status == "failed" and list(broken.targets) == ["dusk"]  # what was judged is kept
    label.write_bytes(good)
    (record,) = do("finetune")
    assert record.status == "done" and [s.cached for s in record.stages] == [True]


def test_interruption_during_evaluation_keeps_the_stages(do, shop):
    shop.stop.signal = "SIGINT"
    with pytest.raises(Interrupted):
        do("finetune")
    (path,) = shop.store.root.glob("runs/*/record.json")
    assert json.loads(path.read_text())["status"] == "interrupted"
    shop.stop.signal = None
    (record,) = do("finetune")
    assert record.status == "done"


def test_another_size_at_inference_resamples_positions(do, tiny_benchmark):
    tiny_benchmark.rewrite(inference={"size": [40, 64], "window": [32, 48], "stride": [24, 32], "batch": 2})
    (windowed,) = do("finetune")
    assert windowed.in_domain.protocol.window == [32, 48]
    tiny_benchmark.rewrite(inference={"size": [40, 64], "batch": 2})
    (whole,) = do("finetune")
    assert whole.stages[0].cached and whole.run_id != windowed.run_id


def test_a_cnn_teaches_on_the_students_grid(do, tiny_benchmark):
    models = (tiny_benchmark.yaml.parent / "models.yaml").read_text().replace("tiny-wide:", "tiny-vit:")
    cnn = "  tiny-wide: {description: CNN, role: foundation, timm: test_resnet, weights: null, licence: none}\n"
    (tiny_benchmark.yaml.parent / "models.yaml").write_text(models + cnn)
    teacher, gkd = do("gkd", with_teacher=True)
    assert teacher.status == gkd.status == "done"
    assert gkd.stages[0].notes == ["teacher has no cls token: cls terms dropped"]
    assert set(gkd.stages[0].losses) == {"fea", "patch"}


EXTRA = '''"""Distils on proxy images while the task is learnt on the source."""
import torch.nn.functional as F
from torch import nn
from gkdbench.api import Stage

class Both(Stage):
    """Task on the source, feature error on the proxy pool."""
    data = ("source", "proxy")
    teacher = "encoder"
    def __init__(self, pair):
        super().__init__()
        self.proj = nn.Linear(pair.student.width, pair.teacher.width)
    def loss(self, step):
        other = step.extra["proxy"]
        assert other.labels is None and other.images.shape == step.images.shape
        return {"proxy": F.mse_loss(self.proj(other.student().tokens), other.teacher().tokens)}

def both(pair):
    return [Both(pair)]
'''


def test_a_stage_may_draw_from_two_streams(do, tmp_path):
    (tmp_path / "both.py").write_text(EXTRA)
    (record,) = do(f"{tmp_path}/both.py:both")
    assert set(record.stages[0].losses) == {"task", "proxy"}
    assert record.budget["source+proxy"]["student_passes"] == 8


def test_stages_of_different_sizes_follow_one_another(do, tiny_benchmark):
    presets = tiny_benchmark.content["presets"]
    presets["smoke"]["proxy"] = {**presets["smoke"]["proxy"], "size": [24, 32]}
    presets["smoke"]["teacher"] = {**presets["smoke"]["teacher"], "size": [48, 64]}
    tiny_benchmark.rewrite(presets=presets)
    records = do("gkd", "vanilla_kd", with_teacher=True)
    assert [r.status for r in records] == ["done"] * 3


def test_hidden_targets_stand_in_no_summary(do, tiny_benchmark):
    targets = tiny_benchmark.content["targets"]
    hidden = {"held-out": {**targets["dusk"], "list": "lists/dawn.txt"}}
    tiny_benchmark.rewrite(hidden_targets=hidden, separates_most="dawn")
    (record,) = do("finetune", targets=("held-out",))
    assert list(record.targets) == ["held-out"] and record.summary.ood is None
    assert record.summary.worst_target is None and record.marks == ["other targets", "limit"]
    (whole,) = do("finetune", targets=("dusk", "dawn", "held-out"))
    assert whole.summary.ood == pytest.approx(np.mean([whole.targets[n].value for n in ("dusk", "dawn")]))
    assert whole.summary.ood_without["dawn"] == pytest.approx(whole.targets["dusk"].value)


def test_stages_may_have_patches_of_their_own(do, shop, tiny_benchmark):
    table = tiny_benchmark.yaml.parent / "models.yaml"
    table.write_text(table.read_text().replace("patch: 8", "patch: 8\n    resampling: study"))
    (plain,) = do("gkd")
    (record,) = do("gkd", options=("recipe.proxy.patch=4", "recipe.source.patch=16"))
    assert record.status == "done" and record.digest != plain.digest
    proxy, source, task = (shop.store.artefact(stage.digest) for stage in record.stages)
    assert [a.sight.patch for a in (proxy, source, task)] == [4, 16, None]
    sides = [load_file(a.encoder)["model.patch_embed.proj.weight"].shape[-1] for a in (proxy, source, task)]
    assert sides == [4, 16, 8]
    grids = [load_file(a.encoder)["model.pos_embed"].shape[1] - 1 for a in (proxy, source, task)]
    assert grids == [8 * 12, 2 * 3, 4 * 6]


def test_augmentation_at_test_time_is_another_run_and_says_so(do, shop, tiny_benchmark):
    (plain,) = do("frozen")
    (record,) = do("frozen", tta=("0.5", "1", "flip"))
    assert record.digest != plain.digest and [s.digest for s in record.stages] == [s.digest for s in plain.stages]
    assert "tta" in record.marks and "tta" not in plain.marks
    assert record.targets["dusk"].protocol.tta == ["scale 0.5", "scale 1", "flip"] == record.spec.tta
    (spec,) = resolve(selection_of(record.spec, str(tiny_benchmark.yaml)))
    assert run_digest(spec, DataDigests(spec, shop.place)) == record.digest
    with pytest.raises(UsageError, match=r"--tta sideways: neither a scale from 0.1 to 4, such as 0.75, nor flip"):
        do("frozen", tta=("sideways",))


def test_a_pair_without_a_common_grid_is_told_with_both_grids(do, tiny_benchmark):
    table = tiny_benchmark.yaml.parent / "models.yaml"
    table.write_text(table.read_text().replace("patch: 8", "patch: 7\n    resampling: study", 1))
    said = r"32x48 images of recipe 'task': teacher tiny-wide can have none, student tiny-narrow has a grid of 4x6"
    with pytest.raises(DataError, match=said):
        do("frozen")
