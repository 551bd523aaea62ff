"""Records made in code: what runs would leave behind, without running anything."""

import json
import random
from collections.abc import Callable, Sequence
from itertools import groupby
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from gkdbench.identity.digest import run_name
from gkdbench.runs.record import Record
from gkdbench.spec.catalogue import find_benchmark

CLASSES = ["road", "pavement", "building", "pole", "sky", "person", "car", "bicycle"]
TARGETS = ["night", "fog", "rain"]
LEVEL = {"teacher": 60.0, "frozen": 30.0, "finetune": 40.0, "vanilla_kd": 42.0, "gkd": 50.0}

MakeRecord = Callable[..., Record]
Store = Callable[..., Path]


PIXELS = 10**11
"""Of each class in the ground truth of a split: enough for counts to make up a value to ten digits."""


def confusion(values: Sequence[float]) -> list[list[int]]:
    """Return counts whose IoU are these, in percent; equal ones stand beside each other, two or more."""
    counts = np.zeros((len(values), len(values)), np.int64)
    for value, group in groupby(range(len(values)), key=lambda place: values[place]):
        places = [*group]
        assert len(places) > 1
        share = value / 100
        for place, other in zip(places, [*places[1:], places[0]], strict=True):
            counts[place, place] = round(PIXELS * 2 * share / (1 + share))
            counts[place, other] = PIXELS - counts[place, place]
    return counts.tolist()


def split_result(value: float, noise: random.Random, images: int = 8) -> dict[str, Any]:
    """Return a split's result of this value; its classes lie around it, two by two."""
    most = max(0.0, min(15, value, 100 - value))
    first, second = noise.uniform(-most, most), noise.uniform(-most, most)
    spread = [value + part for part in (first, -first, second, -second) for _ in range(2)]
    per_class = dict(zip(CLASSES, spread, strict=True))
    return {
        "value": value,
        "miou": value,
        "per_class": per_class,
        "classes_in_mean": len(CLASSES),
        "never_predicted": [],
        "confusion": confusion(spread),
        "n_images": images,
        "protocol": {"resize": [96, 192], "window": None},
    }


def stage(name: str, model: str = "student", cached: bool = False) -> dict[str, Any]:
    return {
        "name": name,
        "digest": f"{name}-0123456789abcdef",
        "cached": cached,
        "model": model,
        "steps": 100,
        "images": 1600,
        "wall_s": 12.5,
        "peak_gib": 0.75,
        "losses": {"task": 0.51},
        "first_losses": {"task": 2.01},
    }


def content(method: str = "gkd", seed: int = 0, values: list[float] | None = None, **changes: Any) -> dict[str, Any]:
    """Return a record's JSON; `values` are in-domain and targets; `spec_x` changes spec.x."""
    level = LEVEL.get(method, 45.0)
    noise = random.Random(f"{method}{seed}")
    drawn = [noise.uniform(0, 4) for _ in range(1 + len(TARGETS))]
    scores = values or [level + 12 + drawn[0], *(level + i - 4 + drawn[i] for i in (1, 2, 3))]
    ood = sum(scores[1:]) / len(TARGETS)
    teacher = method == "teacher"
    made: dict[str, Any] = {
        "schema": 1,
        "digest": "0a1b2c3d" * 8,
        "status": "done",
        "started": "2026-01-01T00:00:00Z",
        "finished": "2026-01-01T00:01:00Z",
        "command": f"gkdbench run --method {method} --setting f2l --seed {seed}",
        "version": "0.1.0",
        "commit": "abc1234",
        "spec": {
            "method": method,
            "method_source": f"gkdbench_methods.{method}:{method}",
            "options": {},
            "setting": "f2l",
            "pair": "found-b:local-s",
            "teacher": "found-b",
            "student": "local-s",
            "benchmark": "streets",
            "benchmark_version": 1,
            "task": "segmentation",
            "decoder": {"name": "context", "width": 96, "reads": [1.0]},
            "seed": seed,
            "teacher_seed": 0,
            "preset": "quick",
            "recipe": {"teacher" if teacher else "joint": {"steps": 100, "batch": 16}},
            "targets": TARGETS,
            "code": f"{method}-code-1",
        },
        "stages": [stage("teacher", "teacher", True)] if teacher else [stage("joint")],
        "metric": "mIoU",
        "mean_rule": "skip_absent",
        "classes": CLASSES,
        "in_domain": split_result(scores[0], noise),
        "targets": {t: split_result(v, noise) for t, v in zip(TARGETS, scores[1:], strict=True)},
        "summary": {
            "in_domain": scores[0],
            "ood": ood,
            "ood_without": {"night": (scores[2] + scores[3]) / 2},
            "gap": scores[0] - ood,
            "worst_target": TARGETS[scores.index(min(scores[1:]), 1) - 1],
        },
        "budget": {"source": {"images": 1600, "student_passes": 1600, "teacher_passes": 0}},
        "cost": {"from_scratch": {"wall_s": 20.5}, "spent_here": {"wall_s": 0.0 if teacher else 8.0}},
        "model": {"params": 1_234_567},
        "environment": {"python": "3.11.7", "device": "cpu", "libraries": {"torch": "2.6.0"}},
    }
    for key, value in changes.items():
        if key.startswith("spec_"):
            made["spec"][key.removeprefix("spec_")] = value
        else:
            made[key] = value
    spec = made["spec"]
    made.setdefault(
        "run_id", run_name(spec["benchmark"], spec["setting"], spec["method"], spec["seed"], made["digest"])
    )
    return made


@pytest.fixture
def make() -> MakeRecord:
    """Return a function that makes a Record."""
    return lambda *args, **changes: Record.model_validate(content(*args, **changes))


@pytest.fixture
def store(tmp_path: Path) -> Store:
    """Return a function that writes records to a results directory and returns it."""

    def write(*records: Record, folder: str = "runs", at: str = "results") -> Path:
        results = tmp_path / at
        for record in records:
            place = results / folder / record.run_id
            place.mkdir(parents=True, exist_ok=True)
            text = json.dumps(record.model_dump(mode="json", by_alias=True))
            (place / "record.json").write_text(text, encoding="utf-8")
        return results

    return write


@pytest.fixture
def matrix(make: MakeRecord) -> list[Record]:
    """Return seeds 0 to 2 of the built-in rows, and one run that failed."""
    done = [make(method, seed) for method in LEVEL for seed in range(3) if method != "frozen"]
    failed = make("cwd", 1, status="failed", reason="loss is NaN at step 12", summary=None)
    return [*done, make("frozen"), failed]


STUDIED = ("gtav", "gtav-acdc", "cityscapes", "potsdam-rgb", "voc")
STUDY_BENCHMARKS = {name: find_benchmark(name).benchmark for name in STUDIED}


def study_content(
    benchmark: str, method: str, seed: int, values: list[float], pair: str, setting: str = "f2l", **changes: Any
) -> dict[str, Any]:
    """Return a record's JSON of an installed benchmark on the study's terms; `values` are those of its targets."""
    stated = STUDY_BENCHMARKS[benchmark]
    trained = "teacher" if method == "teacher" else "student"

    def split(name: str, value: float) -> dict[str, Any]:
        how = stated.inference_for(name)
        resize = [] if how.fit == "native" else list(how.size)
        protocol = {"resize": resize, "fit": how.fit, "window": how.window, "stride": how.stride, "tta": how.tta}
        return {
            "value": value,
            "miou": value,
            "per_class": dict.fromkeys(stated.classes, value),
            "classes_in_mean": len(stated.classes),
            "never_predicted": [],
            "confusion": confusion([value] * len(stated.classes)),
            "n_images": 8,
            "protocol": protocol,
        }

    targets = {name: split(name, value) for name, value in zip(stated.targets, values, strict=False)}
    complete = len(targets) == len(stated.targets)
    ood = sum(values) / len(values)
    groups = {name: {"mean": ood, "pooled": ood - 1} for name in stated.groups} if complete else {}
    teacher, student = pair.split(":")
    made = content(
        method,
        seed,
        run_id=f"{benchmark}-{setting}-{pair.replace(':', '-')}-{method}-s{seed}-{changes.pop('tail', '0a1b2c3d')}",
        spec_method_source="gkdbench 0.1.0",
        spec_setting=setting,
        spec_pair=pair,
        spec_teacher=teacher,
        spec_student=student,
        spec_benchmark=benchmark,
        spec_benchmark_version=stated.version,
        spec_decoder=stated.decoder.model_dump(mode="json"),
        spec_preset="paper",
        spec_targets=list(targets),
        stages=[stage("joint", trained)],
        classes=stated.classes,
        groups=stated.groups,
        in_domain=split("val", 70.0),
        targets=targets,
        summary={
            "in_domain": 70.0,
            "ood": ood if complete else None,
            "groups": groups,
            "gap": 70.0 - ood if complete else None,
            "worst_target": None,
        },
    )
    made["spec"].update({key.removeprefix("spec_"): v for key, v in changes.items() if key.startswith("spec_")})
    made.update({key: v for key, v in changes.items() if not key.startswith("spec_")})
    return made


@pytest.fixture
def study() -> MakeRecord:
    """Return a function that makes a Record of an installed benchmark."""
    return lambda *args, **changes: Record.model_validate(study_content(*args, **changes))
