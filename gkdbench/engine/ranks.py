"""Processes that train together: what they agree on, what they gather, and how they part."""

import gc
from typing import Any

import torch
import torch.distributed as group
from lightning_fabric import Fabric
from torch import Tensor


def over_ranks(fabric: Fabric, values: Tensor, how: str) -> Tensor:
    """Return the "sum" or the "mean" of values over all ranks; on one device the values themselves."""
    if fabric.world_size == 1:
        return values
    reduced = fabric.all_reduce(values, reduce_op=how)
    assert isinstance(reduced, Tensor)
    return reduced


def any_rank(fabric: Fabric, flag: bool) -> bool:
    """Whether any rank raises the flag, so that all do the same."""
    if fabric.world_size == 1:
        return flag
    return bool(over_ranks(fabric, torch.tensor(float(flag), device=fabric.device), "sum") > 0)


class _OwnPart(torch.autograd.Function):
    """The same values; a gradient multiplied by the number of ranks."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, world: int) -> Tensor:
        ctx.world = world
        return x.view_as(x)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, None]:
        return gradients[0] * ctx.world, None


def own_part(x: Tensor, world: int) -> Tensor:
    """Return a rank's own part of a gathered tensor: bitwise x, its gradient times `world`.

    The mean of gradients over ranks divides by the number of ranks, while a part gets a gradient on its own rank
    alone.
    """
    part: Tensor = _OwnPart.apply(x, world)
    return part


def _in_group() -> bool:
    return group.is_available() and group.is_initialized()


def gathered(x: Tensor) -> Tensor:
    """Concatenate over ranks; see Step.gather."""
    if not _in_group() or group.get_world_size() == 1:
        return x
    world = group.get_world_size()
    parts = [torch.empty_like(x) for _ in range(world)]
    group.all_gather(parts, x.detach().contiguous())
    parts[group.get_rank()] = own_part(x, world)  # gradients flow through the own part only
    return torch.cat(parts)


def leave_group(*, wait: bool = True) -> None:
    """End the group while the interpreter still runs, if there is one; `wait`: for the other processes first.

    A process that exits with a group open may die in the threads of its backend: they hold tensors whose release needs
    an interpreter that is gone by then (PyTorch's pull request 179291). Call it where nothing that a group
    wrapped is in use any more.
    """
    if _in_group():
        gc.collect()  # wrapped modules lie in cycles and hold the group
        if wait:
            group.barrier()
        group.destroy_process_group()
