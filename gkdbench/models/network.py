"""Encoder and head joined: the thing that is trained, exported and judged, whatever its task."""

from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn

from gkdbench.models.decoders.head import Head, Output
from gkdbench.models.encoder import Encoder, Features
from gkdbench.spec.decoder import Decoder


class Network(nn.Module, ABC):
    """An encoder with or without a head on a token grid.

    `fixed_grid` is where tokens are laid out for the head if not on the encoder's own grid: a hierarchical teacher
    takes its student's.
    """

    def __init__(self, encoder: Encoder, decoder: Decoder, num_classes: int) -> None:
        super().__init__()
        self.encoder = encoder
        self.decoder_spec = decoder
        self.num_classes = num_classes
        self.fixed_grid: tuple[int, int] | None = None
        self.head: Any = None
        """A Head of the network's task; None: there is none yet."""
        self.reads = self._depths_read()

    @abstractmethod
    def _depths_read(self) -> list[int | None]:
        """Blocks whose output the head reads; None: the final tokens."""

    @property
    @abstractmethod
    def reads_levels(self) -> bool:
        """Whether the head reads the levels of a hierarchical encoder."""

    @abstractmethod
    def _new_head(self, widths: list[int]) -> Head:
        """Build the head on features of these widths, its weights drawn from torch's global generator."""

    @abstractmethod
    def head_inputs(self, features: Features) -> list[Tensor]:
        """Return what the head reads of a pass."""

    @property
    def grid(self) -> tuple[int, int]:
        """Token grid of head and distillation."""
        return self.fixed_grid or self.encoder.grid

    @property
    def head_blocks(self) -> list[int]:
        """Blocks the head reads besides the final tokens."""
        return [block for block in self.reads if block is not None]

    def head_widths(self) -> list[int]:
        """Return the channels of each of the head's inputs."""
        encoder = self.encoder
        if self.reads_levels:
            return list(encoder.level_widths)
        return [encoder.width if block is None else encoder.block_widths[block] for block in self.reads]

    def add_head(self, seed: int) -> None:
        """Give the network a fresh head, the same for every method at a seed."""
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            self.head = self._new_head(self.head_widths())

    def use_plain_attention(self) -> None:
        """Take explicit attention instead of the fused kernel: 2 to 3 times faster in bf16 on a CPU."""
        for module in self.modules():
            if hasattr(module, "fused_attn"):
                setattr(module, "fused_attn", False)  # noqa: B010 (nn.Module types it as a tensor)

    def features(
        self,
        images: Tensor,
        *,
        mask: Tensor | None = None,
        keep: Tensor | None = None,
        blocks: Sequence[int] = (),
        qkv: Sequence[int] = (),
    ) -> Features:
        """Run the encoder with the taps asked for and those that the head reads."""
        reading = self.head is not None
        wanted = set(blocks) | (set(self.head_blocks) if reading else set())
        features: Features = self.encoder(
            images, mask=mask, keep=keep, blocks=sorted(wanted), qkv=qkv, levels=reading and self.reads_levels
        )
        return features

    def decode(self, features: Features) -> Output:
        """Run the head on a pass's features."""
        if self.head is None:
            raise RuntimeError("this stage trains no head, so there is nothing decoded")
        head: Head = self.head
        decoded: Output = head(self.head_inputs(features), self.grid)
        return decoded
