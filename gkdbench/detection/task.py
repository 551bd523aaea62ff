"""Detection as a task: boxes, judged by average precision, written as COCO's JSON."""

from collections.abc import Collection
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from gkdbench.data.dataset import Dataset, objects_in, open_split
from gkdbench.detection.average_precision import coco_score, voc_score
from gkdbench.detection.detections_file import DetectionsFile
from gkdbench.detection.detector import Detector
from gkdbench.detection.finding import judge_boxes
from gkdbench.detection.overlaps import Overlaps
from gkdbench.detection.prediction import FoundFiles, write_found
from gkdbench.errors import DataError
from gkdbench.runs.record import SplitResult
from gkdbench.runs.scoring import protocol_of
from gkdbench.runs.task import Asked, Conditions, Judge, Meter, Shown, TaskRoom, Verdict
from gkdbench.spec.benchmark import Benchmark
from gkdbench.spec.inference import Inference
from gkdbench.spec.objects import Detections


class Detection(TaskRoom):
    """Boxes with a class and a score."""

    network = Detector

    def judge(self, benchmark: Benchmark, conditions: Conditions, folder: Path) -> Judge:
        """Return who ranks boxes."""
        return BoxJudge(benchmark, conditions, folder)

    def shown(self, dataset: Dataset, index: int, predicted: Detections) -> Shown:
        """Return both sets of boxes, as they stand in the index."""
        truth = objects_in(dataset, index)
        boxes = {
            "truth": _rows(truth.boxes, truth.labels, truth.difficult),
            "prediction": _rows(predicted.boxes, predicted.labels, predicted.scores),
        }
        return Shown(facts={"boxes": boxes})

    def predict(self, network: Detector, asked: Asked) -> FoundFiles:
        """Write the boxes found in every image, and those to be found where they are known."""
        where, why_not = (asked.split, asked.benchmark, asked.folder, asked.place), ""
        try:
            dataset = open_split(*where, progress=asked.meter)
        except DataError as error:
            # where images are missing, this fails the same way
            dataset, why_not = open_split(*where, labelled=False, progress=asked.meter), str(error)
        return write_found(network, dataset, asked, without_truth=why_not)


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
        meter: Meter,
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
        protocol=protocol_of(inference),
    )


def _rows(
    boxes: NDArray[np.float32], labels: NDArray[np.int64], last: NDArray[np.float32] | NDArray[np.bool_]
) -> list[list[float]]:
    """Return a list per box: its corners to a hundredth of a pixel, its class, and `last`."""
    return [
        [*(round(side, 2) for side in box), label, one if isinstance(one, bool) else round(one, 4)]
        for box, label, one in zip(boxes.tolist(), labels.tolist(), last.tolist(), strict=True)
    ]
