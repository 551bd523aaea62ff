"""A trained detector on one split: boxes found at each image's own resolution, beside the boxes to be found."""

import time
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass, field

import numpy as np
import torch
from numpy.typing import NDArray

from gkdbench.data.dataset import Dataset, objects_in
from gkdbench.data.reading import images_of, in_groups
from gkdbench.detection.detector import Detector
from gkdbench.detection.faster_rcnn import FoundBoxes
from gkdbench.detection.overlaps import BoxCollection, Overlaps
from gkdbench.engine.inference import as_tensor
from gkdbench.engine.interruption import StopFlag
from gkdbench.engine.passes import in_precision
from gkdbench.models.grids import padded
from gkdbench.spec.inference import Inference
from gkdbench.spec.objects import Detections, Objects


@dataclass(frozen=True)
class JudgedBoxes:
    """What one split gave."""

    overlaps: Overlaps
    images_per_s: float
    kept: dict[int, Detections] = field(default_factory=dict)
    """What was found in the images that were asked for, by their number."""


@torch.inference_mode()
def find_boxes(
    detector: Detector,
    images: Sequence[NDArray[np.uint8]],
    protocol: Inference,
    device: torch.device,
    precision: str,
) -> list[Detections]:
    """Return what is found in each image [h, w, 3], in its own pixels.

    Images are resized as the protocol says and padded to what the detector sees with their mean colour, below and on
    the right.
    """
    sizes = [protocol.fitted(image.shape[0], image.shape[1]) for image in images]
    fitted = [as_tensor(image, size, device) for image, size in zip(images, sizes, strict=True)]
    rows = [padded(image[None], protocol.seen) for image in fitted]
    with in_precision(device, precision):
        found = detector.detect(torch.cat(rows), sizes)
    return [_in_own_pixels(*one) for one in zip(found, images, sizes, strict=True)]


def _in_own_pixels(found: FoundBoxes, image: NDArray[np.uint8], seen: tuple[int, int]) -> Detections:
    height, width = image.shape[:2]
    factors = np.array([width / seen[1], height / seen[0]] * 2)
    boxes = found.boxes.double().cpu().numpy() * factors
    return Detections(
        np.clip(boxes, 0, [width, height] * 2).astype(np.float32),
        found.labels.cpu().numpy(),
        found.scores.float().cpu().numpy(),
    )


def judge_boxes(
    detector: Detector,
    dataset: Dataset,
    protocol: Inference,
    *,
    device: torch.device,
    precision: str,
    stop: StopFlag,
    meter: Callable[[int, int], None],
    each: Callable[[str, Objects, Detections], None] = lambda name, objects, found: None,
    keep: Collection[int] = (),
    workers: int = 0,
) -> JudgedBoxes:
    """Look for boxes in every image of a labelled split.

    each: told the name of every image, its objects and what was found, in order. keep: numbers of the images whose
    finds are wanted back. workers: processes that read images ahead.
    """
    detector.to(device).eval()
    collected, kept = BoxCollection(detector.num_classes), {}
    began = time.monotonic()
    groups = in_groups(len(dataset), protocol.batch)
    for indices, images in zip(groups, images_of(dataset, groups, workers), strict=True):
        stop.check()
        for index, found in zip(indices, find_boxes(detector, images, protocol, device, precision), strict=True):
            objects = objects_in(dataset, index)
            collected.add(objects, found)
            each(dataset.name(index), objects, found)
            if index in keep:
                kept[index] = found
        meter(indices.stop, len(dataset))
    spent = time.monotonic() - began
    return JudgedBoxes(collected.overlaps(), len(dataset) / spent, kept)
