"""From counts to the figures of a record: what a split gave, and the means over targets. All unrounded."""

from collections.abc import Mapping, Sequence

import numpy as np

from gkdbench.detection.average_precision import coco_score, voc_score
from gkdbench.detection.overlaps import Overlaps
from gkdbench.engine.evaluation import Judged
from gkdbench.metrics.confusion import Counts, Score, score
from gkdbench.metrics.robustness import robustness
from gkdbench.run.record import Corruption, GroupResult, Protocol, Record, SplitResult, Summary
from gkdbench.spec.benchmark import Benchmark
from gkdbench.spec.inference import Inference
from gkdbench.spec.split import Split


def split_result(judged: Judged, benchmark: Benchmark, inference: Inference) -> SplitResult:
    """Turn counts into what the record holds of a split that was judged so."""
    result = _score(benchmark, judged.total, judged.void)
    percent = 100 * result.mean
    return SplitResult(
        value=percent,
        miou=percent,
        metrics={"pixel_accuracy": 100 * result.accuracy},
        per_class={
            name: None if np.isnan(value) else float(100 * value)
            for name, value in zip(benchmark.classes, result.iou, strict=True)
        },
        classes_in_mean=result.in_mean,
        never_predicted=[benchmark.classes[i] for i in result.never_predicted],
        confusion=judged.total.tolist(),
        void=judged.void.tolist() if benchmark.counts_void else [],
        n_images=len(judged.names),
        protocol=_protocol(inference),
    )


_COCO = {
    "coco_ap": "ap",
    "coco_ap50": "ap50",
    "coco_ap75": "ap75",
    "coco_ap_small": "ap_small",
    "coco_ap_medium": "ap_medium",
    "coco_ap_large": "ap_large",
    "coco_ar100": "ar_100",
}
"""What records call COCO's figures."""


def box_result(overlaps: Overlaps, benchmark: Benchmark, inference: Inference) -> SplitResult:
    """Turn what a detector found into what the record holds of a split that was judged so.

    The headline is AP50 as VOC defines it, the area under the curve; VOC2007's mean over eleven points and COCO's
    figures stand beside it, as far as the split has objects of their size.
    """
    voc, coco = voc_score(overlaps), coco_score(overlaps)
    figures = {"ap50_11point": voc.mean_11_point}
    figures |= {name: getattr(coco, key) for name, key in _COCO.items()}
    return SplitResult(
        value=100 * voc.mean,
        metrics={name: 100 * value for name, value in figures.items() if not np.isnan(value)},
        per_class={
            name: None if np.isnan(value) else float(100 * value)
            for name, value in zip(benchmark.classes, voc.ap, strict=True)
        },
        classes_in_mean=voc.in_mean,
        never_predicted=[benchmark.classes[i] for i in overlaps.never_detected()],
        confusion=[],
        n_images=overlaps.images,
        protocol=_protocol(inference),
    )


def _protocol(inference: Inference) -> Protocol:
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
    return GroupResult(mean=mean, pooled=100 * _score(benchmark, counts, void).mean)


def _score(benchmark: Benchmark, counts: Counts, void: Counts) -> Score:
    excluded = [benchmark.classes.index(name) for name in benchmark.excluded_from_mean]
    return score(counts, benchmark.mean_rule, void if benchmark.counts_void else None, excluded)
