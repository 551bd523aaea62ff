"""Training streams: which image, augmented how, stands at which place of which batch.

Everything is a function of (seed, epoch, index): independent of the number of workers and devices, and
resumable at any step.
"""

import hashlib
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from functools import lru_cache

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image as Pillow
from torch import Tensor
from torch.utils.data import DataLoader
from torch.utils.data import Dataset as TorchDataset

from gkdbench.data.dataset import Dataset
from gkdbench.errors import DataError
from gkdbench.spec.recipe import Augmentation


@dataclass
class Batch:
    """One micro-batch on its way to a model."""

    images: Tensor  # [B, 3, H, W] float32, nominally in [0, 1]
    clean: Tensor  # the same geometry without photometric change
    labels: Tensor | None  # [B, H, W] int64
    position: Tensor  # [B] int64, number of each sample within the global batch
    variant: Tensor | None = None  # [B] int64, which of the stream's variants; None: no two are alike
    extra: "dict[str, Batch]" = field(default_factory=dict)  # further streams of the same step

    def to(self, device: torch.device) -> "Batch":
        """Return the batch on a device."""
        images = self.images.to(device, non_blocking=True)
        clean = images if self.clean is self.images else self.clean.to(device, non_blocking=True)
        labels = None if self.labels is None else self.labels.to(device, non_blocking=True)
        extra = {name: batch.to(device) for name, batch in self.extra.items()}
        return Batch(images, clean, labels, self.position, self.variant, extra)


@dataclass(frozen=True)
class Ticket:
    """The place of one sample: optimiser step and position within the global batch."""

    step: int
    position: int


def seed_of(*parts: int | str) -> int:
    """Return a 63-bit seed that depends on every part and on nothing else."""
    text = "/".join(str(part) for part in parts)
    return int.from_bytes(hashlib.blake2b(text.encode(), digest_size=8).digest()) >> 1


@dataclass(frozen=True)
class Sample:
    """One augmented sample, of the stage's size."""

    image: NDArray[np.uint8]  # [H, W, 3]
    clean: NDArray[np.uint8]  # the very same array where nothing photometric happened
    labels: NDArray[np.uint8] | None  # [H, W]
    variant: int | None


class Samples(TorchDataset[Sample]):
    """Augmented samples by ticket."""

    def __init__(
        self,
        dataset: Dataset,
        *,
        batch: int,
        size: tuple[int, int],
        augmentation: Augmentation,
        ignore: int,
        seed: int,
        labelled: bool,
    ) -> None:
        self.dataset, self.batch, self.size = dataset, batch, size
        self.augmentation, self.ignore, self.seed = augmentation, ignore, seed
        self.labelled = labelled
        self._order = lru_cache(maxsize=2)(self._permutation)

    def _permutation(self, epoch: int) -> NDArray[np.int64]:
        order: NDArray[np.int64] = np.random.default_rng([self.seed, epoch]).permutation(len(self.dataset))
        return order

    def __len__(self) -> int:
        return len(self.dataset)

    def __getitem__(self, ticket: Ticket) -> Sample:
        """Return the sample of a ticket."""
        epoch, place = divmod(ticket.step * self.batch + ticket.position, len(self.dataset))
        index = int(self._order(epoch)[place])
        rng = np.random.default_rng([self.seed, epoch, place, 1])
        image = self.dataset.image(index)
        labels = self.dataset.labels(index) if self.labelled else None
        draws = rng.random(4)  # always as many, so that one option does not shift another's luck
        image, labels = _geometry(image, labels, self.size, self.augmentation, self.ignore, draws)
        variant = None if self.variants is None else 2 * index + int(draws[3] < self.augmentation.flip)
        return Sample(_photometry(image, self.augmentation, rng), image, labels, variant)

    @property
    def variants(self) -> int | None:
        """Number of different images the stream can hold: two per image where only flips happen, else None."""
        augmentation = self.augmentation
        endless = augmentation.scale or augmentation.brightness or augmentation.contrast
        return None if endless else 2 * len(self.dataset)

    def variant_image(self, variant: int) -> NDArray[np.uint8]:
        """Return one of the `variants` images, [H, W, 3]: image variant // 2, flipped where odd."""
        image, _ = _resized(self.dataset.image(variant // 2), None, *self.size)
        return image[:, ::-1] if variant % 2 else image

    def __getstate__(self) -> dict[str, object]:
        state = self.__dict__.copy()
        del state["_order"]  # a cache of a bound method does not travel to a worker process
        return state

    def __setstate__(self, state: dict[str, object]) -> None:
        self.__dict__.update(state)
        self._order = lru_cache(maxsize=2)(self._permutation)


def _geometry(
    image: NDArray[np.uint8],
    labels: NDArray[np.uint8] | None,
    size: tuple[int, int],
    augmentation: Augmentation,
    ignore: int,
    draws: NDArray[np.float64],
) -> tuple[NDArray[np.uint8], NDArray[np.uint8] | None]:
    """Resize, crop and flip image and labels alike; `draws` are four uniform numbers."""
    height, width = size
    if augmentation.scale is not None:
        low, high = augmentation.scale
        factor = low * (high / low) ** draws[0]
        image, labels = _resized(image, labels, round(height * factor), round(width * factor))
        image, labels = _cropped(image, labels, size, ignore, draws[1], draws[2])
    else:
        image, labels = _resized(image, labels, height, width)
    if draws[3] < augmentation.flip:
        image = image[:, ::-1]
        labels = None if labels is None else labels[:, ::-1]
    return image, labels


def _resized(
    image: NDArray[np.uint8], labels: NDArray[np.uint8] | None, height: int, width: int
) -> tuple[NDArray[np.uint8], NDArray[np.uint8] | None]:
    if image.shape[:2] != (height, width):
        picture = Pillow.fromarray(image)
        image = np.asarray(picture.resize((width, height), Pillow.Resampling.BILINEAR))
    if labels is not None and labels.shape != (height, width):
        picture = Pillow.fromarray(labels)
        labels = np.asarray(picture.resize((width, height), Pillow.Resampling.NEAREST))
    return image, labels


def _cropped(
    image: NDArray[np.uint8],
    labels: NDArray[np.uint8] | None,
    size: tuple[int, int],
    ignore: int,
    down: float,
    across: float,
) -> tuple[NDArray[np.uint8], NDArray[np.uint8] | None]:
    """Cut a window of `size`; a smaller image is first padded with its mean colour (labels: ignore)."""
    height, width = size
    missing = [(0, max(0, height - image.shape[0])), (0, max(0, width - image.shape[1]))]
    if any(after for _, after in missing):
        padded = np.empty(
            (image.shape[0] + missing[0][1], image.shape[1] + missing[1][1], 3), np.uint8
        )
        padded[:] = image.reshape(-1, 3).mean(axis=0).round()
        padded[: image.shape[0], : image.shape[1]] = image
        image = padded
        if labels is not None:
            labels = np.pad(labels, missing, constant_values=ignore)
    top = int(down * (image.shape[0] - height + 1))
    left = int(across * (image.shape[1] - width + 1))
    window = (slice(top, top + height), slice(left, left + width))
    return image[window], None if labels is None else labels[window]


def _photometry(
    image: NDArray[np.uint8], augmentation: Augmentation, rng: np.random.Generator
) -> NDArray[np.uint8]:
    """Change brightness and contrast; returns the very same array where there is nothing to do."""
    if not augmentation.brightness and not augmentation.contrast:
        return image
    draws = rng.uniform(-1, 1, 2)
    values = image.astype(np.float32) * (1 + augmentation.brightness * draws[0])
    mean = values.mean()
    values = (values - mean) * (1 + augmentation.contrast * draws[1]) + mean
    bounded: NDArray[np.uint8] = values.round().clip(0, 255).astype(np.uint8)
    return bounded


@dataclass
class _Stacked:
    """Samples on their way from a loading process."""

    images: Tensor
    clean: Tensor | None
    labels: Tensor | None
    variant: Tensor | None


def _collate(samples: list[Sample]) -> _Stacked:
    same = all(sample.image is sample.clean for sample in samples)
    labels = [sample.labels for sample in samples if sample.labels is not None]
    variants = [sample.variant for sample in samples if sample.variant is not None]
    return _Stacked(
        images=torch.from_numpy(np.stack([sample.image for sample in samples])),
        clean=None if same else torch.from_numpy(np.stack([sample.clean for sample in samples])),
        labels=torch.from_numpy(np.stack(labels)) if labels else None,
        variant=torch.tensor(variants) if variants else None,
    )


def unit_images(images: Tensor) -> Tensor:
    """uint8 [B, H, W, 3] -> float32 [B, 3, H, W] in [0, 1]."""
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


def _one_line_errors(loader: Iterable[_Stacked]) -> Iterator[_Stacked]:
    """Yield from a loader; a worker's DataError comes back as the line it was, not as a traceback in a string."""
    try:
        yield from loader
    except DataError as error:
        last = str(error).strip().splitlines()[-1]
        raise DataError(last.removeprefix(f"{DataError.__module__}.{DataError.__name__}: ")) from error


def batches(samples: Samples, share: Share, start: int, steps: int, workers: int) -> Iterator[Batch]:
    """Yield the micro-batches of this process from step `start` on, in order."""
    tickets = [
        [Ticket(step, position) for position in share.positions(turn)]
        for step in range(start, steps)
        for turn in range(share.turns)
    ]
    loader: DataLoader[_Stacked] = DataLoader(
        samples,  # type: ignore[arg-type]
        batch_sampler=tickets,
        num_workers=workers,
        collate_fn=_collate,
    )
    for group, stacked in zip(tickets, _one_line_errors(loader), strict=True):
        images = unit_images(stacked.images)
        yield Batch(
            images=images,
            clean=images if stacked.clean is None else unit_images(stacked.clean),
            labels=None if stacked.labels is None else stacked.labels.long(),
            position=torch.tensor([ticket.position for ticket in group]),
            variant=stacked.variant,
        )
