"""Files whole or not at all, and what a full disk says."""

import errno
import shutil
from types import SimpleNamespace

import pytest

from gkdbench.errors import DataError
from gkdbench.run.files import need_space, write_atomically, write_json


def test_a_failed_write_leaves_the_old_content_and_no_rubble(tmp_path):
    path = tmp_path / "record.json"
    write_json(path, {"a": 1})
    old = path.read_text()

    def fails(stream):
        stream.write(b"half")
        raise OSError(errno.ENOSPC, "No space left on device")

    with pytest.raises(DataError, match=r"record\.json: the disk is full; free some space and repeat"):
        write_atomically(path, fails)
    assert path.read_text() == old and [p.name for p in tmp_path.iterdir()] == ["record.json"]


def test_not_a_number_never_enters_a_record(tmp_path):
    with pytest.raises(ValueError):
        write_json(tmp_path / "record.json", {"a": float("nan")})
    assert not list(tmp_path.iterdir())


def test_too_little_space_is_said_before_work_starts(tmp_path, monkeypatch):
    monkeypatch.setattr(shutil, "disk_usage", lambda _: SimpleNamespace(free=3 * 2**20))
    need_space(tmp_path / "not" / "there", 2**20)
    with pytest.raises(DataError, match="3 MiB free, 10 MiB needed"):
        need_space(tmp_path / "not" / "there", 10 * 2**20)


def test_a_stage_that_does_not_fit_the_disk_fails_and_keeps_the_finished_ones(do, shop, monkeypatch):
    do("gkd")
    monkeypatch.setattr(shutil, "disk_usage", lambda _: SimpleNamespace(free=2**10))
    with pytest.raises(DataError, match="MiB needed"):
        do("gkd", options=("recipe.task.steps=3",))
    monkeypatch.undo()
    (record,) = do("gkd", options=("recipe.task.steps=3",))
    assert [stage.cached for stage in record.stages] == [True, True, False]
