"""Where the runs of one row come from: those of several commits or environments may share a mean, and it is said."""

from collections import defaultdict
from collections.abc import Callable, Hashable, Iterable, Mapping
from typing import TypeVar

from gkdbench.report.records import facts, one_line
from gkdbench.runs.record import Record

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


def table_notes(done: Iterable[Record], budgets: Mapping[str, float]) -> list[str]:
    """Say of a table's finished runs where they come from, and how many images rows trained on, where that differs."""
    notes = []
    found = _grouped(done, _origin)
    if len(found) > 1:
        parts = [f"{name} ({_methods(runs)})" for name, runs in sorted(found.items())]
        notes.append("Runs of this table come from different environments: " + " and ".join(parts) + ".")
    if len(set(budgets.values())) > 1:
        low, high = min(budgets, key=lambda k: budgets[k]), max(budgets, key=lambda k: budgets[k])
        notes.append(
            f"Budgets differ between methods: from {budgets[low]:,.0f} training images ({low}) "
            f"to {budgets[high]:,.0f} ({high}); see the cost table."
        )
    return notes


def _origin(record: Record) -> str:
    known = environment_of(record)
    return f"{known}{', ' if known else ''}gkdbench {record.version}"


def _methods(records: Iterable[Record]) -> str:
    """Return `method seed 0, 1; ...`."""
    seeds: defaultdict[str, list[int]] = defaultdict(list)
    for record in records:
        seeds[record.spec.method].append(record.spec.seed)
    return "; ".join(f"{method} seed {', '.join(map(str, sorted(found)))}" for method, found in sorted(seeds.items()))


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
