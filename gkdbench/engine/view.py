"""A pass as methods see it: encoded and decoded when first looked at, on the pair's common grid, in float32."""

from collections.abc import Callable
from functools import cached_property

from torch import Tensor

from gkdbench.contract import QKV, View
from gkdbench.models.decoders.head import Output
from gkdbench.models.encoder import Features
from gkdbench.models.grids import on_grid


class LazyView(View):
    """What one pass left behind; `encode` and `decode` run once, and only if something asks for what they make.

    whole: False where tokens were dropped: there is no grid left to resample.
    """

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
        self._whole = whole
        self.grid = grid

    @cached_property
    def features(self) -> Features:
        """The raw pass, in its own precision."""
        return self._encode()

    @cached_property
    def decoded(self) -> Output:
        """The head's raw output, for the task loss."""
        return self._decode(self.features)

    def _placed(self, tokens: Tensor) -> Tensor:
        tokens = tokens.float()
        return on_grid(tokens, self.features.grid, self.grid) if self._whole else tokens

    @cached_property
    def tokens(self) -> Tensor:
        """See View."""
        return self._placed(self.features.tokens)

    @cached_property
    def cls(self) -> Tensor | None:
        """See View."""
        cls = self.features.cls
        return None if cls is None else cls.float()

    @cached_property
    def blocks(self) -> list[Tensor]:
        """See View."""
        return [self._placed(self.features.blocks[block]) for block in self._blocks]

    @cached_property
    def qkv(self) -> list[QKV]:
        """See View."""
        found = []
        for block in self._qkv:
            q, k, v = self.features.qkv[block]
            found.append((q.float(), k.float(), v.float()))
        return found

    @cached_property
    def logits(self) -> Tensor:
        """See View."""
        logits: Tensor = self.decoded.logits
        return logits.float()

    @cached_property
    def pixels(self) -> Tensor:
        """See View."""
        pixels: Tensor = self.decoded.pixels
        return pixels.float()

    @cached_property
    def pyramid(self) -> list[Tensor]:
        """See View."""
        return [level.float() for level in self.decoded.pyramid]
