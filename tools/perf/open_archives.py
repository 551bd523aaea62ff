"""Seconds to open a dataset of GTAV's shape: 24,966 pairs in 20 zips, twice in one process and again in a fresh one.

`python tools/perf/open_archives.py [--pairs 24966]`. The members are a few bytes each: opening reads what is in the
archives, not the pictures.
"""

import argparse
import subprocess
import sys
import tempfile
import time
import zipfile
from pathlib import Path

PARTS = 10


def write(root: Path, pairs: int) -> None:
    """Write the archives."""
    folder = root / "gtav"
    folder.mkdir(parents=True)
    for part in range(PARTS):
        for kind in ("images", "labels"):
            with zipfile.ZipFile(folder / f"{part + 1:02d}_{kind}.zip", "w") as archive:
                for number in range(part * pairs // PARTS, (part + 1) * pairs // PARTS):
                    archive.writestr(f"{kind}/{number + 1:05d}.png", b"-")


def measure(root: Path, label: str) -> None:
    """Open twice and print the seconds."""
    from gkdbench.data.dataset import DataPlace, open_split
    from gkdbench.spec.catalogue import find_benchmark

    benchmark = find_benchmark("gtav").benchmark
    for turn in ("first", "second"):
        began = time.perf_counter()
        found = open_split(benchmark.source.train, benchmark, root, DataPlace(root, root / "cache"))
        print(f"{label}, {turn} opening: {time.perf_counter() - began:.2f} s for {len(found)} pairs")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--pairs", type=int, default=24966)
    parser.add_argument("--measure", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.measure:
        measure(Path(options.measure), "a fresh process")
        sys.exit()
    with tempfile.TemporaryDirectory() as place:
        write(Path(place), options.pairs)
        measure(Path(place), "one process")
        subprocess.run([sys.executable, __file__, "--measure", place], check=True)
