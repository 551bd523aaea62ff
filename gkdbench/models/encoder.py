"""One face for every timm encoder: patch tokens, class token, taps, masked and dropped patches.

A transformer gives its tokens as they are. A CNN gives its last feature map as tokens; it has no class token and
no patches to mask. Nothing of timm is forked or patched: masks, drops and q/k/v taps are forward hooks on public
modules, active only during the pass that asks for them.
"""

from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from typing import Any

import timm
import torch
from torch import Tensor, nn

from gkdbench.errors import GkdbenchError, UsageError
from gkdbench.spec.documents import nearest
from gkdbench.spec.model import ModelEntry

QKV = tuple[Tensor, Tensor, Tensor]


@dataclass
class Features:
    """What one forward pass left behind, in the pass's own precision."""

    tokens: Tensor  # [B, N, C] patch tokens after the final norm ([B, M, C] with dropped tokens)
    cls: Tensor | None  # [B, C]
    grid: tuple[int, int]
    blocks: dict[int, Tensor] = field(default_factory=dict)  # block -> [B, N, C_block], no norm
    qkv: dict[int, QKV] = field(default_factory=dict)  # block -> q, k, v, each [B, prefix+N, C]


class Encoder(nn.Module):
    """A timm model with `forward_intermediates`, its normalisation and its mask token.

    It starts at the architecture's own image size, where weights are loaded; `resize` fits it to another.
    """

    def __init__(self, entry: ModelEntry) -> None:
        super().__init__()
        self.model = _create(entry)
        settings = self.model.pretrained_cfg
        self.is_transformer = hasattr(self.model, "patch_embed") and hasattr(self.model, "blocks")
        self.prefix = int(getattr(self.model, "num_prefix_tokens", 0))
        self.width = int(self.model.num_features)
        self.block_widths = tuple(_block_widths(self.model, self.is_transformer))
        self.depth = len(self.block_widths)
        attention = getattr(self.model.blocks[0], "attn", None) if self.is_transformer else None
        self.heads: int | None = getattr(attention, "num_heads", None)
        self.has_cls = self.is_transformer and getattr(self.model, "cls_token", None) is not None
        self.has_qkv = self.is_transformer and _records_qkv(self.model.blocks[0], self.width)
        self.can_mask = self.is_transformer
        # A rotary position is tied to its place in the sequence, so dropping is left to absolute ones; tokens are
        # dropped where `norm_pre` hands them to the blocks.
        self.can_drop = (
            self.is_transformer and getattr(self.model, "rope", None) is None and hasattr(self.model, "norm_pre")
        )
        self.mask_token = (
            nn.Parameter(torch.zeros(self.width)) if self.can_mask else None
        )  # zero: as the official code starts
        mean = entry.mean or settings["mean"]
        std = entry.std or settings["std"]
        self.mean: Tensor
        self.std: Tensor
        self.register_buffer("mean", torch.tensor(mean).view(1, 3, 1, 1), persistent=False)
        self.register_buffer("std", torch.tensor(std).view(1, 3, 1, 1), persistent=False)
        self.size: tuple[int, int] | None = None
        self.grid = (0, 0)

    def _set_size(self, size: tuple[int, int]) -> tuple[int, int]:
        """Fit position embeddings to an image size; return the token grid."""
        if self.is_transformer:
            if tuple(self.model.patch_embed.img_size) != tuple(size):
                self.model.set_input_size(img_size=size)
            height, width = self.model.patch_embed.grid_size
            return int(height), int(width)
        was_training = self.model.training
        self.model.eval()
        with torch.no_grad():
            last = self.model.forward_features(torch.zeros(1, 3, *size))
        self.model.train(was_training)
        return int(last.shape[-2]), int(last.shape[-1])

    def resize(self, size: tuple[int, int]) -> None:
        """Fit the encoder to another image size (position embeddings are resampled)."""
        if self.size != tuple(size):
            self.size, self.grid = (size[0], size[1]), self._set_size(size)

    def draws_in_training(self) -> bool:
        """Whether two training passes over the same image may differ (dropout, BatchNorm, ...)."""
        random_layers = ("Dropout", "DropPath", "BatchNorm", "PatchDropout")
        for module in self.model.modules():
            kind = type(module).__name__
            rate = getattr(module, "p", getattr(module, "drop_prob", getattr(module, "prob", 1.0)))
            if any(name in kind for name in random_layers) and rate != 0.0:
                return True
        return False

    def block_index(self, tap: int | float) -> int:
        """Turn a tap (0-based, negative from the end, or a fraction of the depth) into a block number."""
        if isinstance(tap, float):
            if not 0 < tap <= 1:
                raise GkdbenchError(f"a stage taps the block at {tap} of the depth, which is no share of it")
            return max(round(tap * self.depth), 1) - 1
        if not -self.depth <= tap < self.depth:
            raise GkdbenchError(f"a stage taps block {tap} of an encoder with {self.depth} blocks")
        return tap % self.depth

    def forward(
        self,
        images: Tensor,
        *,
        mask: Tensor | None = None,
        keep: Tensor | None = None,
        blocks: Sequence[int] = (),
        qkv: Sequence[int] = (),
    ) -> Features:
        """Run the encoder.

        Args:
            images: [B, 3, H, W], nominally in [0, 1].
            mask: [B, N] bool, patches replaced by the mask token before position embedding.
            keep: [B, M] int64, patches that stay; the others never enter a block.
            blocks: numbers of the blocks whose raw output is wanted.
            qkv: numbers of the blocks whose queries, keys and values are wanted.
        """
        x = (images - self.mean) / self.std
        if not self.is_transformer:
            return self._map_features(x, blocks)
        found: dict[int, QKV] = {}
        with ExitStack() as hooks:
            if mask is not None:
                hooks.enter_context(_hook(self.model.patch_embed, self._masking(mask)))
            if keep is not None:
                # norm_pre is the last module before the blocks, so it sees every token with its position
                hooks.enter_context(_hook(self.model.norm_pre, _dropping(keep, self.prefix)))
            for number in qkv:
                layer = self.model.blocks[number].attn.qkv
                hooks.enter_context(_hook(layer, _recording(found, number)))
            final, taps = self.model.forward_intermediates(
                x,
                indices=sorted(set(blocks)) or [self.depth - 1],
                norm=False,
                return_prefix_tokens=True,
                output_fmt="NLC",
            )
        wanted = sorted(set(blocks))
        return Features(
            tokens=final[:, self.prefix :],
            cls=final[:, 0] if self.has_cls else None,
            grid=self.grid,
            # timm must be asked for one block at least
            blocks=dict(zip(wanted, (tap[0] for tap in taps[: len(wanted)]), strict=True)),
            qkv=found,
        )

    def _map_features(self, x: Tensor, blocks: Sequence[int]) -> Features:
        final, maps = self.model.forward_intermediates(x, output_fmt="NCHW")
        grid = (int(final.shape[-2]), int(final.shape[-1]))
        return Features(
            tokens=final.flatten(2).transpose(1, 2),  # [B, N, C]
            cls=None,
            grid=grid,
            blocks={n: as_tokens(maps[n], grid) for n in set(blocks)},
        )

    def _masking(self, mask: Tensor) -> "_Edit":
        token = self.mask_token

        def replace(output: Tensor) -> Tensor:
            assert token is not None
            # some families embed patches as a map [B, h, w, C]
            return torch.where(mask.reshape(*output.shape[:-1], 1), token.to(output.dtype), output)

        return replace


def _records_qkv(block: nn.Module, width: int) -> bool:
    """Whether a block calls `attn.qkv` as a module; some families use its weight alone, which no hook sees."""
    layer = getattr(getattr(block, "attn", None), "qkv", None)
    if not isinstance(layer, nn.Linear):
        return False
    called: list[bool] = []
    handle = layer.register_forward_hook(lambda *_: called.append(True))
    try:
        with torch.no_grad():
            block(torch.zeros(1, 4, width))
    except Exception:  # a family whose blocks want more than tokens; what they do is unknown
        return False
    finally:
        handle.remove()
    return bool(called)


def _create(entry: ModelEntry) -> Any:
    """Build the timm model; one clear line where timm does not know it or it lacks what an encoder needs."""
    if not timm.is_model(entry.timm):
        raise UsageError(f"models.yaml: timm has no model {entry.timm!r}{nearest(entry.timm, timm.list_models())}")
    model = timm.create_model(entry.timm, pretrained=False, **{"num_classes": 0, **entry.arguments})
    patches = getattr(model, "patch_embed", None)
    transformer = patches is not None and hasattr(model, "blocks")
    if not hasattr(model, "forward_intermediates") or (transformer and not hasattr(patches, "img_size")):
        raise UsageError(f"models.yaml: {entry.timm!r} cannot be an encoder: it gives no intermediate features")
    if transformer and not hasattr(model, "set_input_size"):
        raise UsageError(f"models.yaml: {entry.timm!r} cannot be an encoder: its image size is fixed")
    return model


_Edit = Callable[[Tensor], Tensor | None]


class _hook:
    """A forward hook on a module's output for the length of a with block."""

    def __init__(self, module: nn.Module, edit: _Edit) -> None:
        self.module, self.edit = module, edit

    def __enter__(self) -> None:
        self.handle = self.module.register_forward_hook(
            lambda _module, _inputs, output: self.edit(output)
        )

    def __exit__(self, *_: object) -> None:
        self.handle.remove()


def _dropping(keep: Tensor, prefix: int) -> _Edit:
    def select(tokens: Tensor) -> Tensor:
        patches = tokens[:, prefix:]
        chosen = patches.gather(1, keep.unsqueeze(-1).expand(-1, -1, patches.shape[-1]))
        return torch.cat([tokens[:, :prefix], chosen], dim=1)

    return select


def _recording(found: dict[int, QKV], number: int) -> _Edit:
    def record(output: Tensor) -> None:
        q, k, v = output.chunk(3, dim=-1)
        found[number] = (q, k, v)

    return record


def _block_widths(model: nn.Module, is_transformer: bool) -> list[int]:
    if is_transformer:
        blocks: nn.Module = model.blocks  # type: ignore[assignment]
        return [int(model.num_features)] * len(list(blocks.children()))  # type: ignore[arg-type]
    info = model.feature_info
    rows = getattr(info, "info", info)
    return [int(row["num_chs"]) for row in rows]  # type: ignore[union-attr]


def as_map(tokens: Tensor, grid: tuple[int, int]) -> Tensor:
    """Lay tokens [B, N, C] out as a map [B, C, h, w]."""
    return tokens.transpose(1, 2).reshape(len(tokens), -1, *grid)


def as_tokens(feature_map: Tensor, grid: tuple[int, int]) -> Tensor:
    """Bring a map [B, C, h, w] to a grid and lay it out as tokens [B, N, C].

    Downwards by averaging, upwards bilinearly.
    """
    height, width = feature_map.shape[-2:]
    if (height, width) != grid:
        if height >= grid[0] and width >= grid[1]:
            feature_map = nn.functional.adaptive_avg_pool2d(feature_map, grid)
        else:
            feature_map = nn.functional.interpolate(
                feature_map, size=grid, mode="bilinear", align_corners=False
            )
    return feature_map.flatten(2).transpose(1, 2)


def on_grid(tokens: Tensor, grid: tuple[int, int], wanted: tuple[int, int]) -> Tensor:
    """Resample tokens [B, N, C] of one grid to another."""
    if grid == wanted:
        return tokens
    return as_tokens(as_map(tokens, grid), wanted)
