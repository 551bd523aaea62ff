"""Encoder and head joined: the thing that is trained, exported and judged."""

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from gkdbench.models.decoder import Decoded, SegmentationHead, build_decoder
from gkdbench.models.encoder import Encoder, Features, on_grid
from gkdbench.spec.benchmark import Decoder as DecoderSpec


class Segmentor(nn.Module):
    """An encoder with or without a head on a token grid.

    `fixed_grid` is where tokens are laid out for the head if not on the encoder's own grid: a CNN teacher takes
    its student's.
    """

    def __init__(self, encoder: Encoder, decoder: DecoderSpec, num_classes: int) -> None:
        super().__init__()
        self.encoder = encoder
        self.decoder_spec = decoder
        self.num_classes = num_classes
        self.fixed_grid: tuple[int, int] | None = None
        self.head: SegmentationHead | None = None
        self.reads = [
            None if depth == 1.0 and encoder.is_transformer else encoder.block_index(float(depth))
            for depth in decoder.reads
        ]

    @property
    def grid(self) -> tuple[int, int]:
        """Token grid of head and distillation."""
        return self.fixed_grid or self.encoder.grid

    @property
    def head_blocks(self) -> list[int]:
        """Blocks the head reads besides the final tokens."""
        return [block for block in self.reads if block is not None]

    def add_head(self, seed: int) -> None:
        """Give the segmentor a fresh head, the same for every method at a seed."""
        widths = [
            self.encoder.width if block is None else self.encoder.block_widths[block]
            for block in self.reads
        ]
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            self.head = build_decoder(self.decoder_spec, widths, self.grid, self.num_classes)

    def use_plain_attention(self) -> None:
        """Take explicit attention instead of the fused kernel: 2 to 3 times faster in bf16 on a CPU."""
        for module in self.modules():
            if hasattr(module, "fused_attn"):
                setattr(module, "fused_attn", False)  # noqa: B010 (nn.Module types it as a tensor)

    def features(
        self,
        images: Tensor,
        *,
        mask: Tensor | None = None,
        keep: Tensor | None = None,
        blocks: Sequence[int] = (),
        qkv: Sequence[int] = (),
    ) -> Features:
        """Run the encoder with the taps asked for and those that the head reads."""
        wanted = set(blocks) | (set(self.head_blocks) if self.head is not None else set())
        features: Features = self.encoder(
            images, mask=mask, keep=keep, blocks=sorted(wanted), qkv=qkv
        )
        return features

    def decode(self, features: Features) -> Decoded:
        """Run the head on a pass's features."""
        if self.head is None:
            raise RuntimeError("this stage trains no head, so there are no logits")
        maps = [
            features.tokens if block is None else features.blocks[block] for block in self.reads
        ]
        maps = [on_grid(m, features.grid, self.grid) for m in maps]
        decoded: Decoded = self.head(maps, self.grid)
        return decoded

    def forward(self, images: Tensor) -> Tensor:
        """Return logits [B, K, h', w'] of whole images [B, 3, H, W] in [0, 1]."""
        return self.decode(self.features(images)).logits
