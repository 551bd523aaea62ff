"""Fitting a transformer to another image size and patch size: kernels and position embeddings resampled.

The policies: `timm` keeps the response to a resized image (pseudo-inverse kernels, anti-aliased positions); `study`
interpolates kernels and positions plainly, as the GKD release does (arXiv 2603.02554), which lets the patch responses
grow with the kernel's area; `study_scaled` takes that growth back.
"""

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from gkdbench.spec.model import Resampling


def fit(model: Any, size: tuple[int, int], patch: int | None, policy: Resampling) -> tuple[int, int]:
    """Fit a timm transformer to an image size [pixels] and a patch side; return its token grid.

    patch: None keeps the patch size as it is.
    """
    embed = model.patch_embed
    old_patch, old_grid = tuple(embed.patch_size), tuple(embed.grid_size)
    new_patch = old_patch if patch is None else (patch, patch)
    if tuple(embed.img_size) == tuple(size) and new_patch == old_patch:
        return _grid(model)
    plain = policy != "timm"
    kernel = embed.proj.weight.detach().clone() if plain else None
    table = model.pos_embed.detach().clone() if plain and getattr(model, "pos_embed", None) is not None else None
    model.set_input_size(img_size=size, patch_size=None if new_patch == old_patch else new_patch)
    if kernel is not None:
        with torch.no_grad():
            if new_patch != old_patch:
                embed.proj.weight.copy_(plain_kernel(kernel, new_patch, policy == "study_scaled"))
            if table is not None and _grid(model) != old_grid:
                prefix = 0 if getattr(model, "no_embed_class", False) else int(model.num_prefix_tokens)
                model.pos_embed.copy_(plain_positions(table, old_grid, _grid(model), prefix))
    return _grid(model)


def plain_kernel(kernel: Tensor, patch: tuple[int, int], scaled: bool) -> Tensor:
    """Interpolate a patch kernel [C, 3, h, w] bicubically; `scaled` keeps its response to a constant image."""
    resized = F.interpolate(kernel.float(), size=patch, mode="bicubic", align_corners=False)
    area = kernel.shape[-2] * kernel.shape[-1] / (patch[0] * patch[1])
    return (resized * (area if scaled else 1.0)).to(kernel.dtype)


def plain_positions(table: Tensor, old: tuple[int, int], new: tuple[int, int], prefix: int) -> Tensor:
    """Interpolate position embeddings [1, prefix + h*w, C] bicubically without anti-aliasing."""
    head, patches = table[:, :prefix], table[:, prefix:]
    grid = patches.float().reshape(1, *old, -1).permute(0, 3, 1, 2)
    grid = F.interpolate(grid, size=new, mode="bicubic", align_corners=False)
    return torch.cat([head, grid.flatten(2).transpose(1, 2).to(table.dtype)], dim=1)


def _grid(model: nn.Module) -> tuple[int, int]:
    height, width = model.patch_embed.grid_size  # type: ignore[union-attr, misc]
    return int(height), int(width)
