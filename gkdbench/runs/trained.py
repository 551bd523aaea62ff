"""A finished run's model, taken from the store as it was judged."""

import shlex
from dataclasses import dataclass

from gkdbench.errors import DataError
from gkdbench.models.encoder import Encoder
from gkdbench.models.network import Network
from gkdbench.runs.record import Record
from gkdbench.runs.stages import fit_for_judging, restore
from gkdbench.runs.store import Store
from gkdbench.runs.tasks import network_of
from gkdbench.spec.selection import RunSpec, resolve, selection_of


@dataclass(frozen=True)
class TrainedModel:
    """What a run left: its record, what it ran, and the network at the size it is judged at."""

    record: Record
    spec: RunSpec
    network: Network

    @property
    def size(self) -> tuple[int, int]:
        """Height and width of the images the network takes: the window, or the whole image."""
        return self.spec.benchmark.inference.seen


def trained_model(record: Record, store: Store, benchmark: str | None = None, named: str = "") -> TrainedModel:
    """Return a run's model with its weights; `benchmark` is the YAML of a user's own benchmark.

    named: how a command line names the record; default: by its run id.

    Raises DataError where the run did not finish, or its weights are damaged or not in the store.
    """
    if record.status != "done":
        raise DataError(f"{record.run_id}: {record.status}{f' ({record.reason})' if record.reason else ''}; no model")
    (spec,) = resolve(selection_of(record.spec, benchmark))
    today = spec.benchmark
    for what, then, now in (
        ("version", record.spec.benchmark_version, today.version),
        ("classes", record.classes, today.classes),
        ("decoder", record.spec.decoder, today.decoder.model_dump(mode="json")),
    ):
        if then != now:
            raise DataError(f"{record.run_id}: {today.name!r} has another {what} now ({now}) than then ({then})")
    last = record.stages[-1]
    words = ["gkdbench", "run", "--from", named or record.run_id, "--results", str(store.root), "--fresh"]
    again = f"{shlex.join([*words, '--benchmark', benchmark] if benchmark else words)} trains them again"
    try:
        artefact = store.artefact(last.digest, head=True)
    except DataError as error:
        raise DataError(f"{record.run_id}: its weights cannot be used ({error}); {again}") from error
    if artefact is None:
        raise DataError(
            f"{record.run_id}: its weights are not in {store.root / 'stages'} (records are kept without them); {again}"
        )
    # the artefact holds the whole encoder, so what it started from need not be here
    source = spec.teacher if last.model == "teacher" else spec.student
    network = network_of(today, Encoder(source.entry))
    restore(network, spec, last.model, artefact, artefact)
    fit_for_judging(network, spec, last.model, artefact.sight.patch)
    return TrainedModel(record, spec, network.eval())
