"""decoupled(METHOD): the method's distillation without the task loss, then the head on the frozen encoder.

It asks what GKD's separation of stages is worth by itself (CVPR 2026, arXiv 2603.02554, its ablation's row
"decoupled"): what a method distils jointly with the task it distils first, as the recipe's stage `source`; then the
head is trained, from its usual start, on the encoder that this left. Stages without a task stay as they are; task
stages without a teacher (ordinary fine-tuning) are replaced.

A method that reads the teacher's head keeps its own head in training while it distils, since its terms reach the
encoder only through it; that head is thrown away. Nothing of the kind was published for the single-stage methods.

Cost: that of the method over the steps of `source` instead of `joint`, and the head alone over those of `task`.
"""

from gkdbench.api import Pair, Stage, Unsupported


class HeadOnly(Stage):
    """A fresh head on the encoder as it is."""

    name = "task"
    teacher = None
    trains = frozenset({"head"})
    fresh = frozenset({"head"})


def decoupled(pair: Pair, stages: list[Stage]) -> list[Stage]:
    """Distil first, without the task loss; then train the head on the frozen encoder."""
    if not any(stage.teacher is not None for stage in stages):
        raise Unsupported("nothing to decouple: no stage has a teacher")
    kept = [stage for stage in stages if stage.teacher is not None or not stage.task]
    for stage in kept:
        if stage.task:
            stage.name, stage.task = "source", False
            # features alone do not reach the head
            stage.trains = frozenset({"encoder", "head"} if stage.teacher == "full" else {"encoder"})
    return [*kept, HeadOnly()]
