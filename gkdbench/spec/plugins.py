"""What installed distributions offer: entry points and files of modules, without importing any; and a user's file."""

import re
import sys
from functools import cache, lru_cache
from importlib.machinery import ModuleSpec, PathFinder
from importlib.metadata import Distribution, EntryPoint, distributions
from importlib.util import module_from_spec, spec_from_file_location
from pathlib import Path
from types import ModuleType

OURS = "gkdbench"
"""Our own distribution: under a name that others offer as well, its offer counts."""


def entries(group: str) -> tuple[EntryPoint, ...]:
    """Return the entry points of a group, those of the first on the path first."""
    return _scan(group)[0]


def unreadable(group: str) -> dict[str, str]:
    """Return, by distribution, why its entry points cannot be read."""
    return _scan(group)[1]


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
    found: dict[str, tuple[EntryPoint, ...]] = {}
    faults: dict[str, str] = {}
    for distribution in distributions():
        name = _name(distribution)
        if normalised(name) in found:  # the first on the path counts
            continue
        try:
            found[normalised(name)] = tuple(distribution.entry_points.select(group=group))
        except Exception as error:  # a malformed file of a stranger's; the others must still be found
            found[normalised(name)] = ()
            faults[name] = f"the entry points of package {name} cannot be read ({error}); reinstall or remove it"
    return tuple(entry for offered in found.values() for entry in offered), faults


@cache  # each look parses the distribution's metadata
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
    above = ""
    for part in module.split("."):
        spec = _find(above, part, places)
        if spec is None:
            return None
        places = list(spec.submodule_search_locations or ())
        above += f"{part}."
    return spec


def _find(above: str, part: str, places: list[str] | None) -> ModuleSpec | None:
    for finder in sys.meta_path:
        try:  # editable installs put finders of their own here
            # by its last part, since in a namespace PathFinder wants what is above to be imported
            found = finder.find_spec(part if finder is PathFinder else above + part, places, None)
        except Exception:  # a stranger's finder, or one that wants the parent imported
            found = None
        if found is not None:
            return found
    return None


def package_folder(package: str) -> Path | None:
    """Return the folder of a package; None where there is no such package."""
    spec = find_module(package)
    return Path(next(iter(spec.submodule_search_locations))) if spec and spec.submodule_search_locations else None


def import_file(file: Path, name: str) -> ModuleType:
    """Import a user's file as a module of this name, once.

    It may import files beside it, which afterwards answer nobody else's import of their names.
    """
    if name in sys.modules:
        return sys.modules[name]
    spec = spec_from_file_location(name, file)
    assert spec is not None and spec.loader is not None
    module = module_from_spec(spec)
    before = set(sys.modules)
    sys.modules[name] = module
    sys.path.insert(0, str(file.parent))
    try:
        spec.loader.exec_module(module)
    except BaseException:
        del sys.modules[name]
        raise
    finally:
        sys.path.remove(str(file.parent))
        for loaded in set(sys.modules) - before - {name}:
            origin = getattr(sys.modules[loaded], "__file__", None)
            if origin and Path(origin).resolve().is_relative_to(file.parent):
                del sys.modules[loaded]
    return module
