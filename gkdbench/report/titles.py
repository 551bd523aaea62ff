"""What comparisons are called, so that no two of a report are called alike."""

import hashlib
from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence

from gkdbench.report.records import plain
from gkdbench.runs.record import Record

_FEW_SIZES = 6


def decoder_told(decoder: Mapping[str, object]) -> str:
    """Return a decoder's name and sizes in words."""
    parts = {key: plain(value) for key, value in sorted(decoder.items())}
    name = parts.pop("name", "unnamed")
    return f"{name} ({', '.join(f'{key} {value}' for key, value in parts.items())})"


def decoder_in_short(decoder: Mapping[str, object]) -> str:
    """Return a decoder's name, and its sizes while these are few; a run's details have them all."""
    sizes = len(decoder) - ("name" in decoder)
    if sizes <= _FEW_SIZES:
        return decoder_told(decoder)
    return f"{decoder.get('name', 'unnamed')} (its {sizes} sizes: in the details of a run)"


def _title(record: Record) -> str:
    spec = record.spec
    subset = f", targets {' and '.join(spec.targets)} alone" if "other targets" in record.marks else ""
    return f"{spec.benchmark} v{spec.benchmark_version}, {spec.setting.upper()}, {spec.pair}{subset}"


_FACTS: tuple[Callable[[Record], str], ...] = (
    lambda record: f"preset {record.spec.preset}",
    lambda record: f"decoder {record.spec.decoder.get('name', 'unnamed')}",
    lambda record: f"decoder {decoder_told(record.spec.decoder)}",
    lambda record: f"targets {', '.join(sorted(record.spec.targets))}",
    lambda record: record.metric,
    lambda record: f"mean {record.mean_rule}",
    lambda record: f"{len(record.classes)} classes",
    lambda record: f"in no mean: {', '.join(record.excluded_from_mean) or 'none'}",
    lambda record: f"OOD over {', '.join(record.ood_targets or record.spec.targets)}",
    lambda record: f"groups {', '.join(record.groups)}" if record.groups else "no groups",
)
"""What may tell tables apart, the commonest first."""


def distinct_titles(tables: Mapping[str, Record]) -> dict[str, str]:
    """Return a title per table; where titles would be equal, they say in what the tables differ.

    Args:
        tables: a run of each by what makes it a table of its own, any text that no other table has.
    """
    titles = {key: _title(record) for key, record in tables.items()}
    for fact in _FACTS:
        for keys in _alike(titles):
            found = {key: fact(tables[key]) for key in keys}
            if len(set(found.values())) > 1:
                titles.update({key: f"{titles[key]}, {said}" for key, said in found.items()})
    for keys in _alike(titles):  # alike in all that has words, such as the number of classes but not their names
        for key in keys:
            titles[key] += f", {hashlib.sha256(key.encode()).hexdigest()[:6]}"
    return titles


def _alike(titles: Mapping[str, str]) -> list[Sequence[str]]:
    found: defaultdict[str, list[str]] = defaultdict(list)
    for key, title in titles.items():
        found[title].append(key)
    return [keys for keys in found.values() if len(keys) > 1]
