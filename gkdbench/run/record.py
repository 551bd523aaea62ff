"""record.json, schema 1: everything a run left behind that a reader may want.

Percentages are 0..100. A per-class value is null where the rule of the mean skips the class. Keys are stable:
scripts and the report rely on them, and a record of another schema is refused with a clear line.
"""

from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import ConfigDict, Field

from gkdbench.errors import DataError
from gkdbench.spec.documents import Added, Section, nearest, parse, read_json

SCHEMA = 1
Status = Literal["done", "failed", "interrupted", "unsupported"]


class StageRecord(Section):
    """What one stage cost and ended with."""

    name: str
    digest: str
    cached: bool
    """True: an earlier run computed it; the figures are that run's."""
    model: Literal["student", "teacher"] = "student"
    steps: int
    images: int
    student_passes: int = 0
    """Images through the trained model's encoder, masked and extra passes included."""
    teacher_passes: int = 0
    wall_s: float
    """Seconds of training; without opening the data and without judging."""
    peak_gib: float
    """Of the stage on a GPU; on a CPU of the whole process since its start."""
    losses: dict[str, float]
    """Mean of each weighted term over the last 50 logged steps."""
    first_losses: dict[str, float] = {}
    """Each weighted term at step 0: the scale audit."""
    notes: list[str] = []


class Protocol(Section):
    """How a split was judged."""

    resize: list[int]
    """Height and width that `fit` brings images to; empty where they are not resized."""
    fit: Annotated[str, Added()] = "stretch"
    window: list[int] | None
    stride: list[int] | None = None
    tta: list[str] = []


class SplitResult(Section):
    """A trained model on one split."""

    value: float
    """The benchmark's headline metric, in percent."""
    miou: float | None = None
    metrics: dict[str, float] = {}
    per_class: dict[str, float | None]
    classes_in_mean: int
    never_predicted: list[str]
    """Classes that are there and were not predicted anywhere."""
    confusion: list[list[int]]
    """Pixels; row: truth, column: prediction. Empty for a detector."""
    void: Annotated[list[int], Added()] = []
    """Pixels by predicted class where the truth is ignored; counted where the rule of the mean looks at them."""
    n_images: int
    protocol: Protocol
    data: Annotated[str, Added()] = ""
    """Digest of the images and labels that were judged; empty where a benchmark's version says what they are."""


class Corruption(Section):
    """What a target is: the in-domain images, corrupted."""

    kind: str
    severity: int


class GroupResult(Section):
    """Several targets together."""

    mean: float
    """Mean of the targets' values."""
    pooled: float | None
    """mIoU of their confusion matrices added up; None for detectors, which have none."""


class Summary(Section):
    """The figures of the method table, unrounded."""

    in_domain: float
    ood: float | None
    """Mean over the benchmark's targets, or its `ood_targets`; None when not all of them were scored."""
    ood_without: dict[str, float] = {}
    """Mean without the named target."""
    groups: Annotated[dict[str, GroupResult], Added()] = {}
    """By the group's name, where all of its targets were scored."""
    gap: float | None
    worst_target: str | None
    mpc: Annotated[float | None, Added()] = None
    """Mean over the benchmark's corruptions of its in-domain images, each over its severities; None unless all of them
    were scored."""
    rpc: Annotated[float | None, Added()] = None
    """mpc in percent of the in-domain value."""


class RunSpecRecord(Section):
    """The resolved selection a record answers."""

    method: str
    method_source: str
    options: dict[str, Any]
    defaults: dict[str, Any] = {}
    """What the method's options are by default, so that a table need not print them."""
    setting: str
    pair: str
    teacher: str
    student: str
    weights: dict[str, str] = {}
    """Weight files that were named on the command line, by model."""
    benchmark: str
    benchmark_version: int
    task: str
    decoder: dict[str, Any]
    tta: list[str] = []
    """Test-time augmentation asked for."""
    seed: int
    teacher_seed: int
    preset: str
    recipe: dict[str, Any]
    recipe_overrides: dict[str, Any] = {}
    targets: list[str]
    code: str
    """Digest of the method's code."""


class Record(Section):
    """One run."""

    schema_: Annotated[Literal[1], Field(alias="schema")] = 1
    run_id: str
    digest: str
    status: Status
    reason: str | None = None
    started: str
    finished: str | None = None
    command: str
    version: str
    commit: str | None
    spec: RunSpecRecord
    stages: list[StageRecord] = []
    metric: str
    mean_rule: str
    classes: list[str]
    excluded_from_mean: Annotated[list[str], Added()] = []
    """Classes that have an IoU and enter no mean."""
    ood_targets: Annotated[list[str], Added()] = []
    """Targets that the OOD mean is over; empty: all of the benchmark's."""
    groups: Annotated[dict[str, list[str]], Added()] = {}
    """Targets that the summary reports together, by the group's name."""
    corruptions: Annotated[dict[str, Corruption], Added()] = {}
    """Of each target that is a corruption its kind and severity."""
    in_domain: SplitResult | None = None
    targets: dict[str, SplitResult] = {}
    summary: Summary | None = None
    teacher_run_id: str | None = None
    selection: Literal["last"] = "last"
    """Which checkpoint was judged."""
    marks: list[str] = []
    """Why this run may not share a table with others: limit, custom recipe, subset of targets, ..."""
    budget: dict[str, dict[str, float]] = {}
    """Per data role: images, student_passes, teacher_passes (image-passes), flops where known."""
    model: dict[str, float] = {}
    cost: dict[str, dict[str, float]] = {}
    environment: dict[str, Any] = {}
    warnings: list[str] = []

    model_config = ConfigDict(extra="forbid", populate_by_name=True, serialize_by_alias=True)


def read_record(path: Path) -> Record:
    """Read a record; another schema or a damaged file is one clear line."""
    content = read_json(path)
    if not isinstance(content, dict) or "schema" not in content:
        raise DataError(f"{path}: not a gkdbench record (no 'schema' key)")
    if content["schema"] != SCHEMA:
        raise DataError(
            f"{path}: record of schema {content['schema']!r}; this gkdbench reads schema {SCHEMA}; "
            "use another --results directory or the gkdbench version that wrote it"
        )
    return parse(Record, content, str(path))


def find_records(results: Path) -> list[Path]:
    """Return the record files below a results directory, in order of their paths."""
    found = [*results.glob("runs/*/record.json"), *results.glob("published/*/record.json")]
    return sorted(found)


def find_record(name: str, results: Path) -> Record:
    """Return a record by run id, its unique beginning, or the path of a record.json; committed ones count too."""
    if name.endswith(".json"):
        return read_record(Path(name))
    known = {path.parent.name: path for path in reversed(find_records(results))}
    matching = [name] if name in known else sorted(run for run in known if run.startswith(name))
    if len(matching) != 1:
        several = f"several runs begin so: {', '.join(matching[:5])}" if matching else "no such run"
        raise DataError(f"{results / 'runs' / name}: {several}{nearest(name, known) if not matching else ''}")
    return read_record(known[matching[0]])
