"""The method contract: what a method is told (Pair, Side), what it returns (Stage) and what it pulls (Step, View).

A method is a function `(pair, **options) -> list[Stage]`. A stage is a module: its parameters are the adaptors,
its buffers the state, and `loss(step)` turns one step into a dict of weighted scalars. It pulls forward passes
from the step; they are memoised, so what nobody asks for is never computed.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor, nn

QKV = tuple[Tensor, Tensor, Tensor]
"""Queries, keys and values, [B, prefix+N, C] each."""


@dataclass(frozen=True)
class Side:
    """Static facts about one model; enough to say Unsupported at plan time."""

    width: int
    depth: int
    heads: int | None
    grids: Mapping[str, tuple[int, int]]
    """Token grid (h, w) per data role: proxy, source."""
    tap_widths: tuple[int, ...]
    """Width of every block's output."""
    pixel_dim: int
    """Channels of the last features before the classifier; 0 without a head that scores pixels."""
    has_cls: bool
    has_qkv: bool
    can_mask: bool
    can_drop: bool
    has_head: bool
    """Whether there is a head that scores every pixel, as `View.logits` and `View.pixels` need; a detector has none."""
    pyramid_dim: int = 0
    """Channels of a detector's feature pyramid; 0 for a segmentor, which has none."""


@dataclass(frozen=True)
class Pair:
    """All that a method may know before training."""

    student: Side
    teacher: Side
    task: str
    num_classes: int
    ignore_index: int


@dataclass(frozen=True)
class Taps:
    """Blocks whose output a stage wants: 0-based, negative from the end, or a float share of the depth.

    A share f means block max(round(f * depth), 1) - 1: 1.0 is the last block, 0.5 of 12 is block 5. Its width is
    `Side.tap_widths` at that number.
    """

    blocks: tuple[int | float, ...] = ()
    qkv: tuple[int | float, ...] = ()


@dataclass(frozen=True)
class Boxes:
    """The objects of one image that a detector learns; difficult ones are not among them.

    So a detector is taught that there is nothing where they stand.
    """

    boxes: Tensor  # [n, 4] float32, x0 y0 x1 y1 in pixels
    labels: Tensor  # [n] int64

    def to(self, device: torch.device) -> Boxes:
        """Return the objects on a device."""
        return Boxes(self.boxes.to(device, non_blocking=True), self.labels.to(device, non_blocking=True))


class View(ABC):
    """One forward pass of one model, in float32; computed when first looked at."""

    grid: tuple[int, int]
    """(h, w) with N = h * w, equal on both sides."""

    @property
    @abstractmethod
    def tokens(self) -> Tensor:
        """Patch tokens after the final norm, [B, N, C] ([B, M, C] with dropped tokens)."""

    @property
    @abstractmethod
    def cls(self) -> Tensor | None:
        """Class token after the final norm, [B, C]; None for an encoder without one."""

    @property
    @abstractmethod
    def blocks(self) -> list[Tensor]:
        """Outputs of the tapped blocks in the order of the taps, [B, N, C] patch tokens without norm."""

    @property
    @abstractmethod
    def qkv(self) -> list[QKV]:
        """Queries, keys and values of the tapped blocks, [B, prefix+N, C] each, before rope and head split."""

    @property
    @abstractmethod
    def logits(self) -> Tensor:
        """Class scores [B, K, h', w'] at the head's own resolution; Unsupported on a detector."""

    @property
    @abstractmethod
    def pixels(self) -> Tensor:
        """Last features before the classifier, [B, D, h', w']; Unsupported on a detector."""

    @property
    @abstractmethod
    def pyramid(self) -> list[Tensor]:
        """Levels of a detector's feature pyramid, [B, D, h_i, w_i] from fine to coarse.

        Each side has its own sizes: levels follow the encoder's grid. Unsupported on a segmentor (Side.pyramid_dim 0).
        """


class Step(ABC):
    """One micro-batch of one optimiser step, as a stage's loss sees it."""

    images: Tensor
    """[B, 3, H, W], nominally in [0, 1]."""
    clean: Tensor
    """Same geometry, no photometric change."""
    labels: Tensor | None
    """[B, H, W] int64; None where the data has no labels or the stage no task. Unsupported where they are boxes."""
    boxes: list[Boxes] | None
    """The objects of each image where the task is detection and the stage reads labels; otherwise None."""
    position: Tensor
    """[B] number of each sample within the global batch: "the first half" is by position."""
    batch: int
    """Size of the global batch."""
    index: int
    """Optimiser step within the stage."""
    total: int
    """Optimiser steps of the stage."""
    rng: torch.Generator
    """Re-seeded before each micro-batch, equal on all ranks: for draws shared by the batch."""

    @abstractmethod
    def random(self, *shape: int) -> Tensor:
        """Return uniform numbers [B, *shape]; row b depends on seed, stage, index, position[b] and call number."""

    @abstractmethod
    def student(
        self,
        images: Tensor | None = None,
        *,
        mask: Tensor | None = None,
        keep: Tensor | None = None,
    ) -> View:
        """Return the student's pass over `images` (default: the batch), memoised by its arguments.

        mask: [B, N] bool patches replaced by the mask token; keep: [B, M] int64 patches that stay.
        """

    @abstractmethod
    def teacher(
        self,
        images: Tensor | None = None,
        *,
        mask: Tensor | None = None,
        keep: Tensor | None = None,
    ) -> View:
        """Return the teacher's pass without gradients, in eval mode, on the student's grid."""

    extra: Mapping[str, Step]
    """Further streams by name, where the stage declares them: data = ("source", "proxy")."""

    @abstractmethod
    def gather(self, x: Tensor) -> Tensor:
        """Concatenate equal shapes over ranks on dim 0; gradients flow to the own part.

        Meant for a loss that every rank computes alike from gathered tensors. Gradients are averaged over ranks, and
        each rank reaches its own part alone, so that part's gradient is multiplied by the number of ranks: together
        they give the gradient of one process that holds the whole batch. On one device x itself comes back.
        """


class Stage(nn.Module):
    """One optimisation problem: data, what trains, which teacher, a loss. Subclass and set attributes."""

    name = "joint"
    """proxy | source | task | joint | teacher: the section of the recipe."""
    data: str | tuple[str, ...] = "source"
    """source | proxy: which images are drawn; of several, the first is the step, the others `step.extra`."""
    task = True
    """Whether the loop adds the head's own loss."""
    labels = False
    """Whether the stage's own loss reads `step.labels`; with a task they are there anyway."""
    trains: frozenset[str] = frozenset({"encoder", "head"})
    teacher: str | None = "full"
    """None | "encoder" | "full" (encoder and trained head)."""
    model = "student"
    """student | teacher: which model of the pair this stage trains; "teacher" makes the shared teacher."""
    fresh: frozenset[str] = frozenset()
    """Parts that start anew although an earlier stage trained them: {"head"}."""
    taps_student = Taps()
    taps_teacher = Taps()
    mixes_batch = False
    """The loss mixes samples, so the micro-batch size changes the result and enters the digest."""
    clip_adaptor: float | None = None
    """Largest gradient norm of the stage's own parameters alone."""
    notes: tuple[str, ...] = ()
    """Said in the record, such as "no cls token: term dropped"."""

    def loss(self, step: Step) -> dict[str, Tensor]:
        """Return the weighted scalar terms of one micro-batch; the loop adds the task loss to them."""
        return {}

    def after_backward(self, step: Step) -> None:
        """Run once per optimiser step, after accumulation, reduction and unscaling of gradients."""

    def streams(self) -> tuple[str, ...]:
        """Names of the data the stage draws from, the main one first."""
        return (self.data,) if isinstance(self.data, str) else tuple(self.data)

    def uses_head(self) -> bool:
        """Whether the trained model has a head in this stage."""
        return self.task or "head" in self.trains
