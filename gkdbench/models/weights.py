"""Weights: from a file of any origin to a loaded encoder, with a report; a load that does not cover it is refused.

A file is opened safely, its tensors are unpacked from what is around them, their names become timm's, and every tensor
of the model must be among them.
"""

import argparse
import struct
import zipfile
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from fnmatch import fnmatch
from pathlib import Path
from typing import Any

import timm
import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor, nn

from gkdbench.errors import DataError
from gkdbench.models.encoder import Encoder
from gkdbench.models.weight_files import find_weights
from gkdbench.models.weight_names import to_timm, without_distillation_token
from gkdbench.spec.catalogue import ModelSource
from gkdbench.spec.model import Weights

HEADS = ("classifier.", "cls_classifier.", "distillation_classifier.", "pooler.")
"""What transformers' models have beside their encoder."""
NESTS = ("state_dict", "model", "module", "teacher", "student", "model_state_dict", "model_ema")
"""Keys under which releases keep the model, in this order: of EVA-02's first three the study takes the first that is
there; DINO keeps teacher and student, its teacher is judged."""
PREFIXES = ("module.", "_orig_mod.", "student.backbone.", "student.", "backbone.", "encoder.")
"""What stands before the encoder's names: wrappers; the study's student; the backbone of DINO and of segmentors."""
FIRST = ("patch_embed", "conv_stem", "conv1", "stem", "_conv_stem", "embeddings", "cls_token", "features")
"""Where an encoder's names begin when nothing stands before them."""
FOREIGN = {
    b"<!doctype": "a web page: the download got the page, not the file",
    b"<html": "a web page: the download got the page, not the file",
    b"<?xml": "a web page: the download got the page, not the file",
    b"version https://git-lfs": "it is a Git LFS pointer; fetch the file itself",
}
"""Beginnings of files that are often taken for weights."""
PART_BYTES = 2**27


@dataclass(frozen=True)
class LoadReport:
    """What a load matched: tensors of the model found, absent, and tensors of the file left over."""

    file: str
    matched: int
    missing: tuple[str, ...]
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
    path, weights = find_weights(source), source.entry.weights
    _check_architecture(encoder, weights)
    count = parts(path)
    reports = [_load_part(encoder, weights, path, (number, count)) for number in range(count)]
    return reports[0]


def read_into(module: nn.Module, path: Path) -> None:
    """Load one of our own exported files into a module."""
    count = parts(path)
    for number in range(count):
        load_tensors(module, read_tensors(path), origin=str(path), part=(number, count))


def parts(path: Path) -> int:
    """Return in how many parts a file is best copied into a model, so that model and file are not both in memory.

    The tensors of a mapped file come into memory when they are looked at, and leave it when the file is closed.
    """
    mapped = path.suffix == ".safetensors" or zipfile.is_zipfile(path)
    return max(path.stat().st_size // PART_BYTES, 1) if mapped else 1


def _check_architecture(encoder: Encoder, weights: Weights | None) -> None:
    if weights is None or weights.tensors is None:
        return
    built = len(_wanted(encoder.model.state_dict()))
    if built != weights.tensors:
        raise DataError(
            f"models.yaml: {encoder.entry.timm!r} should have {weights.tensors} tensors (weights.tensors), and "
            f"timm {timm.__version__} builds {built}: another architecture than the weights are of"
        )


def _load_part(encoder: Encoder, weights: Weights | None, path: Path, part: tuple[int, int]) -> LoadReport:
    """Open a file, check that it covers the whole encoder, and copy one part of its tensors; see load_tensors."""
    tensors, aside = encoder_tensors(path)
    if weights is not None and weights.drops_distillation_token:
        tensors = without_distillation_token(tensors)
    tensors, names, token = to_timm(tensors, encoder.model, str(path))
    classifier = encoder.model.pretrained_cfg.get("classifier") or ()
    unused = [f"{name}." for name in ((classifier,) if isinstance(classifier, str) else classifier)]
    unused += HEADS if names.startswith("transformers") else ()
    report = load_tensors(
        encoder.model, tensors, origin=str(path), names=names, aside=aside,
        may_be_unused=[*unused, "mask_token", *(weights.may_be_unused if weights else ())],
        may_be_missing=weights.may_be_missing if weights else (), part=part
    )  # fmt: skip
    if token is not None and encoder.mask_token is not None:
        _check_kind(str(path), "mask_token", token.reshape(-1), encoder.mask_token)
        _copy(str(path), "mask_token", token.reshape(-1), encoder.mask_token)
    return report


def load_tensors(
    model: nn.Module,
    tensors: Mapping[str, Tensor],
    *,
    origin: str,
    may_be_unused: Sequence[str] = (),
    may_be_missing: Sequence[str] = (),
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
    unexpected = sorted(name for name in tensors.keys() - own.keys() if not name.startswith(tuple(may_be_unused)))
    report = LoadReport(origin, len(wanted) - len(missing), tuple(missing), names, dict(aside or {}))
    refused = [name for name in missing if not any(fnmatch(name, pattern) for pattern in may_be_missing)]
    if refused or unexpected:
        named = [f"missing {name!r}" for name in refused[:1]] + [f"unexpected {name!r}" for name in unexpected[:1]]
        raise DataError(
            f"{origin}: does not fit the model: {report.matched} tensors matched, {len(missing)} missing, "
            f"{len(unexpected)} unexpected ({report.percent:.0f} %; {', '.join(named)})"
        )
    for name in sorted(wanted & tensors.keys()):
        _check_kind(origin, name, tensors[name], own[name])
    for name in [name for name in own if name in tensors][part[0] :: part[1]]:
        _copy(origin, name, tensors[name], own[name])
    return report


def _wanted(own: Mapping[str, Tensor]) -> set[str]:
    # BatchNorm's batch counter is no weight: timm's own files may lack it.
    return {name for name in own if not name.endswith("num_batches_tracked")}


def _check_kind(origin: str, name: str, found: Tensor, wanted: Tensor) -> None:
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


@torch.no_grad()
def _copy(origin: str, name: str, found: Tensor, own: Tensor) -> None:
    """Copy a tensor; raise DataError where it then has a NaN or Inf: in the model's type, which may hold less."""
    own.copy_(found)
    if own.is_floating_point() and not bool(torch.isfinite(own).all()):
        what = "NaN" if bool(torch.isnan(own).any()) else "Inf"
        raise DataError(
            f"{origin}: tensor {name!r} has {what}: the file is damaged, or of a training that diverged; get another"
        )


def encoder_tensors(path: Path) -> tuple[dict[str, Tensor], dict[str, int]]:
    """Read an encoder's tensors from a file that may hold more; return them and what was left aside.

    Left aside: number of tensors by the first part of their names, such as a segmentor's `decode_head`.
    """
    tensors, aside = read_tensors(path), Counter[str]()
    # a part of a model may be called encoder; a wrapper holds the patch embedding as well
    while not any(name.split(".")[0] in FIRST for name in tensors):
        prefix = next((one for one in PREFIXES if any(name.startswith(one) for name in tensors)), None)
        if prefix is None:
            break
        aside.update(name.split(".")[0] for name in tensors if not name.startswith(prefix))
        tensors = {name.removeprefix(prefix): t for name, t in tensors.items() if name.startswith(prefix)}
    return tensors, dict(aside)


def read_tensors(path: Path) -> dict[str, Tensor]:
    """Read a weight file, safetensors or a torch file of plain tensors, with the names that stand in it.

    Raises DataError where the file is no such thing; code in a pickle is never run.
    """
    content = _opened(path)
    if not isinstance(content, Mapping):
        raise DataError(f"{path}: holds a {type(content).__name__}, not a mapping of tensors")
    found = _unnested(content, 3)
    if not found:
        raise DataError(f"{path}: holds no tensors (keys: {', '.join(map(str, list(content)[:8])) or 'none'})")
    return found


def _opened(path: Path) -> Any:
    try:
        with path.open("rb") as stream:
            start = stream.read(64).lstrip().lower()
        said = [what for beginning, what in FOREIGN.items() if start.startswith(beginning)]
        if said:
            raise DataError(f"{path}: cannot be read as weights ({said[0]})")
        if path.suffix == ".safetensors":
            with safe_open(path, framework="pt") as opened:
                return {name: opened.get_tensor(name) for name in opened.keys()}  # noqa: SIM118 (not a mapping)
        # a plain container that releases keep their options in
        with torch.serialization.safe_globals([argparse.Namespace]):
            return torch.load(path, map_location="cpu", weights_only=True, mmap=zipfile.is_zipfile(path))
    except DataError:
        raise
    except (SafetensorError, struct.error, RuntimeError, EOFError, OSError) as error:
        raise DataError(f"{path}: cannot be read as weights ({_line(error)}); is the file complete?") from error
    except Exception as error:  # torch raises pickle errors of several kinds for foreign objects
        raise DataError(f"{path}: holds more than plain tensors and is not loaded ({_line(error)})") from error


def _unnested(content: Mapping[Any, Any], depth: int) -> dict[str, Tensor]:
    """Return the tensors of the first nest that has any, else those that stand in the mapping itself."""
    inside = (content[key] for key in NESTS if depth and isinstance(content.get(key), Mapping))
    for nest in inside:
        if found := _unnested(nest, depth - 1):
            return found
    return {str(name): value for name, value in content.items() if isinstance(value, Tensor)}


def _line(error: Exception) -> str:
    return str(error).strip().split("\n")[0][:160] or type(error).__name__
