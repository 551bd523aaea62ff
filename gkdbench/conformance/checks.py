"""The checks of one stage on one toy pair: each yields what is wrong, and nothing where all is well."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from gkdbench.conformance.case import (
    Case,
    RecordedStep,
    Trained,
    disagreement,
    generators,
    has_batch_norm,
    own_terms,
    task_term,
)
from gkdbench.conformance.report import Outcome
from gkdbench.conformance.subject import attribute_line, method_line, term_line
from gkdbench.conformance.toys import BATCH
from gkdbench.contract import Stage
from gkdbench.errors import DataError, GkdbenchError, Unsupported

TOLERANCE = 1e-5


@dataclass(frozen=True)
class Finding:
    """What a check has to say of a case."""

    detail: str
    where: str = ""
    outcome: Outcome = "failed"


Check = Callable[[Case], Iterator[Finding]]


def terms(case: Case) -> Iterator[Finding]:
    """Every term is a finite scalar with a finite gradient, also where labels, batch or precision are extreme."""
    module = case.module()
    learning = [parameter for parameter in module.parameters() if parameter.requires_grad]
    kinds = [("a batch", "some", BATCH), ("a batch of one", "some", 1), ("a batch in bf16 precision", "some", BATCH)]
    if case.stage.task or case.stage.labels:
        kinds.insert(2, ("a batch whose labels are all ignored", "all", BATCH))
    for said, ignored, batch in kinds:
        module.precision = "bf16-mixed" if "bf16" in said else "32-true"
        step = case.step(module, ignored, batch)
        returned = own_terms(module, step)
        faults = list(_faults(case.stage, returned, said, strict=said == "a batch"))
        if not faults:
            together = {**task_term(module, step), **returned}
            faults = list(_gradient_faults(case.stage, together, learning, said))
        yield from faults
        if faults:
            return


def _faults(stage: Stage, returned: Any, said: str, *, strict: bool) -> Iterator[Finding]:
    if not isinstance(returned, dict):
        yield Finding(f"loss returned a {type(returned).__name__}, not a dict of terms", method_line(stage))
        return
    for name, value in returned.items():
        fault = None
        if not isinstance(name, str):
            fault = "has a name that is no string"
        elif name == "task" and stage.task:
            fault = "has the name of the task loss; call it otherwise"
        elif not isinstance(value, Tensor):
            fault = f"is a {type(value).__name__}, not a tensor"
        elif value.ndim or not value.is_floating_point():
            fault = f"has shape {tuple(value.shape)} and type {value.dtype}, not that of a floating point scalar"
        elif not torch.isfinite(value):
            fault = f"is {value.item()} on {said}"
        elif strict and not value.requires_grad:
            fault = "has no gradient: nothing that trains can change it"
        if fault is not None:
            yield Finding(f"term {name!r} {fault}", term_line(stage, str(name)))


def _gradient_faults(stage: Stage, together: dict[str, Tensor], learning: list[Any], said: str) -> Iterator[Finding]:
    if not any(value.requires_grad for value in together.values()):
        detail = f"on {said} no term has a gradient" if together else "the stage has neither a task nor a loss term"
        yield Finding(detail, method_line(stage))
    for name, value in together.items():
        if any(not torch.isfinite(gradient).all() for gradient in gradients(value, learning)):
            yield Finding(f"the gradient of term {name!r} is not finite on {said}", term_line(stage, name))


def gradients(value: Tensor, tensors: list[Any]) -> list[Tensor]:
    """Return the gradients of a value by those tensors that it comes from."""
    wanted = [tensor for tensor in tensors if tensor.requires_grad]
    if not (value.requires_grad and wanted):
        return []
    found = torch.autograd.grad(value, wanted, retain_graph=True, allow_unused=True)
    return [gradient for gradient in found if gradient is not None]


def clean_hands(case: Case) -> Iterator[Finding]:
    """Loss and after_backward draw from no global generator and write into nothing they were given."""
    module = case.module()
    step, fresh = case.step(module), case.step(case.module())
    before = generators()
    returned = own_terms(module, step)
    faults = list(_dirt(case, step, fresh, before, "loss"))
    if not faults:  # a tensor that was written to breaks the backward pass
        torch.autograd.backward([*task_term(module, step).values(), *returned.values()])
        before = generators()
        with torch.no_grad():
            module.stage.after_backward(step)
        faults = list(_dirt(case, step, fresh, before, "after_backward"))
    yield from faults


def _dirt(
    case: Case, step: RecordedStep, fresh: RecordedStep, before: dict[str, Any], function: str
) -> Iterator[Finding]:
    line = method_line(case.stage, function)
    for name, state in generators().items():
        if state != before[name]:
            yield Finding(f"{function} draws from the global generator of {name}; use step.random or step.rng", line)
    for name in _written(step, fresh, "step"):
        yield Finding(f"{function} writes into {name}; work on a copy", line)


def _written(step: RecordedStep, fresh: RecordedStep, said: str) -> Iterator[str]:
    """Yield what of a step is no longer what a fresh one gives: the batch, and what was pulled of each pass."""
    for name in ("images", "clean", "labels", "position"):
        if not _alike(getattr(step, name), getattr(fresh, name)):
            yield f"{said}.{name}"
            return  # passes follow from it
    for model, arguments, named, view in step.asked:
        again = getattr(fresh, model)(*arguments, **named)
        for name in ("tokens", "cls", "blocks", "qkv", "logits", "pixels"):
            if name in vars(view) and not _alike(vars(view)[name], getattr(again, name)):
                yield f"{said}.{model}({', '.join(['images'] * len(arguments) + list(named))}).{name}"
                break
    for name, other in step.extra.items():
        yield from _written(other, fresh.extra[name], f"{said}.extra[{name!r}]")


def _alike(one: Any, other: Any) -> bool:
    if isinstance(one, list | tuple):
        return all(_alike(*pair) for pair in zip(one, other, strict=True))
    return one is other or torch.allclose(one, other, equal_nan=True)


def frozen_parts(case: Case) -> Iterator[Finding]:
    """After real steps frozen parts and teacher are as before, and no checkpoint holds the teacher."""
    module = case.trained.module  # the loop itself tells which tensor changed
    if module.teacher is None:
        return
    model, line = module.teacher, method_line(case.stage)
    if any(part.training for part in model.modules()):
        yield Finding("the teacher was put into training mode; take its passes as step.teacher() gives them", line)
    if any(parameter.requires_grad for parameter in model.parameters()):
        yield Finding("a parameter of the teacher requires a gradient; leave the teacher as it is", line)
    outside = {tensor.data_ptr() for tensor in model.state_dict().values()}
    if any(tensor.data_ptr() in outside for tensor in module.state_dict().values() if tensor.numel()):
        yield Finding("the stage holds the teacher, so its checkpoint does too; keep no part of it on self", line)


def trained_parts(case: Case) -> Iterator[Finding]:
    """Gradients reach what `trains` says; an adaptor's parameter without one is a note."""
    module, reached, line = case.trained.module, case.trained.gradients, attribute_line(case.stage, "trains")
    for part in ("encoder", "head"):
        model = getattr(module.student, part)
        if part in case.stage.trains:
            if not any(name.startswith(f"student.{part}.") for name in reached):
                yield Finding(f"trains names {part!r}, but no gradient reaches it", line)
        elif model is not None and any(parameter.requires_grad for parameter in model.parameters()):
            yield Finding(f"the {part} requires a gradient although trains does not name {part!r}", line)
    for name, parameter in module.stage.named_parameters():
        if parameter.requires_grad and f"stage.{name}" not in reached:
            detail = f"no gradient reaches the stage's parameter {name}"
            yield Finding(detail, method_line(case.stage, "__init__"), "note")


def micro_batches(case: Case) -> Iterator[Finding]:
    """One batch gives the gradients of two micro-batches, unless the stage says that it mixes samples."""
    if has_batch_norm(case.trained.module.student):
        yield Finding("the student has BatchNorm, which sees each micro-batch alone", "", "skipped")
        return
    if case.stage.mixes_batch:
        return
    whole, parts = (case.train(steps=1, micro_batch=size, ignored="none") for size in (BATCH, BATCH // 2))
    apart, whose = disagreement(whole.gradients, parts.gradients)
    if apart > TOLERANCE:
        what, where = _mixed_term(case, whole.outcome.first_losses, parts.outcome.first_losses)
        detail = (
            f"one batch of {BATCH} and two micro-batches of {BATCH // 2} disagree in the gradient of {whose} by "
            f"{apart:.1e} of the largest: {what}; declare mixes_batch = True where that is meant"
        )
        yield Finding(detail, where)


def _mixed_term(case: Case, whole: dict[str, float], parts: dict[str, float]) -> tuple[str, str]:
    """Say which term of a batch is not the mean of those of its micro-batches, and its line."""
    if has_batch_norm(case.module().stage):
        return "BatchNorm mixes images", method_line(case.stage, "__init__")
    for name, value in whole.items():
        if abs(value - parts[name]) > TOLERANCE * abs(value):
            summed = abs(value - 2 * parts[name]) < 1e-3 * abs(value)
            what = "grows with the batch, a sum over images" if summed else "mixes images"
            return f"term {name!r} {what}", term_line(case.stage, name)
    return "the loss mixes images", method_line(case.stage)


def checkpoint(case: Case) -> Iterator[Finding]:
    """A training that was interrupted after two steps ends with the very same third step; so does a repeated one."""
    straight, said = case.trained, ""
    try:
        said = _difference(straight, case.train(stop_at=2))
    except DataError as error:
        detail = f"a fresh stage cannot load the checkpoint: {' '.join(str(error.__cause__).split())[:160]}"
        yield Finding(f"{detail}; register all state in __init__", method_line(case.stage, "__init__"))
    if said and (again := _difference(straight, case.train())):
        detail = f"two trainings from the same seed differ: {again}; draw from step.random or step.rng alone"
        yield Finding(detail, method_line(case.stage))
    elif said:
        detail = f"resumed from a checkpoint after 2 steps, {said}; keep all state in parameters and buffers"
        yield Finding(detail, method_line(case.stage))


def _difference(one: Trained, other: Trained) -> str:
    for name, value in one.outcome.losses.items():
        if other.outcome.losses.get(name) != value:
            return f"the mean of term {name!r} is {value} or {other.outcome.losses.get(name)}"
    state = other.module.state_dict()
    for name, value in one.module.state_dict().items():
        if name not in state or not torch.equal(value, state[name]):
            return f"{name} ends with other values"
    return ""


CHECKS: dict[str, Check] = {
    "terms": terms,
    "clean hands": clean_hands,
    "frozen parts": frozen_parts,
    "trained parts": trained_parts,
    "micro-batches": micro_batches,
    "checkpoint": checkpoint,
}


def faults_of(case: Case, check: Check) -> Iterator[Finding]:
    """Run a check; what it raises is a finding too."""
    try:
        yield from check(case)
    except (Exception, SystemExit) as error:  # a stranger's code may fail in any way; each is a verdict on it
        where = case.subject.raised_at(error) or method_line(case.stage)
        yield Finding(told(error), where)


def told(error: BaseException) -> str:
    """Say what a method raised."""
    if isinstance(error, Unsupported):
        return f"Unsupported raised in training ({error}); say it in the factory"
    plain = " ".join(str(error).split())[:300]
    return plain if isinstance(error, GkdbenchError) else f"{type(error).__name__}: {plain}"
