"""Feature mimicry: FitNets (Romero et al. 2015, arXiv 1412.6550), on the last feature, joint with the task.

    L = weight * mean( (A f_s - f_t)^2 )        A: 1x1 convolution without bias, C_s -> C_t

This is very probably what the GKD paper (arXiv 2603.02554) calls "Vanilla KD": the reference it cites falls where
Romero stands in an alphabetical list, and its ablation's "single-stage MSE" has the same average as that row. The
paper's own baseline code was not released, so this remains an inference.

On a transformer the last feature is the tokens after the final norm, and a 1x1 convolution over a map is a Linear over
its tokens. Weight: CIRKD's scripts use 10 for CNNs; 1 is our choice for normed tokens, for want of a published one.

Needs an encoder as teacher. Cost: one student and one teacher pass per image, one Linear.
"""

import torch.nn.functional as F
from torch import Tensor, nn

from gkdbench.api import Pair, Stage, Step


class FeatureMimicry(Stage):
    """Task loss plus the squared error between projected student tokens and teacher tokens."""

    teacher = "encoder"

    def __init__(self, student: int, teacher: int, weight: float) -> None:
        super().__init__()
        self.weight = weight
        self.proj = nn.Linear(student, teacher, bias=False)

    def loss(self, step: Step) -> dict[str, Tensor]:
        """Return the weighted term `mse`."""
        mapped = self.proj(step.student().tokens)  # [B, N, C_t]
        return {"mse": self.weight * F.mse_loss(mapped, step.teacher().tokens)}


def fitnet_mse(pair: Pair, *, weight: float = 1.0) -> list[Stage]:
    """Task loss plus mean squared error on the last features (very probably the paper's "Vanilla KD")."""
    return [FeatureMimicry(pair.student.width, pair.teacher.width, weight)]
