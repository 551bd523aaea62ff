"""coupled(METHOD): the method's distillation and the task loss optimised together, in one stage on source images.

The single-stage counterpart of a method that distils first, such as GKD (CVPR 2026, arXiv 2603.02554): the rows
"single-stage MSE" and "single-stage QSD" of its ablation are, as we read them, coupled(gkd) with options. The last
stage that distils without the task gets the labelled source images and the task loss; what comes before it (a proxy
stage) and after it is left out, and the record says so. A method with a stage that does both anyway is refused.

Cost: that of one distillation stage over the steps of `joint`, and a plain student pass for the task where the method
makes none.
"""

from gkdbench.api import Pair, Stage, Unsupported


def coupled(pair: Pair, stages: list[Stage]) -> list[Stage]:
    """Distil and learn the task together, in a single stage."""
    together = next((stage for stage in stages if stage.teacher is not None and stage.task), None)
    if together is not None:
        raise Unsupported(f"nothing to couple: stage {together.name!r} distils together with the task already")
    distilling = [stage for stage in stages if stage.teacher is not None]
    if not distilling:
        raise Unsupported("nothing to couple: no stage has a teacher")
    stage = distilling[-1]
    left_out = ", ".join(other.name for other in stages if other is not stage)
    if left_out:
        stage.notes = (*stage.notes, f"coupled leaves out the stages {left_out}")
    stage.name, stage.data, stage.task = "joint", "source", True
    stage.trains = frozenset({"encoder", "head"})
    return [stage]
