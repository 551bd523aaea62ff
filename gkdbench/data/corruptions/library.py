"""The corruptions of imagecorruptions-imaug, drawn from a generator of their own; frost from its first five pictures.

The library draws from numpy's global generator, which every thread of a process shares and which is not ours to seed.
Here each call runs the library's functions with a seeded generator in that one's place: the draws are those that
numpy.random.seed would have given, nothing global is read or changed, and threads cannot disturb each other. Impulse
noise and glass blur, which draw from generators of scikit-image and numba, take their seed as an argument.

It is no dependency of gkdbench: it asks for opencv-python, whose files would replace those of opencv-python-headless,
and which cannot be imported on a machine without a graphics library. So it is installed by itself; see HOW_TO_GET.
"""

import importlib
import importlib.util
from functools import lru_cache
from importlib import metadata
from types import FunctionType, ModuleType
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from gkdbench.errors import UsageError

LIBRARY = "imagecorruptions-imaug"
VERSION = "1.1.5"
"""Another version may draw otherwise, and its images would not be comparable."""
HOW_TO_GET = f"pip install 'gkdbench[corruptions]' && pip install --no-deps {LIBRARY}=={VERSION}"
SMALLEST = 32
"""The library's limit: pixels of an image's shorter side."""
_MODULE = "imagecorruptions"
_TAKES_SEED = ("impulse_noise", "glass_blur")


class _Numpy:
    """numpy, with another generator where its global one is."""

    def __init__(self, random: np.random.RandomState) -> None:
        self.random = random

    def __getattr__(self, name: str) -> Any:
        return getattr(np, name)


class _FrostDraws(np.random.RandomState):
    """Draws from five of the library's six pictures of frost, in whose list the sixth is by far the weakest.

    ImageNet-C's code (hendrycks/robustness, make_imagenet_c.py) and that of Pascal-C (bethgelab/imagecorruptions) list
    six as well and draw a number below five.
    """

    def randint(self, low: int, high: int | None = None) -> int:  # type: ignore[override]
        """Return a number below `low`, or from `low` to below `high`."""
        return int(super().randint(5 if (low, high) == (6, None) else low, high))


def check_installed(kind: str) -> None:
    """Raise UsageError where the library, or what it imports, is missing or another version; imports nothing."""
    try:
        found = metadata.version(LIBRARY)
    except metadata.PackageNotFoundError:
        raise UsageError(f"corruption {kind!r} needs {LIBRARY} {VERSION}: {HOW_TO_GET}") from None
    if found != VERSION:
        raise UsageError(f"corruption {kind!r} needs {LIBRARY} {VERSION}, this is {found}: {HOW_TO_GET}")
    missing = next((name for name in ("numba", "skimage") if importlib.util.find_spec(name) is None), None)
    if missing is not None:
        raise UsageError(f"corruption {kind!r} needs {missing}, which {LIBRARY} imports: {HOW_TO_GET}")
    try:
        metadata.version(_MODULE)
    except metadata.PackageNotFoundError:
        return
    raise UsageError(
        f"{_MODULE} and {LIBRARY} are both installed and overwrite each other's files: "
        f"pip uninstall {_MODULE} {LIBRARY}, then {HOW_TO_GET}"
    )


@lru_cache(maxsize=1)
def _functions() -> ModuleType:
    return importlib.import_module(f"{_MODULE}.corruptions")


def corrupted_by_library(image: NDArray[np.uint8], kind: str, severity: int, seed: int) -> NDArray[np.uint8]:
    """Return what the library makes of an image [H, W, 3] for a seed below 2**32."""
    module = _functions()
    draws = _FrostDraws(seed) if kind == "frost" else np.random.RandomState(seed)
    names = {**vars(module), "np": _Numpy(draws)}
    for name, value in vars(module).items():
        if isinstance(value, FunctionType) and value.__module__ == module.__name__:
            # the same code, with `np` looked up in `names`
            names[name] = FunctionType(value.__code__, names, name, value.__defaults__, value.__closure__)
    seeded = {"seed": seed} if kind in _TAKES_SEED else {}
    return np.asarray(names[kind](Image.fromarray(image), severity, **seeded)).astype(np.uint8)
