"""Vanilla KD on pixel logits: Hinton et al. 2015 (arXiv 1503.02531), applied at every pixel.

    L = weight * T^2 * mean over pixels of KL( softmax(z_t / T) || softmax(z_s / T) )

The sum runs over classes, the mean over pixels and images (the form of the CIRKD, Af-DCD and DIST releases, which
use T = 1 and weight 1: the defaults). TorchDistiller and the mmseg port divide by the number of classes as well:
`reduction="element"` with weight 10 is their published setting. No original leaves unlabelled pixels out, so none
are here. The GKD paper's row of this name is very probably feature mimicry instead (`fitnet_mse` in the literature).

Needs: a teacher with a trained head. Cost: one student and one teacher pass per image.
"""

from typing import Literal

import torch.nn.functional as F
from torch import Tensor

from gkdbench.api import Pair, Stage, Step, Unsupported

Reduction = Literal["pixel", "element"]


def pixel_kl(student: Tensor, teacher: Tensor, temperature: float, reduction: Reduction) -> Tensor:
    """Return KL(teacher || student) over classes at temperature T, without the T^2 factor.

    Args:
        student: [B, K, h, w] logits.
        teacher: [B, K, h, w] logits; resized to the student's size where it differs.
        temperature: T.
        reduction: "pixel" sums over classes and averages over pixels; "element" also averages over classes.
    """
    if teacher.shape[2:] != student.shape[2:]:
        teacher = F.interpolate(teacher, size=student.shape[2:], mode="bilinear", align_corners=False)
    student, teacher = student.float(), teacher.float()
    if temperature != 1:  # dividing by 1 is not free
        student, teacher = student / temperature, teacher / temperature
    log_student, log_teacher = F.log_softmax(student, dim=1), F.log_softmax(teacher, dim=1)
    divergence = F.kl_div(log_student, log_teacher, reduction="sum", log_target=True)
    return divergence / (student.numel() // (student.shape[1] if reduction == "pixel" else 1))


class VanillaKD(Stage):
    """Task loss plus pixel KL, optimised together."""

    def __init__(self, weight: float, temperature: float, reduction: Reduction) -> None:
        super().__init__()
        self.weight, self.temperature, self.reduction = weight, temperature, reduction

    def loss(self, step: Step) -> dict[str, Tensor]:
        """Return the weighted KL term."""
        divergence = pixel_kl(
            step.student().logits, step.teacher().logits, self.temperature, self.reduction
        )
        return {"kl": self.weight * self.temperature**2 * divergence}


def vanilla_kd(
    pair: Pair,
    *,
    weight: float = 1.0,
    temperature: float = 1.0,
    reduction: Literal["pixel", "element"] = "pixel",
) -> list[Stage]:
    """Task loss plus KL divergence of the teacher's class distribution at every pixel."""
    if not pair.teacher.has_head:
        raise Unsupported("needs a teacher with a trained head")
    return [VanillaKD(weight, temperature, reduction)]
