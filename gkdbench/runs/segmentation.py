"""Segmentation: a class per pixel, judged by confusion counts, written as PNGs in the data's own ids."""

from collections.abc import Collection, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from gkdbench.data.checking.sheet import overlaid
from gkdbench.data.dataset import Dataset, open_split
from gkdbench.engine.evaluation import Judged, judge
from gkdbench.engine.inference import predict
from gkdbench.errors import UsageError
from gkdbench.models.segmentor import Segmentor
from gkdbench.runs.files import write_png
from gkdbench.runs.image_counts import write_image_counts
from gkdbench.runs.record import SplitResult
from gkdbench.runs.scoring import protocol_of, score_of
from gkdbench.runs.task import Asked, Conditions, Judge, Meter, Predicted, Shown, TaskRoom, Verdict
from gkdbench.spec.benchmark import Benchmark
from gkdbench.spec.dataset import Labels
from gkdbench.spec.inference import Inference


class Segmentation(TaskRoom):
    """A class for every pixel."""

    network = Segmentor

    def judge(self, benchmark: Benchmark, conditions: Conditions, folder: Path) -> Judge:
        """Return who counts pixels."""
        return PixelJudge(benchmark, conditions, folder)

    def shown(self, dataset: Dataset, index: int, predicted: NDArray[np.uint8]) -> Shown:
        """Return both label maps; the truth where it is known."""
        labels = dataset.labels(index)
        return Shown({**({} if labels is None else {"truth": labels}), "prediction": predicted})

    def predict(self, network: Segmentor, asked: Asked) -> "LabelMaps":
        """Write a label map of every image, at its own size."""
        benchmark = asked.benchmark
        dataset = open_split(asked.split, benchmark, asked.folder, asked.place, labelled=False, progress=asked.meter)
        encoding = official_encoding(benchmark, asked.split.held(asked.folder))
        palette = np.array(benchmark.palette, np.uint8)
        folder, drawn = asked.out / "labels", asked.out / "overlays"
        for number in range(len(dataset)):
            image = dataset.image(number)
            (found,) = predict(network, [image], [image.shape[:2]], asked.inference, asked.device, asked.precision)
            write_png(folder / f"{dataset.name(number)}.png", Image.fromarray(encoding[found]))
            if number < asked.overlays:
                write_png(drawn / f"{dataset.name(number)}.png", Image.fromarray(overlaid(image, found, palette)))
            asked.meter(number + 1, len(dataset))
        values = [tuple(value) if isinstance(value, list) else value for value in encoding.tolist()]
        ids = dict(zip(benchmark.classes, values, strict=True))
        return LabelMaps(folder, drawn if asked.overlays else None, len(dataset), ids)


def split_result(judged: Judged, benchmark: Benchmark, inference: Inference) -> SplitResult:
    """Turn counts into what the record holds of a split that was judged so."""
    result = score_of(benchmark, judged.total, judged.void)
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
        protocol=protocol_of(inference),
    )


class PixelJudge(Judge):
    """Judges segmentors: confusion counts of every image."""

    def __init__(self, benchmark: Benchmark, conditions: Conditions, folder: Path) -> None:
        super().__init__(benchmark, conditions, folder)
        self._judged: dict[str, Judged] = {}

    def split(
        self,
        name: str,
        dataset: Dataset,
        network: Any,
        inference: Inference,
        meter: Meter,
        keep: Collection[int] = (),
    ) -> Verdict:
        """Judge a segmentor; see Judge."""
        here = self.conditions
        judged = judge(
            network,
            dataset,
            inference,
            ignore=self.benchmark.ignore,
            device=here.device,
            precision=here.precision,
            stop=here.stop,
            meter=meter,
            keep=keep,
            workers=here.workers,
        )
        self._judged[name] = replace(judged, kept={})
        return Verdict(split_result(judged, self.benchmark, inference), judged.images_per_s, judged.kept)

    def finish(self) -> None:
        """Write images.parquet."""
        write_image_counts(self.folder / "images.parquet", self._judged, void=self.benchmark.counts_void)

    def discard(self) -> None:
        """Leave nothing: the counts are in memory until the end."""


@dataclass(frozen=True)
class LabelMaps(Predicted):
    """Label maps that were written."""

    labels: Path
    overlays: Path | None
    count: int
    ids: Mapping[str, int | tuple[int, int, int]]
    """Id, or colour, of every class in the files."""

    def facts(self) -> dict[str, Any]:
        """Return it as JSON."""
        folders = {"labels": str(self.labels), "overlays": self.overlays and str(self.overlays)}
        return {"images": self.count, **folders, "ids": dict(self.ids)}

    def table(self) -> list[list[str]]:
        """Return the classes' ids."""
        return [["class", "id in the PNGs"], *([name, str(value)] for name, value in self.ids.items())]

    def lines(self) -> list[str]:
        """Return it in a sentence."""
        return [f"{self.count} label maps: {self.labels}" + (f"; overlays: {self.overlays}" if self.overlays else "")]


def official_ids(benchmark: Benchmark, labels: Labels | None = None) -> NDArray[np.uint16]:
    """Return the id that a dataset's labels use for each class, or else the benchmark's; of several, the smallest."""
    indices = range(len(benchmark.classes))
    pairs = benchmark.label_map or {}
    if labels is not None:
        pairs = {
            value: benchmark.classes.index(name)
            for name, value in labels.values()
            if isinstance(value, int) and name in benchmark.classes
        }
    ids = list(indices)
    for index in ids:
        known = [label for label, mapped in pairs.items() if mapped == index]
        if pairs and not known:
            raise UsageError(
                f"benchmark {benchmark.name!r}: no id of its label_map stands for class {benchmark.classes[index]!r}, "
                "so predictions cannot be written in the data's own ids"
            )
        ids[index] = min(known, default=index)
    return np.array(ids, np.uint16)


def official_encoding(benchmark: Benchmark, labels: Labels | None) -> NDArray[np.uint8] | NDArray[np.uint16]:
    """Return what stands for each class in label files: ids [K], or the first colour of each [K, 3]."""
    if labels is None or labels.kind != "colours":
        ids = official_ids(benchmark, labels)
        return ids.astype(np.uint8) if int(ids.max()) <= 255 else ids
    missing = next((name for name in benchmark.classes if name not in labels.classes), None)
    if missing is not None:
        raise UsageError(f"benchmark {benchmark.name!r}: the target's labels have no colour for class {missing!r}")
    return np.array([labels.classes[name][0] for name in benchmark.classes], np.uint8)
