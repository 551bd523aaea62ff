"""Learning curves: what a run left is shown, what is damaged is said, and neither stops a report."""

import json
import random
import re
import xml.etree.ElementTree as ET
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gkdbench.report.comparison import compare
from gkdbench.report.curves import StageCurves, read_curves
from gkdbench.report.figures.comparison import draw_comparison
from gkdbench.report.figures.sparklines import run_curves

STAGE = {
    "name": "joint",
    "steps": [0, 5, 10],
    "lr": [0.1, 0.2, None],
    "terms": {"task": [4.0, None, 1.0], "fea": [2.0, None, 0.5]},
}


def leave(folder: Path, content: Any) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "curves.json").write_text(content if isinstance(content, str) else json.dumps(content))
    return folder


def test_terms_are_summed_where_they_were_logged(tmp_path: Path) -> None:
    stages, why = read_curves(leave(tmp_path, stage()))
    assert why == "" and stages is not None
    assert (stages[0].name, stages[0].steps, stages[0].total()) == ("joint", (0, 5, 10), (6.0, None, 1.5))
    assert stages[0].lr == (0.1, 0.2, None)


def stage(**changes: Any) -> dict[str, Any]:
    return {"schema": 1, "stages": [{**STAGE, **changes}]}


@pytest.mark.parametrize(
    "content",
    [
        "",
        "{",
        "[]",
        "[" * 100_000,
        {"schema": 2, "stages": []},
        {"schema": 1},
        {"schema": 1, "stages": {}},
        {"schema": 1, "stages": [3]},
        stage(steps=[0, 5]),
        stage(steps=["0", 5, 10]),
        stage(terms={"task": [1, 2, "3"]}),
        stage(terms=[]),
        stage(lr=[1.0]),
    ],
)
def test_a_damaged_file_is_named_and_nothing_more(tmp_path: Path, content: Any) -> None:
    stages, why = read_curves(leave(tmp_path, content))
    assert stages is None and str(tmp_path / "curves.json") in why and "left out" in why and "\n" not in why


def test_no_file_is_no_fault(tmp_path: Path) -> None:
    assert read_curves(tmp_path) == (None, f"{tmp_path / 'curves.json'}: the run left no curves")


keys = st.sampled_from(["name", "steps", "terms", "lr", "a"])
json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=4),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(keys, inner),
    max_leaves=12,
)


@settings(max_examples=150, deadline=None)
@given(stages=st.lists(json_values, max_size=3))
def test_any_json_is_read_or_refused(tmp_path_factory: pytest.TempPathFactory, stages: Any) -> None:
    found, why = read_curves(leave(tmp_path_factory.getbasetemp() / "any", {"schema": 1, "stages": stages}))
    assert (found is None) == bool(why)
    for one in found or ():
        assert not one.terms or len(one.total()) == len(one.steps)


def test_a_panel_per_stage_and_runs_without_curves_are_named(make: Any, tmp_path: Path) -> None:
    records = [make("finetune"), *(make("gkd", seed) for seed in range(3)), make("cwd")]
    draw = random.Random(0).uniform
    steps = list(range(0, 400, 2))
    loss = [10 * 0.98**step + 0.1 + draw(0, 0.01) for step in steps]
    two = [
        {"name": "proxy", "steps": steps, "lr": [], "terms": {"fea": loss}},
        {"name": "task <1>", "steps": steps, "lr": [], "terms": {"task": [1.0] * len(steps)}},
        {"name": "empty", "steps": [], "lr": [], "terms": {}},
    ]
    folders = {r.run_id: leave(tmp_path / r.run_id, {"schema": 1, "stages": two}) for r in records[:3]}
    folders[records[4].run_id] = leave(tmp_path / "bad", "{")
    (comparison,) = compare(records)
    drawings = draw_comparison(comparison, folders=folders, forms=["svg"])
    (drawing,) = [drawing for drawing in drawings if drawing.slug.endswith("-curves")]
    assert drawing.svg.count(">stage ") == 2 and ">stage task &lt;1&gt;<" in drawing.svg
    assert "Without curves: gkd seed 2." in drawing.caption and "cannot be read: cwd seed 0." in drawing.caption
    assert any("curves.json" in detail and "left out" in detail for detail in drawing.details)
    # over two decades the scale is logarithmic, with ticks in plain digits
    assert {">0.2<", ">5<"} <= set(re.findall(r">[\d.]+<", drawing.svg))
    assert not any(drawing.slug.endswith("-curves") for drawing in draw_comparison(comparison, forms=[]))


def test_a_runs_own_curves_are_small_and_escaped(tmp_path: Path) -> None:
    steps = list(range(1000))
    terms = {f"<b>{n}": [2.0 + n / (step + 1) for step in steps] for n in range(9)}
    stages, _ = read_curves(leave(tmp_path, stage(steps=steps, lr=[], terms=terms, name='"joint" & <i>')))
    assert stages is not None
    drawn = run_curves(stages)
    root = ET.fromstring(drawn)
    lines = [node.attrib["points"].split() for node in root.iter("polyline")]
    assert len(lines) == 6 and all(2 <= len(line) <= 60 for line in lines) and len(drawn) < 6000
    assert "<b>0" in [node.text for node in root.iter("text")] and not list(root.iter("b"))
    points = [tuple(map(float, point.split(","))) for line in lines for point in line]
    assert all(0 <= x <= 210 and 10 <= y <= 90 for x, y in points)
    assert run_curves([]) == "" and run_curves([StageCurves("a", (), {})]) == ""


@settings(max_examples=100, deadline=None)
@given(
    st.lists(st.integers(-5, 10**12), max_size=8).flatmap(
        lambda steps: st.tuples(
            st.just(tuple(steps)),
            st.lists(st.none() | st.floats(-1e300, 1e300), min_size=len(steps), max_size=len(steps)),
        )
    )
)
def test_any_curve_can_be_drawn_small(curve: tuple[tuple[int, ...], list[float | None]]) -> None:
    drawn = run_curves([StageCurves("a", curve[0], {"t": tuple(curve[1])})])
    assert not drawn or "nan" not in ET.fromstring(drawn).find("polyline").attrib["points"]  # type: ignore[union-attr]
