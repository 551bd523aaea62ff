"""What `import gkdbench` offers: `plan`, `run` and `results`; torch is imported only where something is left to do."""

import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from gkdbench.runs.record import Record, SplitResult, find_records, read_record
from gkdbench.runs.schedule import Display, Hardware, Plan, Spoken
from gkdbench.spec.selection import Selection, resolve

if TYPE_CHECKING:
    from pandas import DataFrame

IN_DOMAIN = "in domain"
"""What a frame calls the in-domain split beside the targets."""


def plan(
    methods: str | Sequence[str],
    setting: str | Sequence[str] = (),
    benchmark: str | Path | Sequence[str | Path] = "streets",
    *,
    seeds: int | Iterable[int] = 0,
    pair: str | None = None,
    weights: Mapping[str, str | Path] | None = None,
    decoder: str | None = None,
    preset: str | None = None,
    targets: str | Sequence[str] = (),
    tta: Sequence[str | float] = (),
    options: Mapping[str, Any] | None = None,
    teacher_seed: int = 0,
    with_teacher: bool = True,
    skip_check: bool = False,
    results: str | Path = "results",
    data_root: str | Path | None = None,
    fresh: bool = False,
) -> Plan:
    """Return the runs that a command line of the same words would do; see `gkdbench run --help` for what they mean.

    options: values by what `-o` calls them, such as `{"weight": 2, "recipe.task.steps": 400}`.
    """
    selection = Selection(
        methods=_texts(methods),
        settings=_texts(setting),
        benchmarks=_texts(benchmark),
        seeds=(seeds,) if isinstance(seeds, int) else tuple(seeds),
        pair=pair,
        weights={model: Path(path) for model, path in (weights or {}).items()},
        decoder=decoder,
        tta=tuple(str(one) for one in tta),
        preset=preset,
        targets=_texts(targets),
        options=tuple(f"{name}={value}" for name, value in (options or {}).items()),
        teacher_seed=teacher_seed,
        with_teacher=with_teacher,
        skip_check=skip_check,
    )
    root = data_root or os.environ.get("GKDBENCH_DATA") or None
    return Plan(selection, tuple(resolve(selection)), Path(results), root and Path(root), fresh)


def run(
    planned: Plan | None = None,
    *,
    device: str = "auto",
    devices: int = 1,
    threads: int = 0,
    workers: int = 0,
    display: Display | None = None,
    **wanted: Any,
) -> list[Record]:
    """Train and judge a plan, or what `plan` takes; return the records, those of finished work at once.

    A run that fails keeps no other from being done; the first error is raised when all have had their turn. Use
    `for outcome in plan.run()` to get each as soon as it is there, failures among them.
    """
    chosen = plan(**wanted) if planned is None else planned
    shown = display or Spoken()
    records, errors = [], []
    for outcome in chosen.run(Hardware(device, devices, threads, workers), lambda rank: shown):
        shown.say(outcome.line)
        if outcome.error is not None:
            errors.append(outcome.error)
        elif outcome.record is not None:
            records.append(outcome.record)
    if errors:
        raise errors[0]
    return records


def results(folder: str | Path = "results", *, per_class: bool = False) -> "DataFrame":
    """Return the scores of all records below a folder: a row per run and split, or per class of these.

    Values are percentages; `value` is the split's headline metric, `class_value` the class's part in it, which is
    missing where the rule of the mean skips the class.
    """
    from pandas import DataFrame

    rows: dict[tuple[str, str, str], dict[str, Any]] = {}
    for path in find_records(Path(folder)):
        record = read_record(path)
        for split, result in _splits(record):
            row = _row(record, split, result)
            for name in record.classes if per_class else ("",):
                own = {"class": name, "class_value": result.per_class.get(name)} if per_class else {}
                rows.setdefault((record.run_id, split, name), row | own)
    return DataFrame(list(rows.values()))


def _texts(given: str | Path | Sequence[str | Path]) -> tuple[str, ...]:
    return (str(given),) if isinstance(given, str | Path) else tuple(str(one) for one in given)


def _splits(record: Record) -> Iterator[tuple[str, SplitResult]]:
    if record.in_domain is not None:
        yield IN_DOMAIN, record.in_domain
    yield from record.targets.items()


def _row(record: Record, split: str, result: SplitResult) -> dict[str, Any]:
    spec = record.spec
    return {
        "run_id": record.run_id,
        "status": record.status,
        "benchmark": spec.benchmark,
        "setting": spec.setting,
        "pair": spec.pair,
        "preset": spec.preset,
        "method": spec.method,
        "options": ", ".join(f"{name}={value}" for name, value in spec.options.items()),
        "seed": spec.seed,
        "marks": ", ".join(record.marks),
        "split": split,
        "images": result.n_images,
        "metric": record.metric,
        "value": result.value,
    }
