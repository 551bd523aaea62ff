"""CPU time and memory of every method's loss, forward and backward, beside a plain transcription of its authors' form.

    OMP_NUM_THREADS=1 python tools/perf/loss_cost.py [--methods gkd,cwd] [--repeats 9] [--json]
                      [--batch 2] [--grid 32] [--student 384] [--teacher 768] [--classes 19] [--logits-size 128]

Ours is the stage's own loss on fixed views; the plain form says the same formula the way the releases do: double loops
over image pairs, gathered positives and negatives, softmax().log(), multiplied masks. Both get the same weights and the
same random draws, and before a row is measured every term and every gradient must agree to 1e-5 of the largest;
otherwise it is left out and the script ends with an error. Rows with a space in their name are parts or variants:

    cwd features    the loss on features instead of logits
    cirkd batch     relations between the images of a batch, of CIRKD (batches of 4, or --batch if that is larger)
    af_dcd contrast the contrast between groups of channels, of Af-DCD
    gkd passes      the student's plain and masked passes of GKD: rows without a mask copied, beside all rows passed
                    twice; a small ViT on the same token grid

Times are CPU time on one thread; ratios are medians over pairs of runs that follow each other, so they bear a busy
machine. Memory is the resident peak of one forward and backward in a fresh process, over inputs, weights and gradient
buffers (Linux). Nothing here is a test of speed: `tests/tools` only checks that both forms agree.
"""

import argparse
import json
import math
import os
import re
import statistics
import subprocess
import sys
import time
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import torch
from fixed_step import Comparison, Sizes, Terms
from plain_losses import ROWS
from torch import Tensor

TOLERANCE = 1e-5
FORMS = ("ours", "plain")


def clear(leaves: Iterable[Tensor]) -> None:
    """Zero the gradient buffers, making them where there are none."""
    for leaf in leaves:
        if leaf.grad is None:
            leaf.grad = torch.zeros_like(leaf)
        else:
            leaf.grad.zero_()


def backward(terms: Terms) -> None:
    """Run the backward pass of the sum of terms."""
    torch.autograd.backward(torch.stack(list(terms.values())).sum())


def distances(row: Comparison) -> dict[str, float]:
    """Return how far the plain form is from ours, per term and per gradient, relative to the largest value."""
    found: list[dict[str, Tensor]] = []
    for name in FORMS:
        clear(row.leaves.values())
        terms = row.form(name)()
        backward(terms)
        values = {f"term {key}": value.detach() for key, value in terms.items()}
        gradients = {
            f"gradient of {key}": leaf.grad.clone() for key, leaf in row.leaves.items() if leaf.grad is not None
        }
        found.append({**values, **gradients})
    ours, plain = found
    if ours.keys() != plain.keys():
        return {"names of the terms": math.inf}
    # a gradient that is zero in both forms (an input the loss does not read) is no difference
    return {key: float((ours[key] - plain[key]).abs().max() / ours[key].abs().max().clamp(min=1e-12)) for key in ours}


def disagreements(row: Comparison) -> dict[str, float]:
    """Return the distances beyond the tolerance (or not finite)."""
    return {key: distance for key, distance in distances(row).items() if not distance <= TOLERANCE}


def spent(row: Comparison, form: str) -> float:
    """Return milliseconds of CPU time of one forward and backward."""
    clear(row.leaves.values())
    began = time.process_time()
    backward(row.form(form)())
    return 1e3 * (time.process_time() - began)


class Differs(Exception):
    """Two forms of a loss that are not the same loss."""


@dataclass(frozen=True)
class Cost:
    """What one row cost."""

    method: str
    ours_ms: float
    plain_ms: float
    time_ratio: float
    ours_mib: float
    plain_mib: float
    memory_ratio: float
    ours_passes: int | None = None
    plain_passes: int | None = None


def count_passes(row: Comparison, form: str) -> int | None:
    """Return the student's image-passes of one step."""
    if row.passes is None:
        return None
    before = row.passes()
    row.form(form)()
    return row.passes() - before


def measure(name: str, sizes: Sizes, repeats: int) -> Cost:
    """Compare both forms of a row, then measure them; Differs if they are not the same loss."""
    row = ROWS[name](sizes)
    wrong = disagreements(row)
    if wrong:
        worst = max(wrong, key=lambda key: wrong[key])
        raise Differs(f"{name}: the forms differ in {len(wrong)} values, {worst} by {wrong[worst]:.1e}")
    times: dict[str, list[float]] = {form: [] for form in FORMS}
    for repeat in range(repeats):
        for form in FORMS if repeat % 2 else reversed(FORMS):
            times[form].append(spent(row, form))
    peaks = {form: peak_in_fresh_process(name, form, sizes) for form in FORMS}
    return Cost(
        method=name,
        ours_ms=statistics.median(times["ours"]),
        plain_ms=statistics.median(times["plain"]),
        time_ratio=statistics.median(a / b for a, b in zip(times["ours"], times["plain"], strict=True)),
        ours_mib=peaks["ours"],
        plain_mib=peaks["plain"],
        memory_ratio=peaks["ours"] / max(peaks["plain"], 1e-9),
        ours_passes=count_passes(row, "ours"),
        plain_passes=count_passes(row, "plain"),
    )


def resident_peak() -> float:
    """Return the resident peak of this process in MiB; ru_maxrss would begin at the parent's."""
    found = re.search(r"VmHWM:\s+(\d+) kB", Path("/proc/self/status").read_text())
    assert found is not None
    return int(found[1]) / 1024


def peak(name: str, form: str, sizes: Sizes) -> float:
    """Return the MiB that one forward and backward needs over inputs, weights and gradient buffers.

    A run on small sizes comes first, so that the code that torch loads and the pools it makes are not counted.
    """
    small = Sizes(batch=2, grid=16, student=64, teacher=128, classes=3, logits=16)
    for scale in (small, sizes):
        row = ROWS[name](scale)
        clear(row.leaves.values())
        Path("/proc/self/clear_refs").write_text("5")  # the peak so far is forgotten
        base = resident_peak()
        backward(row.form(form)())
    return resident_peak() - base


def peak_in_fresh_process(name: str, form: str, sizes: Sizes) -> float:
    """Return `peak` of a process of its own, whose allocator hands every larger block back at once."""
    command = [sys.executable, __file__, "--peak", name, form, json.dumps(asdict(sizes))]
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "MALLOC_MMAP_THRESHOLD_": "65536"}
    run = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    if run.returncode:
        raise SystemExit(f"{name}, {form}: no memory measured\n{run.stderr}")
    return float(run.stdout)


def table(costs: Sequence[Cost]) -> str:
    """Return the costs as lines of text."""
    lines = [f"{'method':16}{'ours ms':>9}{'plain ms':>9}{'ratio':>7}{'ours MiB':>10}{'plain MiB':>10}{'ratio':>7}"]
    for cost in costs:
        passes = "" if cost.ours_passes is None else f"  image-passes {cost.ours_passes} / {cost.plain_passes}"
        lines.append(
            f"{cost.method:16}{cost.ours_ms:9.1f}{cost.plain_ms:9.1f}{cost.time_ratio:7.2f}"
            f"{cost.ours_mib:10.1f}{cost.plain_mib:10.1f}{cost.memory_ratio:7.2f}{passes}"
        )
    return "\n".join(lines)


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--methods", default=",".join(ROWS), help="rows, separated by commas")
    parser.add_argument("--batch", type=int, default=Sizes.batch)
    parser.add_argument("--grid", type=int, default=Sizes.grid, help="tokens per side")
    parser.add_argument("--student", type=int, default=Sizes.student, help="student width")
    parser.add_argument("--teacher", type=int, default=Sizes.teacher, help="teacher width")
    parser.add_argument("--classes", type=int, default=Sizes.classes)
    parser.add_argument("--logits-size", type=int, default=Sizes.logits, help="side of the logits' map")
    parser.add_argument("--repeats", type=int, default=9)
    parser.add_argument("--json", action="store_true", help="print JSON instead of a table")
    parser.add_argument("--peak", nargs=3, help=argparse.SUPPRESS)
    options = parser.parse_args()
    torch.set_num_threads(1)
    if options.peak:
        name, form, sizes = options.peak
        print(peak(name, form, Sizes(**json.loads(sizes))))
        return
    chosen = Sizes(options.batch, options.grid, options.student, options.teacher, options.classes, options.logits_size)
    names = options.methods.split(",")
    unknown = [name for name in names if name not in ROWS]
    if unknown:
        parser.error(f"no row {unknown[0]!r}; there are {', '.join(ROWS)}")
    costs, wrong = [], []
    for name in names:
        try:
            costs.append(measure(name, chosen, options.repeats))
        except Differs as difference:
            wrong.append(str(difference))
    print(json.dumps([asdict(cost) for cost in costs], indent=2) if options.json else table(costs))
    if wrong:
        sys.exit("\n".join(wrong))


if __name__ == "__main__":
    main()
