"""The page of the shipped records in a real browser."""

import json
import re
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest

pytestmark = pytest.mark.browser

ROOT = Path(__file__).resolve().parents[2]
STATUS = [json.loads(file.read_text())["status"] for file in ROOT.glob("results/published/*/record.json")]
RUNS = len(STATUS)
METHODS = "section:not(#summary) .sortable[id^='t-streets-v1-'][id$='-methods']"
CONTRAST = """
const canvas = document.createElement("canvas").getContext("2d", { willReadFrequently: true });
const rgba = (colour) => {
  canvas.clearRect(0, 0, 1, 1); canvas.fillStyle = colour; canvas.fillRect(0, 0, 1, 1);
  return canvas.getImageData(0, 0, 1, 1).data;
};
const known = new Map();
const read = (colour) => known.get(colour) ?? (known.set(colour, rgba(colour)), known.get(colour));
const light = ([r, g, b]) => [r, g, b].map((v) => v / 255)
  .map((v) => v <= 0.04045 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4)
  .reduce((sum, v, i) => sum + v * [0.2126, 0.7152, 0.0722][i], 0);
const ground = (element) => {
  for (let place = element; place; place = place.parentElement) {
    const colour = read(getComputedStyle(place).backgroundColor);
    if (colour[3] === 255) return colour;
  }
  return [255, 255, 255, 255];
};
const poor = new Set();
let looked = 0;
for (const details of document.querySelectorAll("details")) details.open = true;
for (const element of document.body.querySelectorAll("*")) {
  const own = [...element.childNodes].some((node) => node.nodeType === 3 && node.textContent.trim());
  if (!own || element.closest("svg, [hidden], .skip, .aside, option")) continue;
  if (looked > 6000 && element.matches("td, td *")) continue;
  looked += 1;
  const [a, b] = [light(read(getComputedStyle(element).color)), light(ground(element))];
  const ratio = (Math.max(a, b) + 0.05) / (Math.min(a, b) + 0.05);
  if (ratio < 4.5) poor.add(`${element.tagName}.${element.className}: ${ratio.toFixed(2)}`);
}
return [looked, [...poor]];
"""


def head(browser: Any, table: str, title: str) -> Any:
    return next(one for one in browser.all(f"{table} thead th[data-column]") if one.text.startswith(title))


def column(browser: Any, table: str, place: int) -> list[str]:
    """Return a column's texts, rows top to bottom, those that are shown."""
    return browser.run(
        "return [...document.querySelector(arguments[0]).tBodies[0].rows].filter((row) => !row.hidden)"
        ".map((row) => (row.cells[arguments[1]]?.firstChild?.textContent ?? '').trim())",
        table,
        place,
    )


def numbers(browser: Any, table: str, place: int) -> list[float | None]:
    found = browser.run(
        "return [...document.querySelector(arguments[0]).tBodies[0].rows].filter((row) => !row.hidden)"
        ".map((row) => row.classList.contains('status') ? null : row.cells[arguments[1]].dataset.sort ?? null)",
        table,
        place,
    )
    return [None if value is None else float(value) for value in found]


def test_it_loads_alone_and_without_a_complaint(browser: Any, report: Path) -> None:
    browser.open(report)
    assert browser.driver.title == "gkdbench report"
    assert browser.requests() == {report.as_uri()}
    assert browser.problems() == []
    assert report.stat().st_size < 5 * 10**6


@pytest.mark.parametrize("width", [400, 1600])
def test_the_page_is_never_wider_than_the_window(browser: Any, report: Path, width: int) -> None:
    browser.open(report, width=width)
    fold = "for (const one of document.querySelectorAll('details')) one.open = arguments[0]"
    wide = "return document.documentElement.scrollWidth - document.documentElement.clientWidth"
    assert browser.run(wide) == 0
    browser.run(fold, True)
    assert browser.run(wide) == 0


UNFOLD = "for (const one of document.querySelectorAll('details')) one.open = true;"


def test_figures_can_be_read_on_a_phone(browser: Any, report: Path) -> None:
    browser.open(report, width=400)
    found = browser.run(
        UNFOLD + "return [...document.querySelectorAll('figure svg, .curves svg')].map((svg) => {"
        "  const scale = svg.getBoundingClientRect().width / svg.viewBox.baseVal.width, box = svg.parentElement;"
        "  const sizes = [...svg.querySelectorAll('text')].map((one) => parseFloat(getComputedStyle(one).fontSize));"
        "  return [scale * Math.min(...sizes), svg.getBoundingClientRect().width, box.clientWidth, box.scrollWidth,"
        "    box.tabIndex, getComputedStyle(box).overflowX]; })"
    )
    assert len(found) > 20
    for smallest, wide, seen, whole, stop, overflow in found:
        assert smallest > 9 and seen < 400
        # what does not fit is reached by scrolling in its box, with the keyboard too
        assert wide <= seen or (abs(whole - wide) < 1.5 and stop == 0 and overflow == "auto")


def test_no_table_is_cut_in_a_wide_window(browser: Any, report: Path) -> None:
    browser.open(report, width=1600)
    cut = browser.run(
        UNFOLD + "return [...document.querySelectorAll('main .scroll:has(table)')]"
        ".filter((box) => box.scrollWidth > box.clientWidth).map((box) => box.getAttribute('aria-label'))"
    )
    assert cut == []
    average = head(browser, "#t-paper-table1", "Avg")
    assert average.is_displayed() and len(browser.all("#t-paper-table1.wide")) == 1


def test_numbers_sort_up_down_and_back(browser: Any, report: Path) -> None:
    browser.open(report)
    title = head(browser, METHODS, "OOD mean")
    place, button = int(title.get_attribute("data-column")), title.find_element("tag name", "button")
    before = column(browser, METHODS, 0)
    for order, sign in (("ascending", 1), ("descending", -1)):
        button.click()
        assert title.get_attribute("aria-sort") == order
        found = numbers(browser, METHODS, place)
        known = [value for value in found if value is not None]
        assert known == sorted(known, key=lambda value: sign * value) and len(known) > 20
        assert found[-1] is None and None not in found[:-1]  # the row without a number is last either way
    button.click()
    assert title.get_attribute("aria-sort") is None
    assert column(browser, METHODS, 0) == before


def test_words_sort_and_only_one_title_says_so(browser: Any, report: Path) -> None:
    browser.open(report)
    head(browser, METHODS, "fog").find_element("tag name", "button").click()
    title = head(browser, METHODS, "method")
    title.find_element("tag name", "button").click()
    assert [one.get_attribute("data-column") for one in browser.all(f"{METHODS} [aria-sort]")] == ["0"]
    found = column(browser, METHODS, 0)
    assert found == browser.run("return [...arguments[0]].sort((a, b) => a.localeCompare(b, 'en'))", found)


def test_measured_rows_stay_with_their_published_row(browser: Any, report: Path) -> None:
    table = "#t-paper-ablation"
    browser.open(report, anchor="#table-paper-ablation")
    pairs = (
        "return [...document.querySelector(arguments[0]).tBodies[0].rows].map((row) => [row.className, row.innerText])"
    )
    before = browser.run(pairs, table)
    head(browser, table, "method").find_element("tag name", "button").click()
    after = browser.run(pairs, table)
    assert after != before and sorted(after) == sorted(before)

    def owners(rows: list[list[str]]) -> set[tuple[str, str]]:
        found, owner = set(), ""
        for kind, text in rows:
            owner = owner if kind == "measured" else text
            found.add((owner, text))
        return found

    assert owners(after) == owners(before)
    assert any(kind == "measured" for kind, _ in after)


def test_filter_by_word_number_list_and_comparability(browser: Any, report: Path) -> None:
    from selenium.webdriver.common.keys import Keys

    browser.open(report, anchor="#runs")
    form, table = "form[data-table=t-all-runs]", "#t-all-runs"
    field, count = browser.one(f"{form} input[type=search]"), browser.one(f"{form} output")
    assert len(column(browser, table, 0)) == RUNS and count.text == ""
    field.send_keys("GKD f2l")
    found = column(browser, table, 0)
    assert 0 < len(found) < RUNS and all("gkd" in one and "f2l" in one for one in found)
    assert count.text == f"{len(found)} of {RUNS} rows"
    field.clear()
    field.send_keys("ood>40")
    place = int(head(browser, table, "OOD").get_attribute("data-column"))
    found_values = numbers(browser, table, place)
    assert found_values and all(value is not None and value > 40 for value in found_values)
    field.send_keys(Keys.CONTROL, "a")
    field.send_keys(Keys.BACKSPACE)
    assert len(column(browser, table, 0)) == RUNS and count.text == ""
    lists = {one.find_element("xpath", "..").text.split()[0]: one for one in browser.all(f"{form} select")}
    assert {"setting", "status"} <= set(lists)
    lists["status"].send_keys("unsupported")
    assert count.text == f"2 of {RUNS} rows"


def test_the_hint_of_a_filter_works_as_it_stands(browser: Any, report: Path) -> None:
    browser.open(report, anchor="#table-paper-table1")
    fields = browser.all("form.filter input[type=search]")
    hints = [field.get_attribute("placeholder") for field in fields]
    assert len(hints) > 5 and all(re.fullmatch(r"words(, or [\w-]+>30)?", hint) for hint in hints)
    field = browser.one("form[data-table=t-paper-table1] input[type=search]")
    everything = numbers(browser, "#t-paper-table1", 5)
    field.send_keys(hints[fields.index(field)].removeprefix("words, or ").replace("30", "100"))
    found = numbers(browser, "#t-paper-table1", 5)
    assert found == [value for value in everything if value and value > 100] and 0 < len(found) < len(everything)


def test_rows_without_figures_can_be_hidden(browser: Any, report: Path) -> None:
    browser.open(report)
    form = f"form[data-table={browser.one(METHODS).get_attribute('id')}]"
    before = column(browser, METHODS, 0)
    browser.one(f"{form} input[type=checkbox]").click()
    after = column(browser, METHODS, 0)
    assert set(before) - set(after) == {"tinymim"} and len(after) == len(before) - 1


def test_every_link_has_its_target(browser: Any, report: Path) -> None:
    browser.open(report)
    assert browser.run(
        "const links = [...document.querySelectorAll('a[href]')].map((link) => link.getAttribute('href'));"
        "return links.filter((link) => !link.startsWith('#') || !document.getElementById(link.slice(1)))"
    ) == []  # fmt: skip
    ids = browser.run("return [...document.querySelectorAll('[id]')].map((element) => element.id)")
    assert len(ids) == len(set(ids))


def test_a_row_leads_to_its_run(browser: Any, report: Path) -> None:
    browser.open(report)
    link = browser.one(f"{METHODS} tbody th a")
    anchor = link.get_attribute("href").split("#")[1]
    assert browser.run("return document.getElementById(arguments[0]).open", anchor) is False
    link.click()
    details = browser.one(f"[id='{anchor}']")
    assert details.get_attribute("open") and details.is_displayed()
    assert browser.run("return document.activeElement === arguments[0].querySelector('summary')", details)
    top = browser.run("return arguments[0].getBoundingClientRect().top", details)
    assert -5 < top < 900
    for word in ("Scores", "Classes", "Stages and cost", "Selection", "digest", "this command repeats it"):
        assert word in details.text
    # opened by its address as well
    browser.open(report, anchor=f"#{anchor}")
    assert browser.one(f"[id='{anchor}']").is_displayed()
    # and again after it was closed
    browser.run("document.getElementById(arguments[0]).open = false", anchor)
    browser.run("document.querySelector(arguments[0]).click()", f"a[href='#{anchor}']")
    assert browser.waits_for(f"[id='{anchor}'][open]")


@pytest.mark.parametrize("width", [400, 1600])
def test_an_address_shows_its_run_whatever_was_done_since(browser: Any, report: Path, width: int) -> None:
    anchor = browser_anchor(report)
    browser.open(report, width=width, anchor=f"#{anchor}")
    details = browser.one(f"[id='{anchor}']")

    def top() -> float:
        found: float = browser.run("return arguments[0].getBoundingClientRect().top", details)
        return found

    at = top()
    assert details.get_attribute("open") and -5 < at < 60
    browser.run("dispatchEvent(new Event('beforeprint'))")
    browser.run("dispatchEvent(new Event('afterprint'))")
    assert abs(top() - at) < 2
    browser.driver.execute_cdp_cmd("Page.printToPDF", {"preferCSSPageSize": True, "pageRanges": "1"})
    assert details.get_attribute("open") and abs(top() - at) < 2
    browser.run("document.getElementById('theme').click()")
    assert details.get_attribute("open") and abs(top() - at) < 2
    browser.driver.refresh()
    details = browser.one(f"[id='{anchor}']")
    assert details.get_attribute("open") and -5 < top() < 60
    browser.forget()


def test_a_run_leads_to_its_recipe_which_is_there_once(browser: Any, report: Path) -> None:
    anchor = browser_anchor(report)
    browser.open(report, anchor=f"#{anchor}")
    browser.one(f"[id='{anchor}'] a[href^='#recipe-']").click()
    assert [one.is_displayed() for one in browser.all("[id^=recipe-] pre")].count(True) == 1
    assert len(browser.all("[id^=recipe-]")) == 2  # one of each benchmark


def browser_anchor(report: Path) -> str:
    text = report.read_text(encoding="utf-8")
    return text.split('<details class="run" id="', 1)[1].split('"', 1)[0]


def test_the_theme_follows_the_system_until_chosen_and_is_remembered(browser: Any, report: Path) -> None:
    ground = "return getComputedStyle(document.body).backgroundColor"
    browser.open(report, theme="dark")
    dark = browser.run(ground)
    browser.media(theme="light")
    light = browser.run(ground)
    assert dark != light
    button = browser.one("#theme")
    assert button.text == "Dark theme"
    button.click()
    assert browser.run(ground) == dark and button.text == "Light theme"
    browser.driver.refresh()
    assert browser.run(ground) == dark
    browser.one("#theme").click()
    assert browser.run(ground) == light
    browser.forget()


@pytest.mark.parametrize("theme", ["light", "dark"])
def test_text_stands_out_from_its_ground(browser: Any, report: Path, theme: str) -> None:
    browser.open(report, theme=theme)
    looked, poor = browser.run(CONTRAST)
    assert looked > 3000
    assert poor == []


def test_a_command_is_copied_without_network(browser: Any, report: Path) -> None:
    from selenium.webdriver.common.keys import Keys

    anchor = browser_anchor(report)
    browser.open(report, anchor=f"#{anchor}")
    button = browser.one(f"[id='{anchor}'] button.copy")
    text = browser.one(f"[id='command-{anchor}']").text
    button.click()
    assert browser.waits_for("#told:not(:empty)")
    assert browser.one("#told").get_attribute("textContent") == "Copied" == button.text
    field = browser.one("form[data-table=t-all-runs] input[type=search]")
    field.send_keys(Keys.CONTROL, "v")
    assert field.get_attribute("value") == text and text.startswith("gkdbench run --method ")


def test_the_keyboard_reaches_and_does_everything(browser: Any, report: Path) -> None:
    from selenium.webdriver.common.action_chains import ActionChains
    from selenium.webdriver.common.keys import Keys

    browser.open(report)

    def press(*keys: str) -> Any:
        ActionChains(browser.driver).send_keys(*keys).perform()
        return browser.driver.switch_to.active_element

    assert press(Keys.TAB).get_attribute("class") == "skip"
    assert browser.run("return document.activeElement.getBoundingClientRect().left") >= 0
    press(Keys.ENTER)
    assert browser.driver.current_url.endswith("#main")
    title = head(browser, METHODS, "gap")
    browser.run("arguments[0].querySelector('button').focus()", title)
    press(Keys.ENTER)
    assert title.get_attribute("aria-sort") == "ascending"
    press(Keys.SPACE)
    assert title.get_attribute("aria-sort") == "descending"
    outline = browser.run("return getComputedStyle(document.activeElement).outlineStyle")
    assert outline == "solid"
    # the next stop after the last title is a row's link, not something invisible
    seen = {press(Keys.TAB).is_displayed() for _ in range(12)}
    assert seen == {True}


def test_it_can_be_read_aloud(browser: Any, report: Path) -> None:
    browser.open(report)
    assert browser.run("return document.documentElement.lang") == "en"
    for landmark in ("header", "nav[aria-label]", "main"):
        assert len(browser.all(landmark)) == 1
    bare = browser.run(
        "return [...document.querySelectorAll('table')].filter((table) => !table.caption?.textContent.trim()"
        " || [...table.querySelectorAll('th')].some((head) => !head.scope)).map((table) => table.id)"
    )
    assert bare == []
    figures = "return [...document.querySelectorAll('main svg')].filter((svg) => svg.getAttribute('role') !== 'img'"
    assert browser.run(f"{figures} || !svg.getAttribute('aria-label')).length") == 0
    fields = "return [...document.querySelectorAll('input, select')].filter((field) => !field.labels.length).length"
    assert browser.run(fields) == 0
    levels = browser.run("return [...document.querySelectorAll('h1, h2, h3, h4')].map((h) => Number(h.tagName[1]))")
    assert levels[0] == 1 and levels.count(1) == 1
    assert all(after - before <= 1 for before, after in pairwise(levels))


def test_hovering_tells_more(browser: Any, report: Path) -> None:
    browser.open(report)
    titles = browser.run(f'return [...document.querySelectorAll("{METHODS} td[title]")].map((cell) => cell.title)')
    assert len(titles) > 100


def test_the_summary_and_what_may_be_compared(browser: Any, report: Path) -> None:
    browser.open(report)
    summary = browser.one("#summary")
    assert f"{RUNS} runs ({STATUS.count('done')} finished)" in summary.text and "F2F and F2L" in summary.text
    assert len(browser.all("#summary tbody tr")) == 3  # streets twice, and streets_det
    summary.find_element("css selector", "a[href='#honesty']").click()
    section = browser.one("#honesty")
    assert abs(browser.run("return arguments[0].getBoundingClientRect().top", section)) < 40
    verdicts = {one.text for one in browser.all("#honesty .verdict")}
    assert verdicts == {"fine", "beware"}
    assert "13 printed averages" in section.text and "54.906" in section.text and "not a proof" in section.text


def test_on_paper_tables_are_unfolded_and_runs_are_not(browser: Any, report: Path) -> None:
    browser.open(report)
    opened = "return [...document.querySelectorAll(arguments[0])].map((details) => details.open)"
    before = browser.run(opened, "details.part")
    browser.run("dispatchEvent(new Event('beforeprint'))")
    assert all(browser.run(opened, "details.part")) and not any(browser.run(opened, "details.run"))
    browser.run("dispatchEvent(new Event('afterprint'))")
    assert browser.run(opened, "details.part") == before
    made = browser.driver.execute_cdp_cmd("Page.printToPDF", {"preferCSSPageSize": True, "pageRanges": "1-2"})
    assert len(made["data"]) > 10**4


def test_hostile_records_are_shown_as_text(browser: Any, hostile: Path) -> None:
    browser.open(hostile)
    browser.run("for (const one of document.querySelectorAll('details')) one.open = true")
    assert browser.run("return window.attacked ?? null") is None
    assert browser.requests() == {hostile.as_uri()} and browser.problems() == []
    assert browser.all("img") == [] and len(browser.all("script")) == 1
    assert "<script>window.attacked = 1</script><img src=x" in browser.one("#runs").text
    assert browser.one("details.run").get_attribute("id").startswith("run-streets-f2l-script-window.attacked-1")
    link = browser.one("#t-all-runs tbody th a")
    link.click()
    assert browser.one("details.run").is_displayed()
    assert browser.run("return document.documentElement.scrollWidth - document.documentElement.clientWidth") == 0
