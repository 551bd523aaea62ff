"""Toy pairs and toy data: real encoders, heads and streams, so small that a stage trains in a blink.

The pairs differ in what methods tend to take for granted: equal widths, depths, heads and grids, a class token, a
score per pixel.
"""

import copy
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from functools import lru_cache
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from gkdbench.conformance.queries import QueryHead
from gkdbench.contract import Pair, Side, Stage
from gkdbench.data.dataset import Dataset
from gkdbench.data.seeds import seed_of
from gkdbench.data.stream import Batch, Samples, Share, batches
from gkdbench.engine.passes import StageModule
from gkdbench.models.encoder import Encoder
from gkdbench.models.segmentor import Segmentor
from gkdbench.run.plan import describe
from gkdbench.spec.decoder import GridDecoder
from gkdbench.spec.model import ModelEntry
from gkdbench.spec.recipe import Augmentation, StageRecipe

CLASSES = 4
IGNORE = 255
SEED = 3
BATCH = 4
ROLES = ("proxy", "source")


@dataclass(frozen=True)
class Toy:
    """One toy model: a ViT, or a CNN by its timm name."""

    width: int = 16
    depth: int = 2
    heads: int = 2
    patch: int = 4
    cnn: str | None = None
    more: Mapping[str, Any] = field(default_factory=dict, hash=False)
    """Further arguments of the timm model."""

    def entry(self, size: tuple[int, int]) -> ModelEntry:
        """Describe the model at an image size as a models.yaml does."""
        arguments: dict[str, Any] = {
            "embed_dim": self.width, "depth": self.depth, "num_heads": self.heads, "patch_size": self.patch,
            "img_size": list(size),
        }  # fmt: skip
        if self.cnn:
            arguments = {"output_stride": 8}
        return ModelEntry(
            description="toy", role="local", timm=self.cnn or "vit_tiny_patch16_224", weights=None, licence="-",
            arguments={**arguments, **self.more},
        )  # fmt: skip


@dataclass(frozen=True)
class ToyPair:
    """A student and a teacher with the image sizes and the head they share."""

    name: str
    student: Toy
    teacher: Toy
    sizes: tuple[tuple[int, int], tuple[int, int]] = ((16, 16), (16, 16))
    """Height and width of proxy and of source images."""
    head: str = "context"
    reads: tuple[float, ...] = (1.0,)

    def size(self, stage: str) -> tuple[int, int]:
        """Return the image size of a stage."""
        return self.sizes[0 if stage == "proxy" else 1]

    def larger(self) -> "ToyPair":
        """Return the pair at twice the height and width: four times the tokens."""
        (a, b), (c, d) = self.sizes
        return replace(self, sizes=((2 * a, 2 * b), (2 * c, 2 * d)))

    def facts(self) -> Pair:
        """Return what a method is told of the pair."""
        student, teacher = (self._side(model) for model in ("student", "teacher"))
        return Pair(student, teacher, task="segmentation", num_classes=CLASSES, ignore_index=IGNORE)

    def _side(self, model: str) -> Side:
        grids = {role: segmentor(self, model, role).encoder.grid for role in ROLES}
        return describe(segmentor(self, model, "source"), grids)

    def module(self, stage: Stage, precision: str = "32-true") -> StageModule:
        """Join a stage with toy models, as the runner does with real ones.

        The student is the module's own; the teacher is shared by all modules and put right for each.
        """
        student = copy.deepcopy(segmentor(self, stage.model, stage.name))
        if not stage.uses_head():
            student.head = None
        teacher = None
        if stage.teacher is not None:
            teacher = _teacher(self, stage.name, stage.teacher == "full").fresh()
        return StageModule(stage, student, teacher, precision=precision, ignore=IGNORE)


PAIRS = (
    ToyPair("wider teacher", Toy(16, 2, 2), Toy(32, 3, 4)),
    ToyPair("deeper student, oblong", Toy(16, 4, 4), Toy(24, 2, 2), sizes=((16, 16), (16, 32)), reads=(0.5, 1.0)),
    ToyPair("equal widths", Toy(32, 2, 2), Toy(32, 2, 2), head="linear"),
    ToyPair("heads that do not divide", Toy(16, 2, 2), Toy(24, 2, 3)),
    ToyPair("teacher on another grid", Toy(16, 2, 2), Toy(24, 2, 2, patch=8), sizes=((16, 16), (16, 32))),
    ToyPair("CNN teacher", Toy(16, 2, 2), Toy(cnn="test_resnet")),
    ToyPair("CNN student", Toy(cnn="test_convnext"), Toy(24, 2, 2)),
    ToyPair("head of queries", Toy(16, 2, 2), Toy(32, 3, 4), head="queries"),
)


class ToySegmentor(Segmentor):
    """A segmentor that can have a head of queries."""

    queries = False

    def add_head(self, seed: int) -> None:
        """Give the segmentor a fresh head."""
        if not self.queries:
            super().add_head(seed)
            return
        widths = [self.encoder.width if b is None else self.encoder.block_widths[b] for b in self.reads]
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            self.head = QueryHead(widths, self.num_classes, self.decoder_spec.width)


@lru_cache(maxsize=64)
def segmentor(pair: ToyPair, model: str, stage: str) -> Segmentor:
    """Build a toy model with a head at the size of a stage; the caller copies it before changing anything."""
    toy = pair.teacher if model == "teacher" else pair.student
    size = pair.size(stage)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed_of(SEED, model))
        encoder = Encoder(toy.entry(size))
        if encoder.is_transformer:
            _enliven(encoder.model)
    encoder.resize(size)
    decoder = GridDecoder(name="linear" if pair.head == "linear" else "context", width=24, reads=list(pair.reads))
    made = ToySegmentor(encoder, decoder, CLASSES)
    made.queries = pair.head == "queries"
    if model == "teacher" and not encoder.is_transformer:
        made.fixed_grid = segmentor(pair, "student", stage).encoder.grid
    made.add_head(seed_of(SEED, model, "head"))
    made.use_plain_attention()
    return made


@dataclass(frozen=True)
class _SharedTeacher:
    """A teacher with its state as built: copying the model for every module would take most of the kit's time."""

    segmentor: Segmentor
    state: Mapping[str, Tensor]

    def fresh(self) -> Segmentor:
        """Return the teacher as it was built, whatever a method did to it."""
        self.segmentor.load_state_dict(self.state)
        return self.segmentor


@lru_cache(maxsize=64)
def _teacher(pair: ToyPair, stage: str, head: bool) -> _SharedTeacher:
    model = copy.deepcopy(segmentor(pair, "teacher", stage))
    if not head:
        model.head = None
    return _SharedTeacher(model, {name: tensor.clone() for name, tensor in model.state_dict().items()})


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
    ignored: str = "some"
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
        labels = self._classes(index).copy()
        if self.ignored == "all":
            labels[:] = IGNORE
        elif self.ignored == "some":
            labels[: self.size[0] // (index % 3 + 2)] = IGNORE
        return labels


def recipe(pair: ToyPair, stage: Stage, *, steps: int = 3, micro_batch: int | None = None) -> StageRecipe:
    """Return the recipe that a toy stage is trained by."""
    return StageRecipe(
        steps=steps, batch=BATCH, micro_batch=micro_batch, lr=1e-3, encoder_lr=1e-3, clip=1.0,
        size=pair.size(stage.name), augmentation=Augmentation(brightness=0.1, contrast=0.1),
    )  # fmt: skip


def samples(pair: ToyPair, stage: Stage, ignored: str = "some", batch: int = BATCH) -> dict[str, Samples]:
    """Return the streams that a stage draws from; only the source has labels, and only where they are read."""
    size = pair.size(stage.name)
    return {
        name: Samples(
            ToyImages(size, ignored),
            batch=batch,
            size=size,
            augmentation=recipe(pair, stage).augmentation,
            ignore=IGNORE,
            seed=seed_of(SEED, name),
            labelled=(stage.task or stage.labels) and name == "source",
        )
        for name in stage.streams()
    }


def first_batches(
    pair: ToyPair, stage: Stage, ignored: str = "some", batch: int = BATCH, micro_batch: int | None = None
) -> list[Batch]:
    """Return the micro-batches of a stage's first step."""
    share = Share(batch, micro_batch or batch)
    drawn = {name: list(batches(s, share, 0, 1, 0)) for name, s in samples(pair, stage, ignored, batch).items()}
    main, *others = drawn
    for number, piece in enumerate(drawn[main]):
        piece.extra = {name: drawn[name][number] for name in others}
    return drawn[main]
