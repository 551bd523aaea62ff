"""gkdbench: compare knowledge-distillation methods for dense prediction under domain shift."""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from gkdbench.run.calls import plan as plan
    from gkdbench.run.calls import results as results
    from gkdbench.run.calls import run as run

__version__ = "0.1.0"


def __getattr__(name: str) -> Any:
    """Load what runs things when it is first asked for: a method imports this package too."""
    from importlib import import_module

    if name == "run":
        return import_module("gkdbench.run")
    if name in ("plan", "results"):
        return getattr(import_module("gkdbench.run.calls"), name)
    raise AttributeError(f"module 'gkdbench' has no attribute {name!r}")
