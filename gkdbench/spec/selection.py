"""From what a user asked for to fully resolved runs: names checked, options typed, recipes overridden.

Pure: no torch, no data read, nothing written. Every complaint names what is wrong and the nearest match.
"""

import itertools
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from gkdbench.errors import UsageError
from gkdbench.spec.benchmark import Benchmark, SettingSpec
from gkdbench.spec.catalogue import (
    BenchmarkSource,
    ModelSource,
    find_benchmark,
    find_setting,
    split_pair,
)
from gkdbench.spec.decoder import other_decoder
from gkdbench.spec.documents import check_name, nearest, parse
from gkdbench.spec.inference import Inference
from gkdbench.spec.methods import MethodSource, find_method, recorded_name
from gkdbench.spec.options import SECTIONS, changed_preset, marks_of, options_of
from gkdbench.spec.recipe import Preset
from gkdbench.spec.split import Split
from gkdbench.spec.task import TASKS

if TYPE_CHECKING:
    from gkdbench.runs.record import RunSpecRecord

HIDDEN = "held-out"
UNCHECKED = "data unchecked"
"""Mark of runs that were trained without a look at their data."""
TRAINED_ON = "in-domain figures are of images that are trained on"


@dataclass(frozen=True)
class Selection:
    """What a user asked for, as given."""

    methods: tuple[str, ...]
    settings: tuple[str, ...] = ()
    benchmarks: tuple[str, ...] = ("streets",)
    seeds: tuple[int, ...] = (0,)
    pair: str | None = None
    weights: Mapping[str, Path] = field(default_factory=dict)
    """Weight files by model, in place of those of the model's entry."""
    decoder: str | None = None
    """Another decoder than the benchmark's: at its sizes if of the same kind, else at its own defaults."""
    tta: tuple[str, ...] = ()
    """Test-time augmentation: scales such as `0.75`, and `flip`."""
    preset: str | None = None
    targets: tuple[str, ...] = ()
    options: tuple[str, ...] = ()
    """`name=value` for a method option, `recipe.STAGE.FIELD=value` for a recipe field, `limits.ROLE=value` for how many
    images of a role are read."""
    teacher_seed: int = 0
    with_teacher: bool = True
    skip_check: bool = False
    """Train without looking at the data first; such runs are marked."""


@dataclass(frozen=True)
class RunSpec:
    """One run, fully resolved."""

    source: BenchmarkSource
    setting: str
    pair: str
    teacher: ModelSource
    student: ModelSource
    method: MethodSource
    options: Mapping[str, Any]
    preset_name: str
    preset: Preset
    recipe_overrides: Mapping[str, Any]
    seed: int
    teacher_seed: int
    targets: Mapping[str, Split]
    teacher_method: str
    marks: tuple[str, ...] = ()
    notes: tuple[str, ...] = field(default=())

    @property
    def benchmark(self) -> Benchmark:
        """The benchmark."""
        return self.source.benchmark


def resolve(selection: Selection) -> list[RunSpec]:
    """Return the runs of a selection, shared teachers first, in a stable order."""
    runs: list[RunSpec] = []
    for name in selection.benchmarks:
        source = _with_tta(_with_decoder(find_benchmark(name), selection.decoder), selection.tta)
        settings = selection.settings or (source.benchmark.default_setting,)
        for setting_name, seed in itertools.product(settings, selection.seeds):
            setting = find_setting(source.benchmark, setting_name)
            if selection.with_teacher:
                runs.append(_teacher_run(source, setting_name, setting, selection))
            for method in selection.methods:
                runs.append(_run(source, setting_name, setting, selection, method, seed))
    used = {model.name for run in runs for model in (run.teacher, run.student)}
    for name in selection.weights:
        if name not in used:
            raise UsageError(f"--weights {name}=...: no run uses this model{nearest(name, used)} ({', '.join(used)})")
    return list(_without_repeats(runs))


def _with_decoder(source: BenchmarkSource, decoder: str | None) -> BenchmarkSource:
    if decoder is None or decoder == source.benchmark.decoder.name:
        return source
    other = other_decoder(decoder, source.benchmark.decoder)
    return BenchmarkSource(source.benchmark.model_copy(update={"decoder": other}), source.folder)


def _with_tta(source: BenchmarkSource, texts: tuple[str, ...]) -> BenchmarkSource:
    if not texts:
        return source
    benchmark = source.benchmark
    if TASKS[benchmark.task].whole_images:
        raise UsageError(f"--tta: benchmark {benchmark.name!r} is one of {benchmark.task}, which sees images once")
    augmented = {
        "inference": _augmented(benchmark.inference, texts),
        "inference_of": {name: _augmented(how, texts) for name, how in benchmark.inference_of.items()},
    }
    return BenchmarkSource(benchmark.model_copy(update=augmented), source.folder)


def _augmented(inference: Inference, texts: tuple[str, ...]) -> Inference:
    scales = [text.removeprefix("scale ") for text in texts if text != "flip"]
    for text in scales:
        if not re.fullmatch(r"\d+(\.\d+)?", text) or not 0.1 <= float(text) <= 4:
            raise UsageError(f"--tta {text}: neither a scale from 0.1 to 4, such as 0.75, nor flip")
    content = inference.model_dump(mode="json")
    content["flip"] = "flip" in texts
    if scales:
        content["scales"] = scales
    return parse(Inference, content, "--tta (scales, or flip)")


def selection_of(record: "RunSpecRecord", benchmark: str | None = None) -> Selection:
    """Return the selection that repeats a recorded run."""
    options = [f"{name}={value}" for name, value in record.options.items()]
    options += options_of(record.recipe_overrides)
    return Selection(
        methods=(recorded_name(record.method, record.method_source),),
        settings=(record.setting,),
        benchmarks=(benchmark or record.benchmark,),
        seeds=(record.seed,),
        pair=record.pair,
        weights={name: Path(path) for name, path in record.weights.items()},
        decoder=str(record.decoder["name"]),
        tta=tuple(record.tta),
        preset=record.preset,
        targets=tuple(record.targets),
        options=tuple(options),
        teacher_seed=record.teacher_seed,
        with_teacher=False,
    )


def _without_repeats(runs: Iterable[RunSpec]) -> Iterable[RunSpec]:
    seen = set()
    for run in runs:
        where = (run.source.folder, run.benchmark.name, run.setting)
        key = (where, run.method.file, run.method.name, run.seed, str(run.options))
        if key not in seen:
            seen.add(key)
            yield run


def _teacher_run(source: BenchmarkSource, name: str, setting: SettingSpec, selection: Selection) -> RunSpec:
    of_preset = tuple(option for option in selection.options if "." in option.partition("=")[0])
    own = replace(selection, options=of_preset)
    return _run(source, name, setting, own, setting.teacher_method, selection.teacher_seed)


def _run(
    source: BenchmarkSource,
    setting_name: str,
    setting: SettingSpec,
    selection: Selection,
    method_name: str,
    seed: int,
) -> RunSpec:
    benchmark = source.benchmark
    pair = selection.pair or setting.pairs[0]
    try:
        teacher, student = (_with_weights(m, selection.weights) for m in split_pair(pair, source.folder))
    except UsageError as error:
        known = setting.pairs
        if selection.pair is None:
            raise UsageError(f"benchmark {benchmark.name!r}: key 'settings.{setting_name}.pairs': {error}") from error
        raise UsageError(
            f"--pair: setting {setting_name!r} of benchmark {benchmark.name!r} has no pair {pair!r}"
            f"{nearest(pair, known)} (known: {', '.join(known)}; or any two models: {error})"
        ) from error
    method = find_method(method_name)
    method_options, preset_options = _split_options(selection.options)
    preset_name = selection.preset or benchmark.default_preset
    preset, overrides = changed_preset(benchmark, preset_name, preset_options)
    targets = _targets(benchmark, selection.targets)
    marks = marks_of(overrides)
    if set(targets) != set(benchmark.targets):
        marks.append("other targets")
    if benchmark.inference.tta:
        marks.append("tta")
    if pair not in setting.pairs:
        marks.append("other pair")
    read = (benchmark.source.train, benchmark.source.val, benchmark.proxy, *targets.values())
    if selection.skip_check and not all(split.rendered for split in read):
        marks.append(UNCHECKED)
    return RunSpec(
        source=source,
        setting=setting_name,
        pair=pair,
        teacher=teacher,
        student=student,
        method=method,
        options=method.parse_options(method_options, "-o"),
        preset_name=preset_name,
        preset=preset,
        recipe_overrides=overrides,
        seed=seed,
        teacher_seed=selection.teacher_seed,
        targets=targets,
        teacher_method=setting.teacher_method,
        marks=tuple(marks),
        notes=(*setting.notes, *([TRAINED_ON] if source.benchmark.in_domain == "train" else [])),
    )


def _with_weights(model: ModelSource, given: Mapping[str, Path]) -> ModelSource:
    return replace(model, explicit=given[model.name]) if model.name in given else model


def parse_weights(texts: Iterable[str]) -> dict[str, Path]:
    """Return the weight files named by `NAME=PATH`, by model."""
    found = {}
    for text in texts:
        name, equals, path = text.partition("=")
        if not equals or not name or not path:
            raise UsageError(f"--weights {text}: weights are given as MODEL=FILE")
        found[name] = Path(path)
    return found


def _split_options(options: Iterable[str]) -> tuple[dict[str, str], dict[str, str]]:
    """Sort `-o` texts into method options and what they change of the preset."""
    method: dict[str, str] = {}
    preset: dict[str, str] = {}
    for text in options:
        name, equals, value = text.partition("=")
        if not equals or not name:
            raise UsageError(f"-o {text}: options are written NAME=VALUE")
        section, dot, _ = name.partition(".")
        if dot:
            check_name(f"-o {text}: no section", section, SECTIONS, "sections")
        kind = preset if dot else method
        if name in kind:
            raise UsageError(f"-o {text}: option {name!r} is given twice")
        kind[name] = value
    return method, preset


def _targets(benchmark: Benchmark, names: tuple[str, ...]) -> dict[str, Split]:
    """Return the splits to score: the benchmark's own, or those named (`held-out`: the hidden ones)."""
    available = {**benchmark.targets, **benchmark.hidden_targets}
    chosen: dict[str, Split] = {} if names else dict(benchmark.targets)
    for name in names:
        if name == HIDDEN and benchmark.hidden_targets:
            chosen.update(benchmark.hidden_targets)
        else:
            check_name(f"--targets: benchmark {benchmark.name!r} has no target", name, available)
            chosen[name] = available[name]
    return chosen
