"""AdamW over the groups every stage has: encoder and the rest, each with and without weight decay."""

from typing import Any

import torch
from torch import nn

from gkdbench.engine.passes import StageModule
from gkdbench.engine.schedule import rate_factor
from gkdbench.spec.recipe import StageRecipe


def build_optimiser(module: StageModule, recipe: StageRecipe) -> torch.optim.AdamW:
    """Return AdamW over all parameters that train; 1-d tensors are not decayed.

    Raises ValueError where nothing trains.
    """
    encoder = {id(p) for p in module.student.encoder.parameters()}
    groups: dict[tuple[bool, bool], list[nn.Parameter]] = {}
    for parameter in module.parameters():
        if parameter.requires_grad:
            key = (id(parameter) in encoder, parameter.ndim > 1)
            groups.setdefault(key, []).append(parameter)
    if not groups:
        raise ValueError(f"stage {module.stage.name!r} trains nothing")
    settings: list[dict[str, Any]] = []
    for (in_encoder, decayed), parameters in sorted(groups.items(), key=lambda item: item[0]):
        peak = recipe.encoder_lr if in_encoder else recipe.lr
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


def set_rates(optimiser: torch.optim.Optimizer, recipe: StageRecipe, step: int) -> float:
    """Set every group's learning rate for a step; return the factor."""
    factor = rate_factor(recipe, step)
    for group in optimiser.param_groups:
        group["lr"] = group["peak"] * factor
    return factor
