"""Train published runs again and say whether every count is the same: python tools/repeat_published.py [RUN ...]

Without names: the seed-0 runs of `gkd` and `cwd` in setting f2l, a few minutes each on one thread. Records were made on
one thread; on several, sums are rounded otherwise. Leaves with 1 where a run differs.
"""

import json
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

PUBLISHED = Path(__file__).resolve().parents[1] / "results" / "published"
DEFAULT = ("streets-f2l-gkd-s0-*", "streets-f2l-cwd-s0-*")


def repeated(record: Path, results: str) -> dict[str, Any]:
    """Run what a record says anew and return its record."""
    command = [sys.executable, "-m", "gkdbench", "run", "--from", str(record), "--results", results]
    command += ["--threads", "1", "--device", "cpu", "--no-report", "--json"]
    done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True)
    found: list[dict[str, Any]] = json.loads(done.stdout)
    return found[-1]


def main() -> None:
    """Compare each run's results with what was published."""
    patterns = sys.argv[1:] or DEFAULT
    records = [path for pattern in patterns for path in sorted(PUBLISHED.glob(f"{pattern}/record.json"))]
    if not records:
        sys.exit(f"no run of {PUBLISHED} is called {' or '.join(patterns)}")
    differ = False
    with tempfile.TemporaryDirectory() as results:
        for path in records:
            then, now = json.loads(path.read_text(encoding="utf-8")), repeated(path, results)
            same = all(then[key] == now[key] for key in ("digest", "in_domain", "targets", "summary"))
            differ = differ or not same
            print(f"{path.parent.name}: {'the same to the last count' if same else 'other counts'}", flush=True)
    sys.exit(1 if differ else 0)


if __name__ == "__main__":
    main()
