"""The page of `gkdbench compare --html` in a real browser, beside what the command prints as JSON."""

import json
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from gkdbench.cli.main import app
from gkdbench.report.run_comparison import COSTS

pytestmark = pytest.mark.browser

RESULTS = Path(__file__).resolve().parents[2] / "results"
FIRST, SECOND = "streets-f2l-finetune-s0", "streets-f2l-g2sd-s0"


@pytest.fixture(scope="module")
def compared(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict[str, Any]]:
    page = tmp_path_factory.mktemp("compare") / "compare.html"
    words = ["compare", FIRST, SECOND, "--results", str(RESULTS), "--json", "--html", str(page)]
    done = CliRunner().invoke(app, words)
    assert done.exit_code == 0, done.output
    return page, json.loads(done.stdout)


def rows(browser: Any, table: str) -> dict[str, list[float | None]]:
    """Return the numbers behind a table's cells by row."""
    found = browser.run(
        "return [...document.getElementById(arguments[0]).tBodies[0].rows].map((row) => [row.cells[0].textContent,"
        " [...row.cells].slice(1).map((cell) => cell.dataset.sort ?? null)])",
        table,
    )
    return {name: [None if cell is None else float(cell) for cell in cells] for name, cells in found}


def told(one: dict[str, Any], *more: Any) -> list[Any]:
    difference = one["difference"] or {}
    change = None if None in (one["first"], one["second"]) else one["second"] - one["first"]
    return [one["first"], one["second"], change, *(difference.get(key) for key in ("low", "high", "p")), *more]


def agree(shown: list[float | None], expected: list[Any]) -> None:
    assert [value is None for value in shown] == [value is None for value in expected]
    known = [(a, b) for a, b in zip(shown, expected, strict=True) if a is not None]
    assert [a for a, _ in known] == pytest.approx([b for _, b in known], rel=1e-7, abs=1e-9)


def test_page_and_json_tell_the_same_numbers(browser: Any, compared: tuple[Path, dict[str, Any]]) -> None:
    page, document = compared
    browser.open(page)
    splits = rows(browser, "t-splits")
    assert list(splits) == list(document["splits"])
    matrix = rows(browser, "t-matrix")
    for place, (name, one) in enumerate(document["splits"].items()):
        agree(splits[name], told(one, one["p_holm"], one["difference"]["images"]))
        classes = rows(browser, f"t-classes-{name.replace(' ', '-')}")
        assert list(classes) == list(one["classes"])
        for label, of_class in one["classes"].items():
            agree(classes[label], told(of_class))
            agree([matrix[label][place]], told(of_class)[2:3])
    text = browser.one("#made").get_attribute("textContent")
    known = [value for pair in document["spec"].values() for value in pair if value is not None]
    assert known and all((f"{value:g}" if isinstance(value, float) else str(value)) in text for value in known)
    assert document["paired"] in browser.one("main").text
    for name, pair in document["cost"].items():
        assert COSTS.get(name, name) in browser.one("#cost").text
        assert all(value is None or f"{value:,.0f}" in browser.one("#cost").text for value in pair)


@pytest.mark.parametrize("width", [400, 1600])
def test_it_is_a_page_like_the_report(browser: Any, compared: tuple[Path, dict[str, Any]], width: int) -> None:
    page, _ = compared
    browser.open(page, width=width, theme="dark")
    assert browser.requests() == {page.as_uri()} and browser.problems() == []
    browser.run("for (const one of document.querySelectorAll('details')) one.open = true")
    assert browser.run("return document.documentElement.scrollWidth - document.documentElement.clientWidth") == 0
    title = next(one for one in browser.all("#t-splits th[data-column]") if one.text.startswith("difference"))
    title.find_element("tag name", "button").click()
    found = [cells[2] for cells in rows(browser, "t-splits").values()]
    assert found == sorted(found)
    browser.one("#theme").click()
    assert browser.run("return document.documentElement.dataset.theme") == "light"
    browser.forget()
    drawn = browser.run("return document.querySelectorAll('#splits .forest circle').length")
    assert drawn == len(found)
