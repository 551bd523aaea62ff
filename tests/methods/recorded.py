"""A step that answers with recorded tensors, for replaying reference vectors through a stage's own loss."""

from pathlib import Path
from types import SimpleNamespace

import numpy as np
import torch
from torch import Tensor

VECTORS = Path(__file__).parent / "vectors"


def load_vectors(name: str) -> dict[str, Tensor]:
    """Return the arrays of a vector file as float64-free tensors."""
    with np.load(VECTORS / f"{name}.npz", allow_pickle=False) as arrays:
        return {key: torch.from_numpy(arrays[key]) for key in arrays.files if arrays[key].dtype.kind in "fib"}


def leaf(tensor: Tensor) -> Tensor:
    return tensor.float().clone().requires_grad_(True)


def view(**tensors: object) -> SimpleNamespace:
    return SimpleNamespace(**{"cls": None, "blocks": [], **tensors})


class RecordedStep:
    """Answers student and teacher with fixed views; a masked pass has a view of its own."""

    def __init__(self, student, teacher, masked=None, batch=2):
        self._student, self._teacher, self._masked = student, teacher, masked
        self.position, self.batch = torch.arange(batch), batch
        self.masks: list[Tensor] = []

    def student(self, images=None, *, mask=None, keep=None):
        if mask is not None:
            self.masks.append(mask)
            return self._masked
        return self._student

    def teacher(self, images=None):
        return self._teacher

    def random(self, *shape):
        return torch.rand(len(self.position), *shape, generator=torch.Generator().manual_seed(0))


def assert_close(actual: Tensor, expected: Tensor, tolerance: float = 1e-5) -> None:
    """Values agree to `tolerance` relative to the largest expected magnitude."""
    scale = expected.abs().max().clamp(min=1e-12)
    difference = ((actual - expected).abs().max() / scale).item()
    assert difference <= tolerance, f"relative difference {difference:.2e}"
