"""What a run is: the digest that its record has; computed without importing torch."""

from typing import Any

from gkdbench.data.corruptions.dataset import corrupted_digest
from gkdbench.data.dataset import DataPlace, open_split
from gkdbench.errors import DataError
from gkdbench.identity.digest import DECODER, ENGINE, EVALUATION, digest, run_name
from gkdbench.models.weight_files import weights_digest
from gkdbench.spec.benchmark import IN_DOMAIN
from gkdbench.spec.catalogue import ModelSource
from gkdbench.spec.methods import find_method
from gkdbench.spec.selection import RunSpec
from gkdbench.spec.split import Split

Known = dict[tuple[Any, ...], str]
"""Digests of splits that a command has computed already."""


class DataDigests:
    """Digests of a run's splits, each computed once; with `known`, once for all runs of a command."""

    def __init__(self, spec: RunSpec, place: DataPlace, known: Known | None = None) -> None:
        self._spec, self._place = spec, place
        self._known: Known = {} if known is None else known

    def of(self, role: str, split: Split, *, labelled: bool = True) -> str:
        """Return the digest of a split, limited as the preset limits its role; labels count where they are read."""
        if split.corruption is not None:  # a benchmark may have 75 of one split
            return corrupted_digest(*split.corruption, self.of(role, split.original, labelled=labelled))
        limit = self._spec.preset.limits.get(role)  # type: ignore[call-overload]
        source = self._spec.source
        benchmark = source.benchmark
        # two YAML files of a folder may share a name, and not what their ids mean
        meaning = str((benchmark.classes, benchmark.label_map, benchmark.ignore))
        key = (source.folder, meaning, split.model_dump_json(), limit, labelled)
        if key not in self._known:
            opened = open_split(split, benchmark, source.folder, self._place, limit=limit, labelled=labelled)
            self._known[key] = opened.digest(self._place.hashes().identities)
        return self._known[key]

    def training(self, data: str, *, labelled: bool) -> str:
        """Return the digest of what a stage draws from; the proxy pool never has labels."""
        benchmark = self._spec.benchmark
        if data == "proxy":
            return self.of("proxy", benchmark.proxy, labelled=False)
        return self.of("source", benchmark.source.train, labelled=labelled)


def run_digest(spec: RunSpec, data: DataDigests) -> str:
    """Return what identifies a run: equal digests mean equal results.

    Targets enter here and not in the stages: adding a target never retrains.
    """
    benchmark = spec.benchmark
    content: dict[str, Any] = {
        "versions": [ENGINE, DECODER, EVALUATION],
        "method": [spec.method.code_digest, spec.method.function, dict(spec.options)],
        "teacher_method": find_method(spec.teacher_method).code_digest,
        "models": [model_identity(spec.teacher), model_identity(spec.student)],
        "benchmark": [benchmark.name, benchmark.version, benchmark.classes, benchmark.mean_rule],
        "decoder": benchmark.decoder,
        "inference": benchmark.inference,
        "recipe": {name: spec.preset.stage(name) for name in ("proxy", "source", "task", "joint", "teacher")},
        "data": [data.training("source", labelled=True), _proxy(data)],
        "val": data.of("val", benchmark.source.val),
        "targets": {name: data.of("target", split) for name, split in spec.targets.items()},
        "seeds": [spec.seed, spec.teacher_seed],
    }
    # what the format got later counts where it says something, so that older digests stay
    later = {
        "inference_of": {n: how for n, how in benchmark.inference_of.items() if n == IN_DOMAIN or n in spec.targets},
        "excluded_from_mean": benchmark.excluded_from_mean,
        "ood_targets": benchmark.ood_targets,
        "groups": benchmark.groups,
    }
    content.update({key: value for key, value in later.items() if value})
    return digest(content)


def _proxy(data: DataDigests) -> str:
    """Return the digest of the proxy pool, or that it is not here: many methods never draw from it."""
    try:
        return data.training("proxy", labelled=False)
    except DataError:
        return "absent"


def model_identity(source: ModelSource) -> dict[str, Any]:
    """Return what makes an initial encoder what it is: architecture, arguments, weights."""
    entry = source.entry
    identity: dict[str, Any] = {
        "timm": entry.timm,
        "arguments": entry.arguments,
        "weights": weights_digest(source),
        "normalisation": [entry.mean, entry.std],
    }
    if entry.resampling is not None:
        identity["patches"] = [entry.patch, entry.resampling]
    return identity


def run_id(spec: RunSpec, identity: str) -> str:
    """Return the id of the run that has this digest."""
    return run_name(spec.benchmark.name, spec.setting, spec.method.name, spec.seed, identity)
