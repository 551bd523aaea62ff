"""The study's benchmarks as data: protocol, budgets and pairs are the published ones (CVPR 2026, arXiv 2603.02554)."""

import pytest

from gkdbench.data.readers import DatasetSplit, JoinedSplit
from gkdbench.spec.benchmark import Benchmark
from gkdbench.spec.catalogue import find_benchmark, models
from gkdbench.spec.dataset_catalogue import find_dataset

NAMES = (
    "gtav", "gtav-acdc", "gtav-synthia", "gtav-synthia-urbansyn", "cityscapes", "potsdam-rgb", "endovis18",
    "endovis18-11",
)  # fmt: skip


def benchmark(name: str) -> Benchmark:
    return find_benchmark(name).benchmark


def splits(found: Benchmark) -> list[DatasetSplit]:
    listed = []
    for split in (found.source.train, found.source.val, found.proxy, *found.targets.values()):
        listed += split.parts if isinstance(split, JoinedSplit) else [split]
    assert all(isinstance(split, DatasetSplit) for split in listed)
    return listed


@pytest.mark.parametrize("name", NAMES)
def test_datasets_bring_the_benchmarks_classes(name: str) -> None:
    found = benchmark(name)
    for split in splits(found):
        entry = find_dataset(split.dataset).entry
        assert split.split in entry.counts
        if entry.labels is not None:
            assert set(entry.labels.classes) == set(found.classes), split.dataset


@pytest.mark.parametrize("name", NAMES)
def test_models_of_every_pair_are_known_and_take_the_recipes_patches(name: str) -> None:
    known = {source.name: source.entry for source in models()}
    for setting in benchmark(name).settings.values():
        for pair in setting.pairs:
            for model in pair.split(":"):
                assert known[model].patch == 16 and known[model].resampling == "study"


@pytest.mark.parametrize(
    ("name", "epoch"),
    [("gtav", 194), ("cityscapes", 22), ("potsdam-rgb", 26), ("endovis18", 4)],
)
def test_the_papers_budgets(name: str, epoch: int) -> None:
    paper = benchmark(name).presets["paper"]
    assert not paper.limits
    proxy, source, task = paper.proxy, paper.source, paper.task
    assert (proxy.steps, proxy.batch, proxy.size, proxy.patch, proxy.repeats) == (100 * 2502, 512, (224, 224), 14, 3)
    assert (source.steps, source.batch, source.size, source.patch) == (300 * epoch, 128, (512, 512), None)
    for stage, peak, hold in ((proxy, 5e-4, 2502), (source, 1.25e-4, epoch)):
        assert stage.rates_for_batch == 512 and stage.lr * stage.batch / stage.rates_for_batch == pytest.approx(peak)
        assert stage.floor * peak == pytest.approx(1e-5)
        assert (stage.hold, stage.lag, stage.warmup, stage.clip, stage.decays) == (hold, 1, 0, None, "matrices")
        assert stage.weight_decay == 0.05 and stage.betas == (0.9, 0.999)
    assert (task.steps, task.batch, task.lr, task.schedule, task.power) == (40000, 4, 1e-4, "poly", 0.9)
    assert (task.decays, task.clip, task.warmup, task.floor, task.precision) == ("study", None, 0, 0.0, "32-true")
    assert paper.joint == paper.teacher == task and task.encoder_lr == pytest.approx(0.1 * task.lr)


def test_the_papers_evaluation() -> None:
    gtav, acdc, city, tiles = (benchmark(name) for name in ("gtav", "gtav-acdc", "cityscapes", "potsdam-rgb"))
    for found in (gtav, acdc, city, tiles, benchmark("endovis18")):
        for target in ("val", *found.targets):
            how = found.inference_for(target)
            assert (how.window, how.stride, how.tta) == ((512, 512), (341, 341), [])
    seen = {
        "citys": gtav.inference_for("citys").fitted(1024, 2048),
        "bdd": gtav.inference_for("bdd").fitted(720, 1280),
        "map": gtav.inference_for("map").fitted(1224, 1632),  # half of 2448 x 3264
        "night": acdc.inference_for("night").fitted(1080, 1920),
        "fog": city.inference_for("fog").fitted(1080, 1920),
        "val": city.inference_for("val").fitted(1024, 2048),
        "v-irrg": tiles.inference_for("v-irrg").fitted(512, 512),
        "seq5-7": benchmark("endovis18").inference_for("seq5-7").fitted(1024, 1280),
    }
    assert seen == {
        "citys": (512, 1024), "bdd": (720, 1280), "map": (512, 683), "night": (540, 960), "fog": (540, 960),
        "val": (512, 1024), "v-irrg": (512, 512), "seq5-7": (1024, 1280),
    }  # fmt: skip
    assert list(gtav.targets) == ["citys", "bdd", "map"] and list(tiles.targets) == ["p-irrg", "v-irrg"]
    assert acdc.groups == city.groups == {"acdc": ["night", "snow", "fog", "rain"]}
    assert len(benchmark("endovis18").classes) == 12 and len(benchmark("endovis18-11").classes) == 11


def test_nothing_of_gtav_is_trained_twice_for_other_targets() -> None:
    one, other = benchmark("gtav"), benchmark("gtav-acdc")
    assert one.presets == other.presets and one.source == other.source and one.proxy == other.proxy
    assert one.decoder == other.decoder and one.classes == other.classes
