"""What installed distributions offer: their entry points, and the files of their modules, without importing any."""

import os
import pkgutil
import re
import sys
from collections.abc import Sequence
from functools import lru_cache
from importlib.machinery import ModuleSpec, PathFinder
from importlib.metadata import Distribution, EntryPoint, distributions, entry_points
from pathlib import Path

OURS = "gkdbench"
"""Our own distribution: under a name that others offer as well, its offer counts."""


def entries(group: str) -> tuple[EntryPoint, ...]:
    """Return the entry points of a group, those of the first on the path first."""
    return _scan(group)[0]


def unreadable() -> dict[str, str]:
    """Return, by distribution, why its entry points cannot be read."""
    return _scan("gkdbench.methods")[1]


def distribution_name(entry: EntryPoint) -> str:
    """Return the name of the distribution that an entry point comes from."""
    return _name(entry.dist) if entry.dist else "unknown"


def distribution_version(entry: EntryPoint) -> str:
    """Return the version of the distribution that an entry point comes from."""
    try:
        return (entry.dist.version if entry.dist else None) or "of no version"
    except Exception:  # metadata that a stranger's installer wrote, or half deleted
        return "of no version"


def normalised(distribution: str) -> str:
    """Return a distribution's name as indexes compare it."""
    return re.sub(r"[-_.]+", "-", distribution).lower()


@lru_cache
def _scan(group: str) -> tuple[tuple[EntryPoint, ...], dict[str, str]]:
    try:
        return tuple(entry_points(group=group)), {}
    except Exception:  # one distribution's file is malformed; the others must still be found
        found: list[EntryPoint] = []
        faults: dict[str, str] = {}
        seen: set[str] = set()
        for distribution in distributions():
            name = _name(distribution)
            if normalised(name) in seen:
                continue
            seen.add(normalised(name))
            try:
                found += distribution.entry_points.select(group=group)
            except Exception as error:
                faults[name] = f"the entry points of package {name} cannot be read ({error}); reinstall or remove it"
        return tuple(found), faults


def _name(distribution: Distribution) -> str:
    try:
        return distribution.name or "unknown"
    except Exception:  # as above
        return "unknown"


def find_module(module: str) -> ModuleSpec | None:
    """Find a module as an import would, but import neither it nor the packages above it.

    `importlib.util.find_spec("a.b")` imports a; a plugin's package may be slow, or raise.
    """
    spec: ModuleSpec | None = None
    places: list[str] | None = None
    parts = module.split(".")
    for depth in range(1, len(parts) + 1):
        name = ".".join(parts[:depth])
        spec = getattr(sys.modules.get(name), "__spec__", None) or _find(name, places)
        if spec is None:
            return None
        if depth < len(parts):
            if spec.submodule_search_locations is None:
                return None
            places = list(spec.submodule_search_locations)
    return spec


def _find(name: str, places: list[str] | None) -> ModuleSpec | None:
    for finder in sys.meta_path:
        if finder is PathFinder:
            found = _on_path(name, sys.path if places is None else places)
        else:
            try:  # editable installs put finders of their own here
                found = finder.find_spec(name, places, None)
            except Exception:  # a stranger's finder, or one that wants the parent imported
                found = None
        if found is not None:
            return found
    return None


def _on_path(name: str, places: Sequence[str]) -> ModuleSpec | None:
    """Search folders as PathFinder does, which for a namespace within a namespace wants the outer one imported."""
    portions: list[str] = []
    for place in places:
        finder = pkgutil.get_importer(place or os.getcwd())
        found = finder.find_spec(name) if finder is not None and hasattr(finder, "find_spec") else None
        if found is not None and found.loader is not None:
            return found
        portions += (found.submodule_search_locations or []) if found is not None else []
    if not portions:
        return None
    spec = ModuleSpec(name, None, is_package=True)
    spec.submodule_search_locations = portions
    return spec


def package_folder(package: str) -> Path | None:
    """Return the folder of a package; None where there is no such package."""
    spec = find_module(package)
    return Path(next(iter(spec.submodule_search_locations))) if spec and spec.submodule_search_locations else None
