"""The figures of a record that follow from those of its splits. All unrounded."""

from collections.abc import Mapping, Sequence

import numpy as np

from gkdbench.metrics.confusion import Counts, Score, score
from gkdbench.metrics.robustness import robustness
from gkdbench.runs.record import Corruption, GroupResult, Protocol, Record, SplitResult, Summary
from gkdbench.spec.benchmark import Benchmark
from gkdbench.spec.inference import Inference
from gkdbench.spec.split import Split


def protocol_of(inference: Inference) -> Protocol:
    """Return what a record says about how images were shown to a model."""
    return Protocol(
        resize=[] if inference.fit == "native" else list(inference.size),
        fit=inference.fit,
        window=inference.window and list(inference.window),
        stride=inference.stride and list(inference.stride),
        tta=inference.tta,
    )


def summarise(benchmark: Benchmark, record: Record) -> Summary:
    """Compute the figures of the method table from the splits that were judged."""
    assert record.in_domain is not None
    # a hidden target that was asked for stands in the record, and in none of the summary's figures
    values = {n: result.value for n, result in record.targets.items() if n in benchmark.targets}
    averaged = {n: value for n, value in values.items() if n in benchmark.averaged}
    inside = record.in_domain.value
    ood = float(np.mean(list(averaged.values()))) if len(averaged) == len(benchmark.averaged) else None
    without = {}
    odd_one = benchmark.separates_most
    if ood is not None and odd_one is not None and len(averaged) > 1:
        without[odd_one] = float(np.mean([v for n, v in averaged.items() if n != odd_one]))
    return Summary(
        in_domain=inside,
        ood=ood,
        ood_without=without,
        groups={
            name: _group(benchmark, [record.targets[member] for member in members])
            for name, members in benchmark.groups.items()
            if all(member in record.targets for member in members)
        },
        gap=None if ood is None else inside - ood,
        worst_target=min(values, key=lambda name: values[name]) if values else None,
        **_robustness(benchmark, values, record),
    )


def _robustness(benchmark: Benchmark, values: Mapping[str, float], record: Record) -> dict[str, float | None]:
    """Return mPC, and rPC in percent, over the benchmark's corruptions of its in-domain images; {} without any.

    There is no rPC where another number of images was judged clean.
    """
    cells = {(one.kind, one.severity): name for name, one in corruptions(benchmark.targets, benchmark).items()}
    if not cells:
        return {}
    kinds = list(dict.fromkeys(kind for kind, _ in cells))
    severities = list(dict.fromkeys(severity for _, severity in cells))
    assert record.in_domain is not None
    alike = all(record.targets[name].n_images == record.in_domain.n_images for name in cells.values() if name in values)
    clean = record.in_domain.value if alike else None
    found = robustness({cell: values.get(name) for cell, name in cells.items()}, clean, kinds, severities)
    return {"mpc": found.mpc, "rpc": None if found.rpc is None else 100 * found.rpc}


def corruptions(targets: Mapping[str, Split], benchmark: Benchmark) -> dict[str, Corruption]:
    """Return what those targets are that are the in-domain images, corrupted."""
    return {
        name: Corruption(kind=split.corruption.kind, severity=split.corruption.severity)
        for name, split in targets.items()
        if split.corruption is not None and split.original == benchmark.source.val
    }


def _group(benchmark: Benchmark, results: Sequence[SplitResult]) -> GroupResult:
    mean = float(np.mean([result.value for result in results]))
    if not all(result.confusion for result in results):
        return GroupResult(mean=mean, pooled=None)
    counts = np.array([result.confusion for result in results], np.int64).sum(axis=0)
    void = np.array([result.void for result in results], np.int64).sum(axis=0)
    return GroupResult(mean=mean, pooled=100 * score_of(benchmark, counts, void).mean)


def score_of(benchmark: Benchmark, counts: Counts, void: Counts) -> Score:
    """Compute IoUs and their mean by the rules of a benchmark."""
    excluded = [benchmark.classes.index(name) for name in benchmark.excluded_from_mean]
    return score(counts, benchmark.mean_rule, void if benchmark.counts_void else None, excluded)
