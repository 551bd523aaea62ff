"""Learning rates as pure functions of the step: nothing to save, nothing to get wrong after a resume."""

import math

from gkdbench.spec.recipe import StageRecipe


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
