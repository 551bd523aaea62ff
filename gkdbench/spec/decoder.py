"""Decoders as data: which one, how large; the same for every method of a benchmark."""

import math
from itertools import pairwise
from typing import Annotated, ClassVar, Literal, get_args

from pydantic import Field, model_validator

from gkdbench.errors import UsageError
from gkdbench.spec.augmentation import Share
from gkdbench.spec.documents import Added, Strict, check_name
from gkdbench.spec.recipe import Positive, Rate
from gkdbench.spec.task import TaskName

QUARTERS = [1 / 3, 1 / 2, 2 / 3, 1.0]
"""Blocks 3, 5, 7, 11 of 12 and 7, 11, 15, 23 of 24, counted from 0: what the study's pyramids read."""
Depth = Annotated[float, Field(gt=0, le=1)]
FINEST = 4.0
"""How much finer than the token grid a detector's pyramid may be: two doublings."""


class _Reading(Strict):
    task: ClassVar[TaskName] = "segmentation"
    """What the decoder is for."""
    reads: list[Depth]

    @property
    def smallest_grid(self) -> int:
        """Tokens that a side of a transformer's grid must have."""
        return 1


class GridDecoder(_Reading):
    """A decoder on the tokens of one grid: a linear probe, or one block of spatial mixing with up-sampling."""

    name: Literal["context", "linear"]
    width: Positive = 96
    reads: Annotated[list[Depth], Field(min_length=1)] = [1.0]
    """Depths of the encoder that the decoder reads: 1.0 the final tokens, less a block's raw output."""


class _Pyramid(_Reading):
    reads: Annotated[list[Depth], Field(min_length=4, max_length=4)] = QUARTERS
    """Depths of a transformer whose raw outputs make the pyramid, one per stride 4, 8, 16 and 32; a hierarchical
    encoder has its own."""


class SemFPNDecoder(_Pyramid):
    """Semantic FPN: a feature pyramid and a head that sums its levels at stride 4."""

    name: Literal["semfpn"]
    width: Positive = 256
    """Channels of the pyramid."""
    head_width: Positive = 128
    """Channels of the summed map."""
    dropout: Annotated[float, Field(ge=0, lt=1)] = 0.1


class Mask2FormerDecoder(_Pyramid):
    """Mask2Former: queries that each give a class and a mask. Defaults: the study's, but for `init`."""

    name: Literal["mask2former"]
    width: Positive = 256
    queries: Positive = 100
    pixel_layers: Positive = 6
    """Layers of deformable attention in the pixel decoder."""
    query_layers: Positive = 9
    """Layers of the transformer decoder; each of them, and the initial queries, are supervised."""
    heads: Positive = 8
    pixel_feedforward: Positive = 1024
    query_feedforward: Positive = 2048
    points: Positive = 12544
    """Points per mask at which masks are matched and compared."""
    class_weight: float = 2.0
    mask_weight: float = 5.0
    dice_weight: float = 5.0
    no_object_weight: float = 0.1
    """Weight of the "no object" class in the classification loss."""
    init: Annotated[Literal["transformers", "mmdet"], Added()] = "transformers"
    """Whose initialisation: that of transformers, most of it N(0, 0.02), or that of mmdet, which the study has."""

    @model_validator(mode="after")
    def _divides(self) -> "Mask2FormerDecoder":
        if self.width % self.heads or self.width % 32:
            raise ValueError(f"width {self.width} must be a multiple of heads ({self.heads}) and of 32")
        return self


class FasterRCNNDecoder(_Reading):
    """Faster R-CNN on a simple feature pyramid. Defaults: torchvision's, whose parts it is made of."""

    task: ClassVar[TaskName] = "detection"
    name: Literal["faster-rcnn"]
    width: Positive = 256
    """Channels of the feature pyramid."""
    reads: Annotated[list[Depth], Field(min_length=1, max_length=1)] = [1.0]
    """The depth of a transformer that the pyramid is made from: 1.0 the final tokens. A hierarchical encoder has levels
    of its own."""
    scales: list[Rate] = [4.0, 2.0, 1.0, 0.5]
    """Sizes of the pyramid's levels relative to the token grid, fine to coarse, each half the one before: strides 4, 8,
    16 and 32 with patches of 16. Of a hierarchical encoder as many of its last levels are read."""
    anchors: list[list[Positive]] = [[32], [64], [128], [256]]
    """Sides of the anchors of every level, in pixels of the image as the detector sees it."""
    ratios: Annotated[list[Rate], Field(min_length=1)] = [0.5, 1.0, 2.0]
    """Height by width of the anchors; every size has all of them."""
    rpn_overlaps: tuple[Share, Share] = (0.3, 0.7)
    """Below the first overlap an anchor is background, from the second an object; between them it is not looked at."""
    rpn_samples: Positive = 256
    """Anchors per image in the loss, at most half of them objects."""
    rpn_kept: tuple[Positive, Positive] = (2000, 1000)
    """Proposals per level before suppression and proposals per image after it, in training."""
    rpn_kept_judging: tuple[Positive, Positive] = (1000, 1000)
    """The same where a detector is judged."""
    rpn_nms: Share = 0.7
    """Overlap from which the lower scored of two proposals is suppressed."""
    roi_size: Positive = 7
    """Cells per side that a region's features are pooled to."""
    roi_scale: Positive = 224
    """Side in pixels of the regions that are pooled from the level of stride 16; half as large ones from the next finer
    level, as far as there are levels."""
    roi_sampling: Positive = 2
    """Points per side and cell at which they are sampled."""
    roi_overlap: Share = 0.5
    """Overlap from which a proposal is an object."""
    roi_samples: Positive = 512
    """Proposals per image in the loss."""
    roi_positives: Share = 0.25
    """Largest share of objects among them."""
    head_width: Positive = 1024
    """Channels of the two layers before class and box."""
    score_threshold: Share = 0.05
    """Score below which nothing is found."""
    nms: Share = 0.5
    """Overlap from which the lower scored of two finds of a class is suppressed."""
    detections: Positive = 100
    """Finds per image at most, the best scored of all classes."""

    @property
    def smallest_grid(self) -> int:
        """Tokens of which the coarsest level has one left."""
        return math.ceil(1 / self.scales[-1])

    @model_validator(mode="after")
    def _levels(self) -> "FasterRCNNDecoder":
        if len(self.anchors) != len(self.scales):
            raise ValueError(f"anchors has {len(self.anchors)} levels and scales {len(self.scales)}")
        if len({len(sizes) for sizes in self.anchors}) != 1 or not self.anchors[0]:
            raise ValueError("every level needs as many anchors as the others, at least one")
        if any(finer != 2 * coarser for finer, coarser in pairwise(self.scales)) or self.scales[0] > FINEST:
            raise ValueError(f"scales must halve from level to level, from {FINEST:g} on or less")
        if self.rpn_overlaps[0] > self.rpn_overlaps[1]:
            raise ValueError("rpn_overlaps needs low <= high")
        return self


Decoder = GridDecoder | SemFPNDecoder | Mask2FormerDecoder | FasterRCNNDecoder
AnyDecoder = Annotated[Decoder, Field(discriminator="name")]
_KINDS: dict[str, type[Decoder]] = {
    name: kind
    for kind in (GridDecoder, SemFPNDecoder, Mask2FormerDecoder, FasterRCNNDecoder)
    for name in get_args(kind.model_fields["name"].annotation)
}


def decoder_names(task: TaskName) -> list[str]:
    """Return the names of the decoders that are for a task."""
    return [name for name, kind in _KINDS.items() if kind.task == task]


def other_decoder(name: str, given: Decoder) -> Decoder:
    """Return the decoder of a name: with the sizes of the one given if it is of the same kind, else its defaults."""
    check_name("--decoder: unknown decoder", name, _KINDS)
    kind = _KINDS[name]
    if kind.task != given.task:
        raise UsageError(f"--decoder: {name} is for {kind.task}, and the benchmark's {given.name} for {given.task}")
    return given.model_copy(update={"name": name}) if type(given) is kind else kind.model_validate({"name": name})
