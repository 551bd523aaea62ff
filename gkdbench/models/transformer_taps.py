"""What a transformer gives beside its output: masked and dropped patches, queries, keys and values.

Nothing of timm is forked or patched: all are hooks on public modules, active only during the pass that asks for them.
"""

from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from functools import partial
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from gkdbench.contract import QKV


@contextmanager
def masking(model: Any, mask: Tensor, token: Tensor) -> Iterator[None]:
    """Replace the masked patches [B, N] by the mask token, before positions are added."""

    def replace(_module: nn.Module, _inputs: Any, output: Tensor) -> Tensor:
        # some families embed patches as a map [B, h, w, C]
        return torch.where(mask.reshape(*output.shape[:-1], 1), token.to(output.dtype), output)

    handle = model.patch_embed.register_forward_hook(replace)
    try:
        yield
    finally:
        handle.remove()


def can_drop(model: nn.Module) -> bool:
    """Whether patches can be dropped: the blocks' input and the rotary positions of each block can be reached."""
    # a mixed rotary embedding gives each block its own positions per head
    return hasattr(model, "norm_pre") and not getattr(model, "rope_mixed", False)


@contextmanager
def dropping(model: Any, keep: Tensor, prefix: int) -> Iterator[None]:
    """Hand only the prefix and the patches `keep` [B, M] to the blocks, each with its own position."""

    def select(_module: nn.Module, _inputs: Any, tokens: Tensor) -> Tensor:
        patches = tokens[:, prefix:]
        chosen = patches.gather(1, keep.unsqueeze(-1).expand(-1, -1, patches.shape[-1]))
        return torch.cat([tokens[:, :prefix], chosen], dim=1)

    def turned(_module: nn.Module, inputs: Any, named: dict[str, Any]) -> tuple[Any, dict[str, Any]]:
        rope = named.get("rope")
        if rope is None:
            return inputs, named
        return inputs, {**named, "rope": rope[keep].unsqueeze(1)}  # [N, D] -> [B, 1, M, D]

    with ExitStack() as stack:
        # norm_pre is the last module before the blocks, so it sees every token with its absolute position
        stack.callback(model.norm_pre.register_forward_hook(select).remove)
        for block in model.blocks.children():
            stack.callback(block.register_forward_pre_hook(turned, with_kwargs=True).remove)
        yield


@contextmanager
def recording_qkv(block: Any, found: Callable[[QKV], None]) -> Iterator[None]:
    """Tell `found` the queries, keys and values [B, T, C] of a block, before rotary positions and the head split."""
    attention = block.attn
    fused, layers = getattr(attention, "qkv", None), ("q_proj", "k_proj", "v_proj")
    parts: dict[str, Tensor] = {}

    def record(_module: nn.Module, _inputs: Any, output: Tensor) -> None:
        q, k, v = output.chunk(3, dim=-1)
        found((q, k, v))

    def repeat(module: Any, inputs: tuple[Tensor, ...]) -> None:
        middle = torch.zeros_like(module.q_bias) if module.k_bias is None else module.k_bias
        bias = torch.cat([module.q_bias, middle, module.v_bias])
        record(module, inputs, F.linear(inputs[0], module.qkv.weight, bias))

    def keep(name: str, _module: nn.Module, _inputs: Any, output: Tensor) -> None:
        parts[name] = output
        if len(parts) == len(layers):
            found((parts["q_proj"], parts["k_proj"], parts["v_proj"]))

    if fused is None:
        handles = [getattr(attention, name).register_forward_hook(partial(keep, name)) for name in layers]
    elif getattr(attention, "q_bias", None) is not None:
        # such blocks use the layer's weight without calling it, so the projection is repeated from their input
        handles = [attention.register_forward_pre_hook(repeat)]
    else:
        handles = [fused.register_forward_hook(record)]
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()


def gives_qkv(block: nn.Module, width: int) -> bool:
    """Whether a block's queries, keys and values can be recorded; tried on four tokens."""
    recorded: list[QKV] = []
    place = next(block.parameters())
    tokens = torch.zeros(1, 4, width, device=place.device, dtype=place.dtype)
    training = block.training
    try:
        block.eval()
        with torch.no_grad(), recording_qkv(block, recorded.append):
            block(tokens)
    except Exception:  # a family without such layers, or whose blocks want more than tokens; what they do is unknown
        return False
    finally:
        block.train(training)
    return bool(recorded) and all(part.shape[:2] == tokens.shape[:2] for part in recorded[0])
