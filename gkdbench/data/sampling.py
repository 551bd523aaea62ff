"""How long an epoch is, and how repeated augmentation fills it."""

from gkdbench.errors import UsageError

REPEATS_BLOCK = 256
"""Of how many images an epoch with repeats is a multiple, before it is cut to whole batches: the study's sampler."""


def epoch_places(images: int, batch: int, repeats: int = 1) -> int:
    """Return the number of places in an epoch, each of which shows an image once.

    With repeats (the sampler of DeiT, which the study's distillation uses): the images rounded down to a multiple of
    256, where there are as many, then to whole global batches. The study deals places out to its devices in turn, so
    a batch holds the same ones on any number of devices. Raises UsageError where that leaves no batch.
    """
    if repeats == 1:
        return images
    whole = images // REPEATS_BLOCK * REPEATS_BLOCK or images
    if whole < batch:
        raise UsageError(
            f"recipe key 'repeats': {images} images fill no batch of {batch}, and with {repeats} repeats an epoch is "
            "made of whole batches; give a smaller 'batch', or 'repeats' 1"
        )
    return whole // batch * batch


def steps_per_epoch(images: int, batch: int, repeats: int = 1) -> int:
    """Return the number of whole optimiser steps in an epoch; without repeats, the rest begins the next step."""
    return epoch_places(images, batch, repeats) // batch
