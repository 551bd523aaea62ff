"""The committed records are what today's code would run: same digest, and a command that says all there is to say."""

import shlex
from pathlib import Path

import pytest

from gkdbench.data.dataset import DataPlace
from gkdbench.identity.run import DataDigests, run_digest, run_id
from gkdbench.runs.plan import plan_run, teacher_of
from gkdbench.runs.record import Record, read_record
from gkdbench.spec.methods import offers
from gkdbench.spec.selection import RunSpec, resolve, selection_of

ROOT = Path(__file__).resolve().parents[2]
FILES = sorted((ROOT / "results" / "published").glob("*/record.json"))


@pytest.mark.parametrize("file", FILES, ids=lambda file: file.parent.name)
def test_a_published_record_is_of_todays_code(file: Path) -> None:
    record = read_record(file)
    (spec,) = resolve(selection_of(record.spec))
    identity = run_digest(spec, DataDigests(spec, DataPlace()))
    assert (run_id(spec, identity), identity) == (record.run_id, record.digest) and file.parent.name == record.run_id
    assert record.status in ("done", "unsupported") and record.commit and not record.commit.endswith("-dirty")
    words = shlex.split(record.command)
    assert words[:2] == ["gkdbench", "run"] and not [word for word in words if word.startswith("/")]


@pytest.mark.parametrize("file", FILES, ids=lambda file: file.parent.name)
def test_its_stages_are_of_todays_code(file: Path, teacher_heads: dict[tuple[object, ...], str]) -> None:
    record = read_record(file)
    if record.status != "done":
        return
    (spec,) = resolve(selection_of(record.spec))
    teacher = teacher_of(spec)
    head = None if spec.method.name == teacher.method.name else teacher_head(teacher, teacher_heads)
    plan = plan_run(spec, DataDigests(spec, DataPlace()), head)
    assert [stage.digest for stage in plan.stages] == [stage.digest for stage in record.stages]


def teacher_head(teacher: RunSpec, known: dict[tuple[object, ...], str]) -> str:
    key = (teacher.benchmark.name, teacher.setting, teacher.pair, teacher.seed, str(teacher.preset))
    if key not in known:
        known[key] = plan_run(teacher, DataDigests(teacher, DataPlace()), None).stages[-1].digest
    return known[key]


@pytest.fixture(scope="module")
def teacher_heads() -> dict[tuple[object, ...], str]:
    return {}


def test_every_method_is_published_in_both_settings_of_the_embedded_benchmark() -> None:
    records: list[Record] = [read_record(file) for file in FILES]
    for setting in ("f2l", "f2f"):
        published = {r.spec.method for r in records if r.spec.setting == setting and r.spec.seed == 0}
        assert set(offers()) <= published
