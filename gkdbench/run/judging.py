"""How a run's model is judged on one split after the other, and what that leaves beside the record; by task."""

from abc import ABC, abstractmethod
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import torch

from gkdbench.data.dataset import Dataset
from gkdbench.detection.detections_file import DetectionsFile
from gkdbench.detection.finding import judge_boxes
from gkdbench.engine.evaluation import Judged, judge
from gkdbench.engine.interruption import StopFlag
from gkdbench.errors import DataError
from gkdbench.run.image_counts import write_image_counts
from gkdbench.run.record import SplitResult
from gkdbench.run.scoring import box_result, split_result
from gkdbench.spec.benchmark import Benchmark
from gkdbench.spec.inference import Inference
from gkdbench.spec.task import TaskName


@dataclass(frozen=True)
class Conditions:
    """Where and how a model computes while it is judged."""

    device: torch.device
    precision: str
    stop: StopFlag
    workers: int = 0
    """Processes that read images ahead."""


@dataclass(frozen=True)
class Verdict:
    """What one split gave."""

    result: SplitResult
    images_per_s: float
    kept: Mapping[int, Any]
    """Predictions that were asked for, by the image's number: label maps [H, W], or Detections."""


class Judge(ABC):
    """Judges the splits of one run and gathers what a later comparison of two runs needs of every image."""

    def __init__(self, benchmark: Benchmark, conditions: Conditions, folder: Path) -> None:
        self.benchmark, self.conditions, self.folder = benchmark, conditions, folder

    @abstractmethod
    def split(
        self,
        name: str,
        dataset: Dataset,
        network: Any,
        inference: Inference,
        meter: Callable[[int, int], None],
        keep: Collection[int] = (),
    ) -> Verdict:
        """Judge a network of the task on a labelled split; `keep`: images whose predictions are wanted back."""

    @abstractmethod
    def finish(self) -> None:
        """Write what was gathered into the run's folder."""

    @abstractmethod
    def discard(self) -> None:
        """Leave nothing unfinished behind; harmless after `finish`."""


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
        meter: Callable[[int, int], None],
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


class BoxJudge(Judge):
    """Judges detectors: what they found in every image."""

    def __init__(self, benchmark: Benchmark, conditions: Conditions, folder: Path) -> None:
        super().__init__(benchmark, conditions, folder)
        self._file = DetectionsFile(folder)

    def split(
        self,
        name: str,
        dataset: Dataset,
        network: Any,
        inference: Inference,
        meter: Callable[[int, int], None],
        keep: Collection[int] = (),
    ) -> Verdict:
        """Judge a detector; see Judge. Raises DataError for a split without an object to find."""
        here = self.conditions
        judged = judge_boxes(
            network,
            dataset,
            inference,
            device=here.device,
            precision=here.precision,
            stop=here.stop,
            meter=meter,
            each=partial(self._file.add, name),
            keep=keep,
            workers=here.workers,
        )
        if not judged.overlaps.positives().any():
            raise DataError(f"{name}: its {len(dataset)} images have no object that counts, so there is no AP")
        return Verdict(box_result(judged.overlaps, self.benchmark, inference), judged.images_per_s, judged.kept)

    def finish(self) -> None:
        """Give detections.parquet its name."""
        self._file.finish()

    def discard(self) -> None:
        """Remove an unfinished detections.parquet."""
        self._file.discard()


_JUDGES: dict[TaskName, type[Judge]] = {"segmentation": PixelJudge, "detection": BoxJudge}


def judge_of(benchmark: Benchmark, conditions: Conditions, folder: Path) -> Judge:
    """Return who judges a run of a benchmark; `folder` is the run's."""
    return _JUDGES[benchmark.task](benchmark, conditions, folder)
