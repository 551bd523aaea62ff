"""Help, listings and reports start without torch, and help without anything heavy, in a fresh interpreter."""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from gkdbench.data.dataset import DataPlace
from gkdbench.identity.run import DataDigests, run_digest, run_id
from gkdbench.runs.record import Record
from gkdbench.runs.store import Store
from gkdbench.spec.selection import RunSpec, Selection, resolve

PROBE = """
import sys
sys.argv = ["gkdbench", *sys.argv[1:]]
from gkdbench.cli.main import main
try:
    main()
except SystemExit as end:
    code = end.code or 0
print("LOADED", code, *sorted(sys.modules), file=sys.stderr)
"""
TRAINING = {"torch", "torchvision", "timm", "lightning_fabric", "transformers"}
HEAVY = TRAINING | {"cv2", "numpy", "scipy", "pandas", "matplotlib", "PIL", "pyarrow", "pydantic", "yaml", "jinja2"}


def start(folder: Path, *arguments: str) -> tuple[int, str, set[str]]:
    """Run the command line in a fresh interpreter; return exit code, stdout and the modules it loaded."""
    done = subprocess.run(
        [sys.executable, "-c", PROBE, *arguments], cwd=folder, capture_output=True, text=True, timeout=60, check=False
    )
    last = done.stderr.strip().splitlines()[-1].split()
    assert last[0] == "LOADED", done.stderr
    return int(last[1]), done.stdout, set(last[2:])


@pytest.mark.parametrize("arguments", [("--help",), ("--version",)])
def test_help_loads_nothing_heavy(tmp_path: Path, arguments: tuple[str, ...]) -> None:
    code, output, loaded = start(tmp_path, *arguments)
    assert code == 0 and "gkdbench" in output
    assert not loaded & HEAVY
    assert len(loaded) < 600


def test_help_of_a_command_loads_nothing_that_trains(tmp_path: Path) -> None:
    code, output, loaded = start(tmp_path, "run", "--help")
    assert code == 0 and "--method" in output
    assert not loaded & TRAINING


@pytest.mark.parametrize(
    "what", ["methods", "combinators", "benchmarks", "settings", "models", "datasets", "tables", "runs"]
)
def test_listings_load_nothing_that_trains(tmp_path: Path, what: str) -> None:
    code, output, loaded = start(tmp_path, "list", what, "--json")
    assert code == 0 and isinstance(json.loads(output), dict)
    assert not loaded & TRAINING
    assert not any(name.startswith("gkdbench_methods.") for name in loaded)  # read, never imported


def test_a_new_method_loads_nothing_that_trains(tmp_path: Path) -> None:
    code, output, loaded = start(tmp_path, "new", "method", "my_kd", "--json")
    assert code == 0 and json.loads(output)["method"] == "my_kd.py"
    assert not loaded & TRAINING


def test_the_report_loads_nothing_that_trains(tmp_path: Path) -> None:
    code, output, loaded = start(tmp_path, "report", "--json")
    assert code == 3 and "no record of a run there" in json.loads(output)["error"]
    code, output, loaded = start(tmp_path, "report", "--paper-only", "--json")
    assert code == 0 and json.loads(output)["records"] == 0
    assert not loaded & TRAINING
    assert (tmp_path / "results" / "report" / "report.html").is_file()


def test_a_mistake_is_found_without_torch(tmp_path: Path) -> None:
    code, output, loaded = start(tmp_path, "run", "--method", "gdk", "--json")
    assert code == 2 and "did you mean 'gkd'" in json.loads(output)["error"]
    assert not loaded & TRAINING


def test_a_run_of_which_nothing_is_left_to_do_loads_no_torch(tiny_benchmark: Any, tmp_path: Path) -> None:
    """Recognising a finished run takes its digest alone, so a missing torch would not even be noticed."""
    spec = resolve(Selection(methods=("finetune",), benchmarks=(str(tiny_benchmark.yaml),), with_teacher=False))[0]
    place = DataPlace(tiny_benchmark.data_root)
    digest = run_digest(spec, DataDigests(spec, place))
    identity = run_id(spec, digest)
    store = Store(tmp_path / "results")
    store.prepare()
    store.write_record(finished_record(spec, digest))
    arguments = ("--benchmark", str(tiny_benchmark.yaml), "--data-root", str(tiny_benchmark.data_root))
    code, output, loaded = start(
        tmp_path, "run", "--method", "finetune", "--no-teacher", "--no-report", "--json", *arguments
    )
    assert code == 0 and json.loads(output)[0]["run_id"] == identity
    assert not loaded & TRAINING


def finished_record(spec: RunSpec, digest: str) -> Record:
    """A record of a model without a fault."""
    result = {
        "value": 100.0, "miou": 100.0, "per_class": dict.fromkeys(spec.benchmark.classes, 100.0),
        "classes_in_mean": 3, "never_predicted": [], "confusion": [[4, 0, 0], [0, 5, 0], [0, 0, 6]], "n_images": 1,
        "protocol": {"resize": [], "window": None},
    }  # fmt: skip
    return Record.model_validate(
        {
            "run_id": run_id(spec, digest), "digest": digest, "in_domain": result,
            "targets": dict.fromkeys(spec.targets, result),
            "summary": {"in_domain": 100.0, "ood": 100.0, "gap": 0.0, "worst_target": next(iter(spec.targets))},
            "status": "done", "started": "2026-01-01T00:00:00+00:00",
            "command": "gkdbench run", "version": "0", "commit": None, "metric": "mIoU",
            "mean_rule": "skip_absent", "classes": list(spec.benchmark.classes),
            "spec": {
                "method": "finetune", "method_source": "gkdbench", "options": {}, "setting": spec.setting,
                "pair": spec.pair, "teacher": spec.teacher.name, "student": spec.student.name, "benchmark": "tiny",
                "benchmark_version": 1, "task": "segmentation", "decoder": {}, "seed": 0, "teacher_seed": 0,
                "preset": "smoke", "recipe": {}, "targets": list(spec.targets), "code": spec.method.code_digest,
            },
        }
    )  # fmt: skip
