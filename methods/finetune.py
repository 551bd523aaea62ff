"""Fine-tuning: encoder and head on the labelled source, no teacher. The baseline every gain is measured from.

Cost: one student pass per image.
"""

from gkdbench.api import Pair, Stage


class Finetune(Stage):
    """Task loss alone, everything trains."""

    name = "joint"
    teacher = None


def finetune(pair: Pair) -> list[Stage]:
    """Encoder and head on the labelled source, no teacher."""
    return [Finetune()]
