"""Collecting records, the user's and committed ones; what cannot be read is listed, not fatal."""

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path
from typing import Any

from gkdbench.errors import DataError, GkdbenchError
from gkdbench.report.bounds import encodable, fault
from gkdbench.runs.recomputed import contradiction
from gkdbench.runs.record import Record, find_records, read_record
from gkdbench.spec.methods import find_method, is_path, recorded_name


@dataclass(frozen=True)
class Loaded:
    """The records that could be read, each run once, and one line for each that could not."""

    records: tuple[Record, ...]
    skipped: tuple[str, ...] = ()
    folders: Mapping[str, Path] = field(default_factory=dict)
    """Where each run's other files lie, by run id."""


def load_records(results: Path, published: Path | None = None) -> Loaded:
    """Read every record below a results directory, and below a folder of committed records.

    A run found twice counts once: the user's own, in runs/, wins over a committed one unless it is not done.
    """
    own: list[Path] = []
    committed: list[Path] = []
    for path in find_records(results):
        (own if path.parent.parent.name == "runs" else committed).append(path)
    if published is not None:
        committed.extend(sorted(published.glob("*/record.json")))
    by_run: dict[str, Record] = {}
    folders: dict[str, Path] = {}
    skipped: dict[Path, str] = {}
    for path in (*own, *committed):
        try:
            record = sound_record(path)
        except GkdbenchError as error:
            # One file can be reached through both folders; it is one problem.
            skipped.setdefault(path.resolve(), encodable(one_line(str(error))))
            continue
        found = by_run.get(record.run_id)
        if found is None or (found.status != "done" and record.status == "done"):
            by_run[record.run_id], folders[record.run_id] = record, path.parent
    ordered = sorted(by_run.values(), key=lambda record: record.run_id)
    return Loaded(tuple(ordered), tuple(skipped.values()), folders)


def sound_record(path: Path) -> Record:
    """Read a record that a report can hold and that agrees with itself; DataError says where it does not."""
    try:
        record = read_record(path)
        wrong = fault(record) or contradiction(record)
    except (ValueError, OverflowError, RecursionError) as error:  # JSON that is valid and yet cannot be held
        raise DataError(f"{path}: cannot be read ({error})") from error
    folder = path.absolute().parent.name
    if wrong is None and path.name == "record.json" and folder != record.run_id:
        wrong = f"key 'run_id': {record.run_id} in a folder {folder!r}, and a run's folder bears its name"
    if wrong is not None:
        raise DataError(f"{path}: {wrong}; correct the file or take it away")
    return record


def is_teacher(record: Record) -> bool:
    """Say whether the run evaluates the teacher: every stage trained it, none the student."""
    return bool(record.stages) and all(stage.model == "teacher" for stage in record.stages)


def class_metric(metric: str) -> str:
    """Return what a class is judged by: mIoU is the mean of IoU, while AP50 is called so of a class too."""
    return metric.removeprefix("m")


def one_line(text: str) -> str:
    """Return the text with every run of white space, line breaks too, as one blank."""
    return " ".join(text.split())


def installed_defaults(records: Iterable[Record]) -> dict[str, dict[str, Any]]:
    """Return the default options of the installed methods among these, read without importing them."""
    defaults = {}
    # Names in records are foreign text: only installed ones are looked up, never a path.
    for name in sorted({_found_by(record) for record in records}):
        if is_path(name):
            continue
        try:
            options = find_method(name).options
        except GkdbenchError:
            continue  # a method that is gone or broken must not keep its old records from being shown
        defaults[name] = {option.name: option.default for option in options if not option.required}
    return defaults


def shown_options(record: Record, defaults: Mapping[str, Mapping[str, Any]]) -> str:
    """Return `key=value, ...` of the options that are not the method's known defaults."""
    # A file's method, or another package's, may share its name with an installed one, not its defaults.
    known = defaults.get(_found_by(record), record.spec.defaults)
    return ", ".join(
        f"{key}={plain(value)}"
        for key, value in sorted(record.spec.options.items())
        if key not in known or known[key] != value
    )


def _found_by(record: Record) -> str:
    return _installed_name(record.spec.method, record.spec.method_source)


@lru_cache(maxsize=1024)
def _installed_name(name: str, origin: str) -> str:
    # a thousand runs are of few methods, and each look-up reads the metadata of packages
    return recorded_name(name, origin)


def plain(value: Any) -> str:
    """Return a value as a person would type it: text without quotes, the rest as JSON."""
    if isinstance(value, str):
        return value
    return json.dumps(value, sort_keys=True, default=str)


def budget_key(record: Record) -> tuple[tuple[str, float], ...]:
    """Return what tells whether two runs of a method saw equally much, per data role."""
    counted = ("images", "student_passes", "teacher_passes")
    return tuple(
        (f"{role}.{name}", float(section[name]))  # whole numbers come back from a file as floats
        for role, section in sorted(record.budget.items())
        for name in counted
        if name in section
    )


def budget_total(record: Record, name: str) -> float | None:
    """Return a budget entry summed over the data roles; None where the record does not state it."""
    parts = [section[name] for section in record.budget.values() if name in section]
    return sum(parts) if parts else None


def facts(environment: Mapping[str, Any]) -> dict[str, str]:
    """Return the environment as one flat mapping of dotted names to text."""
    return {name: plain(value) for name, value in flat(environment).items()}


def flat(content: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """Return nested mappings as one of dotted names."""
    found: dict[str, Any] = {}
    for key, value in content.items():
        name = f"{prefix}{key}"
        if isinstance(value, Mapping):
            found.update(flat(value, f"{name}."))
        else:
            found[name] = value
    return found
