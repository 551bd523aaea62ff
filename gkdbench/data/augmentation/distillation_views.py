"""The study's distillation views: timm's training transforms, repeatable and without their normalisation."""

import random
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import lru_cache, partial
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image as Pillow
from timm.data import create_transform

from gkdbench.spec.augmentation import DistillationViews


def distillation_view(
    image: NDArray[np.uint8], views: DistillationViews, size: tuple[int, int], seed: int
) -> NDArray[np.float32]:
    """Return a view of an RGB image [H, W, 3], float32 [3, *size].

    Values are nominally in [0, 1] and leave it where there is noise: it is drawn in normalised images, and encoders
    normalise for themselves.
    """
    transform = _transform(views, size)
    with seeded(seed):
        view = transform(Pillow.fromarray(image))
    mean, std = (torch.tensor(values).view(3, 1, 1) for values in (views.mean, views.std))
    found: NDArray[np.float32] = view.mul_(std).add_(mean).numpy()
    return found


@lru_cache(maxsize=8)
def _transform(views: DistillationViews, size: tuple[int, int]) -> Any:
    transform = create_transform(
        size,
        is_training=True,
        scale=views.area,
        ratio=views.ratio,
        hflip=views.flip,
        color_jitter=None,  # the study names one, and timm leaves it out beside RandAugment
        auto_augment=views.rand_augment,
        interpolation=views.interpolation,
        mean=views.mean,
        std=views.std,
        re_prob=views.erasing,
        re_mode="pixel",
        re_count=1,
    )
    for step in transform.transforms:
        for operation in getattr(step, "ops", ()):
            if operation.name.startswith("Posterize"):
                operation.aug_fn = partial(_posterized, operation.aug_fn)
    return transform


def _posterized(plain: Callable[..., Pillow.Image], image: Pillow.Image, bits: int, **others: Any) -> Pillow.Image:
    """Keep the highest bits of every channel, with 0 none of them.

    At its largest magnitude timm asks for 0, which gave black images when the study ran and which Pillow now refuses.
    """
    return plain(image, bits, **others) if bits > 0 else Pillow.new(image.mode, image.size)


@contextmanager
def seeded(seed: int) -> Iterator[None]:
    """Seed the global generators of python, numpy and torch's CPU for a library that draws from them; put them back."""
    plain, numpys = random.getstate(), np.random.get_state()
    torchs = torch.default_generator.get_state()
    random.seed(seed)
    np.random.seed(seed % 2**32)
    torch.default_generator.manual_seed(seed)  # torch.manual_seed would reset GPUs' generators as well
    try:
        yield
    finally:
        random.setstate(plain)
        np.random.set_state(numpys)
        torch.default_generator.set_state(torchs)
