"""Where the runs of one row come from: those of several commits or environments may share a mean, and it is said."""

from collections import defaultdict
from collections.abc import Callable, Hashable, Iterable
from typing import TypeVar

from gkdbench.report.records import facts, one_line
from gkdbench.run.record import Record

Key = TypeVar("Key", bound=Hashable)
_SHOWN = 7
"""Letters of a commit."""
_DIRTY = "-dirty"


def environment_of(record: Record) -> str:
    """Return in words what figures may depend on besides the spec: device and libraries of computation."""
    flat = facts(record.environment)
    names = [name for name in sorted(flat) if name.split(".")[-1] in ("torch", "device", "gpu")]
    return ", ".join(f"{name.split('.')[-1]} {flat[name]}" for name in names)


def environments(records: Iterable[Record]) -> dict[str, list[Record]]:
    """Return records by environment, in order of its words."""
    return dict(sorted(_grouped(records, environment_of).items()))


def mixed_environments(records: Iterable[Record]) -> list[str]:
    """Say that runs of one row come from several environments; nothing where they come from one."""
    found = environments(records)
    if len(found) < 2:
        return []
    parts = [f"{name or 'not recorded'} ({_seeds(runs)})" for name, runs in found.items()]
    return [f"mixed environments: {' and '.join(parts)}."]


def mixed_commits(records: Iterable[Record]) -> list[str]:
    """Say that runs of one row come from several versions or commits of gkdbench; nothing where they come from one.

    Runs of one row have the same method's code, by its digest; whether anything else changed between two commits is
    not in a record.
    """
    found = _grouped(records, lambda record: (record.version, record.commit))
    if len(found) < 2:
        return []
    versions = {version for version, _ in found}
    parts = [
        f"{_seeds(runs)} at {_commit(commit)}" + (f" (version {one_line(version)})" if len(versions) > 1 else "")
        for (version, commit), runs in found.items()
    ]
    kept = "the method's own code is the same, so they share a mean and a place in the ranking"
    beyond = "; what else the versions changed is not recorded" if len(versions) > 1 else ""
    return [f"runs of several {'versions' if beyond else 'commits'} of gkdbench ({', '.join(parts)}): {kept}{beyond}."]


def _grouped(records: Iterable[Record], key: Callable[[Record], Key]) -> dict[Key, list[Record]]:
    found: defaultdict[Key, list[Record]] = defaultdict(list)
    for record in records:
        found[key(record)].append(record)
    return found


def _seeds(runs: Iterable[Record]) -> str:
    seeds = sorted(record.spec.seed for record in runs)
    return f"seed{'s' if len(seeds) > 1 else ''} {', '.join(map(str, seeds))}"


def _commit(commit: str | None) -> str:
    if commit is None:
        return "no recorded commit"
    return f"commit {one_line(commit.removesuffix(_DIRTY))[:_SHOWN]}{_DIRTY if commit.endswith(_DIRTY) else ''}"
