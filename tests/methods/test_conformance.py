"""Every installed method keeps the contract, in one process and in two; so do its other forms and combinators."""

from typing import Any

import pytest

from gkdbench.conformance import check, rank_rows
from gkdbench.spec.methods import offers

METHODS = [name for name, (offer, *_) in offers().items() if offer.kind == "method"]
COMBINED = ["decoupled(cirkd)", "decoupled(cwd)", "coupled(gkd)", "unfrozen(gkd)"]
FORMS: list[tuple[str, dict[str, Any]]] = [
    ("af_dcd", {"enhanced": True, "mask": "centre", "distance": "l2"}),
    ("cirkd", {"queue": "class_aware", "feature": "pixels"}),
    ("cwd", {"on": "features"}),
    ("cwd", {"on": "features", "adaptor": "conv", "divisor": "student"}),
    ("gkd", {"target": "mse", "masked": False, "cls": False}),
    ("tinymim", {"heads": 2, "teacher_block": 0.5}),
]


@pytest.mark.slow
@pytest.mark.parametrize("name", [*METHODS, *COMBINED])
def test_conforms(name: str) -> None:
    verdicts = check(name, ranks=False)
    assert verdicts.ok, "\n" + verdicts.table()


@pytest.mark.slow
@pytest.mark.parametrize(("name", "options"), FORMS, ids=lambda part: part if isinstance(part, str) else "")
def test_other_forms_conform(name: str, options: dict[str, Any]) -> None:
    verdicts = check(name, options=options, ranks=False)
    assert verdicts.ok, "\n" + verdicts.table()


@pytest.mark.slow
def test_two_processes_equal_one() -> None:
    names = [*METHODS, *COMBINED]
    rows = dict(zip(names, rank_rows(names), strict=True))
    assert all(rows.values())
    failed = [(name, row) for name, found in rows.items() for row in found if row.outcome == "failed"]
    assert not failed, "\n".join(f"{name}: {row.detail} ({row.where})" for name, row in failed)
