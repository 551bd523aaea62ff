"""Decoders as data: which one, how large; the same for every method of a benchmark."""

from typing import Annotated, Literal, get_args

from pydantic import Field, TypeAdapter, model_validator

from gkdbench.errors import UsageError
from gkdbench.spec.documents import Strict, nearest
from gkdbench.spec.recipe import Positive

QUARTERS = [1 / 3, 1 / 2, 2 / 3, 1.0]
"""Blocks 3, 5, 7, 11 of 12 and 7, 11, 15, 23 of 24, counted from 0: what the study's pyramids read."""


class _Reading(Strict):
    reads: list[float]

    @model_validator(mode="after")
    def _depths(self) -> "_Reading":
        if not self.reads or any(not 0 < depth <= 1 for depth in self.reads):
            raise ValueError("reads needs at least one depth in (0, 1]")
        return self


class GridDecoder(_Reading):
    """A decoder on the tokens of one grid: a linear probe, or one block of spatial mixing with up-sampling."""

    name: Literal["context", "linear"]
    width: Positive = 96
    reads: list[float] = [1.0]
    """Depths of the encoder that the decoder reads: 1.0 the final tokens, less a block's raw output."""


class _Pyramid(_Reading):
    reads: list[float] = QUARTERS
    """Depths of a transformer whose raw outputs make the pyramid; a hierarchical encoder has its own."""

    @model_validator(mode="after")
    def _four(self) -> "_Pyramid":
        if len(self.reads) != 4:
            raise ValueError("reads needs four depths, one per stride 4, 8, 16 and 32")
        return self


class SemFPNDecoder(_Pyramid):
    """Semantic FPN: a feature pyramid and a head that sums its levels at stride 4."""

    name: Literal["semfpn"]
    width: Positive = 256
    """Channels of the pyramid."""
    head_width: Positive = 128
    """Channels of the summed map."""
    dropout: Annotated[float, Field(ge=0, lt=1)] = 0.1


class Mask2FormerDecoder(_Pyramid):
    """Mask2Former: queries that each give a class and a mask. Defaults: the study's."""

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

    @model_validator(mode="after")
    def _divides(self) -> "Mask2FormerDecoder":
        if self.width % self.heads or self.width % 32:
            raise ValueError(f"width {self.width} must be a multiple of heads ({self.heads}) and of 32")
        return self


Decoder = GridDecoder | SemFPNDecoder | Mask2FormerDecoder
AnyDecoder = Annotated[Decoder, Field(discriminator="name")]
_KINDS = (GridDecoder, SemFPNDecoder, Mask2FormerDecoder)
DECODER_NAMES: tuple[str, ...] = tuple(
    name for kind in _KINDS for name in get_args(kind.model_fields["name"].annotation)
)


def other_decoder(name: str, given: Decoder) -> Decoder:
    """Return the decoder of a name: with the sizes of the one given if it is of the same kind, else its defaults."""
    if name not in DECODER_NAMES:
        known = ", ".join(DECODER_NAMES)
        raise UsageError(f"--decoder: unknown decoder {name!r}{nearest(name, DECODER_NAMES)} (known: {known})")
    if name in get_args(type(given).model_fields["name"].annotation):
        return given.model_copy(update={"name": name})
    made: Decoder = TypeAdapter(AnyDecoder).validate_python({"name": name})
    return made
