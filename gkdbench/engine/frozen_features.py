"""Features of a frozen encoder, computed once per image instead of once per step.

Worth it where a stage looks at the same images again and again: only flips are random, and the stage draws more
images than there are. Everything is computed at the stage's start in a fixed order, so a resumed stage computes
the same numbers again.
"""

from collections.abc import Callable
from dataclasses import dataclass

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


@dataclass(frozen=True)
class FrozenFeatures:
    """Tokens, class tokens and block outputs of every variant of a stream."""

    tokens: Tensor  # [V, N, C]
    cls: Tensor | None  # [V, C]
    blocks: dict[int, Tensor]  # [V, N, C_block]
    grid: tuple[int, int]

    def rows(self, variants: Tensor, device: torch.device) -> Features:
        """Return the features of some variants, [B, ...]."""
        return Features(
            tokens=self.tokens[variants].to(device),
            cls=None if self.cls is None else self.cls[variants].to(device),
            grid=self.grid,
            blocks={block: table[variants].to(device) for block, table in self.blocks.items()},
        )


def worth_it(stage: Stage, network: Network, samples: Samples, recipe: StageRecipe) -> bool:
    """Whether a stage gains from it and the features fit into LARGEST_BYTES.

    The levels of a hierarchical encoder are not kept: they are far larger than tokens.
    """
    variants = samples.variants
    if "encoder" in stage.trains or not stage.task or variants is None or network.reads_levels:
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
) -> FrozenFeatures:
    """Pass every variant of a stream through the encoder, in eval mode."""
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
            parts.append(_on_cpu(network.features(batch)))
        meter(numbers.stop, variants, "features of the frozen encoder")
    classes = [part.cls for part in parts if part.cls is not None]
    return FrozenFeatures(
        tokens=torch.cat([part.tokens for part in parts]),
        cls=torch.cat(classes) if classes else None,
        blocks={block: torch.cat([part.blocks[block] for part in parts]) for block in parts[0].blocks},
        grid=parts[0].grid,
    )


def _on_cpu(features: Features) -> Features:
    return Features(
        tokens=features.tokens.cpu(),
        cls=None if features.cls is None else features.cls.cpu(),
        grid=features.grid,
        blocks={block: tap.cpu() for block, tap in features.blocks.items()},
    )
