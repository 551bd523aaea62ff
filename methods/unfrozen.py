"""unfrozen(METHOD): the method with an encoder that keeps training in its last stage.

GKD (CVPR 2026, arXiv 2603.02554) freezes the encoder while the head learns; this row says what the freezing is worth.
The distillation before it is untouched, so both rows share its artefacts. Cost: gradients through the encoder in the
last stage, which is the same number of passes.
"""

from gkdbench.api import Pair, Stage, Unsupported


def unfrozen(pair: Pair, stages: list[Stage]) -> list[Stage]:
    """Let the encoder train in the last stage too."""
    last = stages[-1]
    if "encoder" in last.trains:
        raise Unsupported("nothing to unfreeze: the encoder trains in the last stage already")
    last.trains = last.trains | {"encoder"}
    return stages
