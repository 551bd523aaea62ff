"""The trainable module of a stage: student and stage together, one forward per micro-batch.

Only this module is wrapped for several devices, so that gradients of both are synchronised by one forward. The
teacher lives outside the module tree: it is never in a checkpoint, never wrapped, never in training mode.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import torch
import torch.distributed as distributed
from torch import Tensor, nn

from gkdbench.contract import Stage, Step
from gkdbench.data.seeds import seed_of
from gkdbench.data.stream import Batch
from gkdbench.engine.view import LazyView
from gkdbench.errors import Unsupported
from gkdbench.models.decoders.head import Output
from gkdbench.models.encoder import Features
from gkdbench.models.network import Network

AUTOCAST = {"32-true": None, "bf16-mixed": torch.bfloat16}


@dataclass(frozen=True)
class Moment:
    """Where in a stage a micro-batch is computed."""

    seed: int
    stage: str
    index: int
    total: int
    batch: int


@dataclass
class PassCount:
    """Image-passes so far: one image through one encoder once."""

    student: int = 0
    teacher: int = 0


@contextmanager
def in_precision(device: torch.device, precision: str) -> Iterator[None]:
    """Run a pass in the recipe's precision, whatever surrounds it."""
    dtype = AUTOCAST[precision]
    with torch.autocast(device.type, dtype=dtype or torch.bfloat16, enabled=dtype is not None):
        yield


class FrozenTeacher:
    """A teacher that only answers: eval mode, no gradients, not a module."""

    def __init__(self, segmentor: Network) -> None:
        self.segmentor = segmentor.eval().requires_grad_(False)

    def to(self, device: torch.device) -> "FrozenTeacher":
        """Move the teacher to a device."""
        self.segmentor.to(device)
        return self


class StageModule(nn.Module):
    """Student and stage; `forward(batch, moment)` returns every weighted scalar term, task loss included."""

    def __init__(
        self,
        stage: Stage,
        student: Network,
        teacher: FrozenTeacher | None,
        *,
        precision: str,
        ignore: int,
    ) -> None:
        super().__init__()
        self.stage, self.student = stage, student
        self.precision, self.ignore = precision, ignore
        self.passes = PassCount()
        # A list hides the teacher from nn.Module's registration.
        self._outside = [teacher]
        self.lookup: Callable[[Tensor], Features] | None = None
        """Features of a frozen encoder by variant, where they were computed beforehand."""
        self.student.encoder.requires_grad_("encoder" in stage.trains)
        if student.head is not None:
            student.head.requires_grad_("head" in stage.trains)
        self.train()

    @property
    def teacher(self) -> FrozenTeacher | None:
        """The frozen teacher, or None."""
        return self._outside[0]

    def train(self, mode: bool = True) -> "StageModule":
        """Set training mode; a frozen encoder or head stays in eval mode."""
        super().train(mode)
        if "encoder" not in self.stage.trains:
            self.student.encoder.eval()
        if "head" not in self.stage.trains and self.student.head is not None:
            self.student.head.eval()
        return self

    def forward(self, batch: Batch, moment: Moment) -> dict[str, Tensor]:
        """Compute all loss terms of one micro-batch."""
        step = LiveStep(self, batch, moment)
        device_type = batch.images.device.type
        with torch.autocast(device_type, enabled=False):
            terms: dict[str, Tensor] = {}
            if self.stage.task:
                terms["task"] = self._task_loss(step)
            for name, value in self.stage.loss(step).items():
                if name in terms:
                    raise ValueError(f"stage {self.stage.name!r}: loss term {name!r} given twice")
                if value.ndim != 0:
                    shape = tuple(value.shape)
                    raise ValueError(f"stage {self.stage.name!r}: term {name!r} has shape {shape}")
                terms[name] = value
        if not terms:
            raise ValueError(f"stage {self.stage.name!r} has neither a task nor a loss term")
        return terms

    def _task_loss(self, step: "LiveStep") -> Tensor:
        labels = step.labels if step.boxes is None else step.boxes
        if labels is None:
            raise ValueError(f"stage {self.stage.name!r} has a task loss but its data no labels")
        assert self.student.head is not None
        loss: Tensor = self.student.head.task_loss(step.student().decoded, labels, self.ignore)
        return loss


@dataclass
class _Memo:
    """Views by the identity of their arguments; the arguments are kept so that identities stay true."""

    entries: dict[tuple[int | None, ...], tuple[LazyView, tuple[Any, ...]]] = field(
        default_factory=dict
    )

    def view(self, arguments: tuple[Any, ...], make: Callable[[], LazyView]) -> LazyView:
        key = tuple(None if argument is None else id(argument) for argument in arguments)
        if key not in self.entries:
            self.entries[key] = (make(), arguments)
        return self.entries[key][0]


class _OwnPart(torch.autograd.Function):
    """The same values; a gradient multiplied by the number of ranks."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, world: int) -> Tensor:
        ctx.world = world
        return x.view_as(x)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, None]:
        return gradients[0] * ctx.world, None


def own_part(x: Tensor, world: int) -> Tensor:
    """Return a rank's own part of a gathered tensor: bitwise x, its gradient times `world`.

    The mean of gradients over ranks divides by the number of ranks, while a part gets a gradient on its own rank
    alone.
    """
    part: Tensor = _OwnPart.apply(x, world)
    return part


class LiveStep(Step):
    """The step of a running stage."""

    def __init__(self, module: StageModule, batch: Batch, moment: Moment) -> None:
        self._module, self._moment = module, moment
        self.images, self.clean = batch.images, batch.clean
        self.boxes = batch.labels if isinstance(batch.labels, list) else None
        if not isinstance(batch.labels, list):
            self.labels = batch.labels
        self.position, self.batch = batch.position, moment.batch
        self.index, self.total = moment.index, moment.total
        self.rng = torch.Generator().manual_seed(seed_of(moment.seed, moment.stage, moment.index))
        self._variant = batch.variant
        self._calls = 0
        self._student_views, self._teacher_views = _Memo(), _Memo()
        self.extra = {name: LiveStep(module, other, moment) for name, other in batch.extra.items()}

    def __getattr__(self, name: str) -> Any:
        """Raise Unsupported for labels where the data have boxes."""
        if name == "labels":
            raise Unsupported("reads the class of every pixel, and the labels of detection are boxes")
        raise AttributeError(f"{type(self).__name__} has no {name}")

    def random(self, *shape: int) -> Tensor:
        """Return uniform numbers [B, *shape]; see Step."""
        moment, generator = self._moment, torch.Generator()
        rows = []
        for position in self.position.tolist():
            generator.manual_seed(
                seed_of(moment.seed, moment.stage, moment.index, position, self._calls)
            )
            rows.append(torch.rand(*shape, generator=generator))
        self._calls += 1
        return torch.stack(rows).to(self.images.device)

    def student(
        self,
        images: Tensor | None = None,
        *,
        mask: Tensor | None = None,
        keep: Tensor | None = None,
    ) -> LazyView:
        """Return the student's pass; see Step."""
        stage, student = self._module.stage, self._module.student
        blocks = tuple(student.encoder.block_index(tap) for tap in stage.taps_student.blocks)
        qkv = tuple(student.encoder.block_index(tap) for tap in stage.taps_student.qkv)

        def encode() -> Features:
            lookup = self._module.lookup
            if images is None and mask is None and keep is None and lookup and self._variant is not None:
                self._module.passes.student += len(self.images)  # the method's pass, if not the machine's
                return lookup(self._variant)
            if mask is not None and images is None and keep is None:
                return self._masked_features(mask, blocks, qkv)
            return self._run_student(
                self.images if images is None else images, mask, keep, blocks, qkv
            )

        def make() -> LazyView:
            return LazyView(
                encode,
                self._decoder(student, "head" in stage.trains),
                grid=student.grid,
                blocks=blocks,
                qkv=qkv,
                whole=keep is None,
            )

        return self._student_views.view((images, mask, keep), make)

    def _run_student(
        self,
        images: Tensor,
        mask: Tensor | None,
        keep: Tensor | None,
        blocks: tuple[int, ...],
        qkv: tuple[int, ...],
    ) -> Features:
        module = self._module
        module.passes.student += len(images)
        trains = "encoder" in module.stage.trains and torch.is_grad_enabled()
        with in_precision(images.device, module.precision), torch.set_grad_enabled(trains):
            return module.student.features(images, mask=mask, keep=keep, blocks=blocks, qkv=qkv)

    def _masked_features(
        self, mask: Tensor, blocks: tuple[int, ...], qkv: tuple[int, ...]
    ) -> Features:
        """Pass only the rows that have a mask; the others are the plain pass's rows.

        The numbers are the same because a sample's pass does not depend on its neighbours, unless the encoder
        draws in training (dropout, BatchNorm): then the whole batch is passed.
        """
        rows = mask.any(dim=1)
        encoder = self._module.student.encoder
        redraws = encoder.training and encoder.draws_in_training()
        if bool(rows.all()) or redraws:
            return self._run_student(self.images, mask, None, blocks, qkv)
        plain = self.student().features
        if not bool(rows.any()):
            return plain
        passed = self._run_student(self.images[rows], mask[rows], None, blocks, qkv)

        def merged(whole: Tensor, part: Tensor) -> Tensor:
            return whole.index_put((rows.nonzero()[:, 0],), part)

        return Features(
            tokens=merged(plain.tokens, passed.tokens),
            cls=None
            if plain.cls is None or passed.cls is None
            else merged(plain.cls, passed.cls),
            grid=plain.grid,
            blocks={b: merged(plain.blocks[b], passed.blocks[b]) for b in passed.blocks},
            qkv={
                b: (
                    merged(plain.qkv[b][0], passed.qkv[b][0]),
                    merged(plain.qkv[b][1], passed.qkv[b][1]),
                    merged(plain.qkv[b][2], passed.qkv[b][2]),
                )
                for b in passed.qkv
            },
        )

    def teacher(
        self,
        images: Tensor | None = None,
        *,
        mask: Tensor | None = None,
        keep: Tensor | None = None,
    ) -> LazyView:
        """Return the teacher's pass; see Step."""
        module = self._module
        if module.teacher is None:
            raise RuntimeError(f"stage {module.stage.name!r} asks for no teacher (teacher = None)")
        segmentor, taps = module.teacher.segmentor, module.stage.taps_teacher
        blocks = tuple(segmentor.encoder.block_index(tap) for tap in taps.blocks)
        qkv = tuple(segmentor.encoder.block_index(tap) for tap in taps.qkv)
        source = self.images if images is None else images

        def encode() -> Features:
            module.passes.teacher += len(source)
            with in_precision(source.device, module.precision), torch.no_grad():
                return segmentor.features(source, mask=mask, keep=keep, blocks=blocks, qkv=qkv)

        def make() -> LazyView:
            return LazyView(
                encode,
                self._decoder(segmentor, False),
                grid=module.student.grid,
                blocks=blocks,
                qkv=qkv,
                whole=keep is None,
            )

        return self._teacher_views.view((images, mask, keep), make)

    def _decoder(self, segmentor: Network, trains: bool) -> Callable[[Features], Output]:
        def decode(features: Features) -> Output:
            device, precision = self.images.device, self._module.precision
            grad = torch.is_grad_enabled() and (trains or features.tokens.requires_grad)
            with in_precision(device, precision), torch.set_grad_enabled(grad):
                return segmentor.decode(features)

        return decode

    def gather(self, x: Tensor) -> Tensor:
        """Concatenate over ranks; see Step."""
        if not (distributed.is_available() and distributed.is_initialized()):
            return x
        world, rank = distributed.get_world_size(), distributed.get_rank()
        if world == 1:
            return x
        parts = [torch.empty_like(x) for _ in range(world)]
        distributed.all_gather(parts, x.detach().contiguous())
        parts[rank] = own_part(x, world)  # gradients flow through the own part only
        return torch.cat(parts)
