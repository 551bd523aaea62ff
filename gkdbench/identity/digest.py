"""Canonical digests: the same content gives the same digest on any machine, in any key order.

The version numbers enter them: one is raised when the same description would no longer give the same result.
"""

import hashlib
import json
import re
from collections.abc import Mapping, Sequence, Set
from pathlib import Path
from typing import Any

from pydantic import BaseModel

ENGINE = 1
"""Training loop, sampling, augmentation, optimiser, seeding."""
DECODER = 1
"""Decoder architectures, their initialisation and their task loss."""
READING = 1
"""How files are found, decoded and mapped to classes; of splits that are rendered nothing is read."""
EVALUATION = 1
"""Resizing, windows, argmax and counting."""
LONGEST_NAME = 200
"""Characters; with seed and digest a folder's name stays below the 255 bytes that file systems allow."""


def canonical(value: Any) -> Any:
    """Reduce a value to what JSON can hold: models to mappings, tuples to lists, sets to sorted lists."""
    if isinstance(value, BaseModel):
        return canonical(value.model_dump(mode="json"))
    if isinstance(value, Mapping):
        return {str(key): canonical(value[key]) for key in value}
    if isinstance(value, Set):
        return sorted(canonical(item) for item in value)
    if isinstance(value, Sequence) and not isinstance(value, str | bytes):
        return [canonical(item) for item in value]
    if isinstance(value, Path):
        return str(value)
    # 1 and 1.0 are the same learning rate however the user spelt it.
    if isinstance(value, float) and value.is_integer() and abs(value) < 2**53:
        return int(value)
    if value is None or isinstance(value, str | int | float | bool):
        return value
    raise TypeError(f"cannot digest a {type(value).__name__}")


def digest(value: Any) -> str:
    """Return the 64-digit sha256 of the value's canonical JSON."""
    text = json.dumps(canonical(value), sort_keys=True, separators=(",", ":"), allow_nan=False)
    return hashlib.sha256(text.encode()).hexdigest()


def file_sha256(path: Path) -> str:
    """Return the sha256 of a file's bytes."""
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def run_name(benchmark: str, setting: str, method: str, seed: int, digest: str) -> str:
    """Return `<benchmark>-<setting>-<method>-s<seed>-<digest8>`, what stands before the seed cut to LONGEST_NAME."""
    # `COMBINATOR(METHOD)` becomes `COMBINATOR-METHOD`: the name of a folder that no shell has to quote
    named = re.sub(r"[^A-Za-z0-9_.]+", "-", method).strip("-.")
    return f"{'-'.join([benchmark, setting, named])[:LONGEST_NAME]}-s{seed}-{digest[:8]}"
