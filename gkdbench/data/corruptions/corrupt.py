"""Corrupting one image, repeatably: the same name, kind and severity give the same pixels everywhere."""

import numpy as np
from numpy.typing import NDArray

from gkdbench.data.corruptions.library import LIBRARY, SMALLEST, VERSION, check_installed, corrupted_by_library
from gkdbench.data.corruptions.plain import PLAIN
from gkdbench.data.dataset import Dataset
from gkdbench.data.seeds import seed_of
from gkdbench.errors import DataError, UsageError
from gkdbench.spec.corruption import EVERY_KIND, SEVERITIES
from gkdbench.spec.documents import nearest

SEED_RULES: dict[str, int] = {kind: 2 if kind == "frost" else 1 for kind in EVERY_KIND}
"""By kind. Raise a kind's when what is drawn from a seed changes, and all when corruption_seed does. Frost 2: from five
pictures, not six."""
Pixels = NDArray[np.uint8]


def corruption_seed(name: str, kind: str, severity: int) -> int:
    """Return the seed, below 2**32, of an image by its name within its split."""
    return seed_of("corruption", name, kind, severity) % 2**32


def identity(kind: str, severity: int) -> list[str | int]:
    """Return what, beside the image, decides about the corrupted pixels: part of digests."""
    return [LIBRARY, VERSION, kind, severity, SEED_RULES[kind]]


def check_available(kind: str) -> None:
    """Raise UsageError where a kind is unknown or what it needs is not installed."""
    if kind not in EVERY_KIND:
        raise UsageError(f"no corruption {kind!r}{nearest(kind, EVERY_KIND)} (known: {', '.join(EVERY_KIND)})")
    if kind not in PLAIN:
        check_installed(kind)


def corrupt(image: Pixels, kind: str, severity: int, seed: int) -> Pixels:
    """Return an image, uint8 [H, W, 3], corrupted; the image itself stays as it is.

    The pixels depend on the four arguments alone: not on the process, the thread, their number or what ran before. No
    global generator is used or changed. DataError for an image of another kind or with a side below 32 pixels.
    """
    if image.dtype != np.uint8 or image.ndim != 3 or image.shape[2] != 3:
        raise DataError(f"corruptions want RGB images, uint8 [H, W, 3], and this is {image.dtype} {image.shape}")
    if min(image.shape[:2]) < SMALLEST:
        height, width = image.shape[:2]
        raise DataError(
            f"corruptions are defined for images of at least {SMALLEST} pixels a side, and this one is {width}x{height}"
        )
    if severity not in SEVERITIES:
        raise UsageError(f"a corruption's severity is 1 to 5, not {severity}")
    check_available(kind)
    plain = PLAIN.get(kind)
    seed %= 2**32
    return plain(image, severity, seed) if plain is not None else corrupted_by_library(image, kind, severity, seed)


def corrupted_image(base: Dataset, index: int, kind: str, severity: int) -> Pixels:
    """Return an image of a dataset, corrupted; DataError, with its name, where that cannot be."""
    name = base.name(index)
    try:
        return corrupt(base.image(index), kind, severity, corruption_seed(name, kind, severity))
    except DataError as error:
        said = str(error)
        raise error if name in said else DataError(f"image {name!r}: {said}") from error
