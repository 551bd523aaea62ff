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
    # a hidden target that was asked for stands in the record, and in none of the summary's figures
    counted = [name for name in record.targets if name in benchmark.targets]
    without = [] if benchmark.separates_most is None else [benchmark.separates_most]
    return summary_of(record, counted, benchmark.averaged, without, corruptions(benchmark.targets, benchmark))


def summary_of(
    record: Record,
    counted: Sequence[str],
    averaged: Sequence[str],
    without: Sequence[str],
    corrupted: Mapping[str, Corruption],
) -> Summary:
    """Compute the figures of the method table.

    Args:
        record: what was judged; it holds the in-domain split.
        counted: its targets that enter a figure.
        averaged: targets that the OOD mean is over; there is none unless all are counted.
        without: those without which the mean is stated as well.
        corrupted: what those targets are that are the in-domain images, corrupted.
    """
    assert record.in_domain is not None
    inside = record.in_domain.value
    values = {name: record.targets[name].value for name in counted}
    held = {name: value for name, value in values.items() if name in averaged}
    complete = len(held) == len(averaged)
    ood = float(np.mean(list(held.values()))) if complete else None
    return Summary(
        in_domain=inside,
        ood=ood,
        ood_without={
            odd: float(np.mean([value for name, value in held.items() if name != odd]))
            for odd in without
            if complete and odd in held and len(held) > 1
        },
        groups={
            name: _group(record, [record.targets[member] for member in members])
            for name, members in record.groups.items()
            if all(member in record.targets for member in members)
        },
        gap=None if ood is None else inside - ood,
        worst_target=min(values, key=lambda name: values[name]) if values else None,
        **_robustness(record, values, corrupted),
    )


def _robustness(
    record: Record, values: Mapping[str, float], corrupted: Mapping[str, Corruption]
) -> dict[str, float | None]:
    """Return mPC, and rPC in percent; {} without corruptions. There is no rPC where another number of images was
    judged clean."""
    if not corrupted:
        return {}
    assert record.in_domain is not None
    alike = all(record.targets[name].n_images == record.in_domain.n_images for name in corrupted if name in values)
    found = robustness(
        {(one.kind, one.severity): values.get(name) for name, one in corrupted.items()},
        record.in_domain.value if alike else None,
        list(dict.fromkeys(one.kind for one in corrupted.values())),
        list(dict.fromkeys(one.severity for one in corrupted.values())),
    )
    return {"mpc": found.mpc, "rpc": None if found.rpc is None else 100 * found.rpc}


def _group(record: Record, results: Sequence[SplitResult]) -> GroupResult:
    mean = float(np.mean([result.value for result in results]))
    if not all(result.confusion for result in results):
        return GroupResult(mean=mean, pooled=None)
    return GroupResult(mean=mean, pooled=100 * pooled_score(record, results).mean)


def pooled_score(record: Record, results: Sequence[SplitResult]) -> Score:
    """Compute IoUs and their mean of counts added up, by the rules that a record states."""
    counts = np.array([result.confusion for result in results], np.int64).sum(axis=0)
    void = np.array([result.void for result in results], np.int64).sum(axis=0)
    excluded = [index for index, name in enumerate(record.classes) if name in record.excluded_from_mean]
    return score(counts, record.mean_rule, void, excluded)


def corruptions(targets: Mapping[str, Split], benchmark: Benchmark) -> dict[str, Corruption]:
    """Return what those targets are that are the in-domain images, corrupted."""
    return {
        name: Corruption(kind=split.corruption.kind, severity=split.corruption.severity)
        for name, split in targets.items()
        if split.corruption is not None and split.original == benchmark.source.val
    }


def score_of(benchmark: Benchmark, counts: Counts, void: Counts) -> Score:
    """Compute IoUs and their mean by the rules of a benchmark."""
    excluded = [benchmark.classes.index(name) for name in benchmark.excluded_from_mean]
    return score(counts, benchmark.mean_rule, void if benchmark.counts_void else None, excluded)
