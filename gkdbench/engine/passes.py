"""The trainable module of a stage: student and stage together, one forward per micro-batch.

Only this module is wrapped for several devices, so that gradients of both are synchronised by one forward. The
teacher lives outside the module tree: it is never in a checkpoint, never wrapped, never in training mode.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn

from gkdbench.contract import Stage, Step
from gkdbench.data.seeds import seed_of
from gkdbench.data.stream import Batch
from gkdbench.engine.ranks import gathered
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


class StageModule(nn.Module):
    """Student and stage; `forward(batch, moment)` returns every weighted scalar term, task loss included."""

    def __init__(
        self,
        stage: Stage,
        student: Network,
        teacher: Network | None,
        *,
        precision: str,
        ignore: int,
    ) -> None:
        super().__init__()
        self.stage, self.student = stage, student
        self.precision, self.ignore = precision, ignore
        self.passes = PassCount()
        if teacher is not None:
            teacher.eval().requires_grad_(False)
        # A list hides the teacher from nn.Module's registration.
        self._outside = [teacher]
        self.lookup: Callable[[Tensor], Features] | None = None
        """Features of a frozen encoder by variant, where they were computed beforehand."""
        self.student.encoder.requires_grad_("encoder" in stage.trains)
        if student.head is not None:
            student.head.requires_grad_("head" in stage.trains)
        self.train()

    @property
    def teacher(self) -> Network | None:
        """The frozen teacher, or None: it only answers, in eval mode and without gradients."""
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
        self._views: dict[tuple[bool, int, int, int], LazyView] = {}
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
            generator.manual_seed(seed_of(moment.seed, moment.stage, moment.index, position, self._calls))
            rows.append(torch.rand(*shape, generator=generator))
        self._calls += 1
        return torch.stack(rows).to(self.images.device)

    def student(
        self, images: Tensor | None = None, *, mask: Tensor | None = None, keep: Tensor | None = None
    ) -> LazyView:
        """Return the student's pass; see Step."""
        return self._view(self._module.student, images, mask, keep)

    def teacher(
        self, images: Tensor | None = None, *, mask: Tensor | None = None, keep: Tensor | None = None
    ) -> LazyView:
        """Return the teacher's pass; see Step."""
        teacher = self._module.teacher
        if teacher is None:
            raise RuntimeError(f"stage {self._module.stage.name!r} asks for no teacher (teacher = None)")
        return self._view(teacher, images, mask, keep)

    def gather(self, x: Tensor) -> Tensor:
        """Concatenate over ranks; see Step."""
        return gathered(x)

    def _view(self, network: Network, images: Tensor | None, mask: Tensor | None, keep: Tensor | None) -> LazyView:
        """Return a network's pass, the same one whenever it is asked for with the same tensors."""
        module = self._module
        key = (network is module.student, id(images), id(mask), id(keep))  # ids stay true: the view holds the tensors
        if key not in self._views:
            taps = module.stage.taps_student if network is module.student else module.stage.taps_teacher
            blocks = tuple(network.encoder.block_index(tap) for tap in taps.blocks)
            qkv = tuple(network.encoder.block_index(tap) for tap in taps.qkv)
            self._views[key] = LazyView(
                partial(self._features, network, images, mask, keep, blocks=blocks, qkv=qkv),
                partial(self._decoded, network),
                grid=module.student.grid,
                blocks=blocks,
                qkv=qkv,
                whole=keep is None,
            )
        return self._views[key]

    def _features(
        self, network: Network, images: Tensor | None, mask: Tensor | None, keep: Tensor | None, **taps: tuple[int, ...]
    ) -> Features:
        module = self._module
        if network is module.student and images is None and keep is None:
            if mask is not None:
                return self._masked_features(mask, **taps)
            if module.lookup is not None and self._variant is not None:
                module.passes.student += len(self.images)  # the method's pass, if not the machine's
                return module.lookup(self._variant)
        return self._passed(network, self.images if images is None else images, mask, keep, **taps)

    def _passed(
        self, network: Network, images: Tensor, mask: Tensor | None, keep: Tensor | None, **taps: tuple[int, ...]
    ) -> Features:
        """Pass images through a network in the stage's precision, and count them."""
        module = self._module
        trains = network is module.student and "encoder" in module.stage.trains
        if network is module.student:
            module.passes.student += len(images)
        else:
            module.passes.teacher += len(images)
        grad = trains and torch.is_grad_enabled()
        with in_precision(images.device, module.precision), torch.set_grad_enabled(grad):
            return network.features(images, mask=mask, keep=keep, **taps)

    def _masked_features(self, mask: Tensor, **taps: tuple[int, ...]) -> Features:
        """Pass only the student's rows that have a mask; the others are the plain pass's rows.

        The numbers are the same because a sample's pass does not depend on its neighbours, unless the encoder
        draws in training (dropout, BatchNorm): then the whole batch is passed.
        """
        rows, student = mask.any(dim=1), self._module.student
        redraws = student.encoder.training and student.encoder.draws_in_training()
        if bool(rows.all()) or redraws:
            return self._passed(student, self.images, mask, None, **taps)
        plain = self.student().features
        if not bool(rows.any()):
            return plain
        passed = self._passed(student, self.images[rows], mask[rows], None, **taps)
        numbers = rows.nonzero()[:, 0]
        return Features.joined([plain, passed], lambda whole, part: whole.index_put((numbers,), part))

    def _decoded(self, network: Network, features: Features) -> Output:
        module = self._module
        trains = network is module.student and "head" in module.stage.trains
        grad = torch.is_grad_enabled() and (trains or features.tokens.requires_grad)
        with in_precision(self.images.device, module.precision), torch.set_grad_enabled(grad):
            return network.decode(features)
