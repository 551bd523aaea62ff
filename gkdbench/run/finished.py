"""Recognising a finished run before torch is imported: a repeated command answers at once."""

from dataclasses import dataclass

from gkdbench.run.digests import DataDigests, run_digest, run_id
from gkdbench.run.record import Record
from gkdbench.run.store import Store
from gkdbench.spec.selection import RunSpec


@dataclass(frozen=True)
class Finished:
    """A run's record and whether it was there already."""

    record: Record
    cached: bool


def finished_run(spec: RunSpec, store: Store, data: DataDigests) -> Finished | None:
    """Return the record of an identical run that is done, or None."""
    record = store.record(run_id(spec, run_digest(spec, data)))
    if record is not None and record.status == "done":
        return Finished(record, cached=True)
    return None
