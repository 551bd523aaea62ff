"""What every decoder offers: an output that methods look at, and the loss against the task's labels."""

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import torch.nn.functional as F
from torch import Tensor, nn

from gkdbench.errors import Unsupported


class Output:
    """What a decoder made of a pass: logits, pixels, pyramid, as far as its kind has them."""

    LACKS: ClassVar[Mapping[str, str]] = {}
    """What this kind has not, and what a method that looks at it is told."""

    def __getattr__(self, name: str) -> Any:
        """Raise Unsupported for what this kind has not."""
        if name in self.LACKS:
            raise Unsupported(self.LACKS[name])
        raise AttributeError(f"{type(self).__name__} has no {name}")


@dataclass
class Decoded(Output):
    """The output of a decoder that scores every pixel, at its own resolution."""

    LACKS = {"pyramid": "needs a feature pyramid, and a segmentor has none"}

    logits: Tensor  # [B, K, h', w']
    pixels: Tensor  # [B, D, h', w'] last features before the classifier


class Head(nn.Module, ABC):
    """Common part of all decoders, whatever their task."""

    pixel_dim: int = 0
    """Channels of the last features before the classifier; 0 where not every pixel is scored."""
    pyramid_dim: int = 0
    """Channels of a detector's feature pyramid; 0 where there is none."""
    undecayed: tuple[str, ...] = ()
    """Beginnings of the names of parameters, besides norms, that the study's task recipe does not decay."""

    @abstractmethod
    def forward(self, maps: Sequence[Tensor], grid: tuple[int, int]) -> Output:
        """Decode what the decoder's kind reads; `grid` is the token grid."""

    @abstractmethod
    def task_loss(self, decoded: Any, labels: Any, ignore: int) -> Tensor:
        """Return the loss of this decoder's own output against the task's labels."""


class SegmentationHead(Head):
    """Common part of the decoders of segmentation; the task loss of those that score every pixel."""

    @abstractmethod
    def forward(self, maps: Sequence[Tensor], grid: tuple[int, int]) -> Decoded:
        """Decode what the decoder's kind reads; `grid` is the token grid.

        A grid decoder gets tokens [B, N, C_i] on that grid, a pyramid decoder maps [B, C_i, h_i, w_i] at strides 4, 8,
        16 and 32, without the final norm.
        """

    def scores(self, decoded: Decoded, size: tuple[int, int] | None) -> Tensor:
        """Return class scores [B, K, *size] whose largest is the prediction, and which windows average.

        size: that of the window the head saw; None: as large as the head makes them.
        """
        logits = decoded.logits.float()
        if size is None:
            return logits
        return F.interpolate(logits, size=size, mode="bilinear", align_corners=False)

    def task_loss(self, decoded: Decoded, labels: Tensor, ignore: int) -> Tensor:
        """Cross-entropy over labelled pixels at the logits' resolution (labels by nearest neighbour).

        labels: [B, H, W] int64. A batch without a labelled pixel costs zero.
        """
        logits = decoded.logits
        if labels.shape[1:] != logits.shape[2:]:
            small = F.interpolate(labels[:, None].float(), size=logits.shape[2:], mode="nearest-exact")
            labels = small[:, 0].long()
        total = F.cross_entropy(logits.float(), labels, ignore_index=ignore, reduction="sum")
        return total / (labels != ignore).sum().clamp(min=1)
