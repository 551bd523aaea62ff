"""Variants: names for a method with some options set, as data; the rows of an ablation are such names."""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

from gkdbench.spec.catalogue import VARIANTS_FILE, folders
from gkdbench.spec.documents import Strict, parse, read_yaml


class VariantEntry(Strict):
    """One variant."""

    method: str
    """A method's name, or a combinator around one."""
    options: dict[str, bool | int | float | str | None] = {}
    summary: str


class VariantTable(Strict):
    """The content of a variants.yaml file."""

    variants: dict[str, VariantEntry]


@dataclass(frozen=True)
class Variant:
    """A variant and the file that defines it."""

    entry: VariantEntry
    file: Path


@lru_cache
def variants() -> Mapping[str, Variant]:
    """Return the variants of all installed benchmark packages; the first of a name counts."""
    found: dict[str, Variant] = {}
    for folder in folders():
        file = folder / VARIANTS_FILE
        if file.is_file():
            content: Any = read_yaml(file)
            for name, entry in parse(VariantTable, content, str(file)).variants.items():
                found.setdefault(name, Variant(entry, file))
    return found
