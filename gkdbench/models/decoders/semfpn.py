"""Semantic FPN: a feature pyramid and a head that sums its levels (Kirillov et al. 2019, arXiv 1901.02446)."""

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from gkdbench.models.decoders.head import Decoded, SegmentationHead
from gkdbench.spec.decoder import SemFPNDecoder

GROUPS = 32


class SemFPN(SegmentationHead):
    """Logits at stride 4.

    Every level becomes `width` channels, coarse ones are added to the finer (nearest neighbour), a 3x3 convolution
    smooths each; then 3x3 convolutions with 2x up-samplings bring all levels to stride 4 at `head_width` channels,
    where they are summed. GroupNorm as in the paper: batch statistics would make a loss depend on the micro-batch.
    """

    def __init__(self, widths: Sequence[int], num_classes: int, spec: SemFPNDecoder) -> None:
        super().__init__()
        self.pixel_dim = spec.head_width
        self.lateral = nn.ModuleList(nn.Conv2d(width, spec.width, 1) for width in widths)
        self.smooth = nn.ModuleList(nn.Conv2d(spec.width, spec.width, 3, padding=1) for _ in widths)
        self.scale = nn.ModuleList(Rise(spec.width, spec.head_width, level) for level in range(len(widths)))
        self.dropout = nn.Dropout2d(spec.dropout)
        self.classify = nn.Conv2d(spec.head_width, num_classes, 1)

    def forward(self, maps: Sequence[Tensor], grid: tuple[int, int]) -> Decoded:
        """Decode maps [B, C_i, h_i, w_i], fine to coarse."""
        pyramid = [lateral(m) for lateral, m in zip(self.lateral, maps, strict=True)]
        for finer in reversed(range(len(pyramid) - 1)):
            above = F.interpolate(pyramid[finer + 1], size=pyramid[finer].shape[2:], mode="nearest")
            pyramid[finer] = pyramid[finer] + above
        size = (pyramid[0].shape[2], pyramid[0].shape[3])
        risen = [rise(smooth(m), size) for rise, smooth, m in zip(self.scale, self.smooth, pyramid, strict=True)]
        total = torch.stack(risen).sum(0)
        return Decoded(logits=self.classify(self.dropout(total)), pixels=total)


class Rise(nn.Module):
    """Convolutions with a doubling after each, from a level up to the finest; at the finest one without doubling."""

    def __init__(self, before: int, after: int, level: int) -> None:
        super().__init__()
        self.doubles = level > 0
        self.convs = nn.ModuleList(_block(before if turn == 0 else after, after) for turn in range(max(level, 1)))

    def forward(self, x: Tensor, size: tuple[int, int]) -> Tensor:
        """Bring a map [B, C, h, w] to [B, after, *size]."""
        for number, conv in enumerate(self.convs, start=1):
            x = conv(x)
            if self.doubles:
                # the last time to the finest level's own size, which may be odd
                wanted = size if number == len(self.convs) else (2 * x.shape[2], 2 * x.shape[3])
                x = F.interpolate(x, size=wanted, mode="bilinear", align_corners=False)
        return x


def _block(before: int, after: int) -> nn.Module:
    norm = nn.GroupNorm(GROUPS if after % GROUPS == 0 else 1, after)
    return nn.Sequential(nn.Conv2d(before, after, 3, padding=1, bias=False), norm, nn.ReLU())
