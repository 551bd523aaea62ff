"""DIST: knowledge distillation from a stronger teacher (Huang et al. 2022, arXiv 2205.10536).

With p = softmax(z) of both sides, Pearson correlations instead of a divergence:

    L = weight * ( beta * (1 - mean over pixels of corr over classes)
                 + gamma * (1 - mean over classes of corr over all pixels of the batch) )

Defaults of the release (hunto/DIST_KD, segmentation): beta = gamma = weight = 1, no temperature, every pixel, ignored
ones too; 1e-8 is added to the product of norms. `temperature` multiplies by T^2 as a port of it does. The release
also adds 0.4 times the loss on an auxiliary head, which the segmentors here do not have.

A class whose probability is constant over the batch correlates with nothing and adds 1 / K. The second term mixes
images, so it depends on the micro-batch. Needs a teacher with a trained head. Cost: one student and one teacher pass
per image.
"""

import torch.nn.functional as F
from torch import Tensor

from gkdbench.api import Pair, Stage, Step, Unsupported


def correlation(a: Tensor, b: Tensor) -> Tensor:
    """Return Pearson's correlation of the rows of two [R, M] matrices, [R]."""
    a, b = a - a.mean(dim=1, keepdim=True), b - b.mean(dim=1, keepdim=True)
    correlated: Tensor = (a * b).sum(dim=1) / (a.norm(dim=1) * b.norm(dim=1) + 1e-8)
    return correlated


def relations(student: Tensor, teacher: Tensor, temperature: float = 1.0) -> tuple[Tensor, Tensor]:
    """Return the inter-class and intra-class terms of logits [B, K, h, w], unweighted."""
    student, teacher = student.float(), teacher.float()
    if temperature != 1:  # dividing by 1 is not free
        student, teacher = student / temperature, teacher / temperature
    own, other = (  # [B*h*w, K]
        logits.softmax(dim=1).movedim(1, -1).reshape(-1, logits.shape[1]) for logits in (student, teacher)
    )
    inter = 1 - correlation(own, other).mean()
    intra = 1 - correlation(own.T, other.T).mean()
    return inter * temperature**2, intra * temperature**2


class DIST(Stage):
    """Task loss plus both relation terms."""

    mixes_batch = True

    def __init__(self, beta: float, gamma: float, temperature: float) -> None:
        super().__init__()
        self.beta, self.gamma, self.temperature = beta, gamma, temperature

    def loss(self, step: Step) -> dict[str, Tensor]:
        """Return the weighted terms `inter` and `intra`."""
        student, teacher = step.student().logits, step.teacher().logits
        if teacher.shape[2:] != student.shape[2:]:
            teacher = F.interpolate(teacher, size=student.shape[2:], mode="bilinear", align_corners=False)
        # "all pixels of the batch" means the batch of all devices
        inter, intra = relations(step.gather(student), step.gather(teacher), self.temperature)
        return {"inter": self.beta * inter, "intra": self.gamma * intra}


def dist(
    pair: Pair, *, beta: float = 1.0, gamma: float = 1.0, weight: float = 1.0, temperature: float = 1.0
) -> list[Stage]:
    """Task loss plus Pearson relations between classes at each pixel and within each class over the batch."""
    if not pair.teacher.has_head:
        raise Unsupported("needs a teacher with a trained head")
    return [DIST(weight * beta, weight * gamma, temperature)]
