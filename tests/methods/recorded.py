"""A step that answers with recorded tensors, for replaying reference vectors through a stage's own loss."""

from pathlib import Path
from types import SimpleNamespace

import torch
from torch import Tensor

VECTORS = Path(__file__).parent / "vectors"


def leaf(tensor: Tensor) -> Tensor:
    return tensor.float().clone().requires_grad_(True)


def view(**tensors: object) -> SimpleNamespace:
    return SimpleNamespace(**{"cls": None, "blocks": [], **tensors})


class RecordedStep:
    """Answers student and teacher with fixed views; a masked or a token-dropping pass has a view of its own.

    `noise` is what `random` returns; `perms` are the permutations that the original drew, in order.
    """

    def __init__(self, student, teacher, masked=None, batch=2, *, kept=None, noise=None, labels=None):
        self._student, self._teacher, self._masked, self._kept = student, teacher, masked, kept
        self.position, self.batch = torch.arange(batch), batch
        self.images = self.clean = torch.zeros(batch, 3, 4, 4)
        self.labels, self.noise = labels, noise
        self.rng = torch.Generator().manual_seed(0)
        self.masks: list[Tensor] = []
        self.keeps: list[Tensor] = []

    def student(self, images=None, *, mask=None, keep=None):
        if mask is not None:
            self.masks.append(mask)
            return self._masked
        if keep is not None:
            self.keeps.append(keep)
            return self._kept
        return self._student

    def teacher(self, images=None, *, mask=None, keep=None):
        return self._teacher

    def random(self, *shape):
        if self.noise is not None:
            return self.noise
        return torch.rand(len(self.position), *shape, generator=torch.Generator().manual_seed(0))

    def gather(self, x):
        return x


def assert_close(actual: Tensor, expected: Tensor, tolerance: float = 1e-5, what: str = "") -> None:
    """Values agree to `tolerance` relative to the largest expected magnitude."""
    assert actual.shape == expected.shape, f"{what}: shape {tuple(actual.shape)} != {tuple(expected.shape)}"
    scale = expected.abs().max().clamp(min=1e-12)
    difference = ((actual - expected).abs().max() / scale).item()
    assert difference <= tolerance, f"{what}: relative difference {difference:.2e}"
