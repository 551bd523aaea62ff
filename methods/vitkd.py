"""ViTKD: feature knowledge distillation for vision transformers (Yang et al. 2022, arXiv 2209.02432).

Shallow layers are mimicked, the deep one is generated:

    mimic = alpha * sum over the outputs of blocks 1 and 2 of (A_l s_l - t_l)^2 / B
    gen   = beta / lambda * sum over masked tokens of (G(mask(A s)) - t)^2 / B

A are Linear layers into the teacher's width, mask replaces a random share lambda of the tokens by a learned one, G is
two 3x3 convolutions with a ReLU between them on the token grid. Defaults of the release (yzd-v/cls_KD): alpha 3e-5,
beta 3e-6, lambda 0.5, the same for every size and depth; patch tokens only, the last ones after the final norm. Where
the widths are equal the release omits the Linear layers, and so does this. The release also divides beta by lambda,
which the formula as usually quoted does not, and takes the grid as square, which this does not.

Both terms are sums over tokens and channels: published weights belong to 196 tokens. `tokens=196` rescales the terms
to that number; the default leaves them as released. Published for classification, where its configurations add NKD on
logits as well; here it stands alone beside the task loss.

Needs a transformer pair with two blocks. Cost: one pass of each model per image; two 3x3 convolutions in the teacher's
width, which at 1024 tokens and width 768 take nearly all of its time.
"""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from gkdbench.api import Pair, Stage, Step, Taps, Unsupported


class ViTKD(Stage):
    """Task loss plus mimicry of two shallow blocks and generation of the last tokens."""

    teacher = "encoder"
    taps_student = Taps(blocks=(0, 1))
    taps_teacher = Taps(blocks=(0, 1))

    def __init__(
        self, student: int, teacher: int, alpha: float, beta: float, mask_ratio: float, tokens: int | None
    ) -> None:
        super().__init__()
        self.alpha, self.beta, self.mask_ratio, self.reference = alpha, beta, mask_ratio, tokens

        def align() -> nn.Module:
            return nn.Linear(student, teacher) if student != teacher else nn.Identity()

        self.align2 = nn.ModuleList([align() for _ in range(2)])
        self.align = align()
        self.mask_token = nn.Parameter(torch.zeros(1, 1, teacher))
        self.generation = nn.Sequential(
            nn.Conv2d(teacher, teacher, 3, padding=1), nn.ReLU(), nn.Conv2d(teacher, teacher, 3, padding=1)
        )

    def loss(self, step: Step) -> dict[str, Tensor]:
        """Return the weighted terms `mimic` and `gen`."""
        student, teacher = step.student(), step.teacher()
        images, tokens, _ = student.tokens.shape
        mimic = student.tokens.new_zeros(())
        for align, own, wanted in zip(self.align2, student.blocks, teacher.blocks, strict=True):
            mimic = mimic + F.mse_loss(align(own), wanted, reduction="sum")
        hidden = self.draw_mask(step, tokens)
        generated = self.generate(student.tokens, hidden, student.grid)
        missed = (generated - teacher.tokens).square().sum(dim=-1)  # [B, N]
        gen = (missed * hidden).sum()
        scale = self.reference / tokens if self.reference else 1.0
        return {
            "mimic": self.alpha * scale / images * mimic,
            "gen": self.beta / self.mask_ratio * scale / images * gen,
        }

    def draw_mask(self, step: Step, tokens: int) -> Tensor:
        """Return [B, N] bool: the tokens to generate; floor((1 - lambda) * N) random ones of each image are kept."""
        rank = step.random(tokens).argsort(dim=1).argsort(dim=1)
        return rank >= int(tokens * (1 - self.mask_ratio))

    def generate(self, tokens: Tensor, hidden: Tensor, grid: tuple[int, int]) -> Tensor:
        """Return the generated tokens [B, N, C_t] from student tokens [B, N, C_s] of which some are hidden."""
        aligned = torch.where(hidden[..., None], self.mask_token, self.align(tokens))
        layout = aligned.transpose(1, 2).reshape(len(tokens), -1, *grid)  # [B, C_t, h, w]
        generated: Tensor = self.generation(layout).flatten(2).transpose(1, 2)
        return generated


def vitkd(
    pair: Pair,
    *,
    alpha: float = 3e-5,
    beta: float = 3e-6,
    mask_ratio: float = 0.5,
    tokens: int | None = None,
) -> list[Stage]:
    """Task loss plus mimicry of the first two blocks and generation of masked last tokens."""
    if not 0 < mask_ratio <= 1:
        raise Unsupported(f"mask_ratio {mask_ratio}: a share of the tokens above 0 must be generated")
    for role, side in (("student", pair.student), ("teacher", pair.teacher)):
        if side.depth < 2:
            raise Unsupported(f"mimics two shallow blocks, and the {role} has {side.depth}")
        if not side.can_mask:
            raise Unsupported(f"mimics transformer blocks, and the {role} has none")
    return [ViTKD(pair.student.width, pair.teacher.width, alpha, beta, mask_ratio, tokens)]
