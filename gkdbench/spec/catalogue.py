"""The catalogue: benchmarks and models by name, from every installed benchmark package or a user's YAML."""

import csv
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

from gkdbench.errors import UsageError
from gkdbench.spec.benchmark import Benchmark, SettingSpec
from gkdbench.spec.documents import check_name, parse, read_text, read_yaml
from gkdbench.spec.model import ModelEntry, ModelTable, Weights
from gkdbench.spec.plugins import OURS, distribution_name, entries, package_folder

GROUP = "gkdbench.benchmarks"
MODELS_FILE = "models.yaml"
VARIANTS_FILE = "variants.yaml"
SIZES_FILE = "model_sizes.csv"
TIMM = "timm/"
"""What stands before the name of a model that has no entry."""


@dataclass(frozen=True)
class BenchmarkSource:
    """A benchmark and the folder its YAML lies in; lists and models are looked up beside it."""

    benchmark: Benchmark
    folder: Path


@dataclass(frozen=True)
class ModelSource:
    """A model entry, its name and the folder its packaged weights lie in."""

    name: str
    entry: ModelEntry
    folder: Path
    explicit: Path | None = None
    """The weight file that the user named, whatever the entry says."""


def folders() -> tuple[Path, ...]:
    """Return the folders of all installed benchmark packages."""
    return tuple(packages())


def packages() -> Mapping[Path, str]:
    """Return the folders of all installed benchmark packages and their distributions, our own first."""
    return _packages()[0]


def package_faults() -> Mapping[str, str]:
    """Return what is wrong with each benchmark package that cannot be found, by its entry point's name."""
    return _packages()[1]


@lru_cache
def _packages() -> tuple[dict[Path, str], dict[str, str]]:
    found: dict[Path, str] = {}
    faults: dict[str, str] = {}
    for entry in sorted(entries(GROUP), key=lambda e: distribution_name(e) != OURS):
        folder = package_folder(entry.value)
        if folder is None:
            faults[entry.name] = f"its package {entry.value} is not importable; reinstall {distribution_name(entry)}"
        else:
            found.setdefault(folder, distribution_name(entry))
    return found, faults


def benchmark_files() -> dict[str, Path]:
    """Return the YAML file of every installed benchmark, by name."""
    found: dict[str, Path] = {}
    for folder in folders():
        for path in sorted(folder.glob("*.yaml")):
            if path.name not in (MODELS_FILE, VARIANTS_FILE):
                found.setdefault(path.stem, path)
    return found


def find_benchmark(name: str) -> BenchmarkSource:
    """Return an installed benchmark by name, or a user's by the path of its YAML file."""
    if name.endswith((".yaml", ".yml")):
        path = Path(name)
        if not path.is_file():
            raise UsageError(f"--benchmark {name}: no such file")
    else:
        known = benchmark_files()
        check_name("--benchmark: unknown benchmark", name, known, "your own: the path of its YAML file; known")
        path = known[name]
    folder = path.resolve().parent
    return BenchmarkSource(parse(Benchmark, read_yaml(path), str(path), {"folder": folder}), folder)


def models(extra: Path | None = None) -> Iterator[ModelSource]:
    """Yield every model entry; those beside a user's benchmark (`extra`) come first and win."""
    searched = [folder for folder in (extra, *folders()) if folder is not None]
    seen: set[str] = set()
    for folder in dict.fromkeys(searched):
        path = folder / MODELS_FILE
        if not path.is_file():
            continue
        for name, entry in parse(ModelTable, read_yaml(path), str(path)).models.items():
            if name not in seen:
                seen.add(name)
                yield ModelSource(name, entry, folder)


def find_model(name: str, extra: Path | None = None) -> ModelSource:
    """Return a model by its name in models.yaml, or any of timm's as `timm/NAME` or `timm/NAME.TAG`."""
    known = {source.name: source for source in models(extra)}
    if name not in known and name.startswith(TIMM) and len(name) > len(TIMM):
        return ModelSource(name, _of_timm(name.removeprefix(TIMM)), Path())
    check_name("unknown model", name, known, f"any other of timm: {TIMM}NAME; known")
    return known[name]


def _of_timm(name: str) -> ModelEntry:
    """Describe a model that has no entry; whether timm has it is seen when it is built."""
    architecture, _, tag = name.partition(".")
    side = re.search(r"patch(\d+)(_|$)", architecture)
    weights = Weights(files=[f"{name}.safetensors"], hub=f"timm/{name}") if tag else None
    return ModelEntry(
        description=f"{name} of timm" + ("" if tag else " with random weights"),
        role="local",
        timm=name,
        weights=weights,
        licence="see the model's page",
        patch=int(side[1]) if side else None,
        resampling="timm",
    )


def model_sizes() -> dict[str, dict[str, dict[str, float]]]:
    """Return tokens, parameters and GFLOPs by model and decoder, as counted once for the models of packages.

    With 19 classes, at the size that stands beside them; of other models nothing is known without building them.
    """
    found: dict[str, dict[str, dict[str, float]]] = {}
    for folder in folders():
        path = folder / SIZES_FILE
        if not path.is_file():
            continue
        for row in csv.DictReader(read_text(path).splitlines()):
            model, decoder = row.pop("model"), row.pop("decoder")
            numbers = {key: float(value) if "." in value else int(value) for key, value in row.items()}
            found.setdefault(model, {})[decoder] = numbers
    return found


def find_setting(benchmark: Benchmark, name: str) -> SettingSpec:
    """Return a setting of a benchmark."""
    check_name(f"--setting: benchmark {benchmark.name!r} has no setting", name, benchmark.settings)
    return benchmark.settings[name]


def split_pair(pair: str, extra: Path | None = None) -> tuple[ModelSource, ModelSource]:
    """Return teacher and student of `teacher:student`."""
    teacher, colon, student = pair.partition(":")
    if not colon or not teacher or not student:
        raise UsageError(f"pair {pair!r} is not of the form TEACHER:STUDENT")
    return find_model(teacher, extra), find_model(student, extra)
