"""Training streams: which image, augmented how, stands at which place of which batch.

Everything is a function of (seed, epoch, index): independent of the number of workers and devices, and
resumable at any step.
"""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from typing import TypeVar

import cv2
import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.utils.data import DataLoader
from torch.utils.data import Dataset as TorchDataset

from gkdbench.contract import Boxes
from gkdbench.data.augmentation.distillation_views import distillation_view
from gkdbench.data.augmentation.plain import geometry, photometry, resized
from gkdbench.data.augmentation.task_crops import TaskCropper
from gkdbench.data.dataset import Dataset, objects_in
from gkdbench.data.sampling import epoch_places
from gkdbench.detection.views import DRAWS, detection_view
from gkdbench.errors import DataError
from gkdbench.spec.augmentation import AnyAugmentation, Augmentation, DetectionViews, TaskCrops
from gkdbench.spec.objects import Objects

Read = TypeVar("Read")


def learnt(objects: Objects) -> Boxes:
    """Return what is learnt of an image's objects."""
    kept = ~objects.difficult
    return Boxes(torch.from_numpy(objects.boxes[kept]), torch.from_numpy(objects.labels[kept]))


Labels = Tensor | list[Boxes]
"""[B, H, W] int64 class indices, or the boxes of each image."""


@dataclass
class Batch:
    """One micro-batch on its way to a model."""

    images: Tensor  # [B, 3, H, W] float32, nominally in [0, 1]
    clean: Tensor  # the same geometry without photometric change
    labels: Labels | None
    position: Tensor  # [B] int64, number of each sample within the global batch
    variant: Tensor | None = None  # [B] int64, which of the stream's variants; None: no two are alike
    extra: "dict[str, Batch]" = field(default_factory=dict)  # further streams of the same step

    def to(self, device: torch.device) -> "Batch":
        """Return the batch on a device."""
        images = self.images.to(device, non_blocking=True)
        clean = images if self.clean is self.images else self.clean.to(device, non_blocking=True)
        extra = {name: batch.to(device) for name, batch in self.extra.items()}
        return Batch(images, clean, _moved(self.labels, device), self.position, self.variant, extra)


def _moved(labels: Labels | None, device: torch.device) -> Labels | None:
    if isinstance(labels, list):
        return [boxes.to(device) for boxes in labels]
    return None if labels is None else labels.to(device, non_blocking=True)


@dataclass(frozen=True)
class Sample:
    """One augmented sample, of the stage's size."""

    image: NDArray[np.uint8] | NDArray[np.float32]  # uint8 [H, W, 3], or float32 [3, H, W] nominally in [0, 1]
    clean: NDArray[np.uint8] | NDArray[np.float32]  # the very same array where nothing photometric happened
    labels: NDArray[np.uint8] | Objects | None  # [H, W], or boxes
    variant: int | None


class Samples(TorchDataset[Sample]):
    """Augmented samples by their number, counted over the global batches of all steps."""

    def __init__(
        self,
        dataset: Dataset,
        *,
        batch: int,
        size: tuple[int, int],
        augmentation: AnyAugmentation,
        ignore: int,
        seed: int,
        labelled: bool,
        repeats: int = 1,
    ) -> None:
        if labelled and augmentation.moves_labels_of is None:
            raise ValueError("distillation views have no labels")
        self.dataset, self.batch, self.size = dataset, batch, size
        self.augmentation, self.ignore, self.seed = augmentation, ignore, seed
        self.labelled, self.repeats = labelled, repeats
        self.places = epoch_places(len(dataset), batch, repeats)

    def __len__(self) -> int:
        return len(self.dataset)

    def __getitem__(self, number: int) -> Sample:
        """Return a sample."""
        epoch, place = divmod(number, self.places)
        index = int(_order(self.seed, epoch, len(self.dataset))[place // self.repeats])
        rng = np.random.default_rng([self.seed, epoch, place, 1])
        augmentation = self.augmentation
        if isinstance(augmentation, Augmentation):
            return self._plain(index, augmentation, rng)
        if isinstance(augmentation, DetectionViews):
            return self._boxed(index, augmentation, rng)
        if isinstance(augmentation, TaskCrops):
            cropper = TaskCropper(self.dataset, augmentation, self.size, self.ignore, self.labelled)
            return Sample(*cropper.crop(index, rng), None)
        view = distillation_view(self.dataset.image(index), augmentation, self.size, int(rng.integers(2**63)))
        # RandAugment mixes geometry and colour, so there is no view of the same geometry without the colour
        return Sample(view, view, None, None)

    def _plain(self, index: int, augmentation: Augmentation, rng: np.random.Generator) -> Sample:
        image = self.dataset.image(index)
        labels = self.dataset.labels(index) if self.labelled else None
        draws = rng.random(4)  # always as many, so that one option does not shift another's luck
        image, labels = geometry(image, labels, self.size, augmentation, self.ignore, draws)
        variant = None if self.variants is None else 2 * index + int(draws[3] < augmentation.flip)
        return Sample(photometry(image, augmentation, rng), image, labels, variant)

    def _boxed(self, index: int, views: DetectionViews, rng: np.random.Generator) -> Sample:
        draws = rng.random(DRAWS)
        objects = objects_in(self.dataset, index) if self.labelled else None
        image, objects = detection_view(self.dataset.image(index), objects, views, self.size, draws)
        variant = None if self.variants is None else 2 * index + int(draws[3] < views.flip)
        return Sample(photometry(image, views, rng), image, objects, variant)

    @property
    def variants(self) -> int | None:
        """Number of different images the stream can hold: two per image where only flips happen, else None."""
        augmentation = self.augmentation
        if not isinstance(augmentation, Augmentation | DetectionViews):
            return None
        endless = augmentation.scale or augmentation.brightness or augmentation.contrast
        return None if endless else 2 * len(self.dataset)

    def variant_image(self, variant: int) -> NDArray[np.uint8]:
        """Return one of the `variants` images, [H, W, 3]: image variant // 2, flipped where odd."""
        image = self.dataset.image(variant // 2)
        if isinstance(self.augmentation, DetectionViews):
            flips = self.augmentation.model_copy(update={"flip": float(variant % 2)})
            view, _ = detection_view(image, None, flips, self.size, np.zeros(DRAWS))
            return view
        image, _ = resized(image, None, *self.size)
        return image[:, ::-1] if variant % 2 else image


@lru_cache(maxsize=4)
def _order(seed: int, epoch: int, count: int) -> NDArray[np.int64]:
    order: NDArray[np.int64] = np.random.default_rng([seed, epoch]).permutation(count)
    return order


def _collate(samples: list[Sample]) -> Batch:
    """Return samples as one batch, of which only the places are missing."""
    images = torch.from_numpy(np.stack([sample.image for sample in samples]))
    same = all(sample.image is sample.clean for sample in samples)
    variants = [sample.variant for sample in samples if sample.variant is not None]
    return Batch(
        images=images,
        clean=images if same else torch.from_numpy(np.stack([sample.clean for sample in samples])),
        labels=_stacked_labels([sample.labels for sample in samples]),
        position=torch.empty(0, dtype=torch.int64),
        variant=torch.tensor(variants) if variants else None,
    )


def _stacked_labels(labels: Sequence[NDArray[np.uint8] | Objects | None]) -> Labels | None:
    boxes = [learnt(one) for one in labels if isinstance(one, Objects)]
    maps = [one for one in labels if isinstance(one, np.ndarray)]
    return torch.from_numpy(np.stack(maps)) if maps else boxes or None


def unit_images(images: Tensor) -> Tensor:
    """uint8 [B, H, W, 3] -> float32 [B, 3, H, W] in [0, 1]; float32 [B, 3, H, W] stays what it is."""
    if images.is_floating_point():
        return images
    return images.permute(0, 3, 1, 2).float().div_(255)


@dataclass(frozen=True)
class Share:
    """Which micro-batches of the global batch this process computes.

    Micro-batch j holds positions [j*size, (j+1)*size); rank r takes j = r, r + world, r + 2*world, ...
    So 2 ranks see exactly what one process with 2 micro-batches sees.
    """

    batch: int
    size: int
    rank: int = 0
    world: int = 1

    @property
    def turns(self) -> int:
        """Number of micro-batches this process computes per optimiser step."""
        assert self.size > 0 and self.batch % (self.size * self.world) == 0
        return self.batch // (self.size * self.world)

    def positions(self, turn: int) -> range:
        """Return the positions of one micro-batch."""
        number = turn * self.world + self.rank
        return range(number * self.size, (number + 1) * self.size)

    def numbers(self, start: int, steps: int) -> Iterator[list[int]]:
        """Yield the numbers of the samples of each micro-batch from step `start` on."""
        for step in range(start, steps):
            for turn in range(self.turns):
                yield [step * self.batch + position for position in self.positions(turn)]


def alone(worker: int) -> None:
    """Prepare a reading process."""
    cv2.setNumThreads(0)  # there is a process per core, and OpenCV's threads do not survive the fork


def one_line_errors(loader: Iterable[Read]) -> Iterator[Read]:
    """Yield from a loader; a worker's DataError comes back as the line it was, not as a traceback in a string."""
    try:
        yield from loader
    except DataError as error:
        last = str(error).strip().splitlines()[-1]
        raise DataError(last.removeprefix(f"{DataError.__module__}.{DataError.__name__}: ")) from error


def batches(samples: Samples, share: Share, start: int, steps: int, workers: int) -> Iterator[Batch]:
    """Yield the micro-batches of this process from step `start` on, in order."""
    loader: DataLoader[Batch] = DataLoader(
        samples,  # type: ignore[arg-type]
        batch_sampler=share.numbers(start, steps),
        num_workers=workers,
        collate_fn=_collate,
        worker_init_fn=alone,
    )
    for numbers, batch in zip(share.numbers(start, steps), one_line_errors(loader), strict=True):
        images, labels = unit_images(batch.images), batch.labels
        yield Batch(
            images=images,
            clean=images if batch.clean is batch.images else unit_images(batch.clean),
            labels=labels.long() if isinstance(labels, Tensor) else labels,
            position=torch.tensor([number % share.batch for number in numbers]),
            variant=batch.variant,
        )
