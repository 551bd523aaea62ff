"""What a task brings: how its network is built, judged, shown and used. `gkdbench.runs.tasks` knows them all.

Facts that a benchmark's YAML has to agree with are in `gkdbench.spec.task`.
"""

from abc import ABC, abstractmethod
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import torch
from numpy.typing import NDArray

from gkdbench.data.dataset import DataPlace, Dataset
from gkdbench.engine.interruption import StopFlag
from gkdbench.models.network import Network
from gkdbench.runs.record import SplitResult
from gkdbench.spec.benchmark import Benchmark
from gkdbench.spec.inference import Inference
from gkdbench.spec.split import Split

Meter = Callable[[int, int], None]


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
        meter: Meter,
        keep: Collection[int] = (),
    ) -> Verdict:
        """Judge a network of the task on a labelled split; `keep`: images whose predictions are wanted back."""

    @abstractmethod
    def finish(self) -> None:
        """Write what was gathered into the run's folder."""

    @abstractmethod
    def discard(self) -> None:
        """Leave nothing unfinished behind; harmless after `finish`."""


@dataclass(frozen=True)
class Shown:
    """What an example shows of an image's truth and prediction."""

    maps: Mapping[str, NDArray[np.uint8]] = field(default_factory=dict)
    """Label maps [H, W] by what they show, drawn in the benchmark's colours."""
    facts: Mapping[str, Any] = field(default_factory=dict)
    """What stands in the index itself."""


@dataclass(frozen=True)
class Asked:
    """What is to be predicted, and how."""

    benchmark: Benchmark
    split: Split
    folder: Path
    """Of the benchmark's YAML."""
    place: DataPlace
    out: Path
    inference: Inference
    device: torch.device
    precision: str
    overlays: int
    """How many images are also drawn with what is predicted."""
    meter: Meter


class Predicted(ABC):
    """What was written of a model's predictions."""

    @abstractmethod
    def facts(self) -> dict[str, Any]:
        """Return it as JSON."""

    @abstractmethod
    def table(self) -> list[list[str]]:
        """Return what stands for each class in the files, under a heading."""

    @abstractmethod
    def lines(self) -> Sequence[str]:
        """Return it in sentences."""


class TaskRoom(ABC):
    """One task: what is done alike for all of them asks it for what differs."""

    network: ClassVar[type[Network]]
    """Joins an encoder with a place for the head of a decoder of the task."""

    @abstractmethod
    def judge(self, benchmark: Benchmark, conditions: Conditions, folder: Path) -> Judge:
        """Return who judges a run; `folder` is the run's."""

    @abstractmethod
    def shown(self, dataset: Dataset, index: int, predicted: Any) -> Shown:
        """Return what an example shows of an image and what was predicted for it."""

    @abstractmethod
    def predict(self, network: Any, asked: Asked) -> Predicted:
        """Predict every image of a split and write it."""
