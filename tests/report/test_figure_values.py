"""What figures show is what the records and the published files say."""

import math
import re
import xml.etree.ElementTree as ET
from typing import Any

import pytest

from gkdbench.metrics.statistics import Ranking
from gkdbench.report.comparison import Comparison, MethodRow, compare
from gkdbench.report.figures.bars import classes_figure
from gkdbench.report.figures.comparison import draw_published
from gkdbench.report.figures.cost import cost_figure
from gkdbench.report.figures.drawing import Drawing, figure_style
from gkdbench.report.figures.heatmap import corruptions_figure, heatmap_figure
from gkdbench.report.figures.labels import _box, _common, _free
from gkdbench.report.figures.radar import radar_figure
from gkdbench.report.figures.ranks import ranks_figure
from gkdbench.report.figures.scatter import scatter_figure
from gkdbench.report.figures.series import line_up
from gkdbench.report.figures.strip import targets_figure
from gkdbench.report.paper import published_files, read_published

SVG = "{http://www.w3.org/2000/svg}"


def said(drawing: Drawing | None) -> list[str]:
    assert drawing is not None
    return [node.text or "" for node in ET.fromstring(drawing.svg).iter(f"{SVG}text")]


def drawn(figure: Any, *args: Any) -> Drawing:
    with figure_style():
        drawing = figure(*args, ["svg"])
    assert isinstance(drawing, Drawing)
    return drawing


def named(comparison: Comparison, label: str) -> MethodRow:
    return next(row for row in comparison.rows if row.label == label)


def per_class(make: Any, method: str, value: float, night: float | None) -> Any:
    record = make(method, 0, [60.0, 40.0, 40.0, 40.0])
    for target in record.targets:
        for name in record.classes:
            record.targets[target].per_class[name] = value
    record.targets["night"].per_class["sky"] = night
    return record


def test_heat_map_cells_are_means_over_the_targets_that_have_the_class(make: Any) -> None:
    # sky: (20 + 20 + 50) / 3 = 30, and without night 20
    records = [per_class(make, "finetune", 20.0, None), per_class(make, "gkd", 20.0, 50.0)]
    (comparison,) = compare(records)
    drawing = drawn(heatmap_figure, comparison, line_up(comparison.rows, named(comparison, "finetune")))
    cells = [text for text in said(drawing) if re.fullmatch(r"[+−]?\d+|–", text)]
    assert cells.count("20") == 15 and cells.count("30") == 1
    assert cells.count("+10") == 2 and cells.count("0") == 16  # the cell and the end of the scale; the scale's 0 too
    assert "difference to finetune" in said(drawing)
    assert "difference" not in drawn(heatmap_figure, comparison, line_up(comparison.rows)).caption


def test_a_class_that_nobody_has_is_a_dash(make: Any) -> None:
    record = make("gkd")
    for result in record.targets.values():
        result.per_class["pole"] = None
    (comparison,) = compare([record])
    assert said(drawn(heatmap_figure, comparison, line_up(comparison.rows))).count("–") == 1


def test_corruptions_by_severity(make: Any) -> None:
    kinds = {"night": ("noise", 1), "fog": ("noise", 5), "rain": ("blur", 5)}
    made = {target: {"kind": kind, "severity": severity} for target, (kind, severity) in kinds.items()}
    (comparison,) = compare([make("gkd", 0, [60.0, 41.0, 32.0, 23.0], corruptions=made)])
    drawing = drawn(corruptions_figure, comparison, line_up(comparison.rows))
    assert {"41", "32", "23", "–", "noise", "blur", "1", "5", "severity", "gkd"} <= set(said(drawing))
    assert "Δ" not in drawing.caption
    (plain,) = compare([make("gkd")])
    with figure_style():
        assert corruptions_figure(plain, line_up(plain.rows)) is None


def test_corruptions_differ_from_the_baseline_cell_by_cell(make: Any) -> None:
    made = {"night": {"kind": "noise", "severity": 1}, "fog": {"kind": "noise", "severity": 5}}
    records = [make("finetune", 0, [60.0, 40.0, 30.0, 9.0], corruptions=made)]
    records.append(make("gkd", 0, [60.0, 47.0, 25.0, 9.0], corruptions=made))
    (comparison,) = compare(records)
    base = next(row for row in comparison.rows if row.label == "finetune")
    drawing = drawn(corruptions_figure, comparison, line_up(comparison.rows, base))
    texts = said(drawing)
    assert {"47", "25", "40", "30", "+7", "−5", "Δ gkd"} <= set(texts) and "Δ finetune" not in texts
    assert "difference to the baseline finetune" in drawing.caption


def test_bars_have_the_height_of_the_value_and_whiskers_of_the_interval(make: Any) -> None:
    records = [per_class(make, "gkd", 40.0, 40.0)]
    for result in (records[0].in_domain, *records[0].targets.values()):
        for name in records[0].classes:
            result.per_class[name] = 50.0 if name == "road" else 25.0
    (comparison,) = compare(records)
    drawing = drawn(classes_figure, comparison, line_up(comparison.rows))
    (bars, *_) = (d for d in re.findall(r'd="(M[^"]*)"[^>]*style="fill: #0072b2', drawing.svg) if d.count("M") == 8)
    heights = [
        abs(float(y[0]) - float(y[2])) for box in bars.split("M")[1:] if (y := re.findall(r"[\d.]+ ([\d.]+)", box))
    ]
    assert len(heights) == 8 and heights[0] == pytest.approx(2 * heights[1], abs=0.05)
    assert "No error bars" in drawing.caption
    again = [per_class(make, "gkd", 40.0, 40.0), make("gkd", 1), make("gkd", 2)]
    assert "95 % t-interval" in drawn(classes_figure, *((c := compare(again)[0]), line_up(c.rows))).caption


def test_seeds_are_points_and_a_box_takes_five(make: Any) -> None:
    for seeds, boxed in ((4, False), (5, True)):
        (comparison,) = compare([make("gkd", seed) for seed in range(seeds)])
        drawing = drawn(targets_figure, comparison, line_up(comparison.rows))
        assert ("quartiles" in drawing.caption) is boxed
        assert drawing.svg.count("<use ") >= 5 * seeds  # in-domain, three targets, OOD mean


def test_arrows_lead_from_the_baseline_only_if_there_is_one(make: Any) -> None:
    (comparison,) = compare([make("finetune"), make("gkd"), make("cwd")])
    with_one = drawn(scatter_figure, comparison, line_up(comparison.rows, named(comparison, "finetune")))
    without = drawn(scatter_figure, comparison, line_up(comparison.rows))
    assert "from the baseline finetune" in with_one.caption and "Arrows" not in without.caption
    # a filled head for each of two arrows, and shafts that are seen on light and dark paper
    heads = re.findall(r'd="([^"]*)"[^>]*style="fill: #84878b', with_one.svg)
    assert len(heads) == 1 and heads[0].count("M") == 2
    assert "stroke: #84878b" in with_one.svg and "#84878b" not in without.svg
    assert {"1", "2", "3", "finetune", "gkd", "cwd"} <= set(said(without))


def test_cost_says_its_units_and_device(make: Any) -> None:
    two = {"device": "cuda", "devices": 2}
    slow = make("gkd", cost={"from_scratch": {"wall_s": 7200.0}}, environment=two)
    (comparison,) = compare([make("finetune", environment=two), slow])
    drawing = drawn(cost_figure, comparison, line_up(comparison.rows))
    assert "training, hours on cuda" in said(drawing)
    assert "parameters of the evaluated model, M" in said(drawing)
    # 2 h on two devices are 4; 20.5 s are 0.01: a logarithmic axis with plain ticks
    assert {"0.01", "0.1", "1"} <= set(said(drawing))
    (mixed,) = compare([make("finetune", environment=two), make("gkd")])
    assert "not comparable between devices" in drawn(cost_figure, mixed, line_up(mixed.rows)).caption


def test_radar_axes_run_from_the_lowest_to_the_highest_shown(make: Any) -> None:
    (comparison,) = compare([make("a", 0, [70.0, 10.0, 20.0, 30.0]), make("b", 0, [50.0, 40.0, 30.0, 20.0])])
    texts = said(drawn(radar_figure, comparison, line_up(comparison.rows)))
    assert {"50.0 to 70.0", "10.0 to 40.0", "20.0 to 30.0"} <= set(texts)


def test_the_published_radar_shows_what_was_printed() -> None:
    (drawing,) = draw_published(["svg"])
    texts = said(drawing)
    assert {"F2F, ViT-L → ViT-B", "F2F, ViT-B → ViT-S", "F2L, ViT-L → ViT-B", "F2L, ViT-B → ViT-S"} <= set(texts)
    assert {"56.9 to 63.3", "52.1 to 59.6", "46.7 to 56.1"} <= set(texts)
    numbers = read_published(published_files()["fig2_radar"], "fig2_radar")
    hollow = re.findall(
        r'<(?:use|path) [^>]*(?:x=|clip-path|d=)[^>]*style="fill: none; stroke: #(?!c7c8c9)\w+; stroke-width: 0.9',
        drawing.svg,
    )
    assert len(hollow) == sum(number.approximate for number in numbers)
    # in two charts a part of the values is printed; the caption counts them
    assert drawing.caption.count("(20 of 25)") == 2 and "(centre)" not in drawing.caption
    # the teacher is best on every axis of the first chart: its outline is the rim
    teacher = re.search(r'd="M([^"]*)"[^>]*stroke: #999999', drawing.svg)
    assert teacher is not None
    points = [tuple(map(float, point.split())) for point in re.split("L|z", teacher[1]) if point][:5]
    x, y = sum(p[0] for p in points) / 5, sum(p[1] for p in points) / 5
    radii = [math.dist((x, y), point) for point in points]
    assert max(radii) - min(radii) < 0.1
    # whatever is lowest on its axis lies on the inner ring, so that nothing piles up in the centre
    placed = re.findall(r'<use [^>]*x="([\d.]+)" y="([\d.]+)"', drawing.svg)
    distances = [math.dist((x, y), (float(a), float(b))) for a, b in placed]
    assert 10 < min(distances) < 14


def test_ranks_with_and_without_a_critical_difference(make: Any) -> None:
    (comparison,) = compare([make("a"), make("b"), make("c")])
    known = drawn(ranks_figure, comparison, Ranking({"b": 2.5, "a": 1.0, "c": 2.6}, 6, 0.5, 0.0004))
    assert {"a  1.00", "b  2.50", "2.60  c", "critical difference 0.50"} <= set(said(known))
    assert "p 0.0004." in known.caption and "6 blocks" in known.caption
    assert "p <0.0001." in drawn(ranks_figure, comparison, Ranking({"a": 1.0, "b": 2.0}, 6, 0.5, 1e-9)).caption
    thick = re.findall(r'd="([^"]*)"[^>]*stroke-width: 2.4', known.svg)
    assert len(thick) == 1 and thick[0].count("M") == 1  # b and c are alike, a is alone
    none = drawn(ranks_figure, comparison, Ranking({"a": 1.0, "b": 2.0}, 1, math.nan, math.nan))
    assert "No critical difference" in none.caption and "Friedman" not in none.caption
    with figure_style():
        assert ranks_figure(comparison, Ranking({"a": 1.0}, 3, math.nan, math.nan)) is None


def test_numbers_avoid_each_other_or_stay_away() -> None:
    frame = (0.0, 0.0, 300.0, 300.0)
    with figure_style():
        taken = [(145.0, 145.0, 155.0, 155.0)]
        for _ in range(12):
            at = _free(150.0, 150.0, 10.0, taken, frame, False)
            assert at is not None
            box = _box(*at, 10.0)
            assert not any(_common(box, other) for other in taken)
            taken.append(box)
        crowded = [(100.0, 100.0, 200.0, 200.0)]
        assert _free(150.0, 150.0, 10.0, crowded, frame, True) is None
        assert _free(150.0, 150.0, 10.0, crowded, frame, False) is not None
