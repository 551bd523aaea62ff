"""`import gkdbench`: plans and runs a selection from Python as the command line does, and frames what was found."""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

import gkdbench
from gkdbench.errors import GkdbenchError, UsageError
from gkdbench.runs import plan as plans

HERE = {"device": "cpu", "threads": 1}


@pytest.fixture
def wanted(tiny_benchmark: Any, tmp_path: Path) -> dict[str, Any]:
    return {"benchmark": tiny_benchmark.yaml, "data_root": tiny_benchmark.data_root, "results": tmp_path / "results"}


def test_runs_are_the_records_of_the_command_line_and_a_frame_has_their_scores(wanted: dict[str, Any]) -> None:
    runs = gkdbench.run(methods=["finetune", "frozen"], with_teacher=False, **wanted, **HERE)
    assert [run.spec.method for run in runs] == ["finetune", "frozen"] and {run.status for run in runs} == {"done"}
    file = wanted["results"] / "runs" / runs[0].run_id / "record.json"
    assert json.loads(file.read_text())["run_id"] == runs[0].run_id
    frame = gkdbench.results(wanted["results"])
    assert len(frame) == 2 * (1 + len(runs[0].targets))
    for run in runs:
        of_run = frame[frame["run_id"] == run.run_id].set_index("split")
        assert run.in_domain is not None and of_run["value"]["in domain"] == run.in_domain.value
        assert {name: of_run["value"][name] for name in run.targets} == {n: r.value for n, r in run.targets.items()}
    classes = gkdbench.results(wanted["results"], per_class=True)
    assert len(classes) == len(frame) * len(runs[0].classes)
    assert set(classes["class"]) == set(runs[0].classes) and classes["class_value"].max() <= 100


def test_a_plan_yields_each_outcome_and_a_second_time_what_is_there(
    wanted: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    planned: list[str] = []
    whole = plans.plan_run

    def counted(spec: Any, *rest: Any) -> Any:
        planned.append(f"{spec.method.name} {spec.seed}")
        return whole(spec, *rest)

    monkeypatch.setattr(plans, "plan_run", counted)
    plan = gkdbench.plan("finetune", seeds=range(2), **wanted)
    assert [(spec.method.name, spec.seed) for spec in plan.specs] == [("teacher", 0), ("finetune", 0), ("finetune", 1)]
    seen = [(outcome.record and outcome.record.status, outcome.cached) for outcome in plan.run()]
    assert seen == [("done", False)] * 3
    # the first is a run of its own and the others' teacher
    assert sorted(planned) == ["finetune 0", "finetune 1", "teacher 0", "teacher 0"]
    assert [outcome.cached for outcome in plan.run()] == [True] * 3 and len(planned) == 4


def test_options_have_values_and_what_fails_keeps_no_other_from_being_done(
    wanted: dict[str, Any], tmp_path: Path
) -> None:
    file = tmp_path / "own.py"
    file.write_text("def own(pair, *, far: float = 1.0):\n    raise ValueError(f'far is {far}')\n")
    words = {"methods": [f"{file}:own", "finetune"], "with_teacher": False, **wanted}
    broken, sound = gkdbench.plan(**words).run()
    assert broken.error is not None and "far is 1.0" in str(broken.error) and broken.line.startswith("gkdbench: own (")
    assert sound.record is not None and sound.record.status == "done"
    with pytest.raises(GkdbenchError, match=r"far is 2\.5"):
        gkdbench.run(**(words | {"methods": f"{file}:own"}), options={"far": 2.5}, **HERE)
    with pytest.raises(UsageError, match="must be auto, cpu or cuda"):
        gkdbench.run(methods="finetune", device="tpu")
    with pytest.raises(UsageError, match="finetun"):
        gkdbench.plan("finetun")


def test_an_empty_folder_has_no_scores(tmp_path: Path) -> None:
    assert gkdbench.results(tmp_path).empty


def test_planning_and_repeating_import_no_torch() -> None:
    code = "import sys, gkdbench; plan = gkdbench.plan('gkd', setting='f2l'); assert callable(gkdbench.run)\n"
    code += "assert len(plan.specs) == 2 and 'torch' not in sys.modules, sorted(sys.modules)"
    subprocess.run([sys.executable, "-c", code], check=True)
