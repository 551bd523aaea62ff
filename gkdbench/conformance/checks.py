"""The checks of one stage on one toy pair: each yields what is wrong, and nothing where all is well."""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from gkdbench.conformance.case import AlreadySaid, Case, disagreement, gradients, guarded, own_terms, task_term
from gkdbench.conformance.report import Outcome
from gkdbench.conformance.subject import attribute_line, method_line, raised_at, term_line
from gkdbench.conformance.toys import BATCH, SEED, first_batches, recipe
from gkdbench.conformance.watch import Watch, WatchedStep, generators
from gkdbench.contract import Stage
from gkdbench.data.seeds import seed_of
from gkdbench.engine.optimiser import build_optimiser
from gkdbench.engine.passes import LiveStep, StageModule
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
    """Every term is a finite scalar with a gradient, also where labels or batch are extreme."""
    kinds = [("a batch", "some", BATCH), ("a batch of one", "some", 1)]
    if case.stage.task or case.stage.labels:
        kinds.append(("a batch whose labels are all ignored", "all", BATCH))
    for said, ignored, size in kinds:
        module = case.module()
        step = LiveStep(module, case.batch(ignored, size), case.moment(size))
        returned = own_terms(module, step)
        faults = list(_faults(case.stage, returned, said, strict=said == "a batch"))
        yield from faults
        if faults:
            return
        together = {**task_term(module, step), **returned}
        if not together:
            yield Finding("the stage has neither a task nor a loss term", method_line(case.stage))
            return
        total = torch.stack(list(together.values())).sum()
        if not total.requires_grad:
            yield Finding(f"on {said} no term has a gradient", method_line(case.stage))
            return
        torch.autograd.backward(total)
        yield from _bad_gradients(case, module, said, ignored, size)


def _faults(stage: Stage, returned: Any, said: str, *, strict: bool) -> Iterator[Finding]:
    if not isinstance(returned, dict):
        yield Finding(f"loss returned a {type(returned).__name__}, not a dict of terms", method_line(stage))
        return
    for name, value in returned.items():
        if not isinstance(name, str):
            yield Finding(f"the name of a term is {name!r}, not a string", method_line(stage))
            continue
        where = term_line(stage, name)
        if name == "task" and stage.task:
            yield Finding("a term is called 'task', which is the name of the task loss", where)
        elif not isinstance(value, Tensor):
            yield Finding(f"term {name!r} is a {type(value).__name__}, not a tensor", where)
        elif value.ndim:
            yield Finding(f"term {name!r} has shape {tuple(value.shape)}, not that of a scalar", where)
        elif not value.is_floating_point():
            yield Finding(f"term {name!r} is {value.dtype}, not a floating point number", where)
        elif not torch.isfinite(value):
            yield Finding(f"term {name!r} is {value.item()} on {said}", where)
        elif strict and not value.requires_grad:
            yield Finding(f"term {name!r} has no gradient: nothing that trains can change it", where)


def _bad_gradients(case: Case, module: StageModule, said: str, ignored: str, size: int) -> Iterator[Finding]:
    bad = [name for name, p in module.named_parameters() if p.grad is not None and not torch.isfinite(p.grad).all()]
    if not bad:
        return
    again = case.module()
    step = LiveStep(again, case.batch(ignored, size), case.moment(size))
    trained = [p for p in again.parameters() if p.requires_grad]
    for name, value in own_terms(again, step).items():
        if value.requires_grad:
            found = torch.autograd.grad(value, trained, retain_graph=True, allow_unused=True)
            if any(g is not None and not torch.isfinite(g).all() for g in found):
                detail = f"the gradient of term {name!r} is not finite on {said} (such as that of {bad[0]})"
                yield Finding(detail, term_line(case.stage, name))
                return
    yield Finding(f"the gradient of {bad[0]} is not finite on {said}", method_line(case.stage))


def trained_parts(case: Case) -> Iterator[Finding]:
    """Gradients reach what `trains` says; an adaptor's parameter without one is a note."""
    module = case.module()
    found = gradients(module, [case.batch()], case.moment())
    for part in ("encoder", "head"):
        model = getattr(module.student, part)
        reached = model is not None and any(name.startswith(f"student.{part}.") for name in found)
        if part in case.stage.trains and not reached:
            detail = f"trains names {part!r}, but no gradient reaches it"
            yield Finding(detail, attribute_line(case.stage, "trains"))
        frozen = {name: p for name, p in model.named_parameters()} if model is not None else {}
        loose = [name for name, p in frozen.items() if p.requires_grad and part not in case.stage.trains]
        if loose:
            yield Finding(f"{part}.{loose[0]} requires a gradient although trains does not name {part!r}",
                          attribute_line(case.stage, "trains"))  # fmt: skip
    for name, parameter in module.stage.named_parameters():
        if parameter.requires_grad and f"stage.{name}" not in found:
            detail = f"no gradient reaches the stage's parameter {name}"
            yield Finding(detail, method_line(case.stage, "__init__"), "note")


def frozen_parts(case: Case) -> Iterator[Finding]:
    """After real steps frozen parts and teacher have the same bytes, and no checkpoint holds the teacher."""
    trained = case.trained
    changed = [name for name, state in trained.before.items() if state != trained.after[name]]
    if not changed:
        return
    lines = _lines_that_change(case)
    for name in changed:
        detail = {
            "the teacher's place outside the stage": "the stage holds the teacher, so its checkpoint does too",
            "the teacher's mode": "the teacher was put into training mode",
            "the teacher's requires_grad": "a parameter of the teacher requires a gradient",
        }.get(name, f"{name} changed within {trained.outcome.steps} optimiser steps")
        yield Finding(detail, lines.get(name) or method_line(case.stage))


def _lines_that_change(case: Case) -> dict[str, str]:
    module = case.module()
    optimiser = build_optimiser(module, recipe(case.pair, case.stage))
    watch = Watch(case.subject, lambda: guarded(module))
    with watch.running():
        terms = module(case.batch(), case.moment())
        torch.autograd.backward(torch.stack(list(terms.values())).sum())
        module.stage.after_backward(LiveStep(module, case.batch(), case.moment()))
        optimiser.step()
    return watch.found


def checkpoint(case: Case) -> Iterator[Finding]:
    """A training that was interrupted after two steps ends with the very same third step."""
    straight = case.trained
    try:
        resumed = case.train(stop_at=2)
    except DataError as error:
        if "state_dict" not in str(error.__cause__):
            raise
        detail = f"a fresh stage cannot load the checkpoint: {' '.join(str(error.__cause__).split())[:160]}"
        yield Finding(f"{detail}; register all state in __init__", method_line(case.stage, "__init__"))
        return
    told = _difference(straight.result, resumed.result)
    if told:
        detail = f"resumed from a checkpoint after 2 steps, {told}; keep all state in parameters and buffers"
        yield Finding(detail, method_line(case.stage))


def repeatable(case: Case) -> Iterator[Finding]:
    """Two trainings from one seed agree in every bit, and so do losses whatever was pulled before."""
    told = _difference(case.trained.result, case.train().result)
    if told:
        yield Finding(f"two trainings from the same seed differ: {told}", method_line(case.stage))
        return
    values = []
    for pulled in (False, True):
        module = case.module()
        step = LiveStep(module, case.batch(), case.moment())
        if pulled:
            for view in [step.teacher()] if module.teacher is not None else []:
                _ = view.tokens
            _ = step.student().tokens
        values.append({name: value.item() for name, value in own_terms(module, step).items()})
    for name, value in values[0].items():
        if values[1].get(name) != value:
            detail = f"term {name!r} changes from {value:.6g} to {values[1].get(name)} when passes were pulled before"
            yield Finding(detail, term_line(case.stage, name))


def _difference(
    one: tuple[dict[str, float], dict[str, float], dict[str, bytes]],
    other: tuple[dict[str, float], dict[str, float], dict[str, bytes]],
) -> str:
    for index, said in ((0, "the first step's"), (1, "the mean")):
        first: Mapping[str, Any] = one[index]
        second: Mapping[str, Any] = other[index]
        for name in first.keys() | second.keys():
            if first.get(name) != second.get(name):
                return f"{said} term {name!r} is {first.get(name)} or {second.get(name)}"
    for name in one[2].keys() | other[2].keys():
        if one[2].get(name) != other[2].get(name):
            return f"{name} ends with other values"
    return ""


def clean_hands(case: Case) -> Iterator[Finding]:
    """Loss and after_backward draw from no global generator and write into nothing they were given."""
    module = case.module()
    step = WatchedStep(module, case.batch(), case.moment())
    drawn = Watch(case.subject, lambda: {**generators(), **step.probe()})
    with drawn.running():
        returned = own_terms(module, step)
    yield from _dirt(drawn, "the loss", "loss", case)
    if drawn.found:
        return  # a tensor that was written to breaks the backward pass
    torch.autograd.backward(torch.stack([*task_term(module, step).values(), *returned.values()]).sum())
    later = Watch(case.subject, drawn.probe)
    with later.running(), torch.no_grad():
        module.stage.after_backward(step)
    yield from _dirt(later, "after_backward", "after_backward", case)


def _dirt(watch: Watch, who: str, function: str, case: Case) -> Iterator[Finding]:
    for name, where in watch.found.items():
        line = where or method_line(case.stage, function)
        if name in ("torch", "numpy", "random"):
            yield Finding(f"{who} draws from the global generator of {name}; use step.random or step.rng", line)
        else:
            yield Finding(f"{who} writes into {name}; work on a copy", line)


def half_precision(case: Case) -> Iterator[Finding]:
    """Terms and gradients are finite where passes run in bf16."""
    module = case.module("bf16-mixed")
    step = LiveStep(module, case.batch(), case.moment())
    returned = own_terms(module, step)
    faults = list(_faults(case.stage, returned, "a batch in bf16-mixed precision", strict=False))
    yield from faults
    if not faults:
        torch.autograd.backward(torch.stack([*task_term(module, step).values(), *returned.values()]).sum())
        bad = [n for n, p in module.named_parameters() if p.grad is not None and not torch.isfinite(p.grad).all()]
        if bad:
            detail = f"the gradient of {bad[0]} is not finite in bf16-mixed precision"
            yield Finding(detail, method_line(case.stage))


def has_batch_norm(module: nn.Module) -> bool:
    """Whether a module holds a BatchNorm layer that is in training mode."""
    return any(isinstance(part, _BatchNorm) and part.training for part in module.modules())


def micro_batches(case: Case) -> Iterator[Finding]:
    """One batch gives the gradients of two micro-batches, unless the stage says that it mixes samples."""
    if has_batch_norm(case.module().student):
        yield Finding("the student has BatchNorm, which sees each micro-batch alone", "", "skipped")
        return

    def each(turn: int) -> None:
        torch.manual_seed(seed_of(SEED, case.stage.name, 0, turn))

    results = []
    for size in (BATCH, BATCH // 2):
        pieces = first_batches(case.pair, case.stage, "none", BATCH, size)
        results.append(gradients(case.module(), pieces, case.moment(), each))
    apart, whose = disagreement(*results)
    if apart > TOLERANCE and not case.stage.mixes_batch:
        what, where = _mixed_terms(case)
        detail = (
            f"one batch of {BATCH} and two micro-batches of {BATCH // 2} disagree in the gradient of {whose} by "
            f"{apart:.1e} of the largest: {what}; declare mixes_batch = True where that is meant"
        )
        yield Finding(detail, where)


def _mixed_terms(case: Case) -> tuple[str, str]:
    """Say which terms of a batch are not the mean of those of its micro-batches, and the line of the first."""
    values: list[dict[str, float]] = []
    for size in (BATCH, BATCH // 2):
        module, sums = case.module(), dict[str, float]()
        pieces = first_batches(case.pair, case.stage, "none", BATCH, size)
        for piece in pieces:
            for name, value in own_terms(module, LiveStep(module, piece, case.moment())).items():
                sums[name] = sums.get(name, 0.0) + value.item() / len(pieces)
        values.append(sums)
    whole, parts = values
    apart = [name for name in whole if abs(whole[name] - parts.get(name, 0.0)) > TOLERANCE * abs(whole[name])]
    if has_batch_norm(case.module().stage):
        return "BatchNorm mixes images", method_line(case.stage, "__init__")
    if not apart:
        return "the loss mixes images", method_line(case.stage)
    summed = all(abs(whole[name] / parts[name] - 2) < 1e-3 for name in apart if parts.get(name))
    what = "grows with the batch, a sum over images" if summed else "mixes images"
    return f"term {apart[0]!r} {what}", term_line(case.stage, apart[0])


CHECKS: dict[str, Check] = {
    "terms": terms,
    "trained parts": trained_parts,
    "frozen parts": frozen_parts,
    "clean hands": clean_hands,
    "bf16": half_precision,
    "micro-batches": micro_batches,
    "checkpoint": checkpoint,
    "repeatable": repeatable,
}


def faults_of(case: Case, check: Check) -> Iterator[Finding]:
    """Run a check; what it raises is a finding too."""
    try:
        yield from check(case)
    except AlreadySaid:
        yield Finding("the stage cannot be trained, see above", "", "skipped")
    except (Exception, SystemExit) as error:  # a stranger's code may fail in any way; each is a verdict on it
        where = raised_at(case.subject, error) or method_line(case.stage)
        if isinstance(error, Unsupported):
            yield Finding(f"Unsupported raised in training ({error}); say it in the factory", where)
        elif isinstance(error, GkdbenchError):
            yield Finding(str(error), where)
        else:
            yield Finding(f"{type(error).__name__}: {' '.join(str(error).split())[:300]}", where)
