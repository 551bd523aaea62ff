"""Resolved runs executed, stored and recorded; `gkdbench.run(...)` calls what gkdbench.run.calls has."""

import sys
from types import ModuleType
from typing import Any


class _Callable(ModuleType):
    """So that the package and the function that users know it for can have one name."""

    def __call__(self, *arguments: Any, **named: Any) -> Any:
        from gkdbench.run.calls import run

        return run(*arguments, **named)


sys.modules[__name__].__class__ = _Callable
