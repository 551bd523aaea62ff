"""AdamW over the groups every stage has: encoder and the rest, each with and without weight decay."""

from collections.abc import Iterator
from typing import Any

import torch
from torch import nn

from gkdbench.engine.passes import StageModule
from gkdbench.engine.schedule import rate_factor
from gkdbench.spec.recipe import StageRecipe

NORMS = (nn.LayerNorm, nn.GroupNorm, nn.modules.batchnorm._BatchNorm)


def build_optimiser(module: StageModule, recipe: StageRecipe) -> torch.optim.AdamW:
    """Return AdamW over all parameters that train, decayed as the recipe says.

    Raises ValueError where nothing trains.
    """
    encoder = {id(p) for p in module.student.encoder.parameters()}
    undecayed = set(map(id, _undecayed(module, recipe)))
    groups: dict[tuple[bool, bool], list[nn.Parameter]] = {}
    for parameter in module.parameters():
        if parameter.requires_grad:
            key = (id(parameter) in encoder, id(parameter) not in undecayed)
            groups.setdefault(key, []).append(parameter)
    if not groups:
        raise ValueError(f"stage {module.stage.name!r} trains nothing")
    settings: list[dict[str, Any]] = []
    for (in_encoder, decayed), parameters in sorted(groups.items(), key=lambda item: item[0]):
        peak = recipe.rate_scale * (recipe.encoder_lr if in_encoder else recipe.lr)
        settings.append(
            {
                "params": parameters,
                "lr": peak,
                "peak": peak,
                "weight_decay": recipe.weight_decay if decayed else 0.0,
            }
        )
    # The fused kernel is a third of the step on a CPU for models this small; on a GPU torch chooses.
    return torch.optim.AdamW(settings, betas=recipe.betas, fused=True)


def _undecayed(module: StageModule, recipe: StageRecipe) -> Iterator[nn.Parameter]:
    if recipe.decays == "matrices":
        yield from (parameter for parameter in module.parameters() if parameter.ndim <= 1)
        return
    # The study's task stage: its key for the encoder is longer than those for norms, and the longest counts, so the
    # encoder's norms are decayed.
    student = module.student
    outside = [part for part in (student.head, module.stage) if part is not None]
    queries = student.head.undecayed if student.head is not None else ()
    for part in outside:
        for name, owner in part.named_modules():
            is_norm = isinstance(owner, NORMS) or "norm" in name
            for own, parameter in owner.named_parameters(recurse=False):
                full = f"{name}.{own}".lstrip(".")
                if is_norm or "norm" in own or (part is student.head and full.startswith(queries)):
                    yield parameter


def set_rates(optimiser: torch.optim.Optimizer, recipe: StageRecipe, step: int) -> float:
    """Set every group's learning rate for a step; return the factor."""
    factor = rate_factor(recipe, step)
    for group in optimiser.param_groups:
        group["lr"] = group["peak"] * factor
    return factor
