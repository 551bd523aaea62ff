"""Putting a method through all checks: on every toy pair, stage by stage, then in two processes."""

import time
from collections.abc import Iterator, Mapping
from typing import Any

from lightning_fabric import Fabric

from gkdbench.conformance.case import Case, quiet_machine
from gkdbench.conformance.checks import CHECKS, Finding, faults_of
from gkdbench.conformance.factory import made_stages
from gkdbench.conformance.notes import NOTES
from gkdbench.conformance.ranks import rank_rows
from gkdbench.conformance.report import Row, Verdicts
from gkdbench.conformance.subject import Method, Subject, find_subject
from gkdbench.conformance.toys import PAIRS, ToyPair
from gkdbench.errors import Unsupported

COSTLY = frozenset({"micro-batches", "checkpoint"})
"""Checks that take long and say the same on most pairs; done on the first pairs a method serves."""
COSTLY_PAIRS = 2
BASES = frozenset({"terms", "frozen parts"})
"""Checks without which the others say nothing more."""


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
    with quiet_machine():
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


def _pair_rows(subject: Subject, pair: ToyPair, fabric: Fabric, *, first: bool, costly: bool) -> Iterator[Row]:
    try:
        stages, found = made_stages(subject, pair)
    except Unsupported as error:
        yield Row("stages", pair.name, "unsupported", str(error))
        return
    yield from _rows("stages", pair.name, "", found)
    for index, stage in enumerate(stages):
        case = Case(subject, pair, index, fabric)
        sound = True
        for name, one in CHECKS.items():
            if name in COSTLY and not costly:
                continue
            found = [Finding("the stage cannot be trained, see above", "", "skipped")]
            if sound:
                found = list(faults_of(case, one))
            yield from _rows(name, pair.name, stage.name, found)
            sound = sound and (name not in BASES or not found)
        for name, one in NOTES.items() if first and sound else ():
            for finding in faults_of(case, one):  # a note never fails: what it stumbles over is said as one
                yield Row(name, pair.name, "note", finding.detail, finding.where, stage.name)


def _rows(name: str, pair: str, stage: str, found: list[Finding]) -> Iterator[Row]:
    if not any(finding.outcome != "note" for finding in found):
        yield Row(name, pair, "passed", "", "", stage)
    for finding in found:
        yield Row(name, pair, finding.outcome, finding.detail, finding.where, stage)
