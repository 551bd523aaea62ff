"""Cosine mimicry, and a combinator; a plugin imports gkdbench.api and nothing else of gkdbench."""

import torch.nn.functional as F
from torch import Tensor, nn

from gkdbench.api import Pair, Stage, Step, Unsupported


class Cosine(Stage):
    """Task loss plus cosine mimicry of the teacher's last patch tokens."""

    teacher = "encoder"

    def __init__(self, student: int, teacher: int, weight: float) -> None:
        super().__init__()
        self.weight = weight
        self.proj = nn.Linear(student, teacher)

    def loss(self, step: Step) -> dict[str, Tensor]:
        """Return the weighted term `cosine`."""
        similarity = F.cosine_similarity(self.proj(step.student().tokens), step.teacher().tokens, dim=-1)
        return {"cosine": self.weight * (1 - similarity).mean()}


def cosine(pair: Pair, *, weight: float = 1.0) -> list[Stage]:
    """Task loss plus cosine mimicry of the last patch tokens."""
    return [Cosine(pair.student.width, pair.teacher.width, weight)]


class Head(Stage):
    """A fresh head on the encoder as it is."""

    name, teacher = "task", None
    trains = fresh = frozenset({"head"})


def without_task(pair: Pair, stages: list[Stage]) -> list[Stage]:
    """Distil without labels in the method's last stage; then train a head on the frozen encoder."""
    *before, last = stages
    if last.teacher != "encoder":
        raise Unsupported("the last stage does not learn from the teacher's features")
    last.name, last.task, last.trains = "source", False, frozenset({"encoder"})
    return [*before, last, Head()]
