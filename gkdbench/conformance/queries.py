"""A small head of queries, in the manner of Mask2Former: masks and their classes instead of a score per pixel."""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from scipy.optimize import linear_sum_assignment
from torch import Tensor, nn

from gkdbench.models.decoders.head import Decoded, SegmentationHead
from gkdbench.models.grids import as_map


@dataclass
class DecodedQueries(Decoded):
    """The common output, and what the task loss reads."""

    classes: Tensor  # [B, Q, K+1] class scores, the last of them "nothing"
    masks: Tensor  # [B, Q, h', w'] mask scores


class QueryHead(SegmentationHead):
    """Learnt queries attend to the tokens; each gives a class and, by a product with every pixel, a mask."""

    def __init__(self, widths: Sequence[int], num_classes: int, width: int, queries: int = 6) -> None:
        super().__init__()
        self.pixel_dim = width
        self.enter = nn.ModuleList(nn.Sequential(nn.LayerNorm(w), nn.Linear(w, width)) for w in widths)
        self.queries = nn.Parameter(torch.randn(1, queries, width))
        self.attend = nn.MultiheadAttention(width, 2, batch_first=True)
        self.norm = nn.LayerNorm(width)
        self.classify = nn.Linear(width, num_classes + 1)
        self.mask_embedding = nn.Linear(width, width)
        self.pixel_embedding = nn.Conv2d(width, width, 3, padding=1)

    def forward(self, maps: Sequence[Tensor], grid: tuple[int, int]) -> DecodedQueries:
        """Decode tokens [B, N, C_i] on a grid [h, w] to twice the grid; logits = log(sum of classes x masks)."""
        tokens = torch.stack([enter(m) for enter, m in zip(self.enter, maps, strict=True)]).sum(0)
        start = self.queries.expand(len(tokens), -1, -1)
        attended, _ = self.attend(start, tokens, tokens, need_weights=False)
        queries = self.norm(start + attended)
        larger = F.interpolate(as_map(tokens, grid), scale_factor=2.0, mode="bilinear", align_corners=False)
        pixels = self.pixel_embedding(larger)  # [B, D, 2h, 2w]
        masks = torch.einsum("bqd,bdhw->bqhw", self.mask_embedding(queries), pixels) / pixels.shape[1] ** 0.5
        classes = self.classify(queries)
        probabilities = classes.float().softmax(dim=-1)[..., :-1]
        scores = torch.einsum("bqc,bqhw->bchw", probabilities, masks.float().sigmoid())
        return DecodedQueries(logits=(scores + 1e-6).log(), pixels=pixels, classes=classes, masks=masks)

    def task_loss(self, decoded: Decoded, labels: Tensor, ignore: int) -> Tensor:
        """Match queries to the classes present in each image; class and mask losses of the matched ones.

        labels: [B, H, W] int64. The mean over images; an image without a labelled pixel costs zero.
        """
        assert isinstance(decoded, DecodedQueries)
        masks, classes = decoded.masks.float(), decoded.classes.float()
        small = F.interpolate(labels[:, None].float(), size=masks.shape[2:], mode="nearest-exact")[:, 0].long()
        losses = [self._image_loss(*one, ignore) for one in zip(classes, masks, small, strict=True)]
        return torch.stack(losses).mean()

    def _image_loss(self, classes: Tensor, masks: Tensor, labels: Tensor, ignore: int) -> Tensor:
        known = labels != ignore
        present = torch.unique(labels[known])
        if len(present) == 0:
            return 0.0 * (classes.sum() + masks.sum())
        wanted = (labels[known][None] == present[:, None]).float()  # [P, pixels]
        scores = masks[:, known]  # [Q, pixels]
        every = F.binary_cross_entropy_with_logits(
            scores[:, None].expand(-1, len(present), -1), wanted[None].expand(len(scores), -1, -1), reduction="none"
        ).mean(dim=-1)  # [Q, P]
        cost = every - classes.softmax(dim=-1)[:, present]
        rows, columns = linear_sum_assignment(cost.detach().cpu().numpy())
        targets = torch.full((len(classes),), classes.shape[1] - 1, device=classes.device)
        targets[torch.as_tensor(rows)] = present[torch.as_tensor(columns)]
        return F.cross_entropy(classes, targets) + every[rows, columns].mean()
