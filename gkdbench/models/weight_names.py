"""Tensor names of other schemes as timm's: recognised by the names themselves, converted on the fly."""

import importlib
import re
from collections.abc import Iterable, Mapping

import torch
from torch import Tensor, nn

from gkdbench.errors import DataError

Tensors = dict[str, Tensor]
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
_EFFICIENTNET = (
    # of efficientnet_pytorch, its blocks numbered as timm numbers them
    (r"_conv_(stem|head)\.(\w+)", r"conv_\1.\2"),
    (r"_bn0\.(\w+)", r"bn1.\1"),
    (r"_bn1\.(\w+)", r"bn2.\1"),
    (r"_fc\.(\w+)", r"classifier.\1"),
    # the first block does not expand, and timm calls its projection the pointwise convolution
    (r"(blocks\.0\.0)\._project_conv\.(\w+)", r"\1.conv_pw.\2"),
    (r"(blocks\.0\.0)\._bn([12])\.(\w+)", r"\1.bn\2.\3"),
    (r"(blocks\.\d\.\d)\._expand_conv\.(\w+)", r"\1.conv_pw.\2"),
    (r"(blocks\.\d\.\d)\._depthwise_conv\.(\w+)", r"\1.conv_dw.\2"),
    (r"(blocks\.\d\.\d)\._project_conv\.(\w+)", r"\1.conv_pwl.\2"),
    (r"(blocks\.\d\.\d)\._bn0\.(\w+)", r"\1.bn1.\2"),
    (r"(blocks\.\d\.\d)\._bn1\.(\w+)", r"\1.bn2.\2"),
    (r"(blocks\.\d\.\d)\._bn2\.(\w+)", r"\1.bn3.\2"),
)
_SCHEMES = {
    "efficientnet_pytorch": (r"_blocks\.\d+\._", _EFFICIENTNET),
    "transformers": (r"(\w+\.)?embeddings\.patch_embeddings\.", _TRANSFORMERS),
    "mmseg": (r"layers\.\d+\.(ln1|attn\.attn)\.", _MMSEG),
}
"""What a scheme is recognised by, and its rules; the first rule that fits a name counts."""
# Blocks per stage of EfficientNet-B0 and lite0, which efficientnet_pytorch numbers without stages
_PLACES = [f"{stage}.{index}" for stage, depth in enumerate((1, 2, 2, 3, 3, 4, 1)) for index in range(depth)]


def to_timm(tensors: Mapping[str, Tensor], model: nn.Module, origin: str) -> tuple[Tensors, str, Tensor | None]:
    """Return an encoder's tensors under timm's names, the name of the scheme they had, and their mask token if any.

    timm's own conversion of official releases comes last. It would also resample what has another size; here such a
    tensor is refused, since models are loaded at the size of their weights.
    """
    found, scheme = dict(tensors), "timm"
    for name, (recognises, rules) in _SCHEMES.items():
        if any(re.match(recognises, key) for key in found):
            found, scheme = _joined({_renamed(key, rules): tensor for key, tensor in found.items()}), name
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


def _renamed(name: str, rules: Iterable[tuple[str, str]]) -> str:
    name = re.sub(r"^(dinov2|dinov2_with_registers|vit|deit)\.", "", name)
    name = re.sub(r"^_blocks\.(\d+)\.", lambda found: f"blocks.{_PLACES[int(found[1])]}.", name)
    for pattern, replacement in rules:
        if re.fullmatch(pattern, name):
            return re.sub(pattern, replacement, name)
    return name


def _joined(tensors: Tensors) -> Tensors:
    """Make one layer of queries, keys and values."""
    whole = dict(tensors)
    for name in tensors:
        match = re.fullmatch(r"(blocks\.\d+\.attn)\.query\.(\w+)", name)
        names = [f"{match[1]}.{part}.{match[2]}" for part in ("query", "key", "value")] if match else []
        if match and tensors.keys() >= set(names):
            whole[f"{match[1]}.qkv.{match[2]}"] = torch.cat([whole.pop(part) for part in names])
    return whole


def without_distillation_token(tensors: Mapping[str, Tensor]) -> Tensors:
    """Return a distilled DeiT's tensors for the plain architecture; any other file's as they are."""
    if "dist_token" not in tensors:
        return dict(tensors)
    kept = {name: t for name, t in tensors.items() if name != "dist_token" and not name.startswith("head_dist.")}
    table = tensors["pos_embed"]  # [1, cls + distillation + N, C]
    return {**kept, "pos_embed": torch.cat([table[:, :1], table[:, 2:]], dim=1)}
