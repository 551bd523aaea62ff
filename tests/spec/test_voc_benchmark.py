"""The benchmark voc as data: Pascal-C's splits and corruptions, and what DECISIONS.md says about the rest."""

import yaml

from gkdbench.data.readers import CorruptedSplit, DatasetSplit
from gkdbench.runs.scoring import corruptions
from gkdbench.spec.benchmark import Benchmark
from gkdbench.spec.catalogue import find_benchmark, models
from gkdbench.spec.corruption import KINDS
from gkdbench.spec.dataset_catalogue import find_dataset


def benchmark(name: str = "voc") -> Benchmark:
    return find_benchmark(name).benchmark


def test_what_is_trained_on_and_judged() -> None:
    found, entry = benchmark(), find_dataset("voc").entry
    train, val = found.source.train, found.source.val
    assert isinstance(train, DatasetSplit) and isinstance(val, DatasetSplit)
    assert (train.dataset, train.split, val.dataset, val.split) == ("voc", "trainval", "voc", "test")
    assert (entry.counts[train.split], entry.counts[val.split]) == ([16551], [4952])
    assert train.only == val.only == {} and train.first is val.first is None
    assert entry.boxes is not None and found.classes == entry.boxes.classes == sorted(entry.boxes.classes)
    assert len(found.classes) == 20 == len(set(found.palette)) and found.task == "detection"
    assert found.proxy == benchmark("gtav").proxy


def test_the_ood_mean_is_mpc_over_75_corruptions_without_clean_images() -> None:
    found = benchmark()
    cells = corruptions(found.targets, found)
    assert list(cells) == found.averaged == [f"{kind}-{severity}" for kind in KINDS for severity in range(1, 6)]
    assert len(cells) == 75 and not found.hidden_targets
    for split in found.targets.values():
        assert isinstance(split, CorruptedSplit) and split.of == found.source.val


def test_the_pair_of_table_10_comes_first() -> None:
    found = benchmark()
    assert found.default_setting == "f2l" and found.settings["f2l"].pairs[0] == "dinov2-b:deit-s"
    same = benchmark("gtav").settings
    assert {name: one.pairs for name, one in found.settings.items()} == {name: one.pairs for name, one in same.items()}
    known = {source.name: source.entry for source in models()}
    for setting in found.settings.values():
        for pair in setting.pairs:
            for model in pair.split(":"):
                assert known[model].patch == 16 and known[model].resampling == "study"


def test_distillation_is_the_studys_and_the_detector_learns_as_long_as_mmdets() -> None:
    paper, gtav = benchmark().presets["paper"], benchmark("gtav").presets["paper"]
    assert not paper.limits and paper.proxy == gtav.proxy
    # the release's sampler: whole batches of 256, on every device
    epoch = 16551 // 256 * 256 // 128
    changed = {"steps": 300 * epoch, "hold": epoch}
    assert paper.source == gtav.source.model_copy(update=changed) and epoch == 128
    task = paper.task
    rounds = -(-3 * 16551 // task.batch)  # three times in a row, the last batch not full
    assert (task.batch, task.steps) == (16, 4 * rounds)
    assert task.encoder_lr * 10 == task.lr == gtav.task.lr and task.decays == gtav.task.decays
    assert (task.schedule, task.power, task.warmup) == ("poly", 0.9, 500)
    assert paper.joint == paper.teacher == task


def test_shares_of_images_that_the_standard_preset_names() -> None:
    found = benchmark()
    paper, standard = found.presets["paper"], found.presets["standard"]
    for name in ("proxy", "source", "task"):
        whole, part = paper.stage(name), standard.stage(name)
        share = part.steps * part.batch / (whole.steps * whole.batch)
        assert f"{100 * share:.0f} % ({name})" in standard.description
        assert part.size == whole.size
    # mPC is compared with the clean figure of the same images
    assert standard.limits == {"val": 500, "target": 500} and "500 images" in standard.description


def test_images_are_seen_as_large_as_in_mmdets_box_and_in_whole_patches() -> None:
    how = benchmark().inference
    assert how.fitted(375, 500) == (600, 800) and how.fitted(500, 375) == (800, 600)
    assert how.seen == benchmark().presets["paper"].task.size == (800, 800) and all(side % 16 == 0 for side in how.seen)


def test_anchors_hold_the_usual_sizes_on_strides_4_to_32() -> None:
    decoder = benchmark().decoder
    assert [16 / scale for scale in decoder.scales] == [4, 8, 16, 32]
    sizes = {size for level in decoder.anchors for size in level}
    assert {32, 64, 128, 256, 512} <= sizes and decoder.ratios == [0.5, 1.0, 2.0]
    assert all(level[0] == 8 * 16 / scale for level, scale in zip(decoder.anchors, decoder.scales, strict=True))


def test_table_10_is_of_this_benchmark() -> None:
    source = find_benchmark("voc")
    found, layout = source.benchmark, yaml.safe_load((source.folder / "tables" / "table10.yaml").read_text())
    (column,) = layout["columns"]
    assert column["measured"] == {"benchmark": found.name, "what": "ood"} and layout["preset"] in found.presets
    assert list(layout["rows"]["decoders"].values()) == [found.decoder.name]
    assert ":".join(layout["rows"]["models"].values()) == found.settings["f2l"].pairs[0]
