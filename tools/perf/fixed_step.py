"""A step whose passes are fixed tensors, and two forms of one loss over the same leaves."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import torch
from torch import Tensor

from gkdbench.api import Pair, Side, Stage, Step, View
from gkdbench.contract import QKV
from gkdbench.engine.view import LazyView
from gkdbench.models.decoders.head import Decoded
from gkdbench.models.encoder import Features

Terms = Mapping[str, Tensor]
IGNORED = 255


@dataclass(frozen=True)
class Sizes:
    """How large the inputs are."""

    batch: int = 2
    grid: int = 32
    student: int = 384
    teacher: int = 768
    classes: int = 19
    logits: int = 128

    @property
    def tokens(self) -> int:
        """Patches per image."""
        return self.grid**2


@dataclass(frozen=True)
class Comparison:
    """One row: two forms of a loss over the same leaves (inputs and weights with a gradient buffer)."""

    ours: Callable[[], Terms]
    plain: Callable[[], Terms]
    leaves: Mapping[str, Tensor]
    passes: Callable[[], int] | None = None
    """Image-passes of the student so far, where the row counts them."""

    def form(self, name: str) -> Callable[[], Terms]:
        """Return one of the two forms."""
        return self.ours if name == "ours" else self.plain


class FixedStep(Step):
    """A step whose passes are fixed tensors: the student's with gradients, and the same draws at every call."""

    def __init__(self, sizes: Sizes) -> None:
        self.sizes = sizes
        self._source = torch.Generator().manual_seed(1)
        self.inputs: dict[str, Tensor] = {}
        self.position, self.batch = torch.arange(sizes.batch), sizes.batch
        self.images = self.clean = torch.rand(sizes.batch, 3, 8, 8, generator=self._source)
        size = (sizes.batch, sizes.logits, sizes.logits)
        self.labels = torch.randint(0, sizes.classes, size, generator=self._source)
        self.labels[:, : sizes.logits // 8] = IGNORED
        self.index, self.total, self.extra = 0, 1, {}
        self.rng = torch.Generator()
        self._drawn: dict[tuple[int, ...], Tensor] = {}
        kept = sizes.tokens - int(sizes.tokens * 0.75)
        self._plain = self._view("student", sizes.student, sizes.tokens, True)
        self._masked = self._view("masked", sizes.student, sizes.tokens, True)
        self._kept = self._view("kept", sizes.student, kept, True)
        self._teacher = self._view("teacher", sizes.teacher, sizes.tokens, False)

    def _view(self, name: str, width: int, tokens: int, trains: bool) -> View:
        sizes = self.sizes

        def made(what: str, *shape: int) -> Tensor:
            x = torch.randn(sizes.batch, *shape, generator=self._source).requires_grad_(trains)
            if trains:
                self.inputs[f"{name} {what}"] = x
            return x

        whole = name in ("student", "teacher")
        qkv: dict[int, QKV] = {}
        blocks: dict[int, Tensor] = {}
        if whole:
            blocks = {n: made(f"block {n}", tokens, width) for n in (0, 1)}
            q, k, v = (made(part, 1 + tokens, width) for part in "qkv")
            qkv[0] = q, k, v
        features = Features(made("tokens", tokens, width), made("cls", width), (sizes.grid,) * 2, blocks, qkv)
        logits = (sizes.classes, sizes.logits, sizes.logits)
        decoded = Decoded(made("logits", *logits), torch.zeros(0)) if whole else None

        def decode(_: Features) -> Decoded:
            assert decoded is not None
            return decoded

        return LazyView(
            lambda: features, decode, grid=features.grid, blocks=tuple(blocks), qkv=tuple(qkv), whole=name != "kept"
        )

    def again(self) -> "FixedStep":
        """Return the step with its generator at the start."""
        self.rng.manual_seed(2)
        return self

    def random(self, *shape: int) -> Tensor:
        """Return the same uniform numbers for the same shape."""
        if shape not in self._drawn:
            self._drawn[shape] = torch.rand(len(self.position), *shape, generator=self._source)
        return self._drawn[shape]

    def student(self, images: Tensor | None = None, *, mask: Tensor | None = None, keep: Tensor | None = None) -> View:
        """Return the fixed plain, masked or token-dropping pass."""
        if mask is not None:
            return self._masked
        return self._plain if keep is None else self._kept

    def teacher(self, images: Tensor | None = None, *, mask: Tensor | None = None, keep: Tensor | None = None) -> View:
        """Return the teacher's fixed pass."""
        return self._teacher

    def gather(self, x: Tensor) -> Tensor:
        """Return x: there is one process."""
        return x


def make_pair(sizes: Sizes) -> Pair:
    """Return the facts of two ViTs of these widths, heads 64 wide where that divides."""

    def side(width: int) -> Side:
        grid = (sizes.grid, sizes.grid)
        return Side(
            width=width, depth=12, heads=max(sizes.teacher // 64, 1), grids={"proxy": grid, "source": grid},
            tap_widths=(width,) * 12, pixel_dim=8, has_cls=True, has_qkv=True, can_mask=True, can_drop=True,
            has_head=True,
        )  # fmt: skip

    return Pair(side(sizes.student), side(sizes.teacher), "segmentation", sizes.classes, IGNORED)


Plain = Callable[[Stage, FixedStep], Terms]


def compare(method: Callable[..., list[Stage]], plain: Plain, sizes: Sizes, **options: object) -> Comparison:
    """Return the row of a method's first stage and its plain form."""
    torch.manual_seed(0)
    step, stage = FixedStep(sizes), method(make_pair(sizes), **options)[0]
    leaves = {**step.inputs, **dict(stage.named_parameters())}
    return Comparison(lambda: stage.loss(step.again()), lambda: plain(stage, step.again()), leaves)


