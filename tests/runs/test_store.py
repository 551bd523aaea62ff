"""The store: damaged stages are named and trained again or refused, and nothing of dead processes stays."""

import json
import os
import re
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from typer.testing import CliRunner

from gkdbench.cli.main import app
from gkdbench.errors import DataError
from gkdbench.runs import store as store_module
from gkdbench.runs.files import remove_temporaries, remove_temporaries_of, temporary_name


def flip(path: Path, count: int = 64) -> None:
    """Flip bytes in the middle, leaving size and mtime as they were."""
    status, content = path.stat(), bytearray(path.read_bytes())
    middle = len(content) // 2
    content[middle : middle + count] = bytes(byte ^ 0xFF for byte in content[middle : middle + count])
    path.write_bytes(content)
    os.utime(path, ns=(status.st_atime_ns, status.st_mtime_ns))
    store_module._sound.clear()  # a new process has seen nothing yet


ABSENT = object()


def edit(path: Path, **changes) -> None:
    content = {**json.loads(path.read_text()), **changes}
    path.write_text(json.dumps({key: value for key, value in content.items() if value is not ABSENT}))


DAMAGES = {
    "encoder.safetensors has sha256": lambda f: flip(f / "encoder.safetensors"),
    "head.safetensors has sha256": lambda f: flip(f / "head.safetensors"),
    "log.jsonl has 3 bytes": lambda f: (f / "log.jsonl").write_bytes(b"odd"),
    "encoder.safetensors has 0 bytes": lambda f: (f / "encoder.safetensors").write_bytes(b""),
    "no encoder.safetensors": lambda f: (f / "encoder.safetensors").unlink(),
    "no head.safetensors": lambda f: (f / "head.safetensors").unlink(),
    "key 'digest' is missing": lambda f: (f / "artefact.json").write_text("{}"),
    "artefact.json: cannot be read": lambda f: (f / "artefact.json").unlink(),
    "artefact.json:1: not valid JSON": lambda f: (f / "artefact.json").write_text(""),
    "Input should be a valid dictionary": lambda f: (f / "artefact.json").write_text("[]"),
    "key 'files' is missing": lambda f: edit(f / "artefact.json", files=ABSENT),
    "key 'steps': Input should be a valid integer": lambda f: edit(f / "artefact.json", steps="many"),
    "key 'losses'": lambda f: edit(f / "artefact.json", losses=None),
    "artefact.json is not as it was written": lambda f: edit(f / "artefact.json", losses={"task": 0.0}),
}


@pytest.fixture
def stage(do, shop):
    """A finished run's record and the folder of its one stage."""
    (record,) = do("finetune")
    return record, shop.store.root / "stages" / record.stages[0].digest


def test_every_kind_of_damage_is_named(shop, stage, tmp_path):
    _, folder = stage
    whole = shutil.copytree(folder, tmp_path / "whole")
    for what, damage in DAMAGES.items():
        damage(folder)
        with pytest.raises(DataError, match=rf"{folder}: damaged stage: .*{re.escape(what)}"):
            shop.store.artefact(folder.name, head=True)
        shutil.rmtree(folder)
        shutil.copytree(whole, folder)
        store_module._sound.clear()
        assert shop.store.artefact(folder.name, head=True).head is not None


@pytest.mark.parametrize("what", ["encoder.safetensors has sha256", "no head.safetensors", "key 'digest' is missing"])
def test_a_damaged_stage_is_trained_again_to_the_same_numbers(do, shop, stage, what):
    record, folder = stage
    good = (folder / "encoder.safetensors").read_bytes()
    DAMAGES[what](folder)
    (again,) = do("finetune", targets=("dusk",))
    told = [line for line in shop.display.said if "damaged" in line]
    assert len(told) == 1 and what in told[0] and told[0].endswith("; it is trained again")
    assert not again.stages[0].cached and again.targets["dusk"] == record.targets["dusk"]
    assert (folder / "encoder.safetensors").read_bytes() == good
    assert shop.store.artefact(folder.name, head=True).facts.losses == record.stages[0].losses
    assert sorted(path.name for path in folder.parent.iterdir() if path.suffix != ".lock") == [folder.name]


@pytest.mark.parametrize("way", ["a link to nowhere", "a link elsewhere"])
def test_what_is_no_folder_makes_room_for_a_stage(do, shop, stage, tmp_path, way):
    _, folder = stage
    elsewhere = tmp_path / "elsewhere"
    if way == "a link elsewhere":
        folder.rename(elsewhere)
        flip(elsewhere / "head.safetensors")
    else:
        shutil.rmtree(folder)
    folder.symlink_to(elsewhere)
    (again,) = do("finetune", targets=("dusk",))
    assert again.status == "done" and not again.stages[0].cached
    assert folder.is_dir() and not folder.is_symlink()
    assert elsewhere.exists() == (way == "a link elsewhere")  # the user's own folder is left to the user


def test_a_file_is_hashed_once_in_a_process_and_again_when_it_changed(shop, stage, monkeypatch):
    _, folder = stage
    read = []
    monkeypatch.setattr(store_module, "file_sha256", lambda path: read.append(path.name) or "0" * 64)
    store_module._sound.clear()
    for _ in range(2):
        with pytest.raises(DataError, match=r"encoder\.safetensors has sha256 000000000000"):
            shop.store.artefact(folder.name)
    assert read == ["encoder.safetensors"]
    os.utime(folder / "encoder.safetensors", ns=(1, 1))
    with pytest.raises(DataError):
        shop.store.artefact(folder.name)
    assert read == ["encoder.safetensors"] * 2


@pytest.mark.parametrize("damage", ["gone", "flipped"])
def test_following_the_advice_of_predict_makes_it_work(shop, stage, tiny_benchmark, tmp_path, monkeypatch, damage):
    record, folder = stage
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("GKDBENCH_DATA", str(tiny_benchmark.data_root))
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    words = ["export", record.run_id, "--results", str(shop.store.root), "--benchmark", str(tiny_benchmark.yaml)]
    if damage == "gone":
        shutil.rmtree(folder)
    else:
        flip(folder / "encoder.safetensors")
    refused = CliRunner().invoke(app, words)
    assert refused.exit_code == 3 and refused.stderr.count("\n") == 1
    assert ("are not in" if damage == "gone" else "encoder.safetensors has sha256") in refused.stderr
    advice = re.search(r"gkdbench (run .*) trains them again", refused.stderr)
    followed = CliRunner().invoke(app, [*shlex.split(advice[1]), "--device", "cpu", "--no-report"])
    assert followed.exit_code == 0, followed.stderr
    done = CliRunner().invoke(app, words)
    assert done.exit_code == 0, done.stderr


def dead_process() -> int:
    process = subprocess.Popen([sys.executable, "-c", ""])
    process.wait()
    return process.pid


def test_what_a_dead_process_left_goes_at_the_next_start_and_enters_no_artefact(do, shop):
    (record,) = do("finetune")
    root = shop.store.root
    digest = record.stages[0].digest
    shutil.rmtree(root / "stages" / digest)
    working, home = root / "stages" / f"{digest}.unfinished", root / "runs" / record.run_id
    working.mkdir()
    gone = dead_process()
    # of a lock's holder even a number that lives again is no reason to keep a file
    for number in (gone, os.getppid()):
        (working / f".checkpoint.pt.{number}.tmp").write_bytes(b"half")
        (home / f".detections.parquet.{number}.tmp").write_bytes(b"half")
        (home / "examples" / f".00-image.png.{number}.tmp").write_bytes(b"half")
    (home / "record.json").unlink()
    do("finetune")
    assert not list(root.rglob("*.tmp"))
    assert sorted(path.name for path in (root / "stages" / digest).iterdir()) == [
        "artefact.json", "encoder.safetensors", "head.safetensors", "log.jsonl"
    ]  # fmt: skip


def test_without_a_lock_nothing_of_a_living_process_is_touched(tmp_path):
    mine, other = temporary_name(tmp_path / "a.png"), tmp_path / f".a.png.{os.getppid()}.tmp"
    dead, named = tmp_path / "deep" / f".a.png.{dead_process()}.tmp", tmp_path / ".hidden.tmp"
    dead.parent.mkdir()
    for path in (mine, other, dead, named):
        path.write_bytes(b"")
    remove_temporaries(tmp_path)
    assert {path for path in (mine, other, dead, named) if path.exists()} == {mine, other, named}
    assert len(temporary_name(tmp_path / ("ä" * 127)).name.encode()) < 256


def test_beside_a_file_only_its_own_temporaries_go(tmp_path):
    dead = dead_process()
    others = [tmp_path / f".notes.{dead}.tmp", tmp_path / "deep" / f".model.onnx.{dead}.tmp"]
    own = tmp_path / f".model.onnx.{dead}.tmp"
    (tmp_path / "deep").mkdir()
    for path in (own, *others):
        path.write_bytes(b"")
    remove_temporaries_of(tmp_path / "model.onnx")
    assert not own.exists() and all(path.exists() for path in others)


def test_equal_runs_at_once_are_done_once(do, shop):
    """The second finds the lock held, then the first one's record; a run that is done is not begun again."""
    (record,) = do("finetune")
    path = shop.store.run_folder(record.run_id) / "record.json"
    text = path.read_text()
    path.unlink()
    waited = []

    def first_finishes() -> None:
        waited.append(True)
        path.write_text(text)
        holder.__exit__(None, None, None)

    holder = shop.store.locked(record.digest, lambda: None, lambda: None)
    holder.__enter__()
    shop.stop.check = first_finishes
    (second,) = do("finetune")
    assert second == record and waited == [True] and shop.display.begun == []
    assert any(line.startswith(f"another command is at run {record.run_id}") for line in shop.display.said)


@pytest.mark.parametrize(("odd", "message"), [("stages", "a file is in the way"), ("runs", "a file is in the way")])
def test_a_file_in_the_place_of_a_folder_is_said_before_any_work(shop, odd, message):
    folder = shop.store.root / odd
    shutil.rmtree(folder)
    folder.write_text("")
    with pytest.raises(DataError, match=rf"results/{odd}: {message}"):
        shop.store.prepare()


def test_a_lock_that_is_a_folder_is_said(do, shop, stage):
    _, folder = stage
    shutil.rmtree(folder)
    lock = folder.with_suffix(".lock")
    lock.unlink()
    lock.mkdir()
    with pytest.raises(DataError, match=r"\.lock: a folder is in the way of a file"):
        do("finetune", targets=("dusk",))
