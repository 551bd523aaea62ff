"""Tensor names of other schemes as timm's: recognised by the names themselves, converted on the fly."""

import importlib
import re
from collections.abc import Callable, Iterable, Mapping

import torch
from torch import Tensor, nn

from gkdbench.errors import DataError

Tensors = dict[str, Tensor]
# Blocks per stage of EfficientNet-B0 and lite0: the flat numbering of efficientnet_pytorch needs them.
_B0_STAGES = (1, 2, 2, 3, 3, 4, 1)
_TRANSFORMERS = (
    # of DINOv2, ViT and DeiT as transformers writes them
    (r"embeddings\.cls_token", "cls_token"),
    (r"embeddings\.distillation_token", "dist_token"),
    (r"embeddings\.mask_token", "mask_token"),
    (r"embeddings\.register_tokens", "register_tokens"),
    (r"embeddings\.position_embeddings", "pos_embed"),
    (r"embeddings\.patch_embeddings\.projection\.(\w+)", r"patch_embed.proj.\1"),
    (r"encoder\.layer\.(\d+)\.attention\.attention\.(query|key|value)\.(\w+)", r"blocks.\1.attn.\2.\3"),
    (r"encoder\.layer\.(\d+)\.attention\.output\.dense\.(\w+)", r"blocks.\1.attn.proj.\2"),
    (r"encoder\.layer\.(\d+)\.layernorm_before\.(\w+)", r"blocks.\1.norm1.\2"),
    (r"encoder\.layer\.(\d+)\.layernorm_after\.(\w+)", r"blocks.\1.norm2.\2"),
    (r"encoder\.layer\.(\d+)\.intermediate\.dense\.(\w+)", r"blocks.\1.mlp.fc1.\2"),
    (r"encoder\.layer\.(\d+)\.output\.dense\.(\w+)", r"blocks.\1.mlp.fc2.\2"),
    (r"encoder\.layer\.(\d+)\.(norm[12])\.(\w+)", r"blocks.\1.\2.\3"),
    (r"encoder\.layer\.(\d+)\.layer_scale([12])\.lambda1", r"blocks.\1.ls\2.gamma"),
    (r"encoder\.layer\.(\d+)\.mlp\.(fc[12])\.(\w+)", r"blocks.\1.mlp.\2.\3"),
    (r"encoder\.layer\.(\d+)\.mlp\.weights_in\.(\w+)", r"blocks.\1.mlp.w12.\2"),
    (r"encoder\.layer\.(\d+)\.mlp\.weights_out\.(\w+)", r"blocks.\1.mlp.w3.\2"),
    (r"layernorm\.(\w+)", r"norm.\1"),
)

_MMSEG = (
    # of mmseg's and mmpretrain's VisionTransformer
    (r"patch_embed\.projection\.(\w+)", r"patch_embed.proj.\1"),
    (r"layers\.(\d+)\.ln([12])\.(\w+)", r"blocks.\1.norm\2.\3"),
    (r"layers\.(\d+)\.attn\.attn\.in_proj_(\w+)", r"blocks.\1.attn.qkv.\2"),
    (r"layers\.(\d+)\.attn\.attn\.out_proj\.(\w+)", r"blocks.\1.attn.proj.\2"),
    (r"layers\.(\d+)\.attn\.(qkv|proj)\.(\w+)", r"blocks.\1.attn.\2.\3"),
    (r"layers\.(\d+)\.ffn\.layers\.0\.0\.(\w+)", r"blocks.\1.mlp.fc1.\2"),
    (r"layers\.(\d+)\.ffn\.layers\.1\.(\w+)", r"blocks.\1.mlp.fc2.\2"),
    (r"ln1\.(\w+)", r"norm.\1"),
)


def to_timm(tensors: Mapping[str, Tensor], model: nn.Module, origin: str) -> tuple[Tensors, str, Tensor | None]:
    """Return an encoder's tensors under timm's names, the name of the scheme they had, and their mask token if any.

    timm's own conversion of official releases comes last. It would also resample what has another size; here such a
    tensor is refused, since models are loaded at the size of their weights.
    """
    found, scheme = dict(tensors), "timm"
    for name, (recognises, convert) in _SCHEMES.items():
        if any(re.match(recognises, key) for key in found):
            found, scheme = convert(found), name
            break
    token = found.get("mask_token")
    own = model.state_dict()
    for name in ("patch_embed.proj.weight", "pos_embed"):
        _refuse_other_size(found, own, name, origin)
    official = getattr(importlib.import_module(type(model).__module__), "checkpoint_filter_fn", None)
    if official is None or found.keys() == own.keys():
        return found, scheme, token
    converted: Tensors = official(dict(found), model)
    # the final norm of masked image modelling becomes that of pooled features; with a class token it is the tokens'
    moved = {f"fc_{name}" for name in own if name.startswith("norm.")} & converted.keys() - own.keys()
    converted = {name.removeprefix("fc_") if name in moved else name: t for name, t in converted.items()}
    return converted, scheme if converted.keys() == found.keys() else f"{scheme}, official release", token


def _refuse_other_size(found: Mapping[str, Tensor], own: Mapping[str, Tensor], name: str, origin: str) -> None:
    if name not in found or name not in own:
        return
    file, model = found[name], own[name]
    # a cls or register token may have a place of its own in one table and none in the other
    same = abs(file.shape[1] - model.shape[1]) <= 1 if name == "pos_embed" else file.shape[-2:] == model.shape[-2:]
    if not same:
        raise DataError(
            f"{origin}: tensor {name!r} has shape {tuple(file.shape)}, the model needs {tuple(model.shape)}: "
            "weights of another image or patch size; give the entry their arguments (img_size, patch_size)"
        )


def from_efficientnet_pytorch(tensors: Mapping[str, Tensor]) -> Tensors:
    """Rename `_blocks.7._expand_conv.weight` and its like to timm's EfficientNet names."""
    places = [(s, i) for s, depth in enumerate(_B0_STAGES) for i in range(depth)]
    expanding = {
        "_expand_conv": "conv_pw",
        "_bn0": "bn1",
        "_depthwise_conv": "conv_dw",
        "_bn1": "bn2",
        "_project_conv": "conv_pwl",
        "_bn2": "bn3",
    }
    # The first block does not expand, and timm calls its projection the pointwise convolution.
    first = {"_depthwise_conv": "conv_dw", "_bn1": "bn1", "_project_conv": "conv_pw", "_bn2": "bn2"}
    outside = {
        "_conv_stem": "conv_stem",
        "_bn0": "bn1",
        "_conv_head": "conv_head",
        "_bn1": "bn2",
        "_fc": "classifier",
    }
    renamed = {}
    for name, tensor in tensors.items():
        match = re.fullmatch(r"_blocks\.(\d+)\.(_\w+)\.(\w+)", name)
        if match:
            stage, index = places[int(match[1])]
            table = first if stage == 0 else expanding
            renamed[f"blocks.{stage}.{index}.{table.get(match[2], match[2])}.{match[3]}"] = tensor
        else:
            head, _, tail = name.partition(".")
            renamed[f"{outside.get(head, head)}.{tail}"] = tensor
    return renamed


def from_transformers(tensors: Mapping[str, Tensor]) -> Tensors:
    """Rename the tensors of transformers' DINOv2, ViT and DeiT; queries, keys and values become one layer."""
    renamed: Tensors = {}
    for name, tensor in tensors.items():
        bare = re.sub(r"^(dinov2|dinov2_with_registers|vit|deit)\.", "", name)
        renamed[_renamed(bare, _TRANSFORMERS)] = tensor
    blocks = {match[1] for name in renamed if (match := re.match(r"blocks\.(\d+)\.attn\.query\.", name))}
    for block in blocks:
        for kind in ("weight", "bias"):
            parts = [renamed.pop(f"blocks.{block}.attn.{part}.{kind}", None) for part in ("query", "key", "value")]
            given = [part for part in parts if part is not None]
            if len(given) == len(parts):
                renamed[f"blocks.{block}.attn.qkv.{kind}"] = torch.cat(given)
    return renamed


def from_mmseg(tensors: Mapping[str, Tensor]) -> Tensors:
    """Rename the tensors of a VisionTransformer of the mmseg family."""
    return {_renamed(name, _MMSEG): tensor for name, tensor in tensors.items()}


def _renamed(name: str, rules: Iterable[tuple[str, str]]) -> str:
    for pattern, replacement in rules:
        if re.fullmatch(pattern, name):
            return re.sub(pattern, replacement, name)
    return name


def without_distillation_token(tensors: Mapping[str, Tensor]) -> Tensors:
    """Return a distilled DeiT's tensors for the plain architecture; any other file's as they are."""
    if "dist_token" not in tensors:
        return dict(tensors)
    kept = {name: t for name, t in tensors.items() if name != "dist_token" and not name.startswith("head_dist.")}
    table = tensors["pos_embed"]  # [1, cls + distillation + N, C]
    return {**kept, "pos_embed": torch.cat([table[:, :1], table[:, 2:]], dim=1)}


_SCHEMES: dict[str, tuple[str, Callable[[Mapping[str, Tensor]], Tensors]]] = {
    "efficientnet_pytorch": (r"_blocks\.\d+\._", from_efficientnet_pytorch),
    "transformers": (r"(\w+\.)?embeddings\.patch_embeddings\.", from_transformers),
    "mmseg": (r"layers\.\d+\.(ln1|attn\.attn)\.", from_mmseg),
}
