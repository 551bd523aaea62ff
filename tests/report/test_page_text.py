"""Text as people see it: nothing turns what stands beside it, numbers below zero bear a minus sign."""

import math
import re
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gkdbench.report.comparison import compare
from gkdbench.report.figures.comparison import draw_comparison
from gkdbench.report.forest import Dot, forest
from gkdbench.report.page import PageContent, Section, render_page
from gkdbench.report.run_views import run_views
from gkdbench.report.tables import comparison_tables
from gkdbench.report.visible_text import shown_p, visible, with_minus
from gkdbench.runs.record import Record

TURNING = "\u061c\u200e\u200f\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069"


@given(st.text(alphabet=st.characters() | st.sampled_from(TURNING)))
def test_nothing_turns_and_nothing_else_changes(text: str) -> None:
    shown = visible(text)
    assert not set(shown) & set(TURNING) and visible(shown) == shown
    assert re.sub(r"\[U\+([0-9A-F]{4})\]", lambda found: chr(int(found[1], 16)), shown) == re.sub(
        r"\[U\+([0-9A-F]{4})\]", lambda found: chr(int(found[1], 16)), text
    )


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("-0.3", "−0.3"),
        ("(-0.3, within)", "(−0.3, within)"),
        ("-1.0 to -.5", "−1.0 to −.5"),
        ("1e-05", "1e-05"),
        ("2026-01-02", "2026-01-02"),
        ("ViT-4, a -b, --5", "ViT-4, a -b, --5"),
    ],
)
def test_a_minus_stands_where_a_number_is_below_zero(text: str, shown: str) -> None:
    assert with_minus(text) == shown


def test_p_has_one_form() -> None:
    assert [shown_p(p) for p in (0.5, 0.0001, 0.00009, math.nan)] == ["0.5000", "0.0001", "<0.0001", "not known"]


def test_records_cannot_turn_the_page(make: Callable[..., Record]) -> None:
    odd = f"a{TURNING}b"
    changes: dict[str, Any] = {"spec_pair": odd, "marks": [odd], "warnings": [odd], "command": odd, "metric": odd}
    record = make(odd, environment={odd: odd}, **changes)
    for result in (record.in_domain, *record.targets.values()):
        result.per_class[odd] = result.per_class.pop("road")
        result.never_predicted.append(odd)
    (comparison,) = compare([record])
    drawings = draw_comparison(comparison, forms=[])
    content = PageContent("1", (Section(comparison, comparison_tables(comparison), drawings),), (),
                          run_views([record], {}), (odd,), odd, left_out=(odd,))  # fmt: skip
    page = render_page(content)
    assert drawings and not set(page) & set(TURNING) and "[U+202E]" in page
    assert not set(forest([Dot(odd, -1.0)], odd)) & set(TURNING)
