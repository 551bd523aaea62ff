"""Files whole or not at all, and what a full disk says."""

import errno
import json
import os
import shutil
import socket
import stat
from pathlib import Path
from types import SimpleNamespace

import pytest
from typer.testing import CliRunner

from gkdbench.cli.main import app
from gkdbench.errors import DataError, UsageError
from gkdbench.runs.files import need_space, write_atomically, write_json


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


@pytest.fixture
def others(tmp_path):
    """Return what is no regular file, by its name in a message."""
    (tmp_path / "a folder").mkdir()
    os.mkfifo(tmp_path / "a pipe")
    (tmp_path / "a symbolic link").symlink_to(tmp_path / "kept")
    (tmp_path / "kept").write_text("kept")
    with socket.socket(socket.AF_UNIX) as opened:
        opened.bind(str(tmp_path / "a device or socket"))
    return {path.name: path for path in tmp_path.iterdir() if path.name != "kept"}


def test_output_takes_the_place_of_regular_files_alone(others):
    assert len(others) == 4
    for kind, path in [*others.items(), ("a device or socket", Path("/dev/null"))]:
        before = path.lstat()
        for write in (write_json, lambda path, content: write_atomically(path, lambda stream: stream.write(b"x"))):
            with pytest.raises(UsageError) as caught:
                write(path, {})
            assert str(caught.value).startswith(f"{path}: {kind}, and output takes the place of regular files alone")
        after = path.lstat()
        assert (after.st_mode, after.st_ino, after.st_rdev) == (before.st_mode, before.st_ino, before.st_rdev)
        assert not list(path.parent.glob(".*.tmp"))
    assert (others["a folder"].parent / "kept").read_text() == "kept"


def test_a_file_below_a_linked_folder_is_written_where_the_link_leads(tmp_path):
    (tmp_path / "real").mkdir()
    (tmp_path / "link").symlink_to(tmp_path / "real")
    write_json(tmp_path / "link" / "a.json", [1])
    write_json(tmp_path / "link" / "a.json", [2])
    assert json.loads((tmp_path / "real" / "a.json").read_text()) == [2] and (tmp_path / "link").is_symlink()


def test_pipes_and_links_stay_as_they_are_under_every_command_that_writes(others, tmp_path):
    link, pipe = others["a symbolic link"], others["a pipe"]
    for path in (link, pipe):
        done = CliRunner().invoke(app, ["compare", "a.json", "b.json", "--html", str(path)])
        assert done.exit_code == 2 and str(path) in done.output
        sheet = CliRunner().invoke(app, ["check", "data", "streets", "--out", str(path)])
        assert sheet.exit_code == 2 and str(path) in sheet.output
    assert link.is_symlink() and stat.S_ISFIFO(pipe.lstat().st_mode)
    out = tmp_path / "report"
    out.mkdir()
    (out / "published.csv").symlink_to(tmp_path / "kept")
    done = CliRunner().invoke(app, ["report", "--paper-only", "--format", "csv", "--out", str(out)])
    assert done.exit_code == 2 and "published.csv: a symbolic link" in done.output
    assert (tmp_path / "kept").read_text() == "kept"


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
