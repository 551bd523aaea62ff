"""The linear probe."""

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from gkdbench.models.decoders.head import Decoded, SegmentationHead
from gkdbench.models.grids import as_map


class LinearDecoder(SegmentationHead):
    """Layer norm and one linear layer on the tokens: logits on the token grid."""

    def __init__(self, widths: Sequence[int], num_classes: int) -> None:
        super().__init__()
        self.norms = nn.ModuleList(nn.LayerNorm(w) for w in widths)
        self.pixel_dim = sum(widths)
        self.classify = nn.Linear(self.pixel_dim, num_classes)

    def forward(self, maps: Sequence[Tensor], grid: tuple[int, int]) -> Decoded:
        """Decode tokens on the grid itself."""
        joined = torch.cat([norm(m) for norm, m in zip(self.norms, maps, strict=True)], dim=-1)
        scores = self.classify(joined)
        return Decoded(logits=as_map(scores, grid), pixels=as_map(joined, grid))
