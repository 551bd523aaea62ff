"""What a stage must leave: finite weights, and everything that it does not train as it was."""

from collections.abc import Iterator

import torch
from torch import Tensor, nn

from gkdbench.engine.passes import StageModule
from gkdbench.errors import GkdbenchError
from gkdbench.models.encoder import Encoder


class Guard:
    """Looks at a stage's weights before they are saved; a fault is one GkdbenchError that names the tensor.

    What is frozen is compared by checksums of its bits: writing through `.data` leaves no other trace.
    """

    def __init__(self, module: StageModule) -> None:
        self._module = module
        self._frozen = _sums(module)

    def fault(self, step: int) -> GkdbenchError | None:
        """Return what is wrong with the weights after so many steps, or None."""
        stage = self._module.stage
        where = f"stage {stage.name!r}, after step {step}"
        name = _not_finite(self._module)
        if name is not None:
            return GkdbenchError(
                f"{where}: {name} is not finite, although the losses were: the gradients were not; lower the learning "
                "rate of this stage, or clip its gradients"
            )
        for name, now in _sums(self._module).items():
            if now != self._frozen.get(name):
                return GkdbenchError(
                    f"{where}: {name} was changed, and the stage trains {', '.join(sorted(stage.trains)) or 'neither'} "
                    "of the student and never the teacher; let the method compute on copies"
                )
        return None


def _not_finite(module: StageModule) -> str | None:
    """Return the name of a tensor with a NaN or Inf; a stage's own buffers may hold Inf, such as a least value."""
    buffers = {f"stage.{name}" for name, _ in module.stage.named_buffers()}
    wrong = {
        name: torch.isnan(value).any() if name in buffers else ~torch.isfinite(value).all()
        for name, value in module.state_dict().items()
        if value.is_floating_point()
    }
    found = torch.stack(list(wrong.values())).tolist() if wrong else []  # one wait for the device, not one per tensor
    return next((name for name, bad in zip(wrong, found, strict=True) if bad), None)


def _sums(module: StageModule) -> dict[str, list[int]]:
    """Return checksums of all tensors that the stage does not train, by name; made where the tensors are."""
    tensors = dict(_frozen(module))
    if not tensors:
        return {}
    made = torch.stack([_sum(value) for value in tensors.values()]).tolist()  # one wait for the device
    return dict(zip(tensors, made, strict=True))


def _frozen(module: StageModule) -> Iterator[tuple[str, Tensor]]:
    """Yield all tensors that the stage does not train: those of the teacher, and of frozen parts of the student.

    Buffers that are no state are left out, since encoders keep tables for the last image size in them; but what an
    encoder normalises images with counts.
    """
    teacher, student, trains = module.teacher, module.student, module.stage.trains
    parts: dict[str, nn.Module | None] = {
        "teacher.encoder": None if teacher is None else teacher.encoder,
        "teacher.head": None if teacher is None else teacher.head,
        "student.encoder": None if "encoder" in trains else student.encoder,
        "student.head": None if "head" in trains else student.head,
    }
    for prefix, part in parts.items():
        if part is not None:
            tensors = part.state_dict()
            if isinstance(part, Encoder):
                tensors |= {"mean": part.mean, "std": part.std}
            yield from ((f"{prefix}.{name}", value) for name, value in tensors.items())


def _sum(value: Tensor) -> Tensor:
    """Return two checksums [2] of a tensor's bits: of all words, and of every third."""
    content = value.detach().contiguous().reshape(-1).view(torch.uint8)
    words = content.view(torch.int32) if content.numel() % 4 == 0 else content
    return torch.stack([words.sum(dtype=torch.int64), words[::3].sum(dtype=torch.int64)])
