"""One face for every timm encoder: patch tokens, class token, taps, masked and dropped patches.

A transformer gives its tokens as they are. A hierarchical encoder (a CNN, Swin) gives its last feature map as tokens;
it has no class token and no patches to mask, and its levels make a pyramid of their own.
"""

from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import timm
import torch
from torch import Tensor, nn

from gkdbench.contract import QKV
from gkdbench.errors import GkdbenchError, UsageError
from gkdbench.models import patches
from gkdbench.models.grids import as_tokens
from gkdbench.models.transformer_taps import can_drop, dropping, gives_qkv, masking, recording_qkv
from gkdbench.spec.documents import nearest
from gkdbench.spec.model import ModelEntry

LEVELS = 4


@dataclass
class Features:
    """What one forward pass left behind, in the pass's own precision."""

    # [B, N, C] patch tokens after the model's final norm ([B, M, C] with dropped tokens); a model that pools averages
    # and norms only those (BEiT) has none on its tokens
    tokens: Tensor
    cls: Tensor | None  # [B, C]
    grid: tuple[int, int]
    blocks: dict[int, Tensor] = field(default_factory=dict)  # block -> [B, N, C_block], no norm
    qkv: dict[int, QKV] = field(default_factory=dict)  # block -> q, k, v, each [B, prefix+N, C]
    levels: list[Tensor] = field(default_factory=list)  # of a hierarchical encoder: [B, C_i, h_i, w_i], fine to coarse

    @classmethod
    def joined(cls, passes: Sequence["Features"], join: Callable[..., Tensor]) -> "Features":
        """Return one pass whose every tensor is `join` of those that the given passes have in its place.

        Of the blocks, those of the last pass count.
        """
        classes = [one.cls for one in passes if one.cls is not None]
        last = passes[-1]
        return cls(
            tokens=join(*(one.tokens for one in passes)),
            cls=join(*classes) if len(classes) == len(passes) else None,
            grid=last.grid,
            blocks={block: join(*(one.blocks[block] for one in passes)) for block in last.blocks},
            qkv={block: _joined_qkv([one.qkv[block] for one in passes], join) for block in last.qkv},
        )


def _joined_qkv(parts: Sequence[QKV], join: Callable[..., Tensor]) -> QKV:
    q, k, v = (join(*same) for same in zip(*parts, strict=True))
    return q, k, v


class Encoder(nn.Module):
    """A timm model with `forward_intermediates`, its normalisation and its mask token.

    It starts at the architecture's own image and patch size, where weights are loaded; `resize` fits it to another.
    """

    def __init__(self, entry: ModelEntry) -> None:
        super().__init__()
        self.entry = entry
        self.model = _create(entry)
        self.is_transformer = hasattr(self.model, "patch_embed") and hasattr(self.model, "blocks")
        self.prefix = int(getattr(self.model, "num_prefix_tokens", 0))
        self.width = int(self.model.num_features)
        self.block_widths = tuple(_block_widths(self.model, self.is_transformer))
        self.depth = len(self.block_widths)
        attention = getattr(self.model.blocks[0], "attn", None) if self.is_transformer else None
        self.heads: int | None = getattr(attention, "num_heads", None)
        self.has_cls = self.is_transformer and getattr(self.model, "cls_token", None) is not None
        self.has_qkv = self.is_transformer and gives_qkv(self.model.blocks[0], self.width)
        self.can_mask = self.is_transformer
        self.can_drop = self.is_transformer and can_drop(self.model)
        self.mask_token = (
            nn.Parameter(torch.zeros(self.width)) if self.can_mask else None
        )  # zero: as the official code starts
        mean, std = _normalisation(entry, self.model.pretrained_cfg)
        self.mean: Tensor
        self.std: Tensor
        self.register_buffer("mean", torch.tensor(mean).view(1, 3, 1, 1), persistent=False)
        self.register_buffer("std", torch.tensor(std).view(1, 3, 1, 1), persistent=False)
        self.size: tuple[int, int] | None = None
        self.patch: int | None = None
        self._native_patch = int(self.model.patch_embed.patch_size[0]) if self.is_transformer else 0
        self.grid = (0, 0)
        self.window = _window(self.model)

    @property
    def level_widths(self) -> tuple[int, ...]:
        """Channels of a hierarchical encoder's last four levels, fine to coarse."""
        return self.block_widths[-LEVELS:]

    def resize(self, size: tuple[int, int], patch: int | None = None) -> None:
        """Fit the encoder to another image size, and a transformer to a patch size (None: its entry's).

        Raises UsageError where the patch size is another than the architecture's and the entry does not say how to
        resample, or where patches do not tile the image.
        """
        if self.is_transformer:
            patch = self._patch(patch)
            if (self.size, self.patch) == (tuple(size), patch):
                return
            if size[0] % patch or size[1] % patch:
                raise UsageError(
                    f"images of {size[0]}x{size[1]} are no whole patches of {patch} for {self.entry.timm!r}; "
                    "change the recipe's size"
                )
            self.grid = patches.fit(self.model, (size[0], size[1]), patch, self.entry.resampling or "timm")
            self.size, self.patch = (size[0], size[1]), patch
            return
        if self.size == tuple(size):
            return
        was_training = self.model.training
        self.model.eval()
        try:
            if hasattr(self.model, "set_input_size"):
                self.model.set_input_size(img_size=tuple(size), **({"window_size": self.window} if self.window else {}))
            with torch.no_grad():
                image = torch.zeros(1, 3, *size, device=self.mean.device)
                last = self._map(self.model.forward_intermediates(image, output_fmt="NCHW")[0])
        except (RuntimeError, AssertionError, ValueError) as error:
            said = str(error).split("\n")[0][:120]
            raise UsageError(
                f"{self.entry.timm!r} cannot take images of {size[0]}x{size[1]} ({said}); change the recipe's size"
            ) from error
        self.model.train(was_training)
        if last.ndim != 4 or last.shape[1] != self.width:
            shape = tuple(last.shape)
            raise UsageError(f"{self.entry.timm!r} cannot be an encoder: its output of shape {shape} is no feature map")
        self.size, self.grid = (size[0], size[1]), (int(last.shape[-2]), int(last.shape[-1]))

    def whole(self, size: tuple[int, int], patch: int | None = None) -> tuple[int, int]:
        """Return the smallest size of whole patches that holds an image size; of a hierarchical encoder the size."""
        if not self.is_transformer:
            return size
        patch = self._patch(patch)
        return -(-size[0] // patch) * patch, -(-size[1] // patch) * patch

    def _patch(self, asked: int | None) -> int:
        """Return the patch side wanted; one clear line where the entry leaves open how to get there."""
        native = self._native_patch
        wanted = asked or self.entry.patch or native
        if wanted != native and self.entry.resampling is None:
            raise UsageError(
                f"models.yaml: {self.entry.timm!r} has patches of {native}, {'the recipe' if asked else 'its entry'} "
                f"says {wanted}; say how to resample them (resampling: study, study_scaled or timm)"
            )
        return wanted

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
        levels: bool = False,
    ) -> Features:
        """Run the encoder.

        Args:
            images: [B, 3, H, W], nominally in [0, 1].
            mask: [B, N] bool, patches replaced by the mask token before position embedding.
            keep: [B, M] int64, patches that stay; the others never enter a block.
            blocks: numbers of the blocks whose raw output is wanted.
            qkv: numbers of the blocks whose queries, keys and values are wanted.
            levels: whether the last four levels of a hierarchical encoder are wanted as maps.
        """
        x = (images - self.mean) / self.std
        if not self.is_transformer:
            return self._map_features(x, blocks, levels)
        found: dict[int, QKV] = {}
        with ExitStack() as hooks:
            if mask is not None:
                assert self.mask_token is not None
                hooks.enter_context(masking(self.model, mask, self.mask_token))
            if keep is not None:
                hooks.enter_context(dropping(self.model, keep, self.prefix))
            for number in qkv:
                hooks.enter_context(recording_qkv(self.model.blocks[number], partial(found.__setitem__, number)))
            final, taps = self.model.forward_intermediates(
                x,
                indices=sorted(set(blocks)) or [self.depth - 1],
                norm=False,
                return_prefix_tokens=self.prefix > 0,
                output_fmt="NLC",
            )
        wanted = sorted(set(blocks))
        # a model without prefix tokens gives its taps bare
        bare = [tap[0] if isinstance(tap, tuple) else tap for tap in taps]
        return Features(
            tokens=final[:, self.prefix :],
            cls=final[:, 0] if self.has_cls else None,
            grid=self.grid,
            # timm must be asked for one block at least
            blocks=dict(zip(wanted, bare[: len(wanted)], strict=True)),
            qkv=found,
        )

    def _map_features(self, x: Tensor, blocks: Sequence[int], levels: bool) -> Features:
        final, maps = self.model.forward_intermediates(x, output_fmt="NCHW")
        final = self._map(final)
        grid = (int(final.shape[-2]), int(final.shape[-1]))
        return Features(
            tokens=final.flatten(2).transpose(1, 2),  # [B, N, C]
            cls=None,
            grid=grid,
            blocks={n: as_tokens(maps[n], grid) for n in set(blocks)},
            levels=list(maps[-LEVELS:]) if levels else [],
        )

    def _map(self, final: Tensor) -> Tensor:
        """Return the final map as [B, C, h, w]; some families keep channels last there."""
        return final.permute(0, 3, 1, 2) if str(getattr(self.model, "output_fmt", "NCHW")).endswith("NHWC") else final


def _normalisation(entry: ModelEntry, settings: dict[str, Any]) -> tuple[Any, Any]:
    """Return mean and deviation of an entry; `settings` are those of the architecture's default weights.

    Raises UsageError where timm states others for the weights that the entry names: they would be fed wrong images.
    """
    given = {"mean": entry.mean, "std": entry.std}
    hub = (entry.weights and entry.weights.hub) or ""
    try:
        named = timm.get_pretrained_cfg(hub.removeprefix("timm/")) if hub.startswith("timm/") else None
    except RuntimeError:  # a repository that this version of timm does not know
        named = None
    for key, value in given.items():
        if value is None and named is not None and tuple(getattr(named, key)) != tuple(settings[key]):
            raise UsageError(
                f"model of {entry.timm!r}: the weights {hub!r} have {key} {list(getattr(named, key))}, and by default "
                f"{list(settings[key])}; its entry in models.yaml must state its {key}"
            )
    return given["mean"] or settings["mean"], given["std"] or settings["std"]


def _create(entry: ModelEntry) -> Any:
    """Build the timm model; one clear line where timm does not know it or it lacks what an encoder needs."""
    if not timm.is_model(entry.timm):
        raise UsageError(f"models.yaml: timm has no model {entry.timm!r}{nearest(entry.timm, timm.list_models())}")
    try:
        model = timm.create_model(entry.timm, pretrained=False, **{"num_classes": 0, **entry.arguments})
    except (RuntimeError, TypeError, ValueError, AssertionError) as error:
        said = str(error).split("\n")[0][:160]
        raise UsageError(f"models.yaml: timm cannot build {entry.timm!r} ({said})") from error
    embed = getattr(model, "patch_embed", None)
    transformer = embed is not None and hasattr(model, "blocks")
    if not hasattr(model, "forward_intermediates") or (transformer and not hasattr(embed, "img_size")):
        raise UsageError(f"models.yaml: {entry.timm!r} cannot be an encoder: it gives no intermediate features")
    if transformer and not hasattr(model, "set_input_size"):
        raise UsageError(f"models.yaml: {entry.timm!r} cannot be an encoder: its image size is fixed")
    return model


def _window(model: Any) -> tuple[int, int] | None:
    """Return the attention window of a Swin: timm would change it with the image size, and with it the function."""
    for layer in getattr(model, "layers", ()):
        for block in getattr(layer, "blocks", ()):
            window = getattr(block, "window_size", None)
            if window is not None:
                return int(window[0]), int(window[1])
    return None


def _block_widths(model: nn.Module, is_transformer: bool) -> list[int]:
    if is_transformer:
        blocks: nn.Module = model.blocks  # type: ignore[assignment]
        return [int(model.num_features)] * len(list(blocks.children()))  # type: ignore[arg-type]
    info = model.feature_info
    rows = getattr(info, "info", info)
    return [int(row["num_chs"]) for row in rows]  # type: ignore[union-attr]
