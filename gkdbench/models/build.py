"""Building an encoder with its weights."""

import torch

from gkdbench.models.encoder import Encoder
from gkdbench.models.weights import load_encoder
from gkdbench.spec.catalogue import ModelSource
from gkdbench.spec.recipe import Sight


def build_encoder(source: ModelSource, sight: Sight, seed: int) -> Encoder:
    """Build an encoder at its native size, load its weights, then fit it to how it shall see images.

    Random weights are drawn under a fork with this seed.
    """
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        encoder = Encoder(source.entry)
    load_encoder(encoder, source)
    encoder.resize(sight.size, sight.patch)
    return encoder


def grid_at(source: ModelSource, sight: Sight) -> tuple[int, int]:
    """Return the token grid of an encoder on images padded to whole patches; nothing is allocated."""
    with torch.random.fork_rng(devices=[]), torch.device("meta"):
        encoder = Encoder(source.entry)
        encoder.resize(encoder.whole(sight.size, sight.patch), sight.patch)
    return encoder.grid
