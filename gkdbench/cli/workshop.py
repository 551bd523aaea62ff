"""Opening the workshop of a command: devices, threads, signals, progress. Imports torch."""

import math
import os
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta
from typing import Any

import torch
from lightning_fabric import Fabric
from lightning_fabric.strategies.ddp import DDPStrategy

from gkdbench.cli.display import choose_display
from gkdbench.data.dataset import DataPlace
from gkdbench.engine.interruption import stop_on_signals
from gkdbench.engine.process_group import leave_group
from gkdbench.errors import UsageError
from gkdbench.run.stages import Workshop
from gkdbench.run.store import Store


@contextmanager
def open_workshop(
    store: Store, place: DataPlace, hardware: dict[str, Any], *, fresh: bool = False
) -> Iterator[Workshop]:
    """Yield the workshop for a command's runs."""
    device, devices = hardware["device"], hardware["devices"]
    if device == "cuda" and not torch.cuda.is_available():
        raise UsageError("--device cuda: torch sees no CUDA device; use --device cpu")
    checkpoint_s = _checkpoint_s()
    torch.set_num_threads(hardware["threads"])
    fabric = make_fabric(device, devices)
    with stop_on_signals() as stop:
        yield Workshop(
            store=store,
            place=place,
            fabric=fabric,
            stop=stop,
            display=choose_display(fabric.global_rank),
            workers=hardware["workers"],
            checkpoint_s=checkpoint_s,
            fresh=fresh,
        )
        leave_group()  # after an error the other processes may be gone


def _checkpoint_s() -> float:
    """Return the seconds between two checkpoints that GKDBENCH_CHECKPOINT_S says, else a minute."""
    text = os.environ.get("GKDBENCH_CHECKPOINT_S") or "60"
    try:
        seconds = float(text)
    except ValueError:
        seconds = math.nan
    if not 0 <= seconds < math.inf:
        raise UsageError(f"GKDBENCH_CHECKPOINT_S={text[:80]}: must be seconds, such as 60, or 0 for every step")
    return seconds


def make_fabric(device: str, devices: int) -> Fabric:
    """Return a launched Fabric on the device asked for (auto: CUDA where there is one)."""
    accelerator = "cuda" if device == "auto" and torch.cuda.is_available() else device
    accelerator = "cpu" if accelerator == "auto" else accelerator
    strategy: Any = "auto"
    if devices > 1:
        # A method may leave parameters of the student unused (no mask, no head): DDP must look for them.
        strategy = DDPStrategy(
            find_unused_parameters=True,
            broadcast_buffers=False,
            process_group_backend="nccl" if accelerator == "cuda" else "gloo",
            timeout=timedelta(days=14),  # the first rank judges while the others wait, all 75 corruptions where asked
        )
    fabric = Fabric(accelerator=accelerator, devices=devices, strategy=strategy)
    fabric.launch()
    return fabric
