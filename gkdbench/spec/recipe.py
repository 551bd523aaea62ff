"""Recipes: how each stage is optimised. One section per stage name, never per method."""

from dataclasses import dataclass
from typing import Annotated, Literal

from pydantic import Field, model_validator

from gkdbench.spec.augmentation import AnyAugmentation, Share
from gkdbench.spec.augmentation import Augmentation as Augmentation
from gkdbench.spec.augmentation import Positive as Positive
from gkdbench.spec.documents import Added, Strict

Rate = Annotated[float, Field(gt=0)]
STAGE_NAMES = ("proxy", "source", "task", "joint", "teacher")
Role = Literal["source", "val", "target", "proxy"]
"""What a split is read for."""


@dataclass(frozen=True)
class Sight:
    """How an encoder sees images: their height and width, and the side of a patch (None: its entry's) in pixels."""

    size: tuple[int, int]
    patch: int | None = None


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
    rates_for_batch: Annotated[Positive | None, Added()] = None
    """Global batch that both rates are meant for: they grow in proportion to `batch`. The study's distillation names
    5e-4 for 512 images, so its second stage runs at 1.25e-4 with its 128. None: the rates are meant as they stand."""
    schedule: Literal["cosine", "poly"] = "cosine"
    power: Rate = 0.9
    """Exponent of the poly schedule; unused by cosine."""
    floor: Share = 0.0
    """Final learning rate as a share of the peak."""
    warmup: Annotated[int, Field(ge=0)] = 0
    """Steps of linear warm-up, counted within `steps`."""
    hold: Annotated[Positive, Added()] = 1
    """The rate changes only every so many steps. The study's distillation changes it once per epoch."""
    lag: Annotated[int, Field(ge=0), Added()] = 0
    """By how many holds the schedule is behind. The study's distillation steps its cosine with the number of the epoch
    just finished (a lag of 1), so its first two epochs share the peak and its last never gets to its own rate."""
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
    augmentation: AnyAugmentation = Augmentation()
    repeats: Annotated[Positive, Added()] = 1
    """How often an epoch shows an image in a row, augmented anew each time. Above 1 an epoch is still about as long as
    the images are many, in whole batches, and so shows one in `repeats` of them: the study's distillation (3)."""

    @property
    def rate_scale(self) -> float:
        """By what both rates are multiplied."""
        return 1.0 if self.rates_for_batch is None else self.batch / self.rates_for_batch

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
    limits: dict[Role, Positive] = {}
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
