"""Time and memory of `gkdbench report` over many records with counts per image.

`python tools/perf/report_size.py [--records 1000] [--seeds 6] [--format html,md,csv]`. Copies the records that are
committed into a temporary folder as runs of other seeds, and beyond `--seeds` as rows with an option of their own; in
each copy some pixels of every image are predicted otherwise. Then runs the command in a fresh process and prints its
seconds and its peak memory: that of all of its processes together, pages that they share counted once.
"""

import argparse
import hashlib
import json
import subprocess
import sys
import tempfile
import time
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from gkdbench.identity.digest import run_name
from gkdbench.metrics.confusion import score

PUBLISHED = Path(__file__).resolve().parents[2] / "results" / "published"
FILE = "images.parquet"


def varied(counts: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Return counts [images, K, K] with some pixels predicted otherwise; the ground truth stays as it is."""
    found = counts.astype(np.int64)
    classes = found.shape[-1]
    for truth in range(classes):
        wrong = int(rng.integers(classes))
        moved = (found[:, truth, truth] * rng.uniform(0, 0.2, len(found))).astype(np.int64)
        found[:, truth, truth] -= moved
        found[:, truth, wrong] += moved
    return found


def rescored(record: dict[str, Any], split: str, counts: np.ndarray) -> None:
    """Make a split's result that of other counts."""
    result = record["in_domain"] if split == "in-domain val" else record["targets"][split]
    total = counts.sum(0)
    found = score(total, record["mean_rule"])
    shares = [None if np.isnan(iou) else 100 * float(iou) for iou in found.iou]
    result.update(value=100 * found.mean, miou=100 * found.mean, confusion=total.tolist())
    result["per_class"] = dict(zip(record["classes"], shares, strict=True))
    result["never_predicted"] = [record["classes"][place] for place in found.never_predicted]
    result["classes_in_mean"], result["metrics"] = found.in_mean, {"pixel_accuracy": 100 * found.accuracy}


def resummed(record: dict[str, Any]) -> None:
    """Make the summary that of the results."""
    values = {name: result["value"] for name, result in record["targets"].items()}
    inside, ood = record["in_domain"]["value"], sum(values.values()) / len(values)
    without = {
        name: (sum(values.values()) - values[name]) / (len(values) - 1) for name in record["summary"]["ood_without"]
    }
    record["summary"].update(in_domain=inside, ood=ood, ood_without=without, gap=inside - ood)
    record["summary"]["worst_target"] = min(values, key=lambda name: values[name])


def copy(source: Path, number: int, seeds: int, results: Path) -> None:
    """Write the copy of a record as another run."""
    record = json.loads((source / "record.json").read_text())
    spec = record["spec"]
    spec["seed"] += 10 * (number % seeds)  # the committed ones are below 10
    record["digest"] = hashlib.sha256(f"{record['digest']} {number}".encode()).hexdigest()
    record["run_id"] = run_name(spec["benchmark"], spec["setting"], spec["method"], spec["seed"], record["digest"])
    if number >= seeds:
        spec["options"]["copy"] = number // seeds
    folder = results / "runs" / record["run_id"]
    folder.mkdir(parents=True)
    if (source / FILE).is_file():
        table, rng = pq.read_table(source / FILE), np.random.default_rng([number, len(record["run_id"])])
        counts = np.asarray(table["counts"].combine_chunks().flatten())
        classes = len(record["classes"])
        changed = varied(counts.reshape(-1, classes, classes), rng)
        splits = np.asarray(table["split"].to_pylist(), object)
        for split in dict.fromkeys(splits.tolist()):
            rescored(record, split, changed[splits == split])
        resummed(record)
        lists = pa.FixedSizeListArray.from_arrays(pa.array(changed.astype(counts.dtype).reshape(-1)), classes**2)
        column = table.schema.get_field_index("counts")
        pq.write_table(table.set_column(column, "counts", lists), folder / FILE, compression="zstd")
    (folder / "record.json").write_text(json.dumps(record))


def processes(first: int) -> list[int]:
    """Return a process and all that it started."""
    found = [first]
    for one in found:
        with suppress(OSError):
            for task in Path(f"/proc/{one}/task").iterdir():
                found.extend(map(int, (task / "children").read_text().split()))
    return found


def memory(first: int) -> int:
    """Return the bytes that a process and all that it started hold now; a shared page counts once."""
    total = 0
    for one in processes(first):
        with suppress(OSError):
            lines = Path(f"/proc/{one}/smaps_rollup").read_text().splitlines()
            total += sum(int(line.split()[1]) * 1024 for line in lines if line.startswith("Pss:"))
    return total


def main() -> None:
    """Make the records, build the report, print what it took."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--records", type=int, default=1000)
    parser.add_argument("--seeds", type=int, default=6, help="seeds per row that is copied")
    parser.add_argument("--format", default="html,md,csv")
    parser.add_argument("--keep", type=Path, help="make the records here and leave them")
    options = parser.parse_args()
    sources = sorted(path.parent for path in PUBLISHED.glob("*/record.json"))
    with tempfile.TemporaryDirectory() as temporary:
        results = options.keep or Path(temporary)
        for index in range(options.records):
            copy(sources[index % len(sources)], index // len(sources), options.seeds, results)
        words = ["report", "--results", str(results), "--out", str(results / "report"), "--format", options.format]
        start, peak = time.perf_counter(), 0
        running = subprocess.Popen([sys.executable, "-m", "gkdbench", *words], stdout=subprocess.DEVNULL)
        while running.poll() is None:
            peak = max(peak, memory(running.pid))
            time.sleep(0.1)
        seconds = time.perf_counter() - start
    print(f"{options.records} records: {seconds:.1f} s, peak {peak / 2**20:.0f} MiB, exit status {running.returncode}")


if __name__ == "__main__":
    main()
