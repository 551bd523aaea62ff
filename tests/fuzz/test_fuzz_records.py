"""Whatever stands in a record, it is read as it is or refused in one line, and no wrong score is printed."""

import copy
import json
from pathlib import Path
from typing import Any

from fuzzing import broken, damaged, fuzz, told
from hypothesis import given
from hypothesis import strategies as st

from gkdbench.errors import GkdbenchError
from gkdbench.runs.recomputed import contradiction
from gkdbench.runs.record import Record, read_record

ROOT = Path(__file__).resolve().parents[2] / "results" / "published"
RECORDS = [json.loads((path / "record.json").read_text()) for path in sorted(ROOT.iterdir())[::9]]


def outcome(content: bytes, folder: Path) -> Record | None:
    path = folder / "record.json"
    path.write_bytes(content)
    try:
        return read_record(path)
    except GkdbenchError as error:
        assert told(error).startswith(str(path))
        return None


@fuzz(150)
@given(st.sampled_from(RECORDS).flatmap(damaged))
def test_a_damaged_record(tmp_path: Path, content: Any) -> None:
    found = outcome(json.dumps(content).encode(), tmp_path)
    if found is not None:
        names = [found.run_id, *found.targets, *(stage.digest for stage in found.stages)]
        for name in names:  # each is one component of a path
            assert (tmp_path / name).resolve().parent == tmp_path.resolve() and len(name.encode()) < 256
        said = contradiction(found)
        assert said is None or ("\n" not in said and said.strip())


@fuzz(100)
@given(st.sampled_from([json.dumps(one).encode() for one in RECORDS]).flatmap(broken))
def test_a_broken_record(tmp_path: Path, content: bytes) -> None:
    outcome(content, tmp_path)


def test_records_are_read(tmp_path: Path) -> None:
    for content in RECORDS:
        assert outcome(json.dumps(copy.deepcopy(content)).encode(), tmp_path) is not None
