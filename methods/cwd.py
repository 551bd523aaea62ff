"""CWD: channel-wise knowledge distillation for dense prediction (Shu et al. 2021, arXiv 2011.13256).

Each channel becomes a distribution over positions, phi = softmax over H*W of x / T, and

    L = weight * T^2 / (B * C) * sum over images, channels and positions of phi_t * log(phi_t / phi_s)

on the logits (the default: T = 4, weight 3, TorchDistiller's script) or on the last features through an adaptor into
the teacher's width. Channels are normalised over the image, so a class that a crop does not show weighs as much as one
that it does.

Differences between releases, all options here: `divisor="student"` divides by C_s as CIRKD's copy does (it reads C
before its convolution); `adaptor="conv"` is the plain 1x1 convolution of the ports, where TorchDistiller follows it
with BatchNorm and ReLU. The weight of 50 on features is that of CIRKD's script, so the defaults there mix two
releases. The mmseg and G2SD versions log the cross-entropy, which has the same gradient. The official softmax().log()
is not finite in fp16; here it is log_softmax. For ViTs CIRKD uses weights ten times smaller (0.3 on logits). With a
head of queries the logits are log(S + 1e-6): no release has such a head.

Needs: logits, a teacher with a trained head; features, an encoder. Cost: one student and one teacher pass per image.
"""

from typing import Literal

import torch.nn.functional as F
from torch import Tensor, nn

from gkdbench.api import Pair, Stage, Step, Unsupported

Divisor = Literal["teacher", "student"]


def channel_kl(student: Tensor, teacher: Tensor, temperature: float) -> Tensor:
    """Return the channel-wise divergence with its T^2, summed over positions, a mean over images and channels.

    Args:
        student: [B, C, *positions].
        teacher: the same shape.
        temperature: T.
    """
    log_student = F.log_softmax(student.flatten(2).float() / temperature, dim=-1)  # [B, C, N]
    log_teacher = F.log_softmax(teacher.flatten(2).float() / temperature, dim=-1)
    divergence = F.kl_div(log_student, log_teacher, reduction="sum", log_target=True)
    return divergence * (temperature**2 / (student.shape[0] * student.shape[1]))


class LogitCWD(Stage):
    """Task loss plus channel-wise divergence of the logits."""

    def __init__(self, weight: float, temperature: float) -> None:
        super().__init__()
        self.weight, self.temperature = weight, temperature

    def loss(self, step: Step) -> dict[str, Tensor]:
        """Return the weighted term `cwd`."""
        student, teacher = step.student().logits, step.teacher().logits
        if teacher.shape[2:] != student.shape[2:]:
            teacher = F.interpolate(teacher, size=student.shape[2:], mode="bilinear", align_corners=False)
        return {"cwd": self.weight * channel_kl(student, teacher, self.temperature)}


class FeatureCWD(Stage):
    """Task loss plus channel-wise divergence of the last tokens, through an adaptor into the teacher's width."""

    teacher = "encoder"

    def __init__(
        self, student: int, teacher: int, weight: float, temperature: float,
        adaptor: Literal["conv_bn_relu", "conv"], divisor: Divisor
    ) -> None:
        super().__init__()
        self.temperature = temperature
        self.weight = weight * (teacher / student if divisor == "student" else 1.0)
        self.conv = nn.Conv1d(student, teacher, 1, bias=False)
        self.after = nn.Sequential(nn.BatchNorm1d(teacher), nn.ReLU()) if adaptor == "conv_bn_relu" else nn.Identity()
        # batch statistics: the loss of an image depends on its neighbours
        self.mixes_batch = adaptor == "conv_bn_relu"

    def loss(self, step: Step) -> dict[str, Tensor]:
        """Return the weighted term `cwd`."""
        mapped = self.after(self.conv(step.student().tokens.transpose(1, 2)))  # [B, C_t, N]
        teacher = step.teacher().tokens.transpose(1, 2)
        return {"cwd": self.weight * channel_kl(mapped, teacher, self.temperature)}


def cwd(
    pair: Pair, *, on: Literal["logits", "features"] = "logits", weight: float | None = None,
    temperature: float = 4.0, adaptor: Literal["conv_bn_relu", "conv"] = "conv_bn_relu",
    divisor: Literal["teacher", "student"] = "teacher"
) -> list[Stage]:
    """Task loss plus the divergence of every channel's distribution over positions (weight: 3, on features 50)."""
    if on == "features":
        weight = 50.0 if weight is None else weight
        return [FeatureCWD(pair.student.width, pair.teacher.width, weight, temperature, adaptor, divisor)]
    if not pair.teacher.has_head:
        raise Unsupported("needs a teacher with a trained head; -o on=features does not")
    return [LogitCWD(3.0 if weight is None else weight, temperature)]
