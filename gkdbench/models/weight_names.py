"""Renaming tensors of other naming schemes to timm's."""

import re
from collections.abc import Callable, Mapping

from torch import Tensor

Tensors = dict[str, Tensor]
# Blocks per stage of EfficientNet-B0 and lite0: the flat numbering of efficientnet_pytorch needs them.
_B0_STAGES = (1, 2, 2, 3, 3, 4, 1)


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


def _unchanged(tensors: Mapping[str, Tensor]) -> Tensors:
    return dict(tensors)


RENAMINGS: dict[str, Callable[[Mapping[str, Tensor]], Tensors]] = {
    "timm": _unchanged,
    "efficientnet_pytorch": from_efficientnet_pytorch,
}
