"""The README's tables are those of the committed records."""

import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]


def test_the_readme_shows_the_committed_records():
    check = subprocess.run(
        [sys.executable, ROOT / "tools" / "update_readme.py", "--check"], capture_output=True, text=True, check=False
    )
    assert check.returncode == 0, check.stderr


def test_the_readme_names_the_methods_and_benchmarks_that_exist():
    from gkdbench.spec.catalogue import benchmark_files
    from gkdbench.spec.methods import COMBINATORS, offers

    readme = (ROOT / "README.md").read_text()
    methods = readme.split("\n## Methods\n")[1].split("\n## ")[0]
    rows = [line.split("`")[1] for line in methods.splitlines() if line.startswith("| `")]
    assert rows and set(rows) <= set(offers())
    ours = {name for name, (offer, *_) in offers().items() if offer.kind == "method"}
    benchmarks = readme.split("\n## Real benchmarks\n")[1].split("\n## ")[0]
    cells = [line.split("|")[1] for line in benchmarks.splitlines() if line.startswith("| `")]
    named = {name for cell in cells for name in cell.split("`")[1::2]}
    assert named == set(benchmark_files()) - {"streets", "streets_det", "camvid"}
    assert ours <= set(rows) and all(f"`{name}" in readme for name in (*offers(COMBINATORS), *offers()))
