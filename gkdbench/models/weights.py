"""Weights: found, verified and loaded with a report. Nothing is unpickled but plain tensors."""

import struct
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor, nn

from gkdbench.errors import DataError
from gkdbench.models.weight_files import find_weights
from gkdbench.models.weight_names import RENAMINGS
from gkdbench.spec.catalogue import ModelSource


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
