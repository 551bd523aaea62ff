"""The checks of a method's factory on one toy pair: what it returns, and what it leaves alone."""

import random
from collections.abc import Iterator
from typing import Any

import numpy as np
import torch

from gkdbench.conformance.case import generators
from gkdbench.conformance.checks import Finding, told
from gkdbench.conformance.subject import Subject, attribute_line, method_line
from gkdbench.conformance.toys import SEED, ToyPair, facts
from gkdbench.contract import Stage
from gkdbench.errors import GkdbenchError, Unsupported
from gkdbench.identity.digest import digest
from gkdbench.identity.stage import stage_identity
from gkdbench.runs.plan import check_head, check_stages, stage_fault


def made_stages(subject: Subject, pair: ToyPair) -> tuple[list[Stage], list[Finding]]:
    """Call the factory; return its stages, or none of them with what is wrong.

    Raises Unsupported where the method refuses the pair.
    """
    made = None
    try:
        made, left = _call(subject, pair, SEED)
        check_stages(made, f"method {subject.name!r}")
        check_head(made, f"method {subject.name!r}")
        found = list(_carelessness(subject, pair, made, left))
    except Unsupported:
        raise
    except (Exception, SystemExit) as error:  # a stranger's code may fail in any way; each is a verdict on it
        detail = told(error) if isinstance(error, GkdbenchError) else f"the factory raised {told(error)}"
        return [], [Finding(detail, subject.raised_at(error) or _fault_line(made))]
    return list(made), found


def _call(subject: Subject, pair: ToyPair, seed: int) -> tuple[Any, dict[str, Any]]:
    """Return what the factory returns under a seed, and the states it leaves the global generators in."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return subject.factory(facts(pair), **subject.options), generators()


def _carelessness(subject: Subject, pair: ToyPair, made: list[Stage], left: dict[str, Any]) -> Iterator[Finding]:
    line = method_line(made[0], "__init__")
    before = generators()
    _, other = _call(subject, pair, SEED + 1)
    for name in ("numpy", "random"):
        if other[name] != before[name]:
            detail = f"the factory draws from the global generator of {name}, which no seed of a run reaches"
            yield Finding(f"{detail}; draw with torch", line)
    if other["torch"] == left["torch"]:
        yield Finding("the factory seeds torch's generator itself, so runs of all seeds would start alike", line)
    digests = []
    for _ in range(2):
        digests.append([digest(stage_identity(stage)) for stage in subject.stages(facts(pair), SEED)])
        np.random.rand(3)  # a second call finds the generators that nobody seeds elsewhere
        random.random()
    for stage, first, second in zip(made, *digests, strict=True):
        if first != second:
            detail = f"two calls of the factory under one seed give different stages {stage.name!r}"
            yield Finding(f"{detail}; let the stage follow from pair, options and torch's generator", line)


def _fault_line(made: Any) -> str:
    """Return the line of the attribute that is at fault: one without a legal value, else what the last stage trains."""
    stages = [stage for stage in made if isinstance(stage, Stage)] if isinstance(made, list | tuple) else []
    for stage in stages:
        fault = stage_fault(stage)
        if fault is not None:
            return attribute_line(stage, fault[0])
    return attribute_line(stages[-1], "trains") if stages else ""
