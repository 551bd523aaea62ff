"""The program as processes: killed mid-stage and repeated, interrupted by a signal, two at once."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest


def command(tiny_benchmark, results: Path, *more: str) -> list[str]:
    return [
        sys.executable, "-m", "gkdbench", "run", "--method", "vanilla_kd", "--no-teacher", "--no-report",
        "--benchmark", str(tiny_benchmark.yaml), "--data-root", str(tiny_benchmark.data_root),
        "--results", str(results), "--device", "cpu", "--json", *more,
    ]  # fmt: skip


def comparable(output: str) -> dict:
    (record,) = json.loads(output)
    stages = [{k: s[k] for k in ("digest", "losses", "first_losses")} for s in record["stages"]]
    return {"stages": stages, "in_domain": record["in_domain"], "targets": record["targets"]}


def finish(arguments: list[str]) -> dict:
    done = subprocess.run(arguments, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return comparable(done.stdout)


LONG = ("-o", "recipe.joint.steps=400")


def wait_for_steps(results: Path, process: subprocess.Popen, lines: int = 3) -> None:
    """Wait until the long stage is being trained."""
    deadline = time.monotonic() + 120
    while time.monotonic() < deadline:
        logs = [p for p in results.glob("stages/*.unfinished/log.jsonl") if p.read_text().count("\n") >= lines]
        if logs:
            return
        assert process.poll() is None, process.communicate()
        time.sleep(0.02)
    raise AssertionError("the stage did not start")


@pytest.mark.slow
def test_a_stopped_run_continues_to_the_same_numbers(tiny_benchmark, tmp_path):
    straight = finish(command(tiny_benchmark, tmp_path / "straight", *LONG))
    for how in (signal.SIGTERM, signal.SIGINT, signal.SIGKILL):
        results = tmp_path / how.name
        output, messages, code = stop_midway(command(tiny_benchmark, results, *LONG), results, how)
        if how == signal.SIGKILL:
            assert code == -signal.SIGKILL
        else:
            assert code == 130, messages
            assert f"stopped by {how.name} at step" in json.loads(output)["error"]
            assert "Traceback" not in messages
        assert list(results.glob("stages/*.unfinished/checkpoint.pt"))
        assert finish(command(tiny_benchmark, results, *LONG)) == straight


def stop_midway(arguments: list[str], results: Path, how: signal.Signals) -> tuple[str, str, int]:
    """Start a run that checkpoints after every step, stop it within its long stage."""
    environment = {**os.environ, "GKDBENCH_CHECKPOINT_S": "0"}
    process = subprocess.Popen(
        arguments, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=environment
    )
    wait_for_steps(results, process)
    process.send_signal(how)
    output, messages = process.communicate(timeout=60)
    return output, messages, process.returncode


@pytest.mark.slow
def test_two_runs_on_one_store_train_each_stage_once(tiny_benchmark, tmp_path):
    arguments = command(tiny_benchmark, tmp_path / "results", "-o", "recipe.teacher.steps=60")
    processes = [
        subprocess.Popen(arguments, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) for _ in range(2)
    ]
    results = [process.communicate(timeout=180) for process in processes]
    assert [process.returncode for process in processes] == [0, 0], results
    first, second = (comparable(output) for output, _ in results)
    assert first == second
    # the slower one waits for the other's stages, takes them from the store, or finds the whole run done
    begun = [line for _, messages in results for line in messages.splitlines() if line.endswith(": stage joint")]
    assert len(begun) == 1 or "waiting for it" in "".join(messages for _, messages in results)
    assert not list((tmp_path / "results").glob("stages/*.unfinished"))


def test_a_benchmark_without_its_data_takes_no_other_with_it(tiny_benchmark, tmp_path):
    both = f"{tiny_benchmark.yaml},gtav"
    words = ["run", "--method", "frozen", "--benchmark", both, "--preset", "smoke", "--no-teacher", "--device", "cpu"]
    place = ["--data-root", str(tiny_benchmark.data_root), "--results", str(tmp_path / "results"), "--no-report"]
    command_line = [sys.executable, "-m", "gkdbench", *words, *place]
    done = subprocess.run(command_line, capture_output=True, text=True, check=False)
    assert done.returncode == 3, done.stderr
    assert "dinov2" in done.stderr or "gtav" in done.stderr
    assert "tiny-f2l-frozen-s0" in done.stderr and "Traceback" not in done.stderr
    (record,) = (tmp_path / "results").glob("runs/*/record.json")
    assert json.loads(record.read_text())["status"] == "done"
