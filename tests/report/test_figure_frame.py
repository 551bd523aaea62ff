"""Frames of panels: their ticks are matplotlib's, and a key shows what its lines look like."""

import re
import xml.etree.ElementTree as ET
from typing import Any

import pytest
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from gkdbench.report.comparison import compare
from gkdbench.report.figures.drawing import figure_style, finish
from gkdbench.report.figures.frame import frame, log_axis
from gkdbench.report.figures.series import line_up
from gkdbench.report.figures.sheet import HANDLE, Sheet, key
from gkdbench.report.figures.style import DASHES

SVG = "{http://www.w3.org/2000/svg}"


def said(sheet: Sheet) -> list[str]:
    drawing = finish(sheet.figure, "slug", "caption", forms=["svg"])
    return [node.text or "" for node in ET.fromstring(drawing.svg).iter(f"{SVG}text")]


def panel() -> tuple[Sheet, Axes]:
    sheet = Sheet(300, 200)
    return sheet, sheet.panel(40, 40, 250, 150)


@pytest.mark.parametrize("limits", [(0.0, 1.0), (-3.2, 7.9), (61.3, 68.4), (0.0, 812.0), (0.0, 40_000.0)])
def test_ticks_are_those_of_matplotlib(limits: tuple[float, float]) -> None:
    with figure_style():
        sheet, axes = panel()
        axes.set_xlim(limits)
        axes.set_ylim(0, 1)
        axes.set_yticks([])
        frame(sheet, axes)
        own = Figure(figsize=(300 / 72, 200 / 72)).add_axes((40 / 300, 0.2, 250 / 300, 0.75))
        own.set_xlim(limits)
        expected = [label.get_text() for label in own.get_xticklabels()]
        places = own.get_xticks()
        inside = [text for text, at in zip(expected, places, strict=True) if limits[0] <= at <= limits[1]]
        assert said(sheet) == inside and len(inside) > 2


def test_numbers_are_whole_at_every_tick() -> None:
    with figure_style():
        sheet, axes = panel()
        axes.set_xlim(66.0010, 66.0013)  # matplotlib would write 0.1 and, in a corner, +6.6001e1
        axes.set_ylim(0, 3e7)
        frame(sheet, axes)
        texts = said(sheet)
    assert "66.00105" in texts and any(text.endswith("0000000") for text in texts)
    assert not any("e" in text or text.startswith("+") for text in texts)


def test_a_logarithmic_axis_is_written_as_a_person_would() -> None:
    with figure_style():
        sheet, axes = panel()
        log_axis(axes.xaxis, 0.008, 3.0)
        axes.set_ylim(-1, 1)
        frame(sheet, axes, across="hours", up="mIoU", numbers=False)
        texts = said(sheet)
    assert {"0.01", "0.1", "1", "hours", "mIoU"} <= set(texts) and not any(text.startswith("−") for text in texts)


def test_a_key_shows_its_longest_dashes_twice(make: Any) -> None:
    longest = max(sum(dashes[1]) for dashes in DASHES if dashes != "-")
    assert 2 * 1.6 * longest <= HANDLE  # the dashes of a line are as long as it is thick
    series = line_up(compare([make(f"m{number}") for number in range(5)])[0].rows)
    with figure_style():
        sheet = Sheet(300, 100)
        key(sheet, series, 10, 90, 1, "dashes")
        drawing = finish(sheet.figure, "slug", "caption", forms=["svg"])
    lines = re.findall(r'd="M([\d.]+) [\d.]+L([\d.]+) [\d.]+ *" clip', drawing.svg)
    assert [float(b) - float(a) for a, b in lines] == [pytest.approx(HANDLE, abs=0.1)] * 5
