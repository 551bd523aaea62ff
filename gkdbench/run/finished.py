"""Recognising a finished run before torch is imported: a repeated command answers at once."""

from collections.abc import Callable
from dataclasses import dataclass

from gkdbench.identity.run import DataDigests, run_digest, run_id
from gkdbench.run.recomputed import contradiction
from gkdbench.run.record import Record
from gkdbench.run.store import Store
from gkdbench.spec.selection import RunSpec


@dataclass(frozen=True)
class Finished:
    """A run's record and whether it was there already."""

    record: Record
    cached: bool


def finished_run(
    spec: RunSpec, store: Store, data: DataDigests, tell: Callable[[str], None] = lambda line: None
) -> Finished | None:
    """Return the record of an identical run that is done, or None.

    One that contradicts itself was edited or damaged, and is as good as none; `tell` is told.
    """
    record = store.record(run_id(spec, run_digest(spec, data)))
    if record is None or record.status != "done":
        return None
    wrong = contradiction(record)
    if wrong is None:
        return Finished(record, cached=True)
    tell(f"warning: {store.run_folder(record.run_id)}/record.json: {wrong}; the run is judged again")
    return None
