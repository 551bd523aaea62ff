"""Datasets by name, from every installed benchmark package and from beside a user's benchmark."""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

from gkdbench.errors import UsageError
from gkdbench.spec.catalogue import folders
from gkdbench.spec.dataset import DatasetEntry, DatasetTable
from gkdbench.spec.documents import nearest, parse, read_yaml

FOLDER = "datasets"
"""Folder of a package, or beside a benchmark's YAML, whose YAML files define datasets."""


@dataclass(frozen=True)
class DatasetSource:
    """A dataset and the file that defines it."""

    name: str
    entry: DatasetEntry
    file: Path


def datasets(beside: Path | None = None) -> Mapping[str, DatasetSource]:
    """Return all datasets by name; those beside a user's benchmark come first and win."""
    found: dict[str, DatasetSource] = {}
    for folder in dict.fromkeys(f for f in (beside, *folders()) if f is not None):
        for file in sorted((folder / FOLDER).glob("*.yaml")):
            for name, entry in _table(file, file.stat().st_mtime_ns).datasets.items():
                found.setdefault(name, DatasetSource(name, entry, file))
    return found


@lru_cache(maxsize=64)
def _table(file: Path, _modified: int) -> DatasetTable:
    return parse(DatasetTable, read_yaml(file), str(file))


def find_dataset(name: str, beside: Path | None = None) -> DatasetSource:
    """Return a dataset by name."""
    known = datasets(beside)
    if name not in known:
        raise UsageError(f"unknown dataset {name!r}{nearest(name, known)} (gkdbench list datasets shows them)")
    return known[name]
