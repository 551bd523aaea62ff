"""The method contract: what a method is told (Pair, Side), what it returns (Stage) and what it pulls (Step, View).

A method is a function `(pair, **options) -> list[Stage]`. A stage is a module: its parameters are the adaptors,
its buffers the state, and `loss(step)` turns one step into a dict of weighted scalars. It pulls forward passes
from the step; they are memoised, so what nobody asks for is never computed.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cached_property

import torch
from torch import Tensor, nn

from gkdbench.data.stream import Boxes as Boxes  # methods import it with the contract
from gkdbench.models.decoders.head import Output
from gkdbench.models.encoder import Features
from gkdbench.models.grids import on_grid
from gkdbench.models.transformer_taps import QKV


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


class View:
    """One forward pass of one model, in float32; computed when first looked at."""

    def __init__(
        self,
        encode: Callable[[], Features],
        decode: Callable[[Features], Output],
        *,
        grid: tuple[int, int],
        blocks: tuple[int, ...] = (),
        qkv: tuple[int, ...] = (),
        whole: bool = True,
    ) -> None:
        self._encode, self._decode = encode, decode
        self._blocks, self._qkv = blocks, qkv
        # With dropped tokens there is no grid left to resample.
        self._whole = whole
        self.grid = grid

    @cached_property
    def features(self) -> Features:
        """The raw pass; the loop's business, methods use the properties below."""
        return self._encode()

    @cached_property
    def _decoded(self) -> Output:
        return self._decode(self.features)

    def _placed(self, tokens: Tensor) -> Tensor:
        tokens = tokens.float()
        return on_grid(tokens, self.features.grid, self.grid) if self._whole else tokens

    @cached_property
    def tokens(self) -> Tensor:
        """Patch tokens after the final norm, [B, N, C] ([B, M, C] with dropped tokens)."""
        return self._placed(self.features.tokens)

    @cached_property
    def cls(self) -> Tensor | None:
        """Class token after the final norm, [B, C]; None for an encoder without one."""
        cls = self.features.cls
        return None if cls is None else cls.float()

    @cached_property
    def blocks(self) -> list[Tensor]:
        """Outputs of the tapped blocks in the order of the taps, [B, N, C] patch tokens without norm."""
        return [self._placed(self.features.blocks[block]) for block in self._blocks]

    @cached_property
    def qkv(self) -> list[QKV]:
        """Queries, keys and values of the tapped blocks, [B, prefix+N, C] each, before rope and head split."""
        found = []
        for block in self._qkv:
            q, k, v = self.features.qkv[block]
            found.append((q.float(), k.float(), v.float()))
        return found

    @cached_property
    def logits(self) -> Tensor:
        """Class scores [B, K, h', w'] at the head's own resolution; Unsupported on a detector."""
        logits: Tensor = self._decoded.logits
        return logits.float()

    @cached_property
    def pixels(self) -> Tensor:
        """Last features before the classifier, [B, D, h', w']; Unsupported on a detector."""
        pixels: Tensor = self._decoded.pixels
        return pixels.float()

    @cached_property
    def pyramid(self) -> list[Tensor]:
        """Levels of a detector's feature pyramid, [B, D, h_i, w_i] from fine to coarse.

        Each side has its own sizes: levels follow the encoder's grid. Unsupported on a segmentor (Side.pyramid_dim 0).
        """
        return [level.float() for level in self._decoded.pyramid]

    @property
    def decoded(self) -> Output:
        """The head's raw output, for the task loss."""
        return self._decoded


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
