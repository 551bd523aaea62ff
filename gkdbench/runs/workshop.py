"""What the runs of a command share, and how it is opened: devices, threads, signals, progress."""

import math
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import timedelta
from functools import cached_property
from typing import Any

import torch
from lightning_fabric import Fabric
from lightning_fabric.strategies.ddp import DDPStrategy

from gkdbench.data.dataset import DataPlace
from gkdbench.engine.interruption import StopFlag, stop_on_signals
from gkdbench.engine.ranks import leave_group
from gkdbench.errors import UsageError
from gkdbench.identity.run import Known
from gkdbench.runs.plan import Planner
from gkdbench.runs.schedule import Display, Hardware
from gkdbench.runs.store import Store


@dataclass(frozen=True)
class Workshop:
    """What every stage of a command shares: where to write, how to compute, whom to tell."""

    store: Store
    place: DataPlace
    fabric: Fabric
    stop: StopFlag
    display: Display
    workers: int = 0
    checkpoint_s: float = 60.0
    fresh: bool = False
    """Train stages again although the store has them; each once per command."""
    trained: set[str] = field(default_factory=set)
    digests: Known = field(default_factory=dict)
    """Digests of splits, so that a command searches large datasets once."""

    @cached_property
    def planner(self) -> Planner:
        """Who lays out the runs of the command."""
        return Planner(self.place, self.digests)


@contextmanager
def open_workshop(
    store: Store, place: DataPlace, hardware: Hardware, display_of: Callable[[int], Display], *, fresh: bool = False
) -> Iterator[Workshop]:
    """Yield the workshop for a command's runs."""
    checkpoint_s = _checkpoint_s()
    torch.set_num_threads(hardware.chosen_threads)
    fabric = make_fabric(torch_device(hardware.device), hardware.devices)
    with stop_on_signals() as stop:
        yield Workshop(
            store=store,
            place=place,
            fabric=fabric,
            stop=stop,
            display=display_of(fabric.global_rank),
            workers=hardware.workers,
            checkpoint_s=checkpoint_s,
            fresh=fresh,
        )
        leave_group()  # after an error the other processes may be gone


def torch_device(name: str) -> torch.device:
    """Return a device by its name; auto: CUDA where there is one."""
    if name == "cuda" and not torch.cuda.is_available():
        raise UsageError("--device cuda: torch sees no CUDA device; use --device cpu")
    return torch.device("cuda" if name != "cpu" and torch.cuda.is_available() else "cpu")


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


def make_fabric(device: torch.device, devices: int) -> Fabric:
    """Return a launched Fabric."""
    accelerator = device.type
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
