"""Milliseconds per training step of each stage of the embedded benchmark, and their ratios to `finetune`'s.

    python tools/perf/stage_steps.py [--method gkd,vanilla_kd,finetune] [--threads 1] [--steps 20]

Ratios compare within one run of the script; milliseconds depend on the machine and on what else it does.
"""

import argparse
import statistics
import time

import torch
from lightning_fabric import Fabric

from gkdbench.data.stream import Batch
from gkdbench.engine.optimiser import build_optimiser
from gkdbench.engine.passes import Moment, StageModule
from gkdbench.runs.plan import build_pair, make_stages
from gkdbench.runs.stages import initial_network
from gkdbench.spec.selection import RunSpec, Selection, resolve


def step_times(spec: RunSpec, steps: int) -> dict[str, float]:
    """Return the median milliseconds of an optimiser step per stage, without data loading."""
    times = {}
    for stage in make_stages(spec, build_pair(spec)):
        recipe = spec.preset.stage(stage.name)
        student = initial_network(spec, stage.model, recipe.sight, spec.seed)
        if stage.uses_head():
            student.add_head(0)
        student.use_plain_attention()
        teacher = None
        if stage.teacher is not None:
            teacher = initial_network(spec, "teacher", recipe.sight, 0)
            teacher.add_head(0)
            teacher.use_plain_attention()
        module = StageModule(
            stage, student, teacher, precision=recipe.precision, ignore=spec.benchmark.ignore
        )
        times[f"{spec.method.name} {stage.name}"] = _median_step(module, recipe.batch, recipe.size, steps, spec)
    return times


def _median_step(module: StageModule, batch: int, size: tuple[int, int], steps: int, spec: RunSpec) -> float:
    recipe = spec.preset.stage(module.stage.name)
    wrapped, optimiser = Fabric(accelerator="cpu").setup(module, build_optimiser(module, recipe))
    images = torch.rand(batch, 3, *size)
    labels = torch.randint(0, len(spec.benchmark.classes), (batch, *size))
    piece = Batch(images, images, labels, torch.arange(batch))
    spent = []
    for index in range(steps + 3):
        began = time.perf_counter()
        terms = wrapped(piece, Moment(0, module.stage.name, index, steps + 3, batch))
        torch.autograd.backward(torch.stack(list(terms.values())).sum())
        optimiser.step()
        optimiser.zero_grad()
        spent.append(1e3 * (time.perf_counter() - began))
    return statistics.median(spent[3:])


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--method", default="finetune,frozen,vanilla_kd,gkd")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--steps", type=int, default=20)
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    times: dict[str, float] = {}
    for spec in resolve(Selection(methods=tuple(options.method.split(",")))):
        times.update(step_times(spec, options.steps))
    reference = times.get("finetune joint", min(times.values()))
    print(f"{'stage':24} {'ms/step':>8} {'ratio':>6}")
    for name, value in times.items():
        print(f"{name:24} {value:8.1f} {value / reference:6.2f}")


if __name__ == "__main__":
    main()
