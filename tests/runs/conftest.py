"""A workshop over a temporary store, and a quick way to run the tiny benchmark."""

import dataclasses

import pytest
import torch
from lightning_fabric import Fabric

from gkdbench.data.dataset import DataPlace
from gkdbench.engine.interruption import StopFlag
from gkdbench.report.image_counts import counts_of
from gkdbench.report.records import sound_record
from gkdbench.runs.runner import run
from gkdbench.runs.store import Store
from gkdbench.runs.workshop import Workshop
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
    """Run methods on the tiny benchmark; returns the records in order, each of which agrees with itself."""

    def call(*methods, fresh=False, **selection):
        selection.setdefault("with_teacher", False)
        chosen = Selection(methods=methods, benchmarks=(str(tiny_benchmark.yaml),), **selection)
        shop.display.begun.clear()
        shop.display.said.clear()
        here = dataclasses.replace(shop, fresh=fresh, trained=set(), digests={})
        records = [run(spec, here).record for spec in resolve(chosen)]
        for record in records:
            assert sound_record(shop.store.run_folder(record.run_id) / "record.json") == record
            counts_of(record, shop.store.run_folder(record.run_id))
        return records

    return call
