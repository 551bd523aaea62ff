"""Frozen encoder: only the head learns. What the student's own initialisation is worth.

The GKD release ships DeiT configurations that freeze the encoder, so the paper's "student" row may be either this
one or `finetune`; both are reported. Cost: one student pass per image, no gradient through the encoder.
"""

from gkdbench.api import Pair, Stage


class FrozenEncoder(Stage):
    """Task loss alone, the encoder stays as it was initialised."""

    name = "task"
    teacher = None
    trains = frozenset({"head"})


def frozen(pair: Pair) -> list[Stage]:
    """Head on the frozen initial encoder, no teacher."""
    return [FrozenEncoder()]
