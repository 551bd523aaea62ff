"""Decoders on the token grid: the linear probe, and the light decoder of the embedded benchmark."""

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from timm.models.vision_transformer import Block
from torch import Tensor, nn

from gkdbench.models.decoders.head import Decoded, SegmentationHead
from gkdbench.models.grids import as_map


class LinearDecoder(SegmentationHead):
    """Layer norm and one linear layer on the tokens: logits on the token grid."""

    def __init__(self, widths: Sequence[int], num_classes: int) -> None:
        super().__init__()
        self.norms = nn.ModuleList(nn.LayerNorm(w) for w in widths)
        self.pixel_dim = sum(widths)
        self.classify = nn.Linear(self.pixel_dim, num_classes)

    def forward(self, maps: Sequence[Tensor], grid: tuple[int, int]) -> Decoded:
        """Decode tokens on the grid itself."""
        joined = torch.cat([norm(m) for norm, m in zip(self.norms, maps, strict=True)], dim=-1)
        scores = self.classify(joined)
        return Decoded(logits=as_map(scores, grid), pixels=as_map(joined, grid))


class ContextDecoder(SegmentationHead):
    """One transformer block over the grid, then two 2x up-samplings: logits at 4x the token grid.

    A light stand-in for a pixel and transformer decoder: the embedded benchmark needs spatial mixing in the head,
    or a frozen encoder is judged by what a linear map can read.
    """

    def __init__(self, widths: Sequence[int], grid: tuple[int, int], num_classes: int, width: int) -> None:
        super().__init__()
        self.grid = grid
        middle, last = round(width * 2 / 3), round(width / 3)
        self.enter = nn.ModuleList(nn.Sequential(nn.LayerNorm(w), nn.Linear(w, width)) for w in widths)
        self.position = nn.Parameter(torch.zeros(1, grid[0] * grid[1], width))
        self.mix = Block(width, max(width // 32, 1), qkv_bias=True)
        self.norm = nn.LayerNorm(width)
        self.up_first = nn.Linear(width, 4 * middle)
        self.up_second = nn.Linear(middle, 4 * last)
        self.classify = nn.Linear(last, num_classes)
        self.pixel_dim = last

    def forward(self, maps: Sequence[Tensor], grid: tuple[int, int]) -> Decoded:
        """Decode tokens; positions learned on another grid are resampled."""
        x = torch.stack([enter(m) for enter, m in zip(self.enter, maps, strict=True)]).sum(0)
        x = self.mix(x + self._position_on(grid))  # [B, N, width]
        x = F.gelu(_doubled(self.up_first(self.norm(x)).view(x.shape[0], *grid, -1)))
        x = F.gelu(_doubled(self.up_second(x)))  # [B, 4h, 4w, last]
        return Decoded(logits=self.classify(x).permute(0, 3, 1, 2), pixels=x.permute(0, 3, 1, 2))

    def _position_on(self, grid: tuple[int, int]) -> Tensor:
        if grid == self.grid:
            return self.position
        table = as_map(self.position, self.grid)
        resampled = F.interpolate(table, size=grid, mode="bicubic", align_corners=False)
        return resampled.flatten(2).transpose(1, 2)


def _doubled(x: Tensor) -> Tensor:
    """[B, h, w, 4C] -> [B, 2h, 2w, C]: a 2x2 stride-2 transposed convolution, written as a linear layer."""
    batch, height, width, channels = x.shape
    x = x.view(batch, height, width, 2, 2, channels // 4).permute(0, 1, 3, 2, 4, 5)
    return x.reshape(batch, 2 * height, 2 * width, channels // 4)
