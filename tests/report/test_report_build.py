"""The files of a report: complete, repeatable, escaped, self-contained."""

import csv
import os
import re
import subprocess
import sys
from collections.abc import Callable
from html.parser import HTMLParser
from pathlib import Path

import pytest

from gkdbench.errors import DataError, UsageError
from gkdbench.report.build import build_report
from gkdbench.runs.record import Record

MakeRecord = Callable[..., Record]
Store = Callable[..., Path]

HOSTILE = "<script>alert(1)</script>"
VOID = {"meta", "link", "input", "br", "hr", "img"}


class Balance(HTMLParser):
    """Check that tags close in order and ids are unique; collect what is loaded."""

    def __init__(self) -> None:
        super().__init__()
        self.open: list[str] = []
        self.ids: list[str] = []
        self.loads: list[str] = []
        self.scripts = 0

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.note(tag, attrs)
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.note(tag, attrs)

    def note(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.scripts += tag == "script"
        for key, value in attrs:
            if key == "id":
                self.ids.append(value or "")
            if key in ("src", "href", "xlink:href", "action", "srcset"):
                self.loads.append(value or "")

    def handle_endtag(self, tag: str) -> None:
        assert self.open and self.open[-1] == tag, f"</{tag}> closes {self.open[-3:]}"
        self.open.pop()


def parsed(page: str) -> Balance:
    balance = Balance()
    balance.feed(page)
    balance.close()
    assert balance.open == []
    return balance


def files_below(folder: Path) -> dict[str, bytes]:
    found = sorted(path for path in folder.rglob("*") if path.is_file())
    return {str(path.relative_to(folder)): path.read_bytes() for path in found}


@pytest.fixture
def results(matrix: list[Record], store: Store) -> Path:
    return store(*matrix)


def test_files_and_counts(results: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    report = build_report(results, out, ("html", "md", "csv", "tex"))
    assert (report.tables, report.records, report.skipped) == (1, 14, ())
    assert set(files_below(out)) == {str(path.relative_to(out)) for path in report.files}
    names = set(files_below(out))
    slug = "streets-v1-f2l-found-b-local-s-quick"
    assert {"report.html", "report.md", "results.csv", "published.csv"} <= names
    for kind in ("methods", "classes", "cost"):
        assert {f"tables/{slug}-{kind}.csv", f"tables/{slug}-{kind}.tex"} <= names
    for kind in ("targets", "scatter", "heatmap", "classes", "radar", "cost", "ranks"):
        assert {f"figures/{slug}-{kind}.{form}" for form in ("svg", "png", "pdf")} <= names
    assert {"study.csv", "tables.tex", "figures/captions.md", "figures/paper-radar.pdf"} <= names
    assert report.markdown == (out / "report.md").read_text(encoding="utf-8")
    assert "| gkd |" in report.markdown and "skip_absent" in report.markdown


def test_two_builds_are_equal_byte_by_byte(results: Path, tmp_path: Path) -> None:
    for name in ("one", "two"):
        build_report(results, tmp_path / name, ("html", "md", "csv", "tex"))
    assert files_below(tmp_path / "one") == files_below(tmp_path / "two")


def test_page_is_well_formed_and_loads_nothing(results: Path, tmp_path: Path) -> None:
    build_report(results, tmp_path / "out", ["html"])
    page = (tmp_path / "out" / "report.html").read_text(encoding="utf-8")
    balance = parsed(page)
    assert len(balance.ids) == len(set(balance.ids))
    assert {link for link in balance.loads if not link.startswith(("#", "data:"))} == set()
    assert {link[1:] for link in balance.loads if link.startswith("#")} <= set(balance.ids)
    addresses = set(re.findall(r"https?://[^\"'\s<)]+", page))
    assert addresses <= {"http://www.w3.org/2000/svg", "http://www.w3.org/1999/xlink"}
    assert "@import" not in page
    assert set(re.findall(r"url\((.)", page)) <= {"#"}
    assert page.count("<figure") == page.count('role="img" aria-label="') == 8
    assert 'scope="col"' in page and 'scope="row"' in page


def test_hostile_text_is_escaped(make: MakeRecord, store: Store, tmp_path: Path) -> None:
    name = f"{HOSTILE}$x_1$|`&%\\"
    record = make(
        spec_method=name,
        spec_pair=f'../"{HOSTILE}',
        spec_options={"a": HOSTILE},
        command=HOSTILE,
        warnings=[HOSTILE],
        environment={HOSTILE: HOSTILE},
        metric=f"mIoU {HOSTILE}\"'",
        marks=[HOSTILE],
    )
    failed = make("cwd", status="failed", reason=f"{HOSTILE} | line", summary=None)
    out = tmp_path / "out"
    report = build_report(store(record, failed), out, ("html", "md", "csv", "tex"))
    page = (out / "report.html").read_text(encoding="utf-8")
    assert parsed(page).scripts == 1  # ours
    assert HOSTILE not in page and "&lt;script&gt;" in page
    assert HOSTILE not in report.markdown
    assert all(path.resolve().is_relative_to(out.resolve()) for path in report.files)
    with (out / "results.csv").open(encoding="utf-8", newline="") as stream:
        assert name in {line["method"] for line in csv.DictReader(stream)}
    tables = [line for line in report.markdown.splitlines() if line.startswith("|")]
    widths = {len(re.findall(r"(?<!\\)\|", line)) for line in tables[:3]}
    assert len(widths) == 1
    tex = next(out.glob("tables/*-methods.tex")).read_text(encoding="utf-8")
    # each special is spelt out; a line may break after one
    assert "\\$x\\_" in tex and "\\&\\%" in tex and "\\textbackslash{}" in tex and "x_1" not in tex


def test_csv_holds_unrounded_values(results: Path, matrix: list[Record], tmp_path: Path) -> None:
    build_report(results, tmp_path, ["csv"])
    with (tmp_path / "results.csv").open(encoding="utf-8", newline="") as stream:
        lines = list(csv.DictReader(stream))
    found = {
        (line["run_id"], line["split"]): float(line["value"])
        for line in lines
        if line["quantity"] == "summary" and line["value"]
    }
    for record in matrix:
        if record.summary is not None:
            assert found[record.run_id, "OOD mean"] == record.summary.ood
            assert found[record.run_id, "gap"] == record.summary.gap
    assert [line["status"] for line in lines if line["quantity"] == "status"] == ["failed"]
    assert not (tmp_path / "report.html").exists() and not (tmp_path / "figures").exists()


def test_empty_results_say_what_to_do_and_make_no_report(tmp_path: Path) -> None:
    with pytest.raises(DataError) as caught:
        build_report(tmp_path / "nowhere", tmp_path / "out")
    assert str(caught.value).startswith(f"{tmp_path / 'nowhere'}: no record of a run there")
    assert "gkdbench run --method NAME --setting f2l" in str(caught.value) and not (tmp_path / "out").exists()


def test_a_folder_of_runs_and_a_runs_own_folder_are_read_as_results_are(results: Path, tmp_path: Path) -> None:
    for folder, records in ((results, 14), (results / "runs", 14), (next(results.glob("runs/*-gkd-s0-*")), 1)):
        built = build_report(folder, tmp_path / "out", ["md"])
        assert (built.records, built.skipped) == (records, ())


def test_where_every_record_is_damaged_the_page_says_so(results: Path, tmp_path: Path) -> None:
    for path in results.glob("runs/*/record.json"):
        path.write_text("{")
    built = build_report(results, tmp_path / "out", ["html", "md"])
    page = (tmp_path / "out" / "report.html").read_text(encoding="utf-8")
    parsed(page)
    assert built.records == 0 and len(built.skipped) == 14 and "No records found" in page
    assert built.markdown.count("not valid JSON") == 14


def test_skipped_records_are_listed_and_the_rest_is_built(results: Path, tmp_path: Path) -> None:
    place = results / "runs" / "other"
    place.mkdir()
    (place / "record.json").write_text('{"schema": 2}')
    report = build_report(results, tmp_path / "out")
    assert report.records == 14
    assert len(report.skipped) == 1 and "schema 2" in report.skipped[0]
    page = (tmp_path / "out" / "report.html").read_text(encoding="utf-8")
    assert "Skipped records" in page and "schema 2" in page
    assert "schema 2" in report.markdown


def test_only_failed_runs_make_a_page_without_figures(make: MakeRecord, store: Store, tmp_path: Path) -> None:
    results = store(make("gkd", status="failed", reason="out of memory", summary=None))
    report = build_report(results, tmp_path / "out")
    assert report.tables == 1
    drawn = {path.stem for path in (tmp_path / "out" / "figures").iterdir()}
    assert drawn == {"captions", "paper-radar"}
    assert "out of memory" in (tmp_path / "out" / "report.html").read_text(encoding="utf-8")


def test_unknown_format(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"format 'htm'.*did you mean 'html'.*html, md, csv, tex"):
        build_report(tmp_path, tmp_path / "out", ["htm"])
    assert not (tmp_path / "out").exists()


def test_unwritable_output_is_one_line_and_leaves_nothing(tmp_path: Path) -> None:
    blocked = tmp_path / "file"
    blocked.write_text("in the way")
    with pytest.raises(DataError, match="a file is in the way of a folder") as caught:
        build_report(tmp_path, blocked, ["md"], paper_only=True)
    assert "\n" not in str(caught.value)
    folder = tmp_path / "out"
    (folder / "report.md").mkdir(parents=True)
    with pytest.raises(UsageError, match="a folder, and output takes the place of regular files alone"):
        build_report(tmp_path, folder, ["md"], paper_only=True)
    assert not [path for path in folder.rglob("*.tmp")] and not list((folder / "report.md").iterdir())


def test_import_loads_no_torch() -> None:
    code = (
        "import sys, gkdbench.report.build, gkdbench.report.terminal; "
        "print([m for m in ('torch', 'timm', 'matplotlib.pyplot') if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, env=os.environ)
    assert done.stdout.strip() == "[]"


def test_terminal_table_needs_no_plotting() -> None:
    code = (
        "import sys, gkdbench.report.terminal; "
        "print([m for m in ('torch', 'matplotlib', 'pandas', 'jinja2') if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, env=os.environ)
    assert done.stdout.strip() == "[]"


def test_targets_that_are_corruptions_are_mapped(make: MakeRecord, store: Store, tmp_path: Path) -> None:
    stated = {"night": {"kind": "blur", "severity": 1}, "fog": {"kind": "blur", "severity": 2}}
    runs = [make("gkd", corruptions=stated), make("finetune", corruptions=stated)]
    for run in runs:
        assert run.summary is not None
        run.summary.mpc = (run.targets["night"].value + run.targets["fog"].value) / 2
        run.summary.rpc = 100 * run.summary.mpc / run.summary.in_domain
    results = store(*runs)
    build_report(results, tmp_path / "out", ["html"])
    (figure,) = (tmp_path / "out" / "figures").glob("*-corruptions.svg")
    assert "blur" in figure.read_text(encoding="utf-8")
