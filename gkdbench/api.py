"""All that a method may import: the contract and the names its code is written with."""

from gkdbench.contract import Boxes, Pair, Side, Stage, Step, Taps, View
from gkdbench.errors import Unsupported

__all__ = ["Boxes", "Pair", "Side", "Stage", "Step", "Taps", "Unsupported", "View"]
