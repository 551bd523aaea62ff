"""Figures stay whole whatever the rows are called and however many there are, and are the same bytes every time."""

import os
import re
import time
import warnings
import xml.etree.ElementTree as ET
from typing import Any

import pytest

from gkdbench.metrics.statistics import average_ranks
from gkdbench.report.comparison import Comparison, MethodRow, compare
from gkdbench.report.figures.comparison import Subject, draw_comparison, draw_published, draw_report
from gkdbench.report.figures.drawing import FORMS, Drawing, figure_style
from gkdbench.report.figures.sheet import text_width
from gkdbench.report.figures.style import one_name
from gkdbench.report.figures.workers import Fault, Job, draw

SVG = "{http://www.w3.org/2000/svg}"
HOSTILE = [
    "<script>alert(1)</script>",
    "$x_1$ \\frac{1}{",
    "a_very_long_name_" * 30,
    "line\nbreak\ttab",
    "日本語 🎉",
    "\"quoted\" & 'amp' #1a1b1c",
    "\x00\x1b[31m",
    " ",
]


def ranking(comparison: Comparison) -> Any:
    rows = [row for row in comparison.rows if row.status == "done"]
    return average_ranks({row.label: [r.value for r in row.records[0].targets.values()] for row in rows})


def named(comparison: Comparison, label: str) -> MethodRow:
    return next(row for row in comparison.rows if row.label == label)


def texts(drawing: Drawing) -> list[tuple[str, float, float, float]]:
    """Return every text of an SVG: what it says, its left and right end, its size; turned ones by their anchor."""
    found = []
    for node in ET.fromstring(drawing.svg).iter(f"{SVG}text"):
        style = dict(part.split(": ") for part in node.attrib["style"].split("; "))
        size, text = float(style["font-size"].removesuffix("px")), node.text or ""
        move = re.search(r"translate\(([-\d.]+) ", node.attrib.get("transform", ""))
        x = float(node.attrib["x"] if move is None else move[1])
        wide = 0.0 if "rotate(" in node.attrib.get("transform", "") else text_width(text, size)
        left = x - {"middle": wide / 2, "end": wide}.get(style.get("text-anchor", ""), 0.0)
        found.append((text, left, left + wide, size))
    return found


def said(drawing: Drawing) -> list[str]:
    return [node.text or "" for node in ET.fromstring(drawing.svg).iter(f"{SVG}text")]


@pytest.mark.parametrize(("count", "name"), [(1, "m{}"), (14, "m{}"), (24, "decoupled(a_method_of_some_length_{})")])
def test_every_row_is_named_and_all_text_lies_on_the_sheet(make: Any, count: int, name: str) -> None:
    (comparison,) = compare([make("teacher"), *(make(name.format(number)) for number in range(count))])
    base = named(comparison, name.format(0))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        drawings = draw_comparison(comparison, baseline=base, ranking=ranking(comparison), forms=["svg"])
    kinds = [drawing.slug.removeprefix(f"{comparison.slug}-") for drawing in drawings]
    assert kinds == ["targets", "scatter", "heatmap", "classes", "radar", "cost", "ranks"]
    for kind, drawing in zip(kinds, drawings, strict=True):
        width = float(re.search(r'viewBox="0 0 ([\d.]+) ', drawing.svg)[1])  # type: ignore[index]
        with figure_style():
            assert all(left >= -1 and right <= width + 1 for _, left, right, _ in texts(drawing)), kind
        if kind in ("targets", "scatter", "heatmap", "cost"):
            assert {one_name(name.format(number)) for number in range(count)} <= set(said(drawing))


def test_hostile_names_are_text_and_nothing_else(make: Any) -> None:
    (comparison,) = compare(
        [make("teacher"), make("finetune"), *(make(name, run_id=f"r{i}") for i, name in enumerate(HOSTILE))]
    )
    base = named(comparison, HOSTILE[0])
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        drawings = draw_comparison(comparison, baseline=base, ranking=ranking(comparison))
    assert len(drawings) == 7
    for drawing in drawings:
        for content in (drawing.svg, drawing.inline):
            root = ET.fromstring(content)
            assert not {node.tag.removeprefix(SVG) for node in root.iter()} & {"script", "foreignObject", "a"}
        assert drawing.png.startswith(b"\x89PNG") and drawing.files["pdf"].startswith(b"%PDF")
        assert "<" not in re.search(r'aria-label="([^"]*)"', drawing.inline)[1]  # type: ignore[index]
    heatmap = said(drawings[2])
    assert {"<script>alert(1)</script>", "$x_1$ \\frac{1}{", "line break tab", "(no name)"} <= set(heatmap)
    # colours of the style are replaced in tags, not where a name happens to look like one
    assert "\"quoted\" & 'amp' #1a1b1c" in heatmap
    assert "\"quoted\" &amp; 'amp' #1a1b1c" in drawings[2].inline


def test_the_same_records_give_the_same_bytes_in_one_process_or_several(make: Any, matrix: Any) -> None:
    (comparison,) = compare(matrix)
    subject = Subject(comparison, named(comparison, "finetune"), ranking(comparison))
    first, published, faults = draw_report([subject], {})
    again = draw_comparison(comparison, baseline=subject.baseline, ranking=subject.ranking)
    assert first == [again] and published == draw_published() and faults == ()
    assert [list(drawing.files) for drawing in again] == [list(FORMS)] * len(again)


def test_only_the_forms_asked_for_are_written_and_the_page_always_has_its_svg(matrix: Any) -> None:
    (comparison,) = compare(matrix)
    for forms in ((), ("pdf",), ("svg", "png")):
        for drawing in draw_comparison(comparison, forms=forms):
            assert set(drawing.files) == set(forms)
            assert drawing.inline.startswith("<svg ") and 'role="img" aria-label="' in drawing.inline


def test_the_page_sets_ink_and_lines_and_ids_do_not_clash(matrix: Any) -> None:
    (comparison,) = compare(matrix)
    base = named(comparison, "finetune")
    drawings = [*draw_comparison(comparison, baseline=base, forms=["svg"]), *draw_published(["svg"])]
    seen: set[str] = set()
    for drawing in drawings:
        tags = "".join(re.findall(r"<[^>]*>", drawing.inline))
        assert "currentColor" in tags and "#1a1b1c" not in tags and "#c7c8c9" not in tags
        ids = re.findall(r'\bid="([^"]*)"', tags)
        assert len(ids) == len(set(ids)) and not seen & set(ids)
        assert set(re.findall(r"(?:url\(|href=\")#([^)\"]*)", tags)) <= set(ids)
        seen |= set(ids)


def test_a_thousand_rows_are_cut_by_a_stated_rule(make: Any) -> None:
    values = [[70.0, x, x, x] for x in range(1, 300)]
    rows = [make(f"m{number}", 0, value, run_id=f"r{number}") for number, value in enumerate(values)]
    (comparison,) = compare([make("teacher"), make("finetune", 0, [60.0, 0.5, 0.5, 0.5]), *rows])
    base = named(comparison, "finetune")
    drawings = {d.slug.rsplit("-", 1)[1]: d for d in draw_comparison(comparison, baseline=base, forms=["svg"])}
    assert (
        "Shown: the teacher, the baseline finetune and the 6 best other rows by OOD mean; 293 of 301 rows left out."
        in drawings["classes"].caption
    )
    assert [text for text in said(drawings["classes"]) if text.startswith("m")] == [
        "mean over targets",
        *(f"m{n}" for n in range(293, 299)),
    ]
    assert "265 of 301 rows left out" in drawings["heatmap"].caption
    assert all(len(drawing.inline) < 120_000 for drawing in drawings.values())
    assert any(
        line.startswith("Rows left out: m0, m1") and line.endswith("more.") for line in drawings["classes"].details
    )


def test_no_row_no_figure_and_no_value_no_panel(make: Any) -> None:
    (comparison,) = compare([make("gkd", status="failed", reason="no", summary=None)])
    assert draw_comparison(comparison) == ()
    (comparison,) = compare([make("gkd", cost={}, model={}, budget={})])
    kinds = [drawing.slug.rsplit("-", 1)[1] for drawing in draw_comparison(comparison, forms=[])]
    assert kinds == ["targets", "scatter", "heatmap", "classes", "radar"]


def test_what_a_lost_process_took_is_drawn_all_the_same() -> None:
    here = os.getpid()

    def fragile() -> Drawing:
        if os.getpid() != here:
            os._exit(1)
        time.sleep(0.01)
        return Drawing("a", "b", "<svg/>")

    assert draw([Job("x", fragile)] * 8, workers=3) == [Drawing("a", "b", "<svg/>")] * 8


def test_a_figure_that_fails_is_told_and_costs_no_other_whichever_process_met_it() -> None:
    def broken() -> Drawing:
        raise ZeroDivisionError("in a figure")

    nothing = Job("nothing", lambda: None)
    for workers in (1, 2):
        first, fault, last = draw([nothing, Job("the map", broken), nothing], workers=workers)
        assert first is last is None and isinstance(fault, Fault)
        assert fault.line == "figure the map: cannot be drawn (ZeroDivisionError: in a figure)"
        assert draw([nothing] * 5, workers=workers) == [None] * 5
