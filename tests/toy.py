"""A toy pair and a toy dataset: small enough that a stage trains in a second."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from lightning_fabric import Fabric

from gkdbench.api import Stage
from gkdbench.data.dataset import Dataset
from gkdbench.data.stream import Samples
from gkdbench.engine.checkpoint import Checkpoint
from gkdbench.engine.interruption import StopFlag
from gkdbench.engine.loop import Training
from gkdbench.engine.passes import StageModule
from gkdbench.models.encoder import Encoder
from gkdbench.models.segmentor import Segmentor
from gkdbench.runs.files import write_atomically
from gkdbench.spec.decoder import GridDecoder, Mask2FormerDecoder
from gkdbench.spec.model import ModelEntry
from gkdbench.spec.recipe import Augmentation, StageRecipe

SIZE = (16, 32)
CLASSES = 3
CONTEXT = GridDecoder(name="context", width=24)
MASK2FORMER = Mask2FormerDecoder(
    name="mask2former", width=32, queries=6, pixel_layers=1, query_layers=1, heads=4, pixel_feedforward=32,
    query_feedforward=32, points=64
)  # fmt: skip


@dataclass(frozen=True)
class ToyDataset(Dataset):
    """Noise whose brightest channel is the label."""

    count: int = 12

    def __len__(self):
        return self.count

    def name(self, index):
        return f"toy/{index}"

    def image(self, index):
        return np.random.default_rng(index).integers(0, 256, (*SIZE, 3), dtype=np.uint8)

    def labels(self, index):
        return self.image(index).argmax(-1).astype(np.uint8)


def encoder(width: int, depth: int, heads: int, seed: int, **arguments) -> Encoder:
    entry = ModelEntry(
        description="toy", role="local", timm="vit_tiny_patch16_224", weights=None, licence="-",
        arguments={"embed_dim": width, "depth": depth, "num_heads": heads, "patch_size": 8,
                   "img_size": list(SIZE), **arguments},
    )  # fmt: skip
    torch.manual_seed(seed)
    made = Encoder(entry)
    made.resize(SIZE)
    return made


def segmentor(
    width: int, depth: int, heads: int, seed: int, head: bool = True, decoder=CONTEXT, **arguments
) -> Segmentor:
    made = Segmentor(encoder(width, depth, heads, seed, **arguments), decoder, CLASSES)
    if head:
        made.add_head(seed)
    return made


def module(stage: Stage, precision: str = "32-true", **arguments) -> StageModule:
    student = segmentor(16, 2, 2, 0, head=stage.uses_head(), **arguments)
    teacher = segmentor(24, 3, 3, 1) if stage.teacher else None
    return StageModule(stage, student, teacher, precision=precision, ignore=255)


def recipe(**changes) -> StageRecipe:
    settings = dict(steps=20, batch=4, lr=1e-3, encoder_lr=1e-3, size=SIZE, warmup=2, clip=1.0)
    return StageRecipe(**{**settings, **changes})


def samples(stage: Stage, chosen: StageRecipe, labelled: bool = True, **augmentation) -> Samples:
    return Samples(
        ToyDataset(), batch=chosen.batch, size=chosen.size, augmentation=Augmentation(**augmentation),
        ignore=255, seed=5, labelled=labelled,
    )  # fmt: skip


def training(
    stage_module: StageModule, folder: Path, chosen: StageRecipe, stop=None, every_s=1e9, say=print
) -> Training:
    folder.mkdir(parents=True, exist_ok=True)
    fabric = Fabric(accelerator="cpu", devices=1)
    return Training(
        module=stage_module,
        samples={name: samples(stage_module.stage, chosen) for name in stage_module.stage.streams()},
        recipe=chosen,
        seed=3,
        fabric=fabric,
        checkpoint=Checkpoint(folder / "checkpoint.pt", write_atomically, say, every_s),
        log=folder / "log.jsonl",
        stop=stop if stop is not None else StopFlag(),
        meter=lambda done, total, text: None,
    )
