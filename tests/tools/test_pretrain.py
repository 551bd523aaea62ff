"""The training of the shipped encoders stops and continues without a trace."""

import importlib.util
import json
import sys
from dataclasses import replace
from pathlib import Path
from types import ModuleType

import pytest
import torch
from safetensors.torch import load_file

TOOL = Path(__file__).parents[2] / "tools" / "pretrain_streets.py"


@pytest.fixture(scope="module")
def tool() -> ModuleType:
    spec = importlib.util.spec_from_file_location("pretrain_streets", TOOL)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module  # dataclasses look their module up
    spec.loader.exec_module(module)
    return module


def training(tool: ModuleType, out: Path, name: str = "foundation_student"):  # type: ignore[no-untyped-def]
    role = replace(tool.ROLES[name], width=16, depth=1, heads=2, steps=6)
    schedule = tool.Schedule(
        batch=4, fresh=2, window=8, warmup=2, validation_every=4, validation_images=4, log_every=4
    )
    out.mkdir(exist_ok=True)
    return tool.Training(name, role, schedule, out)


def test_a_stopped_training_continues_bit_for_bit(tool: ModuleType, tmp_path: Path) -> None:
    whole = training(tool, tmp_path / "whole")
    assert whole.run(lambda: False)
    stopped = training(tool, tmp_path / "stopped")
    assert not stopped.run(lambda: stopped.step == 3)
    assert stopped.step == 3
    resumed = training(tool, tmp_path / "stopped")
    assert resumed.run(lambda: False)
    file = "streets_foundation_student.safetensors"
    first, second = (load_file(tmp_path / run / file) for run in ("whole", "stopped"))
    assert first.keys() == second.keys()
    for key, value in first.items():
        assert value.dtype == torch.float16
        assert torch.equal(value, second[key]), key
    cards = [
        json.loads((tmp_path / run / file).with_suffix(".json").read_text())
        for run in ("whole", "stopped")
    ]
    assert cards[0]["sha256"] == cards[1]["sha256"]
    assert cards[0]["losses"] == cards[1]["losses"]
    assert cards[0]["images_rendered"] == 8 + 2 * 5
    assert not list(tmp_path.glob("*/*.partial"))


def test_another_recipe_does_not_continue(tool: ModuleType, tmp_path: Path) -> None:
    first = training(tool, tmp_path)
    assert not first.run(lambda: True)
    second = training(tool, tmp_path)
    second.role = replace(second.role, peak_lr=1.0)
    with pytest.raises(SystemExit, match="another recipe"):
        second.run(lambda: False)


def test_the_window_is_a_function_of_the_step(tool: ModuleType) -> None:
    slid = tool.SceneWindow("proxy", 1, 8, 3)
    for step in range(5):
        slid.move_to(step)
    fresh = tool.SceneWindow("proxy", 1, 8, 3)
    fresh.move_to(4)
    assert (slid.images == fresh.images).all()
    assert (slid.parts == fresh.parts).all()


def test_the_roles_never_see_the_benchmark(tool: ModuleType) -> None:
    from gkdbench_benchmarks.streets.render import TARGETS

    for role in tool.ROLES.values():
        assert role.kind in {"proxy", "canonical_objects"}
        assert role.kind not in TARGETS


def test_targets_are_gathered_by_token(tool: ModuleType) -> None:
    pixels = torch.arange(64 * 128).view(1, 64, 128)
    tokens = tool.by_token(pixels)
    assert tokens.shape == (1, 128, 16)
    half = pixels[0, 1::2, 1::2]
    assert torch.equal(tokens[0, 17].view(4, 4), half[4:8, 4:8])  # second row, second column
