"""Weight files of any origin as one flat mapping of tensors: opened safely, unpacked from what is around them."""

import argparse
import struct
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor

from gkdbench.errors import DataError

NESTS = ("state_dict", "model", "module", "teacher", "student", "model_state_dict", "model_ema")
"""Keys under which releases keep the model, in this order: of EVA-02's first three the study takes the first that is
there; DINO keeps teacher and student, its teacher is judged."""
PREFIXES = ("module.", "_orig_mod.", "student.backbone.", "student.", "backbone.", "encoder.")
"""What stands before the encoder's names: wrappers; the study's student; the backbone of DINO and of segmentors."""
PART_BYTES = 2**27
_WEB = (b"<!doctype", b"<html", b"<?xml")
_LFS = b"version https://git-lfs"


def read_tensors(path: Path) -> dict[str, Tensor]:
    """Read a weight file, safetensors or a torch file of plain tensors, with the names that stand in it.

    Raises DataError where the file is no such thing; code in a pickle is never run.
    """
    return _flat(_opened(path), path)


def parts(path: Path) -> int:
    """Return in how many parts a file is best copied into a model, so that model and file are not both in memory.

    The tensors of a mapped file come into memory when they are looked at, and leave it when the file is closed.
    """
    mapped = path.suffix == ".safetensors" or _can_map(path)
    return max(path.stat().st_size // PART_BYTES, 1) if mapped else 1


def encoder_tensors(path: Path) -> tuple[dict[str, Tensor], dict[str, int]]:
    """Read an encoder's tensors from a file that may hold more; return them and what was left aside.

    Left aside: number of tensors by the first part of their names, such as a segmentor's `decode_head`.
    """
    tensors = read_tensors(path)
    aside: dict[str, int] = {}
    changed = True
    while changed:
        changed = False
        for prefix in PREFIXES:
            inside = {name.removeprefix(prefix): t for name, t in tensors.items() if name.startswith(prefix)}
            # a part of a model may be called encoder; a wrapper holds the patch embedding as well
            if inside and not _is_encoder(tensors):
                for name in tensors.keys() - {prefix + name for name in inside}:
                    part = name.split(".")[0]
                    aside[part] = aside.get(part, 0) + 1
                tensors, changed = inside, True
                break
    return tensors, aside


def _is_encoder(tensors: Mapping[str, Tensor]) -> bool:
    first = ("patch_embed", "conv_stem", "conv1", "stem", "_conv_stem", "embeddings", "cls_token", "features")
    return any(name.split(".")[0] in first for name in tensors)


def _opened(path: Path) -> Any:
    try:
        with path.open("rb") as stream:
            start = stream.read(64).lstrip().lower()
    except OSError as error:
        raise DataError(f"{path}: cannot be read as weights ({_line(error)})") from error
    if start.startswith(_WEB):
        raise DataError(f"{path}: cannot be read as weights (a web page: the download got the page, not the file)")
    if start.startswith(_LFS):
        raise DataError(f"{path}: cannot be read as weights (it is a Git LFS pointer; fetch the file itself)")
    try:
        if path.suffix == ".safetensors":
            with safe_open(path, framework="pt") as opened:
                return {name: opened.get_tensor(name) for name in opened.keys()}  # noqa: SIM118 (not a mapping)
        # a plain container that releases keep their options in
        with torch.serialization.safe_globals([argparse.Namespace]):
            return torch.load(path, map_location="cpu", weights_only=True, mmap=_can_map(path))
    except (SafetensorError, struct.error, RuntimeError, EOFError, OSError) as error:
        raise DataError(f"{path}: cannot be read as weights ({_line(error)}); is the file complete?") from error
    except Exception as error:  # torch raises pickle errors of several kinds for foreign objects
        raise DataError(f"{path}: holds more than plain tensors and is not loaded ({_line(error)})") from error


def _can_map(path: Path) -> bool:
    """Whether torch can map the file instead of reading it: the zip format that it writes since version 1.6."""
    with path.open("rb") as stream:
        return stream.read(4) == b"PK\x03\x04"


def _flat(content: Any, path: Path) -> dict[str, Tensor]:
    if not isinstance(content, Mapping):
        raise DataError(f"{path}: holds a {type(content).__name__}, not a mapping of tensors")
    found = _unnested(content, 3)
    if not found:
        raise DataError(f"{path}: holds no tensors (keys: {', '.join(map(str, list(content)[:8])) or 'none'})")
    return found


def _unnested(content: Mapping[Any, Any], depth: int) -> dict[str, Tensor]:
    """Return the tensors of the first nest that has any, else those that stand in the mapping itself."""
    inside = (content[key] for key in NESTS if depth and isinstance(content.get(key), Mapping))
    for nest in inside:
        if found := _unnested(nest, depth - 1):
            return found
    return {str(name): value for name, value in content.items() if isinstance(value, Tensor)}


def _line(error: Exception) -> str:
    return str(error).strip().split("\n")[0][:160] or type(error).__name__
