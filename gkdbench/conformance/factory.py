"""The checks of a method's factory on one toy pair: what it returns, and what it leaves alone."""

import random
from collections.abc import Iterator

import numpy as np
import torch

from gkdbench.conformance.checks import Finding
from gkdbench.conformance.subject import Subject, attribute_line, method_line, raised_at
from gkdbench.conformance.toys import SEED, ToyPair, segmentor
from gkdbench.conformance.watch import Watch, generators
from gkdbench.contract import Pair, Stage, Taps
from gkdbench.errors import GkdbenchError, Unsupported
from gkdbench.identity.digest import digest
from gkdbench.identity.stage import stage_identity
from gkdbench.run.plan import check_stages, stage_fault


def made_stages(subject: Subject, pair: ToyPair, facts: Pair) -> tuple[list[Stage], list[Finding]]:
    """Call the factory; return its stages, or none of them with what is wrong.

    Raises Unsupported where the method refuses the pair.
    """
    watch = Watch(subject, lambda: {name: state for name, state in generators().items() if name != "torch"})
    try:
        with watch.running(), torch.random.fork_rng(devices=[]):
            torch.manual_seed(SEED)
            stages = subject.factory(facts, **subject.options)
        check_stages(stages, f"method {subject.name!r}")
    except Unsupported:
        raise
    except GkdbenchError as error:
        listed = stages if isinstance(stages, list | tuple) else []
        return [], [Finding(str(error), _fault_line(listed) or raised_at(subject, error))]
    except (Exception, SystemExit) as error:  # a stranger's code may fail in any way; each is a verdict on it
        detail = f"the factory raised {type(error).__name__}: {' '.join(str(error).split())[:300]}"
        return [], [Finding(detail, raised_at(subject, error))]
    found = [
        Finding(f"the factory draws from the global generator of {name}, which no seed of a run reaches", where)
        for name, where in watch.found.items()
    ]
    if _seeds_torch(subject, facts):
        detail = "the factory seeds torch's generator itself, so runs of all seeds would start alike"
        found.append(Finding(detail, method_line(stages[0], "__init__")))
    try:
        found += _identities(subject, facts)
    except GkdbenchError as error:
        return [], [*found, Finding(str(error), method_line(stages[0], "__init__"))]
    found += [finding for stage in stages for finding in _taps(stage, pair)]
    found += _head(list(stages))
    return list(stages), found


def _fault_line(stages: list[Stage] | tuple[Stage, ...]) -> str:
    for stage in stages:
        fault = stage_fault(stage) if isinstance(stage, Stage) else None
        if fault is not None:
            return attribute_line(stage, fault[0])
    return attribute_line(stages[-1], "name") if stages and isinstance(stages[-1], Stage) else ""


def _seeds_torch(subject: Subject, facts: Pair) -> bool:
    """Whether torch's generator is left in the same state whatever the seed was."""
    left = []
    for seed in (SEED, SEED + 1):
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            subject.factory(facts, **subject.options)
            left.append(generators()["torch"])
    return bool(left[0] == left[1])


def _identities(subject: Subject, facts: Pair) -> Iterator[Finding]:
    """Yield the stages whose digest differs between two calls under one seed."""
    digests, made = [], []
    for _ in range(2):
        made = subject.stages(facts, SEED)
        digests.append([digest(stage_identity(stage)) for stage in made])
        np.random.rand(3)  # a second call finds the generators that nobody seeds elsewhere
        random.random()
    for stage, first, second in zip(made, *digests, strict=True):
        if first != second:
            detail = f"two calls of the factory under one seed give different stages {stage.name!r}"
            yield Finding(detail, method_line(stage, "__init__"))


def _taps(stage: Stage, pair: ToyPair) -> Iterator[Finding]:
    for side, taps in (("student", stage.taps_student), ("teacher", stage.taps_teacher)):
        where = attribute_line(stage, f"taps_{side}")
        if not isinstance(taps, Taps):
            yield Finding(f"taps_{side} is a {type(taps).__name__}, not Taps", where)
            continue
        encoder = segmentor(pair, side, stage.name).encoder
        for tap in (*taps.blocks, *taps.qkv):
            try:
                encoder.block_index(tap)
            except GkdbenchError as error:
                yield Finding(f"stage {stage.name!r}: {error}", where)
        if taps.qkv and not encoder.has_qkv:
            yield Finding(f"stage {stage.name!r} taps q, k, v of a {side} that has none (Side.has_qkv)", where)


def _head(stages: list[Stage]) -> Iterator[Finding]:
    last = stages[-1]
    if not last.uses_head() or not any("head" in stage.trains for stage in stages):
        detail = f"the last stage {last.name!r} leaves no trained head, so there is nothing to judge"
        yield Finding(detail, attribute_line(last, "trains"))
