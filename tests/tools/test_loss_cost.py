"""Both forms of every loss of tools/perf/loss_cost.py agree, at sizes that take seconds; no timing is asserted."""

import importlib
import sys
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from gkdbench.spec.methods import offers

TOOL = Path(__file__).parents[2] / "tools" / "perf" / "loss_cost.py"


sys.path.insert(0, str(TOOL.parent))  # as running the script does

tool = importlib.import_module("loss_cost")
TINY = tool.Sizes(batch=3, grid=8, student=32, teacher=64, classes=5, logits=16)


@pytest.mark.parametrize("name", tool.ROWS)
def test_ours_and_the_plain_form_agree_in_value_and_gradient(name: str) -> None:
    row = tool.ROWS[name](TINY)
    found = tool.distances(row)
    assert any(key.startswith("gradient") for key in found)
    assert max(found.values()) <= 1e-5, found
    assert any(leaf.grad is not None and leaf.grad.abs().max() > 0 for leaf in row.leaves.values())


def test_a_form_that_differs_is_found() -> None:
    x = torch.ones(3, requires_grad=True)
    terms = {"a": lambda factor: {"a": factor * x.square().sum()}, "b": lambda _: {"b": x.sum()}}

    def row(name: str, factor: float):  # type: ignore[no-untyped-def]
        return tool.Comparison(lambda: terms["a"](1.0), lambda: terms[name](factor), {"x": x})

    assert not tool.disagreements(row("a", 1 + 1e-7))
    assert set(tool.disagreements(row("a", 1 + 1e-4))) == {"term a", "gradient of x"}
    assert set(tool.disagreements(row("a", float("nan")))) == {"term a", "gradient of x"}
    assert tool.disagreements(row("b", 1.0))


def test_every_method_with_a_loss_of_its_own_has_a_row() -> None:
    without = {"teacher", "frozen", "finetune", "coupled", "decoupled", "unfrozen"}
    ours = {name for name, (offer, *_) in offers().items() if offer.kind == "method"}
    assert ours - without == {name for name in tool.ROWS if " " not in name}


def test_rows_without_a_mask_are_passed_once() -> None:
    row = tool.ROWS["gkd passes"](replace(TINY, batch=4))
    assert [tool.count_passes(row, form) for form in tool.FORMS] == [6, 8]


def test_a_row_is_measured_and_printed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tool, "peak_in_fresh_process", lambda name, form, sizes: 3.0 if form == "ours" else 4.0)
    cost = tool.measure("gkd passes", TINY, 3)
    assert min(cost.ours_ms, cost.plain_ms, cost.time_ratio) > 0
    assert cost.memory_ratio == 0.75 and (cost.ours_passes, cost.plain_passes) == (4, 6)
    assert "gkd passes" in tool.table([cost]) and "image-passes 4 / 6" in tool.table([cost])


def test_nothing_is_measured_where_the_forms_differ(monkeypatch: pytest.MonkeyPatch) -> None:
    x = torch.ones(3, requires_grad=True)
    row = tool.Comparison(lambda: {"a": x.sum()}, lambda: {"a": 2 * x.sum()}, {"x": x})
    monkeypatch.setitem(tool.ROWS, "wrong", lambda sizes: row)
    with pytest.raises(tool.Differs, match="wrong: the forms differ in 2 values"):
        tool.measure("wrong", TINY, 1)


def test_the_tool_finds_what_a_loss_needs() -> None:
    if not Path("/proc/self/clear_refs").exists():
        pytest.skip("needs Linux's /proc")
    sizes = replace(TINY, logits=512, classes=8)  # 24 MiB of logits per model
    assert tool.peak_in_fresh_process("vanilla_kd", "ours", sizes) > 24
