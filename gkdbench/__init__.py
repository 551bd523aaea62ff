"""gkdbench: compare knowledge-distillation methods for dense prediction under domain shift."""

__version__ = "0.1.0"
