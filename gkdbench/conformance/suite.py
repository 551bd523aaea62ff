"""Putting a method through all checks: on every toy pair, stage by stage, then in two processes."""

import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import torch
from lightning_fabric import Fabric

from gkdbench.conformance import audit
from gkdbench.conformance.case import Case
from gkdbench.conformance.checks import CHECKS, Finding, faults_of
from gkdbench.conformance.factory import made_stages
from gkdbench.conformance.ranks import rank_rows
from gkdbench.conformance.report import Row, Verdicts
from gkdbench.conformance.subject import Method, Subject, find_subject
from gkdbench.conformance.toys import PAIRS, SEED, ToyPair
from gkdbench.conformance.watch import generators_kept
from gkdbench.errors import Unsupported

COSTLY = frozenset({"micro-batches", "checkpoint", "repeatable"})
"""Checks that take long and say the same on most pairs; done on the first pairs a method serves."""
COSTLY_PAIRS = 2
NOTES = {"scale": audit.scale, "token count": audit.token_count}


def check(method: Method, *, options: Mapping[str, Any] | None = None, ranks: bool = True) -> Verdicts:
    """Put a method through the conformance checks.

    Args:
        method: an installed method's name, PATH.py:NAME, a combinator expression, or a factory.
        options: the method's options; those left out keep their defaults.
        ranks: also compare two processes with one, which takes seconds more.

    Raises UsageError where the method or an option is not found, GkdbenchError where its file cannot be imported.
    """
    began = time.monotonic()
    subject = find_subject(method, options)
    verdicts = Verdicts(subject.name)
    with _quiet_machine():
        fabric = Fabric(accelerator="cpu", devices=1)
        served = 0
        for pair in PAIRS:
            rows = list(_pair_rows(subject, pair, fabric, first=served == 0, costly=served < COSTLY_PAIRS))
            served += not any(row.outcome == "unsupported" for row in rows)
            verdicts.rows += rows
    if not served:
        reasons = dict.fromkeys(row.detail for row in verdicts.rows)
        verdicts.rows.append(Row("pairs", "", "failed", f"no toy pair is served: {'; '.join(reasons)}"))
    elif ranks:
        verdicts.rows += rank_rows([subject])[0]
    verdicts.seconds = time.monotonic() - began
    return verdicts


def assert_conforms(method: Method, *, ranks: bool = True, **options: Any) -> None:
    """Raise AssertionError with the findings where a method fails a check; `options` are the method's own."""
    verdicts = check(method, options=options, ranks=ranks)
    assert verdicts.ok, "\n" + verdicts.table()


@contextmanager
def _quiet_machine() -> Iterator[None]:
    """One thread, so that sums come out the same, and the caller's generators left as they were."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        with generators_kept(SEED):
            yield
    finally:
        torch.set_num_threads(threads)


def _pair_rows(subject: Subject, pair: ToyPair, fabric: Fabric, *, first: bool, costly: bool) -> Iterator[Row]:
    facts = pair.facts()
    try:
        stages, found = made_stages(subject, pair, facts)
    except Unsupported as error:
        yield Row("stages", pair.name, "unsupported", str(error))
        return
    yield from _rows("stages", pair.name, "", found)
    for index, stage in enumerate(stages):
        case = Case(subject, pair, facts, index, fabric)
        chosen = {name: one for name, one in CHECKS.items() if costly or name not in COSTLY}
        sound = True
        for name, one in chosen.items():
            if sound:
                found = list(faults_of(case, one))
                yield from _rows(name, pair.name, stage.name, found)
                sound = name != "terms" or not any(finding.outcome == "failed" for finding in found)
            else:
                yield Row(name, pair.name, "skipped", "the stage has no sound terms, see above", "", stage.name)
        if first and sound:
            yield from _notes(case)


def _notes(case: Case) -> Iterator[Row]:
    named: dict[str, Callable[[Case], Iterator[Finding]]] = dict(NOTES)
    for name, one in named.items():
        for finding in faults_of(case, one):
            # a note never fails: what an audit stumbles over is said as one
            yield Row(name, case.pair.name, "note", finding.detail, finding.where, case.stage.name)


def _rows(name: str, pair: str, stage: str, found: list[Finding]) -> Iterator[Row]:
    if not any(finding.outcome != "note" for finding in found):
        yield Row(name, pair, "passed", "", "", stage)
    for finding in found:
        yield Row(name, pair, finding.outcome, finding.detail, finding.where, stage)
