"""The store: run directories and stage artefacts as files, complete or not there.

    DIR/runs/<run_id>/record.json, images.parquet, curves.json, examples/
    DIR/stages/<digest>/artefact.json, encoder.safetensors, head.safetensors, log.jsonl
    DIR/stages/<digest>.unfinished/checkpoint.pt, log.jsonl

Everything in a finished artefact is written before the folder is renamed to its final name.
"""

import fcntl
import os
import shutil
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from gkdbench.errors import DataError
from gkdbench.run.files import clear_errors, make_folder, write_json
from gkdbench.run.record import Record, read_record
from gkdbench.spec.documents import read_json
from gkdbench.spec.recipe import Sight

STORE_SCHEMA = 1


@dataclass(frozen=True)
class Artefact:
    """A finished stage."""

    folder: Path
    facts: dict[str, Any]

    @property
    def encoder(self) -> Path:
        """Weights of the trained model's encoder."""
        return self.folder / "encoder.safetensors"

    @property
    def log(self) -> Path:
        """What it logged in training, as JSON lines."""
        return self.folder / "log.jsonl"

    @property
    def sight(self) -> Sight:
        """How its encoder saw images in training."""
        height, width = self.facts["size"]
        return Sight((int(height), int(width)), self.facts.get("patch"))

    @property
    def head(self) -> Path | None:
        """Weights of the head, where the stage had one."""
        path = self.folder / "head.safetensors"
        return path if path.is_file() else None


class Store:
    """A results directory."""

    def __init__(self, root: Path) -> None:
        self.root = root

    def prepare(self) -> None:
        """Create the directory, or check that it is ours and writable."""
        make_folder(self.root)
        mark = self.root / "store.json"
        if mark.is_file():
            content = read_json(mark)
            schema = content.get("schema") if isinstance(content, dict) else None
            if schema != STORE_SCHEMA:
                raise DataError(
                    f"{self.root}: results directory of schema {schema!r}; this gkdbench writes schema "
                    f"{STORE_SCHEMA}; choose another --results"
                )
            if not os.access(self.root, os.W_OK):
                raise DataError(f"{self.root}: no permission to write; choose another --results")
            return
        write_json(mark, {"schema": STORE_SCHEMA})

    def run_folder(self, run_id: str) -> Path:
        """Return the folder of a run."""
        return self.root / "runs" / run_id

    def record(self, run_id: str) -> Record | None:
        """Return a run's record, or None where there is none."""
        path = self.run_folder(run_id) / "record.json"
        return read_record(path) if path.is_file() else None

    def write_record(self, record: Record) -> Path:
        """Write a record atomically."""
        path = self.run_folder(record.run_id) / "record.json"
        write_json(path, record.model_dump(mode="json", by_alias=True))
        return path

    def artefact(self, digest: str) -> Artefact | None:
        """Return a finished stage, or None."""
        folder = self.root / "stages" / digest
        if not (folder / "artefact.json").is_file():
            return None
        return Artefact(folder, read_json(folder / "artefact.json"))

    def unfinished(self, digest: str) -> Path:
        """Return the working folder of a stage, created where needed."""
        return make_folder(self.root / "stages" / f"{digest}.unfinished")

    def finish(self, digest: str, facts: dict[str, Any]) -> Artefact:
        """Turn a working folder into a finished artefact."""
        working, final = self.unfinished(digest), self.root / "stages" / digest
        (working / "checkpoint.pt").unlink(missing_ok=True)
        write_json(working / "artefact.json", facts)
        with clear_errors(final):
            aside = final.with_suffix(".replaced")
            if final.exists():  # trained again on request: the new one takes its place
                os.replace(final, aside)
            os.replace(working, final)
            shutil.rmtree(aside, ignore_errors=True)
        return Artefact(final, facts)

    def discard_unfinished(self, digest: str) -> None:
        """Forget the checkpoint of a stage that is to be trained from its start."""
        shutil.rmtree(self.unfinished(digest))

    @contextmanager
    def locked(self, digest: str, waiting: Callable[[str], None]) -> Iterator[None]:
        """Hold a stage's lock: two runs on one store train it once, the second waits for the first."""
        folder = make_folder(self.root / "stages")
        path = folder / f"{digest}.lock"
        with clear_errors(path):
            opened = path.open("a+")
        with opened as stream:
            told = False
            while True:
                try:
                    fcntl.flock(stream, fcntl.LOCK_EX | fcntl.LOCK_NB)
                    break
                except BlockingIOError:
                    if not told:
                        waiting(f"another run is training stage {digest[:8]}; waiting for it")
                        told = True
                    time.sleep(0.5)
            try:
                yield
            finally:
                fcntl.flock(stream, fcntl.LOCK_UN)
