"""Training images per second and core: our task crops beside plain transcriptions with Pillow and torchvision.

`python tools/perf/loader.py [--images 6] [--rounds 7]`. Writes pictures of Cityscapes' size (2048x1024) and official
layout that decode at the cost of photographs, then cuts 512x512 crops from them as the study's task stage does: short
side at random, a crop in which no class dominates, flip, photometric distortion. All read the same files and give
uint8; they take turns on one core. Prints images per second, what of that is decoding, and ratios (wanted: 1.3).
"""

import argparse
import random
import statistics
import tempfile
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image as Pillow
from torch import Tensor
from torchvision import tv_tensors
from torchvision.transforms import v2
from torchvision.transforms.v2 import functional as F

from gkdbench.data.dataset import DataPlace, open_split
from gkdbench.data.stream import Samples
from gkdbench.spec.augmentation import TaskCrops
from gkdbench.spec.catalogue import find_benchmark

SIZE, CROP, IDS = (1024, 2048), 512, 34
CROPS = TaskCrops(kind="task_crops")
PLAIN = ("plain, Pillow images", "plain, tensors")
Pair = tuple[Path, Path]


def photograph(rng: np.random.Generator) -> NDArray[np.uint8]:
    """Return something that PNG stores in as much as a frame of Cityscapes (2.2 MB): slopes, texture, sensor noise."""
    image = np.full((*SIZE, 3), 110, np.float32)
    for cells, strength in ((4, 60), (16, 40), (64, 15), (256, 4)):
        coarse = rng.normal(size=(cells, 2 * cells, 1)) + 0.2 * rng.normal(size=(cells, 2 * cells, 3))
        image += strength * cv2.resize(coarse.astype(np.float32), SIZE[::-1], interpolation=cv2.INTER_CUBIC)
    image += rng.normal(0, 0.9, image.shape)
    pixels: NDArray[np.uint8] = image.clip(0, 255).astype(np.uint8)
    return pixels


def regions(rng: np.random.Generator) -> NDArray[np.uint8]:
    """Return ids in smooth regions, a few of them large."""
    scores = [
        cv2.resize(rng.normal(size=(8, 16)).astype(np.float32), SIZE[::-1], interpolation=cv2.INTER_CUBIC)
        - 0.1 * number
        for number in range(IDS)
    ]
    ids: NDArray[np.uint8] = np.argmax(scores, axis=0).astype(np.uint8)
    return ids


def write(root: Path, count: int) -> list[Pair]:
    """Write image and label files in Cityscapes' official layout."""
    pairs = []
    for number in range(count):
        rng, stem = np.random.default_rng(number), f"ulm_{number:06}_000019"
        image = root / f"cityscapes/leftImg8bit/train/ulm/{stem}_leftImg8bit.png"
        label = root / f"cityscapes/gtFine/train/ulm/{stem}_gtFine_labelIds.png"
        for path, content in ((image, photograph(rng)), (label, regions(rng))):
            path.parent.mkdir(parents=True, exist_ok=True)
            Pillow.fromarray(content).save(path)
        pairs.append((image, label))
    return pairs


class Plain:
    """The pipeline as one would write it: decoded by Pillow, resized and mapped whole, all by v2 transforms.

    They work on Pillow images until the crop is done, or on tensors from the start.
    """

    def __init__(self, pairs: list[Pair], table: NDArray[np.uint8], tensors: bool) -> None:
        self.pairs, self.table, self.tensors = pairs, table, tensors
        self.resize = v2.RandomShortestSize(list(CROPS.short_sides), max_size=CROPS.long_side)
        self.flip = v2.RandomHorizontalFlip(CROPS.flip)
        self.distort = v2.RandomPhotometricDistort(
            brightness=(1 - CROPS.brightness / 255, 1 + CROPS.brightness / 255), contrast=CROPS.contrast,
            saturation=CROPS.saturation, hue=(-CROPS.hue / 180, CROPS.hue / 180), p=0.5
        )  # fmt: skip

    def __getitem__(self, index: int) -> tuple[Tensor, Tensor, Tensor]:
        """Return image, undistorted image and labels."""
        image_file, label_file = self.pairs[index]
        image = Pillow.open(image_file).convert("RGB")
        image = tv_tensors.Image(F.pil_to_tensor(image)) if self.tensors else image
        labels = tv_tensors.Mask(torch.from_numpy(self.table[np.array(Pillow.open(label_file))])[None])
        image, labels = self.resize(image, labels)
        image, labels = self.flip(*self._cropped(image, labels))
        beside = [0, 0, CROP - labels.shape[-1], CROP - labels.shape[-2]]
        distorted, clean = (F.pad(part, beside, fill=[124, 116, 104]) for part in (self.distort(image), image))
        if not self.tensors:
            distorted, clean = F.pil_to_tensor(distorted), F.pil_to_tensor(clean)
        return distorted, clean, F.pad(labels, beside, fill=255)[0]

    def _cropped(self, image: Any, labels: Tensor) -> tuple[Any, Tensor]:
        height, width = (min(side, CROP) for side in labels.shape[-2:])
        for _ in range(CROPS.tries + 1):
            top = random.randint(0, labels.shape[-2] - height)
            left = random.randint(0, labels.shape[-1] - width)
            found, counts = F.crop(labels, top, left, height, width).unique(return_counts=True)
            counts = counts[found != 255]
            if len(counts) > 1 and counts.max() / counts.sum() < CROPS.max_class_share:
                break
        return F.crop(image, top, left, height, width), F.crop(labels, top, left, height, width)


def spent(work: Callable[[], object]) -> float:
    """Return the processor's seconds that a call takes."""
    began = time.process_time()
    work()
    return time.process_time() - began


def measure(images: int, rounds: int, folder: Path) -> dict[str, list[float]]:
    """Return the seconds of every round over the images."""
    pairs, source = write(folder, images), find_benchmark("cityscapes")
    megabytes = statistics.mean(image.stat().st_size for image, _ in pairs) / 1e6
    print(f"{images} pictures of {megabytes:.1f} MB, {rounds} rounds")
    dataset = open_split(source.benchmark.source.train, source.benchmark, source.folder, DataPlace(folder))
    ours = Samples(dataset, batch=images, size=(CROP, CROP), augmentation=CROPS, ignore=255, seed=0, labelled=True)
    table = dataset.mapped(np.arange(IDS, dtype=np.uint8), 0)
    plain = {name: Plain(pairs, table, name == "plain, tensors") for name in PLAIN}
    times: dict[str, list[float]] = {name: [] for name in ("ours", *PLAIN, "decoding")}
    for turn in range(rounds + 1):
        found = dict.fromkeys(times, 0.0)
        for index in range(images):
            works: dict[str, Callable[[], object]] = {
                "ours": partial(ours.__getitem__, turn * images + index),
                "decoding": partial(dataset.pair, index),
                **{name: partial(pipeline.__getitem__, index) for name, pipeline in plain.items()},
            }
            for name in list(works) if (turn + index) % 2 else reversed(works):
                found[name] += spent(works[name])
        if turn:  # the first warms up
            for name, seconds in found.items():
                times[name].append(seconds)
    return times


def main() -> None:
    """Print the comparison."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--images", type=int, default=6)
    parser.add_argument("--rounds", type=int, default=7)
    options = parser.parse_args()
    torch.set_num_threads(1)
    cv2.setNumThreads(0)
    random.seed(0)
    with tempfile.TemporaryDirectory() as folder:
        times = measure(options.images, options.rounds, Path(folder))
    rates = {name: options.images / statistics.median(seconds) for name, seconds in times.items()}
    share = rates["ours"] / rates["decoding"]
    print(f"ours: {rates['ours']:.1f} images per second and core, {share:.0%} of the time decoding")
    for name in PLAIN:
        ratios = [other / own for other, own in zip(times[name], times["ours"], strict=True)]
        low, middle, high = min(ratios), statistics.median(ratios), max(ratios)
        print(f"{name}: {rates[name]:.1f} images per second; ratio {middle:.2f} (rounds {low:.2f} to {high:.2f})")


if __name__ == "__main__":
    main()
