"""Whether runs were made on the terms that a study's table is about; if not, why not, in words."""

from collections.abc import Mapping, Sequence
from functools import lru_cache
from typing import Any

from gkdbench.errors import UsageError
from gkdbench.report.comparison import IN_DOMAIN, MethodRow
from gkdbench.report.corruptions import targets_told
from gkdbench.report.origins import mixed_environments
from gkdbench.report.records import plain, shown_options
from gkdbench.runs.record import Corruption, Protocol, Record
from gkdbench.spec.benchmark import IN_DOMAIN as SOURCE_PART
from gkdbench.spec.benchmark import Benchmark
from gkdbench.spec.catalogue import benchmark_files, find_benchmark
from gkdbench.spec.decoder import other_decoder
from gkdbench.spec.inference import Inference
from gkdbench.spec.plugins import OURS


def departures(row: MethodRow) -> list[str]:
    """Say in what a row's runs depart from the installed benchmark of their name, and from one another.

    A benchmark that is not installed is not judged: nothing says what its terms are.
    """
    found = [] if row.comparable else [*_in_detail(row.records[0]), *row.footnotes]
    benchmark = installed(row.records[0].spec.benchmark)
    if benchmark is not None:
        found.extend(dict.fromkeys(reason for record in row.records for reason in _from_benchmark(record, benchmark)))
    found.extend(mixed_environments(row.records))
    return found


def other_method(row: MethodRow, defaults: Mapping[str, Mapping[str, Any]], wanted: Sequence[str]) -> list[str]:
    """Say why a row of a method's name is not that method with the options wanted: others, or code from elsewhere.

    wanted: options as `NAME=VALUE`; all others at the method's defaults.
    """
    record = row.records[0]
    found = []
    options, stated = shown_options(record, defaults), ", ".join(sorted(wanted))
    if options != stated:
        meant = f"the row's {stated}" if stated else "the method's defaults"
        found.append(f"options that are not {meant} ({options or 'none'}).")
    source = record.spec.method_source
    if source.rpartition(" ")[0] != OURS:
        found.append(f"code of {source}, not gkdbench's own method of this name.")
    return found


@lru_cache
def installed(name: str) -> Benchmark | None:
    """Return the installed benchmark of a name; None where there is none, or it cannot be read."""
    if name not in benchmark_files():
        return None
    try:
        return find_benchmark(name).benchmark
    except UsageError:
        return None


def _in_detail(record: Record) -> list[str]:
    """Say what a mark of the record does not: which targets, what test-time augmentation."""
    found = []
    if record.spec.tta:
        found.append(f"test-time augmentation ({', '.join(record.spec.tta)}).")
    benchmark = installed(record.spec.benchmark)
    if benchmark is not None and set(record.spec.targets) < set(benchmark.targets):
        made = _corruptions(benchmark)
        every, here = targets_told(benchmark.targets, made), targets_told(record.spec.targets, made)
        found.append(f"partial: of the targets {every} only {here}.")
    return found


def _corruptions(benchmark: Benchmark) -> dict[str, Corruption]:
    return {
        name: Corruption(kind=split.corruption.kind, severity=split.corruption.severity)
        for name, split in benchmark.targets.items()
        if split.corruption is not None
    }


def _from_benchmark(record: Record, benchmark: Benchmark) -> list[str]:
    name = benchmark.name
    if record.spec.benchmark_version != benchmark.version:
        return [f"version {record.spec.benchmark_version} of {name}, not {benchmark.version}."]
    found = []
    given = (record.classes, record.mean_rule, record.excluded_from_mean, record.ood_targets or benchmark.averaged)
    stated = (benchmark.classes, benchmark.mean_rule, benchmark.excluded_from_mean, benchmark.averaged)
    if given != stated:
        found.append(f"other classes or another mean than {name} states.")
    splits = {SOURCE_PART: record.in_domain, **record.targets}
    other = [
        IN_DOMAIN if split == SOURCE_PART else split
        for split, result in splits.items()
        if result is not None and result.protocol != _protocol(benchmark.inference_for(split))
    ]
    if other:
        told = targets_told(other, record.corruptions)
        found.append(f"judged by another protocol than {name} states ({told}).")
    decoder = record.spec.decoder
    try:
        expected = other_decoder(str(decoder.get("name")), benchmark.decoder).model_dump(mode="json")
    except UsageError:
        return found  # a decoder from elsewhere: nobody says how large it should be
    sizes = [f"{key} {plain(value)}" for key, value in sorted(decoder.items()) if value != expected.get(key)]
    if sizes:
        found.append(f"another decoder than {name} states ({', '.join(sizes)}).")
    return found


def _protocol(inference: Inference) -> Protocol:
    return Protocol(
        resize=[] if inference.fit == "native" else list(inference.size),
        fit=inference.fit,
        window=inference.window and list(inference.window),
        stride=inference.stride and list(inference.stride),
        tta=inference.tta,
    )
