"""gkdbench: compare knowledge-distillation methods for dense prediction under domain shift."""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from gkdbench.runs.calls import plan as plan
    from gkdbench.runs.calls import results as results
    from gkdbench.runs.calls import run as run

__version__ = "0.1.0"


def __getattr__(name: str) -> Any:
    """Load what runs things when it is first asked for: a method imports this package too."""
    if name in ("plan", "run", "results"):
        from gkdbench.runs import calls

        return getattr(calls, name)
    raise AttributeError(f"module 'gkdbench' has no attribute {name!r}")
