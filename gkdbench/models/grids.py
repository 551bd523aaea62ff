"""Tokens as maps and maps as tokens, moving either to another grid, and padding images to whole patches."""

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


def padded(images: Tensor, size: tuple[int, int]) -> Tensor:
    """Pad images [B, 3, h, w] below and to the right with their mean colour where they are smaller than a size."""
    missing = (0, size[1] - images.shape[3], 0, size[0] - images.shape[2])
    if not any(missing):
        return images
    mean = images.mean(dim=(2, 3), keepdim=True)
    return F.pad(images - mean, missing) + mean
