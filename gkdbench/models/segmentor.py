"""Encoder and head joined: the thing that is trained, exported and judged."""

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from gkdbench.models.decoders.build import build_decoder
from gkdbench.models.decoders.head import Decoded, SegmentationHead
from gkdbench.models.encoder import Encoder, Features
from gkdbench.models.grids import as_map, on_grid, padded
from gkdbench.spec.decoder import Decoder, GridDecoder

PYRAMID = (4.0, 2.0, 1.0, 0.5)
"""Sizes of a transformer's pyramid relative to its token grid: strides 4, 8, 16 and 32 with patches of 16."""


class Segmentor(nn.Module):
    """An encoder with or without a head on a token grid.

    `fixed_grid` is where tokens are laid out for the head if not on the encoder's own grid: a hierarchical teacher
    takes its student's.
    """

    def __init__(self, encoder: Encoder, decoder: Decoder, num_classes: int) -> None:
        super().__init__()
        self.encoder = encoder
        self.decoder_spec = decoder
        self.num_classes = num_classes
        self.fixed_grid: tuple[int, int] | None = None
        self.head: SegmentationHead | None = None
        self.on_pyramid = not isinstance(decoder, GridDecoder)
        self.reads = self._depths_read()

    def _depths_read(self) -> list[int | None]:
        """Blocks whose output the head reads; None: the final tokens."""
        encoder = self.encoder
        if self.on_pyramid:  # raw outputs without exception: the study's heads see no final norm
            return [encoder.block_index(float(d)) for d in self.decoder_spec.reads] if encoder.is_transformer else []
        return [
            None if depth == 1.0 and encoder.is_transformer else encoder.block_index(float(depth))
            for depth in self.decoder_spec.reads
        ]

    @property
    def grid(self) -> tuple[int, int]:
        """Token grid of head and distillation."""
        return self.fixed_grid or self.encoder.grid

    @property
    def reads_levels(self) -> bool:
        """Whether the head reads the levels of a hierarchical encoder."""
        return self.on_pyramid and not self.encoder.is_transformer

    @property
    def head_blocks(self) -> list[int]:
        """Blocks the head reads besides the final tokens."""
        return [block for block in self.reads if block is not None]

    def add_head(self, seed: int) -> None:
        """Give the segmentor a fresh head, the same for every method at a seed."""
        encoder = self.encoder
        widths = [encoder.width if block is None else encoder.block_widths[block] for block in self.reads]
        if self.reads_levels:
            widths = list(encoder.level_widths)
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
        reading = self.head is not None
        wanted = set(blocks) | (set(self.head_blocks) if reading else set())
        features: Features = self.encoder(
            images, mask=mask, keep=keep, blocks=sorted(wanted), qkv=qkv, levels=reading and self.reads_levels
        )
        return features

    def decode(self, features: Features) -> Decoded:
        """Run the head on a pass's features."""
        if self.head is None:
            raise RuntimeError("this stage trains no head, so there are no logits")
        decoded: Decoded = self.head(self.head_inputs(features), self.grid)
        return decoded

    def head_inputs(self, features: Features) -> list[Tensor]:
        """Return what the head reads of a pass: tokens on the grid, or maps at four strides."""
        return self._pyramid(features) if self.on_pyramid else self._tokens(features)

    def _tokens(self, features: Features) -> list[Tensor]:
        maps = [features.tokens if block is None else features.blocks[block] for block in self.reads]
        return [on_grid(m, features.grid, self.grid) for m in maps]

    def _pyramid(self, features: Features) -> list[Tensor]:
        """Return maps at four strides: a hierarchical encoder's own, a transformer's blocks resampled bilinearly."""
        if self.reads_levels:
            return features.levels
        pyramid = []
        for block, factor in zip(self.head_blocks, PYRAMID, strict=True):
            level = as_map(features.blocks[block], features.grid).contiguous()
            if factor != 1.0:
                size = [max(round(side * factor), 1) for side in features.grid]
                level = F.interpolate(level, size=size, mode="bilinear", align_corners=False)
            pyramid.append(level)
        return pyramid

    def forward(self, images: Tensor) -> Tensor:
        """Return logits [B, K, h', w'] of whole images [B, 3, H, W] in [0, 1]."""
        return self.decode(self.features(images)).logits

    def scores(self, images: Tensor, size: tuple[int, int] | None) -> Tensor:
        """Return class scores [B, K, *size], the largest of which is the prediction; see the head.

        Images of no whole patches are padded to what the encoder was fitted to, and the scores cropped.
        """
        assert self.head is not None
        own, seen = (images.shape[2], images.shape[3]), self.encoder.size
        if seen is None or own == seen:
            return self.head.scores(self.decode(self.features(images)), size)
        found = self.head.scores(self.decode(self.features(padded(images, seen))), seen)[:, :, : own[0], : own[1]]
        if size is None or size == own:
            return found
        return F.interpolate(found, size=size, mode="bilinear", align_corners=False)
