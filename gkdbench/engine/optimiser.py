"""AdamW over the groups every stage has (encoder and the rest, each with and without weight decay), and its rates.

Learning rates are pure functions of the step: nothing to save, nothing to get wrong after a resume.
"""

import math
from collections.abc import Iterator
from typing import Any

import torch
from torch import nn

from gkdbench.engine.passes import StageModule
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
        decay = recipe.weight_decay if decayed else 0.0
        settings.append({"params": parameters, "lr": peak, "peak": peak, "weight_decay": decay})
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


def set_rates(optimiser: torch.optim.Optimizer, recipe: StageRecipe, step: int) -> None:
    """Set every group's learning rate for a step."""
    factor = rate_factor(recipe, step)
    for group in optimiser.param_groups:
        group["lr"] = group["peak"] * factor


def rate_factor(recipe: StageRecipe, step: int) -> float:
    """Return the learning rate of an optimiser step as a share of the peak.

    Linear warm-up to the peak, then cosine, or (1 - t)^power, from 1 to `floor`; t runs from 0 at the end of the
    warm-up to 1 at the end of the stage. A hold of several steps keeps the rate of its first, moved back by the lag.
    """
    step = max(step // recipe.hold - recipe.lag, 0) * recipe.hold
    if step < recipe.warmup:
        return min((step + recipe.hold) / recipe.warmup, 1.0)
    progress = (step - recipe.warmup) / max(recipe.steps - recipe.warmup, 1)
    if recipe.schedule == "cosine":
        shape = 0.5 * (1 + math.cos(math.pi * progress))
    else:
        shape = (1 - progress) ** recipe.power
    return recipe.floor + (1 - recipe.floor) * shape
