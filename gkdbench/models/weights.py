"""Weights: found, converted and loaded with a report; a load that does not cover the model is refused."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from fnmatch import fnmatch
from pathlib import Path

import timm
import torch
from torch import Tensor, nn

from gkdbench.errors import DataError
from gkdbench.models.checkpoints import encoder_tensors, parts, read_tensors
from gkdbench.models.encoder import Encoder
from gkdbench.models.weight_files import find_weights
from gkdbench.models.weight_names import to_timm, without_distillation_token
from gkdbench.spec.catalogue import ModelSource
from gkdbench.spec.model import Weights

HEADS = ("classifier.", "cls_classifier.", "distillation_classifier.", "pooler.")
"""What transformers' models have beside their encoder."""


@dataclass(frozen=True)
class LoadReport:
    """What a load matched: tensors of the model found, absent, and tensors of the file left over."""

    file: str
    matched: int
    missing: tuple[str, ...]
    unexpected: tuple[str, ...]
    names: str = "timm"
    """Naming scheme of the file."""
    aside: Mapping[str, int] = field(default_factory=dict)
    """Tensors beside the encoder that were left aside, by the first part of their names."""

    @property
    def percent(self) -> float:
        """Share of the model's tensors that were found, in percent."""
        total = self.matched + len(self.missing)
        return 100.0 * self.matched / total if total else 100.0


def load_encoder(encoder: Encoder, source: ModelSource) -> LoadReport | None:
    """Load an encoder's weights; None for an entry whose weights are random.

    A release that was trained with masks brings its own mask token, which then is the encoder's. Raises DataError
    unless every tensor of the model is found with its shape; the classifier may be left over, and an entry may name
    further exceptions.
    """
    if source.entry.weights is None and source.explicit is None:
        return None
    path = find_weights(source)
    count = parts(path)
    reports = [_load_part(encoder, source.entry.weights, path, (number, count)) for number in range(count)]
    return reports[0]


def _load_part(encoder: Encoder, weights: Weights | None, path: Path, part: tuple[int, int]) -> LoadReport:
    """Open a file, check that it covers the whole encoder, and copy one part of its tensors; see load_tensors."""
    if weights is not None and weights.tensors is not None:
        built = len(_wanted(encoder.model.state_dict()))
        if built != weights.tensors:
            raise DataError(
                f"models.yaml: {encoder.entry.timm!r} should have {weights.tensors} tensors (weights.tensors), and "
                f"timm {timm.__version__} builds {built}: another architecture than the weights are of"
            )
    tensors, aside = encoder_tensors(path)
    classifier = encoder.model.pretrained_cfg.get("classifier") or ()
    unused = [f"{name}." for name in ((classifier,) if isinstance(classifier, str) else classifier)]
    if weights is not None and weights.drops_distillation_token:
        tensors = without_distillation_token(tensors)
    tensors, names, token = to_timm(tensors, encoder.model, str(path))
    unused += HEADS if names.startswith("transformers") else ()
    report = load_tensors(
        encoder.model, tensors, origin=str(path), names=names, aside=aside,
        may_be_unused=[*unused, "mask_token", *(weights.may_be_unused if weights else ())],
        may_be_missing=[*(weights.may_be_missing if weights else ())], part=part
    )  # fmt: skip
    if token is not None and encoder.mask_token is not None:
        check_kind(str(path), "mask_token", token.reshape(-1), encoder.mask_token)
        check_finite(str(path), "mask_token", token)
        with torch.no_grad():
            encoder.mask_token.copy_(token.reshape(-1))
    return report


def load_tensors(
    model: nn.Module,
    tensors: Mapping[str, Tensor],
    *,
    origin: str,
    may_be_unused: list[str] | None = None,
    may_be_missing: list[str] | None = None,
    names: str = "timm",
    aside: Mapping[str, int] | None = None,
    part: tuple[int, int] = (0, 1),
) -> LoadReport:
    """Copy tensors of any float type into a module; every tensor of the module must be there with its shape.

    part: (number, count) copies only every count-th tensor from the number-th on, after the same checks.
    """
    own = model.state_dict()
    wanted = _wanted(own)
    missing = sorted(wanted - tensors.keys())
    unexpected = sorted(
        name
        for name in tensors.keys() - own.keys()
        if not any(name.startswith(prefix) for prefix in may_be_unused or [])
    )
    report = LoadReport(
        origin, len(wanted) - len(missing), tuple(missing), tuple(unexpected), names, dict(aside or {})
    )
    refused = [name for name in missing if not any(fnmatch(name, pattern) for pattern in may_be_missing or [])]
    if refused or unexpected:
        named = [f"missing {refused[0]!r}"] if refused else []
        named += [f"unexpected {unexpected[0]!r}"] if unexpected else []
        raise DataError(
            f"{origin}: does not fit the model: {report.matched} tensors matched, "
            f"{len(missing)} missing, {len(unexpected)} unexpected ({report.percent:.0f} %; "
            f"{', '.join(named)})"
        )
    for name in sorted(wanted & tensors.keys()):
        check_kind(origin, name, tensors[name], own[name])
    with torch.no_grad():
        for name in [name for name in own if name in tensors][part[0] :: part[1]]:
            own[name].copy_(tensors[name])
            check_finite(origin, name, own[name])  # in the model's type, whose range may be the smaller one
    return report


def _wanted(own: Mapping[str, Tensor]) -> set[str]:
    # BatchNorm's batch counter is no weight: timm's own files may lack it.
    return {name for name in own if not name.endswith("num_batches_tracked")}


def check_kind(origin: str, name: str, found: Tensor, wanted: Tensor) -> None:
    """Raise DataError where a file's tensor has another shape than the model's, or no floats where it has."""
    if found.shape != wanted.shape:
        raise DataError(
            f"{origin}: tensor {name!r} has shape {tuple(found.shape)}, the model needs {tuple(wanted.shape)}"
        )
    if wanted.is_floating_point() and not found.is_floating_point():
        raise DataError(
            f"{origin}: tensor {name!r} holds {str(found.dtype).removeprefix('torch.')} where the model has floats; "
            "quantised weights cannot be used, get the file in float32, float16 or bfloat16"
        )


def check_finite(origin: str, name: str, value: Tensor) -> None:
    """Raise DataError where a tensor of floats has a NaN or Inf."""
    if value.is_floating_point() and not bool(torch.isfinite(value).all()):
        what = "NaN" if bool(torch.isnan(value).any()) else "Inf"
        raise DataError(
            f"{origin}: tensor {name!r} has {what}: the file is damaged, or of a training that diverged; get another"
        )


def read_into(module: nn.Module, path: Path) -> None:
    """Load one of our own exported files into a module."""
    count = parts(path)
    for number in range(count):
        load_tensors(module, read_tensors(path), origin=str(path), part=(number, count))
