"""A real headless Chromium, and the pages it opens; without one these tests are skipped."""

import json
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from gkdbench.identity.digest import run_name
from gkdbench.report.build import build_report

ROOT = Path(__file__).resolve().parents[2]
CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome", "chrome"))), None)
DRIVER = shutil.which("chromedriver")
FLAGS = (
    "--headless=new",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
)


class Browser:
    """A browser that opens files, with what a test asks of it."""

    def __init__(self, driver: Any) -> None:
        self.driver = driver

    def open(self, page: Path, *, width: int = 1280, theme: str = "light", anchor: str = "") -> None:
        """Open a page afresh: no address or log of the one before."""
        self.driver.get("about:blank")
        self.size(width)
        self.media(theme=theme)
        self.driver.get_log("browser")
        self.driver.get_log("performance")
        self.driver.get(page.as_uri() + anchor)

    def size(self, width: int) -> None:
        metrics = {"width": width, "height": 900, "deviceScaleFactor": 1, "mobile": False}
        self.driver.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", metrics)

    def media(self, *, theme: str) -> None:
        features = [{"name": "prefers-color-scheme", "value": theme}]
        self.driver.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": features})

    def run(self, script: str, *arguments: Any) -> Any:
        """Run JavaScript and return what it returns."""
        return self.driver.execute_script(script, *arguments)

    def all(self, selector: str) -> list[Any]:
        return self.driver.find_elements("css selector", selector)

    def one(self, selector: str) -> Any:
        return self.driver.find_element("css selector", selector)

    def forget(self) -> None:
        """Forget what pages have stored."""
        self.run("localStorage.clear()")

    def waits_for(self, selector: str) -> bool:
        """Say whether an element comes to be within two seconds."""
        self.driver.implicitly_wait(2)
        found = bool(self.all(selector))
        self.driver.implicitly_wait(0)
        return found

    def problems(self) -> list[str]:
        """Return what the console says since the page was opened."""
        return [entry["message"] for entry in self.driver.get_log("browser")]

    def requests(self) -> set[str]:
        """Return the addresses that were asked for, without what lies in the page itself."""
        events = [json.loads(entry["message"])["message"] for entry in self.driver.get_log("performance")]
        sent = [e["params"]["request"]["url"] for e in events if e["method"] == "Network.requestWillBeSent"]
        return {url for url in sent if not url.startswith(("data:", "about:"))}


@pytest.fixture(scope="module")
def browser(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Browser]:
    webdriver = pytest.importorskip("selenium.webdriver")
    if CHROMIUM is None or DRIVER is None:
        pytest.skip("no Chromium or no chromedriver on this machine")
    options = webdriver.ChromeOptions()
    options.binary_location = CHROMIUM
    for flag in (*FLAGS, f"--user-data-dir={tmp_path_factory.mktemp('profile')}"):
        options.add_argument(flag)
    options.set_capability("goog:loggingPrefs", {"browser": "ALL", "performance": "ALL"})
    driver = webdriver.Chrome(options=options, service=webdriver.ChromeService(DRIVER))
    try:
        yield Browser(driver)
    finally:
        driver.quit()


@pytest.fixture(scope="session")
def report(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return the page of the shipped records."""
    out = tmp_path_factory.mktemp("report")
    build_report(ROOT / "results", out, ["html"])
    return out / "report.html"


@pytest.fixture(scope="session")
def hostile(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return the page of a shipped record in which every text that may be attacks the page."""
    attack = "<script>window.attacked = 1</script><img src=x onerror='window.attacked = 1'>\"'"
    results = tmp_path_factory.mktemp("hostile")
    run = next((ROOT / "results/published").glob("streets-f2l-gkd-s0-*")).name
    content = json.loads((ROOT / "results/published" / run / "record.json").read_text(encoding="utf-8"))
    spec = content["spec"]
    spec.update(method=attack, pair=attack, options={attack: attack})
    # names that become paths can attack nothing: a record with others is refused
    name = run_name(spec["benchmark"], spec["setting"], attack, spec["seed"], content["digest"])
    content.update(run_id=name, command=attack, metric=attack, marks=[attack], warnings=[attack])
    content["environment"][attack] = attack
    content["classes"] = [attack, *content["classes"][1:]]
    content["stages"][0].update(name=attack, notes=[attack])
    for result in (content["in_domain"], *content["targets"].values()):
        result["per_class"][attack] = result["per_class"].pop("road")
    place = results / "runs" / name
    place.mkdir(parents=True)
    (place / "record.json").write_text(json.dumps(content), encoding="utf-8")
    assert build_report(results, results / "report", ["html"]).records == 1
    return results / "report/report.html"
