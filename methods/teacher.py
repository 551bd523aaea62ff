"""The shared teacher: its frozen encoder with a head trained on the source, evaluated like every other row.

The released ViT-L configurations of GKD do the same (frozen VFM encoder, trained head), and logit distillation needs
exactly this object. Cost: one teacher pass per image.
"""

from gkdbench.api import Pair, Stage


class TeacherHead(Stage):
    """Task loss on the teacher's frozen encoder."""

    name = "teacher"
    model = "teacher"
    teacher = None
    trains = frozenset({"head"})


def teacher(pair: Pair) -> list[Stage]:
    """The teacher's frozen encoder with a trained head."""
    return [TeacherHead()]
