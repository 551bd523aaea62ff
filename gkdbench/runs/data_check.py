"""A look at the data before hours are spent on it: the check that `check data` makes, of the splits that are needed."""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace
from pathlib import Path

from gkdbench.data.checking.health import Problem, by_fault, examine
from gkdbench.data.checking.reading import Effort
from gkdbench.data.checking.reading_processes import all_processors
from gkdbench.data.checking.subject import Subject, benchmark_subject
from gkdbench.data.corruptions.corrupt import check_available
from gkdbench.data.dataset import DataPlace
from gkdbench.errors import DataError, GkdbenchError, UsageError
from gkdbench.runs.plan import build_pair, make_stages
from gkdbench.runs.schedule import Display
from gkdbench.spec.catalogue import find_benchmark
from gkdbench.spec.selection import UNCHECKED, RunSpec

Key = tuple[Path, str]


def benchmark_of(spec: RunSpec) -> Key:
    """Return what tells benchmarks apart."""
    return spec.source.folder, spec.benchmark.name


def data_faults(
    specs: Sequence[RunSpec], place: DataPlace, display: Display, names: Iterable[str], pause: Callable[[], None]
) -> dict[Key, GkdbenchError]:
    """Return what is wrong with the data of each benchmark whose data is not as it should be.

    That includes corruptions whose library is not installed. Rendered splits are right by construction, and runs marked
    as unchecked are left out. `names` are those by which the benchmarks were asked for.
    """
    found: dict[Key, GkdbenchError] = {}
    runs: dict[Key, list[RunSpec]] = {}
    for spec in specs:
        if UNCHECKED not in spec.marks:
            runs.setdefault(benchmark_of(spec), []).append(spec)
    for key, of_benchmark in runs.items():
        subject = _needed(of_benchmark)
        try:
            for kind in dict.fromkeys(one.corruption.kind for one in subject.corrupted.values() if one.corruption):
                check_available(kind)
        except UsageError as error:
            found[key] = error
            continue
        if not subject.parts:
            continue
        display.begin(f"checking the data of {subject.name}")
        health = examine(subject, place, Effort(workers=all_processors(), pause=pause), _Quiet(display))
        if health.problems:
            found[key] = DataError(_said(health.problems, _called(key, names)))
        for split in health.splits:
            for note in split.notes:
                display.say(f"{subject.name}, {split.part.name}: {note}")
    return found


class _Quiet:
    """Shows progress under the title of the whole check."""

    def __init__(self, display: Display) -> None:
        self.progress = display.progress

    def begin(self, title: str) -> None:
        """Keep the title."""


def _needed(specs: Sequence[RunSpec]) -> Subject:
    targets = {name: split for spec in specs for name, split in spec.targets.items()}
    rendered = specs[0].benchmark.proxy.rendered
    subject = benchmark_subject(specs[0].source, targets, proxy=not rendered and any(map(_draws_from_proxy, specs)))
    parts = [part for part in subject.parts if not part.split.rendered]
    return replace(subject, parts=parts)


def _draws_from_proxy(spec: RunSpec) -> bool:
    try:
        return any("proxy" in stage.streams() for stage in make_stages(spec, build_pair(spec)))
    except (Exception, SystemExit):  # the run itself says what is wrong, or that it is unsupported
        return False


def _said(problems: Sequence[Problem], name: str) -> str:
    (first, alike), *others = by_fault(problems)
    more = f"; {alike - 1} more like it" if alike > 1 else ""
    more += f"; and {len(others)} more problem{'s' if len(others) > 1 else ''}" if others else ""
    return (
        f"{first.message} ({first.split}{more}); gkdbench check data {name} shows all, --skip-check trains nevertheless"
    )


def _called(key: Key, names: Iterable[str]) -> str:
    """Return the name or path by which a benchmark was asked for."""
    for name in names:
        source = find_benchmark(name)
        if (source.folder, source.benchmark.name) == key:
            return name
    return key[1]
