"""Toy pairs and toy data: real encoders, heads and streams, so small that a stage trains in a blink.

The pairs differ in what methods tend to take for granted: equal widths, depths, heads and grids, a class token, a
score per pixel.
"""

import copy
from dataclasses import dataclass, replace
from functools import lru_cache

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from gkdbench.contract import Pair, Stage
from gkdbench.data.dataset import Dataset
from gkdbench.data.seeds import seed_of
from gkdbench.data.stream import Batch, Samples, Share, batches
from gkdbench.engine.passes import StageModule
from gkdbench.models.encoder import Encoder
from gkdbench.models.segmentor import Segmentor
from gkdbench.runs.plan import describe
from gkdbench.spec.decoder import GridDecoder, Mask2FormerDecoder
from gkdbench.spec.model import ModelEntry
from gkdbench.spec.recipe import Augmentation, StageRecipe

CLASSES = 4
IGNORE = 255
SEED = 3
BATCH = 4
AUGMENTATION = Augmentation(brightness=0.1, contrast=0.1)
CONTEXT = GridDecoder(name="context", width=24)
SMALLEST_MASK2FORMER = Mask2FormerDecoder(
    name="mask2former", width=32, queries=6, pixel_layers=1, query_layers=1, heads=2, pixel_feedforward=32,
    query_feedforward=32, points=64,
)  # fmt: skip


def vit(width: int, depth: int, heads: int, patch: int = 4) -> ModelEntry:
    """Describe a ViT as a models.yaml does."""
    sizes = {"embed_dim": width, "depth": depth, "num_heads": heads, "patch_size": patch, "img_size": 16}
    return ModelEntry(
        description="toy", role="local", timm="vit_tiny_patch16_224", weights=None, licence="-", arguments=sizes
    )


def cnn(name: str) -> ModelEntry:
    """Describe a small network of timm."""
    return ModelEntry(
        description="toy", role="local", timm=name, weights=None, licence="-", arguments={"output_stride": 8}
    )


@dataclass(frozen=True, eq=False)
class ToyPair:
    """A student and a teacher with the image sizes and the head they share."""

    name: str
    student: ModelEntry
    teacher: ModelEntry
    sizes: tuple[tuple[int, int], tuple[int, int]] = ((16, 16), (16, 16))
    """Height and width of proxy and of source images."""
    decoder: GridDecoder | Mask2FormerDecoder = CONTEXT

    def size(self, stage: str) -> tuple[int, int]:
        """Return the image size of a stage."""
        return self.sizes[0 if stage == "proxy" else 1]

    def larger(self) -> "ToyPair":
        """Return the pair at twice the height and width: four times the tokens."""
        (a, b), (c, d) = self.sizes
        return replace(self, sizes=((2 * a, 2 * b), (2 * c, 2 * d)))

    def module(self, stage: Stage) -> StageModule:
        """Join a stage with toy models of its own, as the runner does with real ones."""
        student = copy.deepcopy(segmentor(self, stage.model, stage.name))
        if not stage.uses_head():
            student.head = None
        teacher = None
        if stage.teacher is not None:
            teacher = copy.deepcopy(segmentor(self, "teacher", stage.name))
            if stage.teacher != "full":
                teacher.head = None
        return StageModule(stage, student, teacher, precision="32-true", ignore=IGNORE)

    def recipe(self, stage: Stage, steps: int, micro_batch: int) -> StageRecipe:
        """Return the recipe that a stage is trained by."""
        return StageRecipe(
            steps=steps, batch=BATCH, micro_batch=micro_batch, lr=1e-3, encoder_lr=1e-3, clip=1.0,
            size=self.size(stage.name), augmentation=AUGMENTATION,
        )  # fmt: skip

    def samples(self, stage: Stage, ignored: str, batch: int = BATCH) -> dict[str, Samples]:
        """Return the streams that a stage draws from; only the source has labels, and only where they are read."""
        size = self.size(stage.name)
        return {
            name: Samples(
                ToyImages(size, ignored),
                batch=batch,
                size=size,
                augmentation=AUGMENTATION,
                ignore=IGNORE,
                seed=seed_of(SEED, name),
                labelled=(stage.task or stage.labels) and name == "source",
            )
            for name in stage.streams()
        }

    def batch(self, stage: Stage, ignored: str, batch: int) -> Batch:
        """Return the first batch of a stage's streams."""
        streams = self.samples(stage, ignored, batch).items()
        drawn = {name: next(iter(batches(stream, Share(batch, batch), 0, 1, 0))) for name, stream in streams}
        main, *others = drawn
        drawn[main].extra = {name: drawn[name] for name in others}
        return drawn[main]


@lru_cache(maxsize=64)
def segmentor(pair: ToyPair, model: str, stage: str) -> Segmentor:
    """Build a toy model with a head at the size of a stage; the caller copies it before changing anything."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed_of(SEED, model))
        encoder = Encoder(pair.teacher if model == "teacher" else pair.student)
        if encoder.is_transformer:
            _enliven(encoder.model)
    encoder.resize(pair.size(stage))
    made = Segmentor(encoder, pair.decoder, CLASSES)
    if model == "teacher" and not encoder.is_transformer:
        made.fixed_grid = segmentor(pair, "student", stage).encoder.grid
    made.add_head(seed_of(SEED, model, "head"))
    made.use_plain_attention()
    return made


@lru_cache(maxsize=64)
def facts(pair: ToyPair) -> Pair:
    """Return what a method is told of a pair."""
    student, teacher = (
        describe(
            segmentor(pair, model, "source"),
            {role: segmentor(pair, model, role).encoder.grid for role in ("proxy", "source")},
        )
        for model in ("student", "teacher")
    )
    return Pair(student, teacher, task="segmentation", num_classes=CLASSES, ignore_index=IGNORE)


def _enliven(model: nn.Module) -> None:
    """Draw larger weights than timm: with its own, tokens of all images are nearly alike and hide mistakes."""
    for name, parameter in model.named_parameters():
        if parameter.ndim > 1:
            fan_in = parameter[0].numel()
            nn.init.normal_(parameter, std=0.5 if "embed" in name and parameter.ndim == 3 else fan_in**-0.5)


@dataclass(frozen=True)
class ToyImages(Dataset):
    """Blocks of colour with noise; the colour says the class, and the last class is never there."""

    size: tuple[int, int]
    ignored: str
    """Which pixels have no label: none, some or all."""

    def __len__(self) -> int:
        return 12

    def name(self, index: int) -> str:
        """Return what identifies an image."""
        return f"toy/{index}"

    def _classes(self, index: int) -> NDArray[np.uint8]:
        height, width = self.size
        blocks = np.random.default_rng([index, 1]).integers(0, CLASSES - 1, (height // 4, width // 4), dtype=np.uint8)
        return blocks.repeat(4, axis=0).repeat(4, axis=1)

    def image(self, index: int) -> NDArray[np.uint8]:
        """Return an RGB image, uint8 [H, W, 3]."""
        colours = np.array([[200, 60, 60], [60, 200, 60], [60, 60, 200]])
        noise = np.random.default_rng([index, 2]).integers(-55, 56, (*self.size, 3))
        return (colours[self._classes(index)] + noise).astype(np.uint8)

    def labels(self, index: int) -> NDArray[np.uint8]:
        """Return class indices and, as far as `ignored` says, the ignore value, uint8 [H, W]."""
        labels = self._classes(index)
        rows = {"none": 0, "some": self.size[0] // (index % 3 + 2), "all": self.size[0]}[self.ignored]
        labels[:rows] = IGNORE
        return labels


OBLONG = ((16, 16), (16, 32))
PAIRS = (
    ToyPair("wider teacher", vit(16, 2, 2), vit(32, 3, 4)),
    ToyPair(
        "deeper student, oblong", vit(16, 4, 4), vit(24, 2, 2), OBLONG,
        GridDecoder(name="context", width=24, reads=[0.5, 1.0]),
    ),
    ToyPair("equal widths", vit(32, 2, 2), vit(32, 2, 2), decoder=GridDecoder(name="linear")),
    ToyPair("heads that do not divide", vit(16, 2, 2), vit(24, 2, 3)),
    ToyPair("teacher on another grid", vit(16, 2, 2), vit(24, 2, 2, patch=8), OBLONG),
    ToyPair("CNN teacher", vit(16, 2, 2), cnn("test_resnet")),
    ToyPair("CNN student", cnn("test_convnext"), vit(24, 2, 2)),
    ToyPair("head of queries", vit(16, 2, 2), vit(32, 3, 4), decoder=SMALLEST_MASK2FORMER),
)  # fmt: skip
