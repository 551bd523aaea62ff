"""Which rows a figure shows, how they are called, and what is said about them."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gkdbench.metrics.statistics import t_interval
from gkdbench.report.comparison import MethodRow, Stat, compare
from gkdbench.report.figures.captions import bars_told, captions, listed, seeds_told
from gkdbench.report.figures.drawing import Drawing
from gkdbench.report.figures.readings import half_interval
from gkdbench.report.figures.series import left_out, line_up, most_telling
from gkdbench.report.figures.style import one_name


def rows_of(make: Any, *methods: str, **levels: float) -> tuple[MethodRow, ...]:
    made = [make(name, 0, [80.0, *[levels.get(name, 30.0)] * 3]) for name in methods]
    return compare(made)[0].rows


def test_teacher_then_baseline_then_the_best_by_ood_mean(make: Any) -> None:
    rows = rows_of(make, "teacher", "finetune", "a", "b", "c", teacher=50, finetune=10, a=40, b=20, c=30)
    series = line_up(rows, next(row for row in rows if row.label == "finetune"))
    assert [one.name for one in series] == ["teacher", "finetune", "b", "c", "a"]  # as in the table
    shown = most_telling(series, 3)
    assert [one.name for one in shown] == ["teacher", "finetune", "a"]
    assert left_out(series, shown) == (
        "Shown: the teacher, the baseline finetune and the best other row by OOD mean; 2 of 5 rows left out."
    )
    assert left_out(series, series) == ""
    # without a baseline nothing is called one
    assert not any(one.baseline for one in line_up(rows, None))


def test_marked_rows_come_last_and_say_so(make: Any) -> None:
    plain, marked = make("a", 0, [80, 20, 20, 20]), make("b", 0, [80, 70, 70, 70], marks=["limit 10"])
    series = line_up(compare([plain, marked])[0].rows)
    assert [(one.name, one.place) for one in series] == [("a", 0), ("b [limit 10]", 1)]


def test_rows_of_one_name_are_numbered_and_looks_differ_where_it_matters(make: Any) -> None:
    rows = compare([make("gkd"), make("gkd", spec_code="other"), *(make(f"m{n}") for n in range(12))])[0].rows
    series = line_up(rows)
    assert sum(one.name.startswith("gkd #") for one in series) == 2
    looks = [(one.colour, one.marker, one.hatch) for one in series]
    assert len(set(looks)) == len(looks)
    shown = most_telling(series, 7)
    assert len({one.colour for one in shown}) == len({one.marker for one in shown}) == 7


@given(st.text(max_size=200))
def test_a_name_is_one_short_printable_line(text: str) -> None:
    name = one_name(text, 20)
    assert len(name) <= 20 and "\n" not in name and all(char.isprintable() for char in name)
    assert one_name(name, 20) == name


def test_long_names_keep_both_ends() -> None:
    assert one_name("decoupled(fitnet_mse, weight=0.25, layers=last)", 24) == "decoupled(fitne…rs=last)"


def test_half_an_interval_is_that_of_student_over_seeds() -> None:
    values = (10.0, 12.0, 17.0)
    assert half_interval(Stat(13.0, 3.6, values)) == pytest.approx(t_interval(values).high - 13.0)
    assert half_interval(Stat(13.0, 3.6, values)) == pytest.approx(4.302652729696 * 3.605551275464 / 3**0.5)
    assert half_interval(Stat(10.0, None, (10.0,))) == 0.0


def test_captions_say_seeds_and_error_bars(make: Any) -> None:
    one_each = line_up(rows_of(make, "a", "b"))
    assert seeds_told(one_each) == "One seed per row." and bars_told(one_each).startswith("No error bars")
    several = line_up(compare([make("a", s) for s in range(3)] + [make("b"), make("c")])[0].rows)
    assert seeds_told(several) == "Seeds: 3 (a), 1 (the other rows)."
    assert bars_told(several).startswith("Error bars: 95 % t-interval")
    assert listed(["a", "b", "c", "d"], 3) == "a, b and 2 more" and listed(["a", "b"], 3) == "a, b"


def test_the_caption_file_names_files_and_escapes() -> None:
    drawing = Drawing("x-radar", "A *caption* <b>", "<svg/>", {"svg": b"", "pdf": b""}, ("Run digests: `a`",))
    text = captions([drawing, Drawing("y", "plain", "<svg/>")])
    assert (
        "## x-radar\n\nFiles: x-radar.svg, x-radar.pdf\n\nA \\*caption\\* &lt;b&gt;\n\n- Run digests: \\`a\\`\n" in text
    )
    assert text.endswith("## y\n\nplain\n")
