"""A workshop over a temporary store, and a quick way to run the tiny benchmark."""

import dataclasses

import pytest
import torch
from lightning_fabric import Fabric

from gkdbench.data.dataset import DataPlace
from gkdbench.engine.interruption import StopFlag
from gkdbench.run.runner import run
from gkdbench.run.stages import Workshop
from gkdbench.run.store import Store
from gkdbench.spec.selection import Selection, resolve


class Listener:
    """Remembers what was said and begun."""

    def __init__(self):
        self.said, self.begun = [], []

    def say(self, text):
        self.said.append(text)

    def begin(self, title):
        self.begun.append(title)

    def progress(self, done, total, text=""):
        pass


@pytest.fixture
def shop(tmp_path, tiny_benchmark):
    torch.set_num_threads(1)
    store = Store(tmp_path / "results")
    store.prepare()
    fabric = Fabric(accelerator="cpu", devices=1)
    return Workshop(store, DataPlace(tiny_benchmark.data_root), fabric, StopFlag(), Listener())


@pytest.fixture
def do(tiny_benchmark, shop):
    """Run methods on the tiny benchmark; returns the records in order."""

    def call(*methods, fresh=False, **selection):
        selection.setdefault("with_teacher", False)
        chosen = Selection(methods=methods, benchmarks=(str(tiny_benchmark.yaml),), **selection)
        shop.display.begun.clear()
        shop.display.said.clear()
        here = dataclasses.replace(shop, fresh=fresh, trained=set(), digests={})
        return [run(spec, here).record for spec in resolve(chosen)]

    return call
