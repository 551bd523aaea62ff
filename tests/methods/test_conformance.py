"""Every installed method keeps the contract, in one process and in two."""

import pytest

from gkdbench.conformance import check, rank_rows
from gkdbench.spec.method_names import offers

METHODS = sorted(offers())


@pytest.mark.slow
@pytest.mark.parametrize("name", METHODS)
def test_conforms(name: str) -> None:
    verdicts = check(name, ranks=False)
    assert verdicts.ok, "\n" + verdicts.table()


@pytest.mark.slow
def test_two_processes_equal_one() -> None:
    rows = dict(zip(METHODS, rank_rows(METHODS), strict=True))
    assert all(rows.values())
    failed = [(name, row) for name, found in rows.items() for row in found if row.outcome == "failed"]
    assert not failed, "\n".join(f"{name}: {row.detail} ({row.where})" for name, row in failed)
