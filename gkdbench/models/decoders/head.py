"""What every decoder offers: logits and pixel features at its own resolution, and the loss against labels."""

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass

import torch.nn.functional as F
from torch import Tensor, nn


@dataclass
class Decoded:
    """A decoder's output at its own resolution."""

    logits: Tensor  # [B, K, h', w']
    pixels: Tensor  # [B, D, h', w'] last features before the classifier


class SegmentationHead(nn.Module, ABC):
    """Common part of all decoders; the task loss of those that score every pixel."""

    pixel_dim: int
    undecayed: tuple[str, ...] = ()
    """Beginnings of the names of parameters, besides norms, that the study's task recipe does not decay."""

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
