"""From an image of any size to a label map of the same size: whole image or sliding window."""

from collections import defaultdict
from collections.abc import Sequence

import cv2
import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor

from gkdbench.engine.passes import in_precision
from gkdbench.models.grids import padded
from gkdbench.models.segmentor import Segmentor
from gkdbench.spec.inference import Inference

LARGE = 2**18
"""Pixels of a label map from which on it pays to leave torch; maps of the embedded benchmark are far smaller."""
STRIP = 64
"""Rows."""


def window_starts(length: int, window: int, stride: int) -> list[int]:
    """Return where windows begin along one side; the last one is shifted to end at the border."""
    if length <= window:
        return [0]
    starts = list(range(0, length - window, stride))
    return [*starts, length - window]


@torch.inference_mode()
def predict(
    segmentor: Segmentor,
    images: Sequence[NDArray[np.uint8]],
    sizes: Sequence[tuple[int, int]],
    protocol: Inference,
    device: torch.device,
    precision: str,
) -> list[NDArray[np.uint8]]:
    """Return one label map [H, W] per image [h, w, 3], each of the size its ground truth has.

    Images that are seen at the same sizes go through the model together, others one after another.
    """
    alike: defaultdict[tuple[tuple[int, int], ...], list[int]] = defaultdict(list)
    for index, image in enumerate(images):
        height, width = image.shape[:2]
        alike[tuple(protocol.fitted(height, width, scale) for scale in (1.0, *protocol.scales))].append(index)
    found: dict[int, NDArray[np.uint8]] = {}
    for (base, *seen), indices in alike.items():
        chosen = [images[index] for index in indices]
        if protocol.tta:
            scores = _averaged_scores(segmentor, chosen, base, seen, protocol, device, precision)
        else:
            scores = class_scores(segmentor, _stack(chosen, base, device), protocol, precision)
        for index, row in zip(indices, scores, strict=True):
            found[index] = _label_map(row, sizes[index])
    return [found[index] for index in range(len(images))]


def _label_map(scores: Tensor, size: tuple[int, int]) -> NDArray[np.uint8]:
    """Bring scores [K, h, w] to a size and return the best class of every pixel, the first of equals."""
    if scores.device.type == "cpu" and size[0] * size[1] >= LARGE:
        return _large_label_map(scores.numpy(), size)
    if tuple(scores.shape[1:]) != tuple(size):
        scores = F.interpolate(scores[None], size=size, mode="bilinear", align_corners=False)[0]
    # max finds what argmax finds, three times as fast on a CPU
    return scores.max(0).indices.to(torch.uint8).cpu().numpy()


def _large_label_map(scores: NDArray[np.float32], size: tuple[int, int]) -> NDArray[np.uint8]:
    """Do the same for a photograph on a CPU in about a quarter of the time.

    OpenCV interpolates as torch does but for the last bits of a score; the best class is found strip by strip, which
    stays in the processor's cache.
    """
    threads = cv2.getNumThreads()
    cv2.setNumThreads(1)  # a class is too little work to share: with several threads it takes longer
    try:
        large = [
            one if one.shape == size else cv2.resize(one, (size[1], size[0]), interpolation=cv2.INTER_LINEAR)
            for one in scores
        ]
    finally:
        cv2.setNumThreads(threads)
    found = np.zeros(size, np.uint8)
    for top in range(0, size[0], STRIP):
        rows = slice(top, top + STRIP)
        best, classes = large[0][rows].copy(), found[rows]
        for number, one in enumerate(large[1:], start=1):
            better = np.greater(one[rows], best).view(np.uint8)
            # a later class has the larger number: no branch, whatever the scores look like
            np.maximum(classes, better * np.uint8(number), out=classes)
            np.maximum(best, one[rows], out=best)
    return found


def _averaged_scores(
    segmentor: Segmentor,
    images: Sequence[NDArray[np.uint8]],
    base: tuple[int, int],
    seen: Sequence[tuple[int, int]],
    protocol: Inference,
    device: torch.device,
    precision: str,
) -> Tensor:
    """Return the mean of the scores [B, K, *base] over all scales, seen at these sizes, and over both ways round."""
    total, times = torch.zeros((), device=device), 0
    for scale, size in zip(protocol.scales, seen, strict=True):
        shown = _stack(images, size, device)
        for mirrored in (False, True) if protocol.flip else (False,):
            scores = class_scores(segmentor, shown.flip(-1) if mirrored else shown, _at(protocol, scale), precision)
            scores = F.interpolate(scores, size=base, mode="bilinear", align_corners=False)
            total = total + (scores.flip(-1) if mirrored else scores)
            times += 1
    return total / times


def _at(protocol: Inference, scale: float) -> Inference:
    """Return the protocol for images at a scale: the encoder is fitted to one size, so others need windows."""
    if scale == 1.0 or protocol.window is not None:
        return protocol
    stride = tuple(max(2 * side // 3, 1) for side in protocol.size)
    return protocol.model_copy(update={"window": protocol.size, "stride": stride})


def class_scores(segmentor: Segmentor, images: Tensor, protocol: Inference, precision: str) -> Tensor:
    """Return float32 class scores [B, K, h', w'] of images [B, 3, h, w].

    Whole image: at the head's resolution. Sliding window: at the images' resolution, overlaps averaged.
    """
    if protocol.window is None or protocol.stride is None:
        with in_precision(images.device, precision):
            return segmentor.scores(images, None).float()
    height, width = images.shape[2:]
    rows = window_starts(height, protocol.window[0], protocol.stride[0])
    columns = window_starts(width, protocol.window[1], protocol.stride[1])
    total = torch.zeros(len(images), segmentor.num_classes, height, width, device=images.device)
    times = torch.zeros(1, 1, height, width, device=images.device)
    for top in rows:
        for left in columns:
            place = (slice(top, top + protocol.window[0]), slice(left, left + protocol.window[1]))
            crop = images[:, :, place[0], place[1]]
            with in_precision(images.device, precision):
                full = segmentor.scores(padded(crop, protocol.window), protocol.window).float()
            total[:, :, place[0], place[1]] += full[:, :, : crop.shape[2], : crop.shape[3]]
            times[:, :, place[0], place[1]] += 1
    return total.div_(times)


def _stack(images: Sequence[NDArray[np.uint8]], size: tuple[int, int], device: torch.device) -> Tensor:
    """uint8 [h, w, 3] images -> float32 [B, 3, *size] in [0, 1], resized bilinearly with anti-aliasing."""
    return torch.stack([as_tensor(image, size, device) for image in images])


def as_tensor(image: NDArray[np.uint8], size: tuple[int, int], device: torch.device) -> Tensor:
    """uint8 [h, w, 3] -> float32 [3, *size] in [0, 1], resized bilinearly with anti-aliasing."""
    writable = image if image.flags.writeable else image.copy()  # torch warns of others
    row = torch.from_numpy(np.ascontiguousarray(writable)).to(device).permute(2, 0, 1).float().div_(255)
    if tuple(row.shape[1:]) != tuple(size):
        row = F.interpolate(row[None], size=size, mode="bilinear", antialias=True)[0]
    return row
