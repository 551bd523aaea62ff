"""Building the decoder that a benchmark names."""

from collections.abc import Sequence

from gkdbench.detection.faster_rcnn import FasterRCNN
from gkdbench.models.decoders.context import ContextDecoder
from gkdbench.models.decoders.head import Head
from gkdbench.models.decoders.linear import LinearDecoder
from gkdbench.models.decoders.semfpn import SemFPN
from gkdbench.spec.decoder import Decoder, FasterRCNNDecoder, GridDecoder, Mask2FormerDecoder


def build_decoder(spec: Decoder, widths: Sequence[int], grid: tuple[int, int], num_classes: int) -> Head:
    """Build a decoder on features of the given widths; its initialisation uses torch's global generator."""
    if isinstance(spec, GridDecoder):
        if spec.name == "linear":
            return LinearDecoder(widths, num_classes)
        return ContextDecoder(widths, grid, num_classes, spec.width)
    if isinstance(spec, Mask2FormerDecoder):
        from gkdbench.models.decoders.mask2former import Mask2Former  # transformers takes a second to import

        return Mask2Former(widths, num_classes, spec)
    if isinstance(spec, FasterRCNNDecoder):
        return FasterRCNN(widths, num_classes, spec)
    return SemFPN(widths, num_classes, spec)
