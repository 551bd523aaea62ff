"""Tokens as maps and maps as tokens, and moving either to another grid."""

import torch.nn.functional as F
from torch import Tensor


def as_map(tokens: Tensor, grid: tuple[int, int]) -> Tensor:
    """Lay tokens [B, N, C] out as a map [B, C, h, w]."""
    return tokens.transpose(1, 2).reshape(tokens.shape[0], -1, *grid)


def as_tokens(feature_map: Tensor, grid: tuple[int, int]) -> Tensor:
    """Bring a map [B, C, h, w] to a grid and lay it out as tokens [B, N, C].

    Downwards by averaging, upwards bilinearly.
    """
    height, width = feature_map.shape[-2:]
    if (height, width) != grid:
        if height >= grid[0] and width >= grid[1]:
            feature_map = F.adaptive_avg_pool2d(feature_map, grid)
        else:
            feature_map = F.interpolate(feature_map, size=grid, mode="bilinear", align_corners=False)
    return feature_map.flatten(2).transpose(1, 2)


def on_grid(tokens: Tensor, grid: tuple[int, int], wanted: tuple[int, int]) -> Tensor:
    """Resample tokens [B, N, C] of one grid to another."""
    if grid == wanted:
        return tokens
    return as_tokens(as_map(tokens, grid), wanted)
