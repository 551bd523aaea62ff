"""Notes that never fail a method: how large its terms are beside the task loss, and how they grow with the grid."""

from collections.abc import Iterator
from dataclasses import replace

from torch import Tensor

from gkdbench.conformance.case import Case, own_terms, task_term
from gkdbench.conformance.checks import Check, Finding, gradients
from gkdbench.conformance.subject import method_line, term_line
from gkdbench.errors import Unsupported

GROWTH = 1.5


def scale(case: Case) -> Iterator[Finding]:
    """Yield step 0's terms: value and gradient at the encoder's output, both beside those of the task loss."""
    module = case.module()
    step = case.step(module, "none")
    tokens = step.student().features.tokens
    task = task_term(module, step).get("task")
    returned = own_terms(module, step)
    learning = [parameter for parameter in module.student.parameters() if parameter.requires_grad]
    parts = [] if task is None else [f"task {task.item():.3g}"]
    for name, value in returned.items():
        compared = []
        if task is not None:
            compared.append(f"{value.item() / task.item():.2g} of the task's value")
            slope, task_slope = _slope(value, tokens), _slope(task, tokens)
            if slope and task_slope:
                compared.append(f"{slope / task_slope:.2g} of its gradient at the encoder's output")
        if not gradients(value, learning):
            compared.append("none of its gradient reaches the student")
        parts.append(f"{name} {value.item():.3g}" + (f" ({', '.join(compared)})" if compared else ""))
    if returned:
        yield Finding("at step 0: " + "; ".join(parts), method_line(case.stage), "note")


def _slope(value: Tensor, tokens: Tensor) -> float:
    """Return the norm of d value / d tokens; 0 where value does not come from those tokens."""
    return sum(float(found.norm()) for found in gradients(value, [tokens]))


def token_count(case: Case) -> Iterator[Finding]:
    """Yield the terms that change with the number of tokens: twice the grid in each direction, features alike."""
    values = []
    try:
        for pair in (case.pair, case.pair.larger()):
            each = replace(case, pair=pair)
            module = each.module()
            step = each.step(module, "none")
            values.append({name: value.item() for name, value in own_terms(module, step).items()})
    except Unsupported as error:
        yield Finding(f"no larger grid to compare with: {error}", "", "note")
        return
    for name, small in values[0].items():
        ratio = values[1].get(name, small) / small if small else 1.0
        if ratio > GROWTH or 0 < ratio < 1 / GROWTH:
            why = ": a sum over tokens" if 3.2 < ratio < 5 else ""
            detail = f"term {name!r} becomes {ratio:.2g}x with 4x tokens{why}"
            yield Finding(detail, term_line(case.stage, name), "note")


NOTES: dict[str, Check] = {"scale": scale, "token count": token_count}
