"""Targets that are the in-domain images, corrupted: many of them, so that they are named and shown together."""

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence

from gkdbench.runs.record import Corruption

MPC, RPC = "mPC", "rPC, %"
"""Titles of the mean over corruptions, and of its share of the in-domain value."""
TOGETHER = "all corruptions"
"""What stands for all of them, where targets are shown one by one."""
_MOST_KINDS = 6


def kinds_of(corruptions: Mapping[str, Corruption]) -> list[str]:
    """Return the kinds, in the order of their targets."""
    return list(dict.fromkeys(one.kind for one in corruptions.values()))


def severities_of(corruptions: Mapping[str, Corruption]) -> list[int]:
    """Return the severities, mildest first."""
    return sorted({one.severity for one in corruptions.values()})


def targets_told(targets: Iterable[str], corruptions: Mapping[str, Corruption]) -> str:
    """Return names of targets, and of corruptions among them kinds and severities: there may be 75."""
    chosen = list(targets)
    parts = [target for target in chosen if target not in corruptions]
    by_severity: defaultdict[tuple[int, ...], list[str]] = defaultdict(list)
    found = {target: corruptions[target] for target in chosen if target in corruptions}
    for kind in kinds_of(found):
        severities = sorted(one.severity for one in found.values() if one.kind == kind)
        by_severity[tuple(severities)].append(kind)
    parts.extend(
        f"{_listed(kinds)} at severit{'ies' if len(severities) > 1 else 'y'} {_range(severities)}"
        for severities, kinds in by_severity.items()
    )
    return ", ".join(parts)


def _listed(kinds: Sequence[str]) -> str:
    if len(kinds) > _MOST_KINDS:
        return f"{len(kinds)} corruptions ({', '.join(kinds)})"
    return f"{' and '.join([', '.join(kinds[:-1]), kinds[-1]] if len(kinds) > 1 else kinds)}"


def _range(severities: Sequence[int]) -> str:
    if len(severities) > 2 and list(severities) == list(range(severities[0], severities[-1] + 1)):
        return f"{severities[0]} to {severities[-1]}"
    return ", ".join(map(str, severities))
