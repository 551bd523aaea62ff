"""Notes that never fail a method: how large its terms are beside the task loss, and how they grow with the grid."""

from collections.abc import Iterator

import torch
from torch import Tensor, nn

from gkdbench.conformance.case import Case, own_terms, task_term
from gkdbench.conformance.checks import Finding
from gkdbench.conformance.subject import method_line, term_line
from gkdbench.conformance.toys import first_batches
from gkdbench.engine.passes import LiveStep
from gkdbench.errors import Unsupported

GROWTH = 1.5


def scale(case: Case) -> Iterator[Finding]:
    """Yield step 0's terms: value and gradient at the encoder's output, both beside those of the task loss."""
    module = case.module()
    step = LiveStep(module, first_batches(case.pair, case.stage, "none")[0], case.moment())
    tokens = step.student().features.tokens
    task = task_term(module, step).get("task")
    returned = own_terms(module, step)
    if not returned:
        return
    task_slope = None if task is None else _slope(task, tokens)
    parts = [] if task is None else [f"task {task.item():.3g}"]
    for name, value in returned.items():
        said = f"{name} {value.item():.3g}"
        compared = []
        if task is not None and task.item():
            compared.append(f"{value.item() / task.item():.2g} of the task's value")
        slope = _slope(value, tokens)
        if task_slope and slope is not None:
            compared.append(f"{slope / task_slope:.2g} of its gradient at the encoder's output")
        if not _reaches(value, module.student):
            compared.append("none of its gradient reaches the student")
        parts.append(f"{said} ({', '.join(compared)})" if compared else said)
    yield Finding("at step 0: " + "; ".join(parts), method_line(case.stage), "note")


def _slope(value: Tensor, tokens: Tensor) -> float | None:
    """Return the norm of d value / d tokens; None where value does not come from those tokens."""
    if not (value.requires_grad and tokens.requires_grad):
        return None
    (found,) = torch.autograd.grad(value, tokens, retain_graph=True, allow_unused=True)
    return None if found is None else float(found.norm())


def _reaches(value: Tensor, student: nn.Module) -> bool:
    """Whether a term moves any parameter of the student: one that was detached moves none."""
    learning = [parameter for parameter in student.parameters() if parameter.requires_grad]
    if not (value.requires_grad and learning):
        return False
    found = torch.autograd.grad(value, learning, retain_graph=True, allow_unused=True)
    return any(gradient is not None for gradient in found)


def token_count(case: Case) -> Iterator[Finding]:
    """Yield the terms that change with the number of tokens: twice the grid in each direction, features alike."""
    larger = case.pair.larger()
    try:
        wide = Case(case.subject, larger, larger.facts(), case.index, case.fabric)
        values = []
        for each in (case, wide):
            module = each.module()
            step = LiveStep(module, first_batches(each.pair, each.stage, "none")[0], each.moment())
            values.append({name: value.item() for name, value in own_terms(module, step).items()})
    except Unsupported as error:
        yield Finding(f"no larger grid to compare with: {error}", "", "note")
        return
    for name, small in values[0].items():
        ratio = values[1].get(name, small) / small if small else 1.0
        if ratio > GROWTH or 0 < ratio < 1 / GROWTH:
            changes = "grows to" if ratio > 1 else "shrinks to"
            why = ": a sum over tokens" if 3.2 < ratio < 5 else ": a mean over tokens divided once more" if (
                0.2 < ratio < 0.31) else ""  # fmt: skip
            detail = f"term {name!r} {changes} {ratio:.2g}x with 4x tokens{why}"
            yield Finding(detail, term_line(case.stage, name), "note")
