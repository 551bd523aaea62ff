"""Two processes against one: which methods agree, and what happens to those that do not."""

from pathlib import Path

import pytest
from plugins import INIT, RETURN, TEACHER, VALUE, after, write

from gkdbench.conformance import rank_rows

PAIRWISE = "        flat = F.normalize(step.gather(student.mean(1)))\n        value = value + (flat @ flat.T).mean()\n"
RANK = "torch.distributed.get_rank() if torch.distributed.is_initialized() else 0"


@pytest.mark.slow
def test_each_method_gets_its_verdict_whatever_the_others_do(tmp_path: Path) -> None:
    changes = {
        "good": [],
        "gathers": [
            after(TEACHER, "    mixes_batch = True\n"),
            # the pairwise term alone: cosine by gathered tensors too, or one half would be the mean over ranks
            (VALUE, VALUE + PAIRWISE),
        ],
        "knows_its_rank": [after(VALUE, f"        value = value * (1 + {RANK})\n")],
        "fails_on_one_rank": [after(VALUE, f"        if {RANK}:\n            raise ValueError('not here')\n")],
        "normalises": [after(INIT, "        self.norm = nn.BatchNorm1d(3)\n")],
        "still_good": [(RETURN, RETURN)],
    }
    methods = []
    for name, made in changes.items():
        folder = tmp_path / name
        folder.mkdir()
        methods.append(write(folder, *made)[0])
    rows = dict(zip(changes, (only for (only,) in rank_rows(methods)), strict=True))
    assert {name: row.outcome for name, row in rows.items()} == {
        "good": "passed", "gathers": "passed", "knows_its_rank": "failed", "fails_on_one_rank": "failed",
        "normalises": "skipped", "still_good": "passed",
    }  # fmt: skip
    assert "two micro-batches" in rows["good"].detail and "one batch of 4" in rows["gathers"].detail
    assert "in no way" in rows["knows_its_rank"].detail
    assert "not here" in rows["fails_on_one_rank"].detail and rows["fails_on_one_rank"].where.endswith("plugin.py:26")
    assert "BatchNorm" in rows["normalises"].detail
