"""Af-DCD: augmentation-free dense contrastive distillation for segmentation (Fan et al. 2023, NeurIPS; OSVAI/Af-DCD).

    L = kd * KL_pixel + fd * L_fd + ctr * L_ctr, beside the task loss

KL_pixel: of the logits at T = 1. L_fd: the student's last features through a 1x1 convolution A, positions masked, and
a projector P, x = P(mask * A(f_s)); the squared error to f_t summed over everything and divided by B. L_ctr: x and
f_t, max-pooled 4x4, are cut into patches of 4x4 positions and channels into 16 groups; every (position, group) is a
sample. Student samples attract the teacher's at the same position and group and repel those of the patch's other
groups, at all positions, by distance / 0.07 (the same group elsewhere is neither); a sum of cross-entropies over
samples, divided by pooled positions and B.

Defaults are those of the release's Cityscapes script for MobileNetV2: kd 1, fd 2e-6, ctr 5e-3, 75 % of positions
masked at random, the plain projector, the projection's gradient norm clipped to 15 (a recipe's own clipping of all
gradients comes after that; the release has none). The code uses the L1 distance; `distance="l2"` is the other.
`enhanced` is its larger projector, `mask="centre"` its fixed central block. With equal widths the release crashes for
want of A; here A is always there. Its auxiliary head (0.4 times its task loss) has no counterpart here.

Features are tokens after the final norm. Grids smaller than 16x16 cannot be pooled 4x4 and still hold a patch: the
pooling then shrinks to what fits, and rows that fill no patch are cropped, as the release does for CamVid; the record
notes it. Both feature terms are sums over tokens and channels, so published weights belong to the published sizes.

Needs a teacher with a trained head and a teacher width that 16 divides. Cost: one pass of each model per image; two 3x3
convolutions in the teacher's width, most of the loss's time.
"""

from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from gkdbench.api import Pair, Stage, Step, Unsupported
from gkdbench_methods.vanilla_kd import pixel_kl


class Enhanced(nn.Module):
    """The release's larger projector: two blocks, a convolution on each one's output, their mean."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.block_1, self.block_2 = (nn.Sequential(_conv(width), nn.ReLU()) for _ in range(2))
        self.adpator_1, self.adpator_2 = _conv(width), _conv(width)  # as the release spells them

    def forward(self, x: Tensor) -> Tensor:
        """Map [B, C, h, w] to the same shape."""
        first = self.block_1(x)
        mean: Tensor = (self.adpator_1(first) + self.adpator_2(self.block_2(first))) / 2
        return mean


def _conv(width: int) -> nn.Conv2d:
    return nn.Conv2d(width, width, 3, padding=1)


def samples(features: Tensor, pool: int, patch: int, groups: int) -> Tensor:
    """Return the contrasted vectors of a map [B, C, h, w]: [B * patches, patch^2 * groups, C / groups]."""
    x = F.max_pool2d(features, pool)
    x = x[:, :, : x.shape[2] // patch * patch, : x.shape[3] // patch * patch]
    images, channels, rows, columns = x.shape
    x = x.reshape(images, groups, channels // groups, rows // patch, patch, columns // patch, patch)
    x = x.permute(0, 3, 5, 4, 6, 1, 2)  # [B, rows, columns, patch, patch, groups, C / groups]
    return x.reshape(-1, patch * patch * groups, channels // groups)


def contrast(student: Tensor, teacher: Tensor, groups: int, temperature: float, p: float) -> Tensor:
    """Return the cross-entropies of samples [P, S, C] (see `samples`) summed over everything.

    A masked cross-entropy over the distance matrix: neither positives nor negatives are ever gathered. Not as
    logsumexp minus positive: scores are near -1000, and the rounding of the sum would be in every gradient.
    """
    scores = torch.cdist(student, teacher, p=p) / -temperature  # [P, S, S]
    place = torch.arange(student.shape[1], device=student.device)
    neither = (place[:, None] % groups == place % groups).fill_diagonal_(False)
    scores = scores.masked_fill(neither, -torch.inf).flatten(0, 1)
    return F.cross_entropy(scores, place.repeat(len(student)), reduction="sum")


def pooling(grid: tuple[int, int], pool: int, patch: int) -> int:
    """Return the pooling window: `pool`, or on a small grid the largest that leaves a patch; 0 if none does."""
    return min(pool, min(grid) // patch)


class AfDCD(Stage):
    """Task loss plus pixel KL, masked feature reconstruction and dense contrast."""

    clip_adaptor = 15.0

    def __init__(
        self, pair: Pair, *, kd: float, fd: float, ctr: float, mask_ratio: float, mask: Literal["random", "centre"],
        enhanced: bool, distance: Literal["l1", "l2"], temperature: float
    ) -> None:
        super().__init__()
        self.kd, self.fd, self.ctr = kd, fd, ctr
        self.mask_ratio, self.mask, self.temperature = mask_ratio, mask, temperature
        self.p = 1.0 if distance == "l1" else 2.0
        self.groups, self.pool, self.patch = 16, 4, 4
        width = pair.teacher.width
        self.align = nn.Conv2d(pair.student.width, width, 1)
        self.projetor = Enhanced(width) if enhanced else nn.Sequential(_conv(width), nn.ReLU(), _conv(width))
        grid = pair.student.grids["source"]
        fitting = pooling(grid, self.pool, self.patch)
        if fitting < self.pool or grid[0] // fitting % self.patch or grid[1] // fitting % self.patch:
            self.notes = (
                f"token grid {grid[0]}x{grid[1]}: pooled {fitting}x{fitting} instead of 4x4 or cropped to whole "
                "patches for the contrast",
            )

    def loss(self, step: Step) -> dict[str, Tensor]:
        """Return the weighted terms `kl`, `fd` and `ctr`."""
        student, teacher = step.student(), step.teacher()
        own, wanted = (  # [B, C, h, w]
            view.tokens.transpose(1, 2).reshape(len(view.tokens), -1, *student.grid) for view in (student, teacher)
        )
        kept = self.draw_kept(step, student.grid)
        x = self.project(own, kept)
        fd, ctr = self.feature_terms(x, wanted)
        kl = pixel_kl(student.logits, teacher.logits, 1.0, "pixel")
        return {"kl": self.kd * kl, "fd": self.fd * fd, "ctr": self.ctr * ctr}

    def project(self, features: Tensor, kept: Tensor) -> Tensor:
        """Return P(kept * A(features)) for features [B, C_s, h, w] and kept [B, 1, h, w]."""
        projected: Tensor = self.projetor(self.align(features) * kept)
        return projected

    def feature_terms(self, x: Tensor, teacher: Tensor) -> tuple[Tensor, Tensor]:
        """Return L_fd and L_ctr, unweighted, of maps [B, C_t, h, w]."""
        fd = F.mse_loss(x, teacher, reduction="sum") / len(x)
        window = pooling((x.shape[2], x.shape[3]), self.pool, self.patch)
        own, other = (samples(side, window, self.patch, self.groups) for side in (x, teacher))
        pooled = own.shape[0] * self.patch**2  # positions over the batch: H' * W' * B
        return fd, contrast(own, other, self.groups, self.temperature, self.p) / pooled

    def draw_kept(self, step: Step, grid: tuple[int, int]) -> Tensor:
        """Return [B, 1, h, w], 1 where the student's features stay; one draw per position for all channels."""
        height, width = grid
        if self.mask == "random":
            return (step.random(1, height, width) <= 1 - self.mask_ratio).float()
        kept = torch.ones(len(step.images), 1, height, width, device=step.images.device)
        kept[:, :, height // 3 : 2 * height // 3, width // 3 : 2 * width // 3] = 0
        return kept


def af_dcd(
    pair: Pair, *, kd: float = 1.0, fd: float = 2e-6, ctr: float = 5e-3, mask_ratio: float = 0.75,
    mask: Literal["random", "centre"] = "random", enhanced: bool = False, distance: Literal["l1", "l2"] = "l1",
    temperature: float = 0.07
) -> list[Stage]:
    """Task loss plus pixel KL, masked feature reconstruction and contrast between channel groups."""
    if not pair.teacher.has_head:
        raise Unsupported("needs a teacher with a trained head")
    if pair.teacher.width % 16:
        raise Unsupported(f"cuts channels into 16 groups, and the teacher's width is {pair.teacher.width}")
    if not pooling(pair.student.grids["source"], 4, 4):
        raise Unsupported(f"needs 4x4 tokens for one patch, and the grid is {pair.student.grids['source']}")
    return [
        AfDCD(
            pair, kd=kd, fd=fd, ctr=ctr, mask_ratio=mask_ratio, mask=mask, enhanced=enhanced, distance=distance,
            temperature=temperature
        )
    ]
