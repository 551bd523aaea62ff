"""Features of a frozen encoder, computed once per image instead of once per step.

Worth it where a stage looks at the same images again and again: only flips are random, and the stage draws more
images than there are. Everything is computed at the stage's start in a fixed order, so a resumed stage computes
the same numbers again.
"""

from collections.abc import Callable

import numpy as np
import torch
from torch import Tensor

from gkdbench.contract import Stage
from gkdbench.data.stream import Samples, unit_images
from gkdbench.engine.interruption import StopFlag
from gkdbench.engine.passes import in_precision
from gkdbench.models.encoder import Features
from gkdbench.models.network import Network
from gkdbench.spec.recipe import StageRecipe

LARGEST_BYTES = 2**30
_BATCH = 25


def worth_it(stage: Stage, network: Network, samples: Samples, recipe: StageRecipe) -> bool:
    """Whether a stage gains from it and the features fit into LARGEST_BYTES.

    Of an encoder's taps none are kept, and no levels of a hierarchical one: they are far larger than tokens.
    """
    variants, taps = samples.variants, stage.taps_student
    if "encoder" in stage.trains or not stage.task or taps.blocks or taps.qkv:
        return False
    if variants is None or network.reads_levels:
        return False
    encoder = network.encoder
    widths = encoder.width + sum(encoder.block_widths[block] for block in network.head_blocks)
    wanted = 4 * variants * encoder.grid[0] * encoder.grid[1] * widths
    return wanted <= LARGEST_BYTES and 1.5 * variants <= recipe.steps * recipe.batch


@torch.no_grad()
def compute(
    network: Network,
    samples: Samples,
    *,
    device: torch.device,
    precision: str,
    stop: StopFlag,
    meter: Callable[[int, int, str], None],
) -> Callable[[Tensor], Features]:
    """Pass every variant of a stream through the encoder, in eval mode; return what looks some of them up, [B]."""
    variants = samples.variants
    assert variants is not None
    network.to(device).eval()
    parts = []
    for first in range(0, variants, _BATCH):
        stop.check()
        numbers = range(first, min(first + _BATCH, variants))
        images = np.stack([samples.variant_image(number) for number in numbers])
        batch = unit_images(torch.from_numpy(images)).to(device)
        with in_precision(device, precision):
            parts.append(Features.joined([network.features(batch)], Tensor.cpu))
        meter(numbers.stop, variants, "features of the frozen encoder")
    table = Features.joined(parts, lambda *tensors: torch.cat(tensors))
    return lambda chosen: Features.joined([table], lambda rows: rows[chosen].to(device))
