"""Many runs in a good order: what is finished at once, then what cannot be done, then hours of training.

A failing run takes no other with it. torch is imported only where something is left to do.
"""

import os
import sys
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

from gkdbench.data.dataset import DataPlace
from gkdbench.errors import DataError, GkdbenchError, Interrupted, Unsupported, UsageError
from gkdbench.identity.run import DataDigests, Known, run_digest, run_id
from gkdbench.runs.recomputed import contradiction
from gkdbench.runs.record import Record
from gkdbench.runs.store import Store
from gkdbench.spec.methods import warnings_for
from gkdbench.spec.selection import RunSpec, Selection

if TYPE_CHECKING:
    from gkdbench.runs.plan import Planner
    from gkdbench.runs.workshop import Workshop


class Display(Protocol):
    """Where progress and remarks go."""

    def say(self, text: str) -> None:
        """Show one line."""
        ...

    def begin(self, title: str) -> None:
        """Name the work whose progress follows."""
        ...

    def progress(self, done: int, total: int, text: str = "") -> None:
        """Show how far the work is."""
        ...


class Spoken:
    """Lines on stderr, and no progress: what a Python caller sees."""

    def say(self, text: str) -> None:
        """Show one line."""
        print(text, file=sys.stderr, flush=True)

    begin = say

    def progress(self, done: int, total: int, text: str = "") -> None:
        """Show nothing."""


@dataclass(frozen=True)
class Hardware:
    """What to compute on."""

    device: str = "auto"
    devices: int = 1
    threads: int = 0
    """CPU threads per process; 0: choose."""
    workers: int = 0
    """Processes that read images ahead."""

    def __post_init__(self) -> None:
        if self.device not in ("auto", "cpu", "cuda"):
            raise UsageError(f"--device {self.device}: must be auto, cpu or cuda")

    @property
    def chosen_threads(self) -> int:
        """OMP_NUM_THREADS, else the number of cores, four at most: small models gain nothing beyond."""
        given = os.environ.get("OMP_NUM_THREADS", "")
        known = int(given) if given.isdecimal() else 0
        return self.threads or known or min(os.cpu_count() or 1, 4)


@dataclass(frozen=True)
class Outcome:
    """What became of one run, or of all runs of a benchmark whose data is not as it should be."""

    spec: RunSpec | None = None
    record: Record | None = None
    cached: bool = False
    error: GkdbenchError | None = None

    @property
    def line(self) -> str:
        """Say it in one line."""
        if self.error is not None:
            spec = self.spec
            whose = f"{spec.method.name} ({spec.setting}, seed {spec.seed}): " if spec else ""
            return f"gkdbench: {whose}{self.error}"
        assert self.record is not None
        reason = f": {self.record.reason}" if self.record.reason else ""
        return f"{self.record.run_id}: {'cached' if self.cached else self.record.status + reason}"


def finished_run(spec: RunSpec, store: Store, data: DataDigests, tell: Callable[[str], None]) -> Outcome | None:
    """Return what an identical run that is done came to, or None.

    One whose record contradicts itself was edited or damaged, and is as good as none; `tell` is told.
    """
    record = store.record(run_id(spec, run_digest(spec, data)))
    if record is None or record.status != "done":
        return None
    wrong = contradiction(record)
    if wrong is None:
        return Outcome(spec, record, cached=True)
    tell(f"warning: {store.run_folder(record.run_id)}/record.json: {wrong}; the run is judged again")
    return None


@dataclass(frozen=True)
class Plan:
    """The runs of a selection, and where their data and results are."""

    selection: Selection
    specs: tuple[RunSpec, ...]
    results: Path = Path("results")
    data_root: Path | None = None
    fresh: bool = False
    """Whether finished runs and stages are done again."""

    def run(
        self, hardware: Hardware = Hardware(), display_of: Callable[[int], Display] = lambda rank: Spoken()
    ) -> Iterator[Outcome]:
        """Yield what becomes of each run, as soon as it is known; `display_of` gives a process's display by its rank.

        Raises Interrupted on a signal; the same plan goes on from there.
        """
        store, place = Store(self.results), DataPlace(self.data_root)
        store.check()
        known: Known = {}
        tell = display_of(int(os.environ.get("LOCAL_RANK", "0"))).say
        names = (*self.selection.methods, *(spec.teacher_method for spec in self.specs))
        for line in dict.fromkeys(line for name in names for line in warnings_for(name)):
            tell(f"gkdbench: warning: {line}")
        work: list[RunSpec] = []
        absent: set[str] = set()
        for spec in self.specs:
            try:
                found = None if self.fresh else finished_run(spec, store, DataDigests(spec, place, known), tell)
            except DataError as error:  # other benchmarks may have their data
                if str(error) not in absent:
                    absent.add(str(error))
                    yield Outcome(error=error)
                continue
            if found is None:
                work.append(spec)
            else:
                yield found
        if work:
            store.prepare()
            os.environ["OMP_NUM_THREADS"] = str(hardware.chosen_threads)  # read when torch is imported
            from gkdbench.runs.workshop import open_workshop

            with open_workshop(store, place, hardware, display_of, fresh=self.fresh) as shop:
                shop.digests.update(known)
                yield from self._each(work, shop)

    def _each(self, work: Sequence[RunSpec], shop: "Workshop") -> Iterator[Outcome]:
        from gkdbench.runs.data_check import benchmark_of, data_faults
        from gkdbench.runs.runner import run

        first, asked = shop.fabric.is_global_zero, self.selection.benchmarks
        # the other ranks would read the same files
        faults = data_faults(work, shop.place, shop.display, asked, shop.stop.check) if first else {}
        faults = shop.fabric.broadcast(faults)
        for wrong in faults.values():  # the runs of other benchmarks go on
            yield Outcome(error=wrong)
        sound = [spec for spec in work if benchmark_of(spec) not in faults]
        for spec in _broken_first(sound, shop.planner, self.selection.methods):
            try:
                outcome = run(spec, shop)
            except Interrupted:
                raise
            except GkdbenchError as error:
                identity = run_digest(spec, shop.planner.data(spec))
                outcome = Outcome(spec, shop.store.record(run_id(spec, identity)), error=error)
            yield outcome


def _broken_first(work: Sequence[RunSpec], planner: "Planner", named: Sequence[str]) -> list[RunSpec]:
    """Put runs that cannot even be planned before the others: their message comes before hours of training.

    Where only shared teachers that nobody named would be left, these are left out.
    """
    known: dict[tuple[str, ...], bool] = {}

    def broken(spec: RunSpec) -> bool:
        key = (spec.method.name, str(spec.options), spec.setting, spec.benchmark.name)
        if key not in known:
            fault = planner.look_ahead(spec)  # the run itself says what is wrong, and records it
            known[key] = fault is not None and not isinstance(fault, Unsupported)
        return known[key]

    first = [spec for spec in work if broken(spec)]
    rest = [spec for spec in work if not broken(spec)]
    if first and all(spec.method.name == spec.teacher_method and spec.method.name not in named for spec in rest):
        rest = []
    return [*first, *rest]
