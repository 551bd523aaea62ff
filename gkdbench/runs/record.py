"""record.json, schema 1: everything a run left behind that a reader may want.

Percentages are 0..100. A per-class value is null where the rule of the mean skips the class. Keys are stable:
scripts and the report rely on them, and a record of another schema is refused with a clear line.
"""

import re
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, ConfigDict, Field

from gkdbench.errors import DataError
from gkdbench.spec.documents import Added, Section, nearest, parse, read_json

SCHEMA = 1
Status = Literal["done", "failed", "interrupted", "unsupported"]


def _one_part(name: str) -> str:
    if not re.fullmatch(r"[A-Za-z0-9_][A-Za-z0-9_.+-]{0,254}", name):
        raise ValueError("must be 1 to 255 letters, digits, '_', '.', '+' and '-', '.' and the signs not first")
    return name


PathName = Annotated[str, AfterValidator(_one_part)]
"""A name that files or folders bear: one part of a path, whatever a foreign record says."""


class StageRecord(Section):
    """What one stage cost and ended with."""

    name: str
    digest: PathName
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
    groups: Annotated[dict[PathName, GroupResult], Added()] = {}
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
    setting: PathName
    pair: str
    teacher: str
    student: str
    weights: dict[str, str] = {}
    """Weight files that were named on the command line, by model."""
    benchmark: PathName
    benchmark_version: int
    task: str
    decoder: dict[str, Any]
    tta: list[str] = []
    """Test-time augmentation asked for."""
    seed: int
    teacher_seed: int
    preset: PathName
    recipe: dict[str, Any]
    recipe_overrides: dict[str, Any] = {}
    targets: list[PathName]
    code: str
    """Digest of the method's code."""


class Record(Section):
    """One run."""

    schema_: Annotated[Literal[1], Field(alias="schema")] = 1
    run_id: PathName
    digest: PathName
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
    ood_targets: Annotated[list[PathName], Added()] = []
    """Targets that the OOD mean is over; empty: all of the benchmark's."""
    groups: Annotated[dict[PathName, list[PathName]], Added()] = {}
    """Targets that the summary reports together, by the group's name."""
    corruptions: Annotated[dict[PathName, Corruption], Added()] = {}
    """Of each target that is a corruption its kind and severity."""
    in_domain: SplitResult | None = None
    targets: dict[PathName, SplitResult] = {}
    summary: Summary | None = None
    teacher_run_id: PathName | None = None
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
    """Return the record files of a results directory, a folder of runs or one run's, in order of their paths."""
    places = ("record.json", "*/record.json", "runs/*/record.json", "published/*/record.json")
    return sorted(path for place in places for path in results.glob(place))


def find_record_file(name: str, results: Path) -> Path:
    """Return the file of a record by run id, its unique beginning, or its path; committed ones count too."""
    if name.endswith(".json"):
        return Path(name)
    known = {path.absolute().parent.name: path for path in reversed(find_records(results))}
    matching = [name] if name in known else sorted(run for run in known if run.startswith(name))
    if len(matching) > 1:
        raise DataError(f"{results}: several runs begin with {name!r}: {', '.join(matching[:5])}")
    if not matching:
        there = f"runs there: {len(known)}" if results.is_dir() else "no such folder"
        raise DataError(
            f"no run {name!r} in {results}, its runs/ or published/ ({there}){nearest(name, known)}; give another "
            "folder with --results, or the path of a record.json (gkdbench list runs shows what is there)"
        )
    return known[matching[0]]


def find_record(name: str, results: Path) -> Record:
    """Read a record by what `find_record_file` takes."""
    return read_record(find_record_file(name, results))
