"""Figures stay whole whatever the rows are called and however many there are."""

import re
import warnings
from typing import Any

import pytest

from gkdbench.report.comparison import compare
from gkdbench.report.figures.comparison import draw_comparison


@pytest.mark.parametrize(("count", "name"), [(3, "m{}"), (14, "m{}"), (24, "decoupled(a_method_of_some_length_{})")])
def test_legends_lie_inside_and_the_plot_keeps_its_room(make: Any, count: int, name: str) -> None:
    (comparison,) = compare([make("teacher"), *(make(name.format(number)) for number in range(count))])
    with warnings.catch_warnings():
        warnings.simplefilter("error")  # a layout that does not fit is a warning of matplotlib's
        drawings = draw_comparison(comparison)
    for drawing in drawings:
        width = float(re.search(r'viewBox="0 0 ([\d.]+) ', drawing.svg)[1])  # type: ignore[index]
        starts = [float(x) for x in re.findall(r'<text[^>]*translate\(([-\d.]+) ', drawing.svg)]
        assert all(0 <= start <= width for start in starts)
    # every row is named where all are shown
    assert any(name.format(count - 1).split("(")[0] in drawing.svg for drawing in drawings)
