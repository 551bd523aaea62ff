"""Variants: names for a method with some options set, as data; the rows of an ablation are such names."""

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from functools import lru_cache
from pathlib import Path
from typing import Any

from gkdbench.errors import GkdbenchError, UsageError
from gkdbench.spec.catalogue import VARIANTS_FILE, packages
from gkdbench.spec.documents import Strict, parse, read_yaml
from gkdbench.spec.plugins import OURS

NAME = re.compile(r"(?!.*\.py$)[A-Za-z_][\w.-]*", re.ASCII)
"""What a method, a combinator or a variant may be called: never a path, nor anything that a shell would read."""


class VariantEntry(Strict):
    """One variant."""

    method: str
    """A method's name, or a combinator around one."""
    options: dict[str, bool | int | float | str | None] = {}
    summary: str


class VariantTable(Strict):
    """The content of a variants.yaml file; its entries are checked one by one."""

    variants: dict[Any, Any]


@dataclass(frozen=True)
class Variant:
    """A variant and the file that defines it."""

    entry: VariantEntry
    file: Path
    distribution: str
    others: tuple[Path, ...] = ()
    """Files that define the name as well, and do not count."""

    @property
    def ours(self) -> bool:
        """Whether it comes with gkdbench itself."""
        return self.distribution == OURS


def variants() -> Mapping[str, Variant]:
    """Return the variants of all installed benchmark packages; the first of a name counts, ours before others."""
    return _read()[0]


def variant_faults() -> Mapping[str, str]:
    """Return what is wrong with each variant that cannot be used, by name; with a whole file, by its path."""
    return _read()[1]


@lru_cache
def _read() -> tuple[dict[str, Variant], dict[str, str]]:
    found: dict[str, Variant] = {}
    faults: dict[str, str] = {}
    for folder, distribution in packages().items():
        file = folder / VARIANTS_FILE
        try:
            content = _entries(file) if file.is_file() else iter(())
            for name, entry in content:
                try:
                    variant = _variant(name, entry, file, distribution)
                except GkdbenchError as error:
                    faults[str(name)] = str(error)
                    continue
                first = found.setdefault(name, variant)
                if first is not variant:
                    found[name] = replace(first, others=(*first.others, file))
        except GkdbenchError as error:  # a stranger's broken file takes nobody else's names away
            faults[str(file)] = str(error)
    return found, {name: fault for name, fault in faults.items() if name not in found}


def _entries(file: Path) -> Iterator[tuple[Any, Any]]:
    yield from parse(VariantTable, read_yaml(file), str(file)).variants.items()


def _variant(name: Any, content: Any, file: Path, distribution: str) -> Variant:
    where = f"{file}: variant {name!r}"
    if not isinstance(name, str) or not NAME.fullmatch(name):
        raise UsageError(f"{where}: a name is letters, digits, '_', '-' and '.', and does not end in .py")
    return Variant(parse(VariantEntry, content, where), file, distribution)
