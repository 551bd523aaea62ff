"""Recipes: how each stage is optimised. One section per stage name, never per method."""

from dataclasses import dataclass
from typing import Annotated, Literal

from pydantic import Field, model_validator

from gkdbench.spec.documents import Added, Strict

Positive = Annotated[int, Field(gt=0)]
Rate = Annotated[float, Field(gt=0)]
Share = Annotated[float, Field(ge=0, le=1)]
STAGE_NAMES = ("proxy", "source", "task", "joint", "teacher")


@dataclass(frozen=True)
class Sight:
    """How an encoder sees images: their height and width, and the side of a patch (None: its entry's) in pixels."""

    size: tuple[int, int]
    patch: int | None = None


class Augmentation(Strict):
    """What happens to a training image before it becomes a batch row; the same for every method."""

    flip: Share = 0.5
    """Probability of a horizontal flip."""
    scale: tuple[float, float] | None = None
    """Range of random resizing, relative to the stage's size, before the random crop; None: no crop."""
    brightness: Share = 0.0
    """Half-width of the random brightness factor around 1; photometric, so `clean` does not have it."""
    contrast: Share = 0.0
    """Half-width of the random contrast factor around 1; photometric."""

    @model_validator(mode="after")
    def _ordered(self) -> "Augmentation":
        if self.scale is not None and not 0 < self.scale[0] <= self.scale[1]:
            raise ValueError("scale needs 0 < low <= high")
        return self


class StageRecipe(Strict):
    """Budget, optimiser and data treatment of one stage."""

    steps: Positive
    """Optimiser steps."""
    batch: Positive
    """Global batch: images per optimiser step over all devices and micro-batches."""
    micro_batch: Positive | None = None
    """Images per forward pass on one device; None: the global batch shared out over the devices."""
    lr: Rate
    """Peak learning rate of head and adaptors."""
    encoder_lr: Rate
    """Peak learning rate of the student's encoder."""
    schedule: Literal["cosine", "poly"] = "cosine"
    power: Rate = 0.9
    """Exponent of the poly schedule; unused by cosine."""
    floor: Share = 0.0
    """Final learning rate as a share of the peak."""
    warmup: Annotated[int, Field(ge=0)] = 0
    """Steps of linear warm-up, counted within `steps`."""
    weight_decay: Annotated[float, Field(ge=0)] = 0.05
    """AdamW decay of what `decays` says."""
    decays: Annotated[Literal["matrices", "study"], Added()] = "matrices"
    """matrices: all but biases and other 1-d tensors (the study's distillation, and most recipes). study: its task
    stage, where norms and the decoder's queries are not decayed and all else is, biases and the whole encoder too."""
    betas: tuple[float, float] = (0.9, 0.999)
    clip: Annotated[float, Field(gt=0)] | None = None
    """Largest gradient norm; None: no clipping."""
    precision: Literal["32-true", "bf16-mixed"] = "32-true"
    size: tuple[Positive, Positive]
    """Height and width of the training images in pixels."""
    patch: Annotated[Positive | None, Added()] = None
    """Side of a patch in this stage, for every transformer; None: what its entry in models.yaml says."""
    augmentation: Augmentation = Augmentation()

    @property
    def sight(self) -> Sight:
        """How encoders see the images of this stage."""
        return Sight(self.size, self.patch)

    @model_validator(mode="after")
    def _consistent(self) -> "StageRecipe":
        if self.micro_batch is not None and self.batch % self.micro_batch:
            raise ValueError("batch must be a multiple of micro_batch")
        if self.warmup >= self.steps:
            raise ValueError("warmup must be shorter than steps")
        return self


class Preset(Strict):
    """One affordable or faithful way to run a benchmark: how many images, and a recipe per stage name."""

    description: str
    limits: dict[Literal["source", "val", "target", "proxy"], Positive] = {}
    """Largest number of images per role; a role left out is used whole."""
    proxy: StageRecipe
    source: StageRecipe
    task: StageRecipe
    joint: StageRecipe
    teacher: StageRecipe

    def stage(self, name: str) -> StageRecipe:
        """Return the section of a stage name."""
        recipe: StageRecipe = getattr(self, name)
        return recipe
