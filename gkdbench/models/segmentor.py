"""Encoder and head of segmentation: class scores of every pixel."""

import torch.nn.functional as F
from torch import Tensor

from gkdbench.models.decoders.head import Decoded, SegmentationHead
from gkdbench.models.decoders.on_grid import ContextDecoder, LinearDecoder
from gkdbench.models.decoders.semfpn import SemFPN
from gkdbench.models.encoder import Features
from gkdbench.models.grids import as_map, on_grid, padded
from gkdbench.models.network import Network
from gkdbench.spec.decoder import GridDecoder, Mask2FormerDecoder, SemFPNDecoder

PYRAMID = (4.0, 2.0, 1.0, 0.5)
"""Sizes of a transformer's pyramid relative to its token grid: strides 4, 8, 16 and 32 with patches of 16."""


class Segmentor(Network):
    """A network whose head scores every pixel."""

    head: SegmentationHead | None

    @property
    def on_pyramid(self) -> bool:
        """Whether the head reads maps at four strides, not tokens on the grid."""
        return not isinstance(self.decoder_spec, GridDecoder)

    def _depths_read(self) -> list[int | None]:
        encoder = self.encoder
        if self.on_pyramid:  # raw outputs without exception: the study's heads see no final norm
            return [encoder.block_index(float(d)) for d in self.decoder_spec.reads] if encoder.is_transformer else []
        return [
            None if depth == 1.0 and encoder.is_transformer else encoder.block_index(float(depth))
            for depth in self.decoder_spec.reads
        ]

    @property
    def reads_levels(self) -> bool:
        """Whether the head reads the levels of a hierarchical encoder."""
        return self.on_pyramid and not self.encoder.is_transformer

    def _new_head(self, widths: list[int]) -> SegmentationHead:
        spec = self.decoder_spec
        if isinstance(spec, Mask2FormerDecoder):
            from gkdbench.models.decoders.mask2former import Mask2Former  # transformers takes a second to import

            return Mask2Former(widths, self.num_classes, spec)
        if isinstance(spec, SemFPNDecoder):
            return SemFPN(widths, self.num_classes, spec)
        assert isinstance(spec, GridDecoder)
        if spec.name == "linear":
            return LinearDecoder(widths, self.num_classes)
        return ContextDecoder(widths, self.grid, self.num_classes, spec.width)

    def decode(self, features: Features) -> Decoded:
        """Run the head on a pass's features."""
        decoded = super().decode(features)
        assert isinstance(decoded, Decoded)
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
