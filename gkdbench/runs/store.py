"""The store: run directories and stage artefacts as files, complete or not there.

    DIR/runs/<run_id>/record.json, images.parquet, curves.json, examples/
    DIR/stages/<digest>/artefact.json, encoder.safetensors, head.safetensors, log.jsonl
    DIR/stages/<digest>.unfinished/checkpoint.pt, log.jsonl
    DIR/stages/<digest>.lock                             of a stage, or of a run by its digest

Everything in a finished artefact is written before the folder is renamed to its final name. artefact.json holds size
and sha256 of the other files; they are compared before weights are used.
"""

import os
import shutil
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal

from filelock import FileLock, Timeout
from pydantic import Field

from gkdbench.errors import DataError, GkdbenchError
from gkdbench.identity.digest import digest as digest_of
from gkdbench.identity.digest import file_sha256
from gkdbench.runs.files import clear_errors, make_folder, write_json
from gkdbench.runs.record import Record, read_record
from gkdbench.spec.documents import Strict, parse, read_json
from gkdbench.spec.recipe import Sight

STORE_SCHEMA = 1
ENCODER, HEAD, LOG, FACTS = "encoder.safetensors", "head.safetensors", "log.jsonl", "artefact.json"
CHECKPOINT = "checkpoint.pt"
_sound: dict[Path, tuple[tuple[int, int, int], str]] = {}
"""Sha256 of files that this process has read, with the size and times of change (ns) they had."""


class FileFacts(Strict):
    """What a file of an artefact was when it was written."""

    bytes: int
    sha256: str


class StageFacts(Strict):
    """artefact.json: what a finished stage says of itself; runs that reuse it report these figures."""

    digest: str
    parent: str | None
    stage: str
    data: list[str]
    size: Annotated[list[int], Field(min_length=2, max_length=2)]
    """Height and width of the images it trained on."""
    patch: int | None
    model: Literal["student", "teacher"]
    notes: list[str]
    torch: str
    steps: int
    images: int
    wall_s: float
    peak_gib: float
    losses: dict[str, float]
    first_losses: dict[str, float]
    student_passes: int
    teacher_passes: int
    files: dict[str, FileFacts]
    """By name."""
    own: str
    """Digest of all the rest."""

    def sealed(self) -> "StageFacts":
        """Return the facts with their own digest."""
        return self.model_copy(update={"own": digest_of(self.model_dump(mode="json", exclude={"own"}))})


@dataclass(frozen=True)
class Artefact:
    """A finished stage."""

    folder: Path
    facts: StageFacts

    @property
    def encoder(self) -> Path:
        """Weights of the trained model's encoder."""
        return self.folder / ENCODER

    @property
    def log(self) -> Path:
        """What it logged in training, as JSON lines."""
        return self.folder / LOG

    @property
    def sight(self) -> Sight:
        """How its encoder saw images in training."""
        height, width = self.facts.size
        return Sight((height, width), self.facts.patch)

    @property
    def head(self) -> Path | None:
        """Weights of the head, where the stage had one."""
        path = self.folder / HEAD
        return path if path.is_file() else None

    def check(self, *, head: bool) -> None:
        """Raise DataError where the files are not those that were written; `head`: whether there must be one.

        A file is read once in a process, and again where its size or mtime has changed.
        """
        for name in (ENCODER, HEAD) if head else (ENCODER,):
            if not (self.folder / name).is_file():
                raise damaged(self.folder, f"no {name}")
        for name, written in self.facts.files.items():
            found = _now(self.folder / name)
            if found != written:
                what = f"{found.bytes} bytes" if found.bytes != written.bytes else f"sha256 {found.sha256[:12]}..."
                told = f"{written.bytes}" if found.bytes != written.bytes else f"{written.sha256[:12]}..."
                raise damaged(self.folder, f"{name} has {what}, {told} when it was written")


def damaged(folder: Path, what: str) -> DataError:
    """Return the error for a finished stage that cannot be used."""
    return DataError(f"{folder}: damaged stage: {what}")


def _now(path: Path) -> FileFacts:
    """Return what a file is now; see Artefact.check."""
    try:
        status = path.stat()
        known = _sound.get(path)
        if known is None or known[0] != (status.st_size, status.st_mtime_ns, status.st_ctime_ns):
            known = _sound[path] = ((status.st_size, status.st_mtime_ns, status.st_ctime_ns), file_sha256(path))
    except OSError as error:
        raise damaged(path.parent, f"{path.name} cannot be read ({error.strerror or error})") from error
    return FileFacts(bytes=status.st_size, sha256=known[1])


class Store:
    """A results directory."""

    def __init__(self, root: Path) -> None:
        self.root = root

    def check(self) -> None:
        """Check that the directory is ours, if it is there; nothing is written."""
        mark = self.root / "store.json"
        with clear_errors(self.root):
            if not mark.is_file():
                return
        content = read_json(mark)
        schema = content.get("schema") if isinstance(content, dict) else None
        if schema != STORE_SCHEMA:
            raise DataError(
                f"{self.root}: results directory of schema {schema!r}; this gkdbench writes schema "
                f"{STORE_SCHEMA}; choose another --results"
            )

    def prepare(self) -> None:
        """Create the directory, or check that it is ours and writable."""
        self.check()
        for folder in (self.root, self.root / "runs", self.root / "stages"):
            make_folder(folder)
            if not os.access(folder, os.W_OK):
                raise DataError(f"{folder}: no permission to write; choose another --results")
        if not (self.root / "store.json").is_file():
            write_json(self.root / "store.json", {"schema": STORE_SCHEMA})

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

    def artefact(self, digest: str, *, head: bool = False) -> Artefact | None:
        """Return a finished stage, or None where there is none.

        Raises DataError where it is damaged; `head`: whether it must have a head.
        """
        folder = self.root / "stages" / digest
        if not folder.is_dir():
            return None
        try:
            facts = parse(StageFacts, read_json(folder / FACTS), FACTS)
        except GkdbenchError as error:
            raise damaged(folder, str(error).removeprefix(f"{folder}/")) from error
        if facts.digest != digest or facts.sealed() != facts:
            raise damaged(folder, f"{FACTS} is not as it was written")
        artefact = Artefact(folder, facts)
        artefact.check(head=head)
        return artefact

    def unfinished(self, digest: str) -> Path:
        """Return the working folder of a stage, created where needed."""
        return make_folder(self.root / "stages" / f"{digest}.unfinished")

    def finish(self, digest: str, facts: Mapping[str, Any]) -> Artefact:
        """Turn a working folder into a finished artefact, in place of one that is there; the lock must be held."""
        working, final = self.unfinished(digest), self.root / "stages" / digest
        files = {name: _now(working / name) for name in (ENCODER, HEAD, LOG) if (working / name).is_file()}
        own = StageFacts(**facts, files=files, own="").sealed()
        write_json(working / FACTS, own.model_dump(mode="json"))
        with clear_errors(final):
            for path in working.iterdir():
                if path.name not in (*files, FACTS, CHECKPOINT):
                    _remove(path)
            aside = final.with_suffix(".replaced")
            _remove(aside)  # of a process that was killed right here
            if os.path.lexists(final):
                os.replace(final, aside)
            os.replace(working, final)
            _remove(final / CHECKPOINT)  # not before: a process killed in between goes on from it
            _remove(aside)
        return Artefact(final, own)

    def discard_unfinished(self, digest: str) -> None:
        """Forget the checkpoint of a stage that is to be trained from its start."""
        shutil.rmtree(self.unfinished(digest))

    @contextmanager
    def locked(self, digest: str, waiting: Callable[[], None], pause: Callable[[], None]) -> Iterator[None]:
        """Hold the lock of a stage or a run: two commands on one store do it once, the second waits for the first.

        waiting: called once where another holds it; pause: again and again while it does, and may raise.
        """
        path = make_folder(self.root / "stages") / f"{digest}.lock"
        lock = FileLock(path)
        told = False
        while not lock.is_locked:
            with clear_errors(path), suppress(Timeout):
                lock.acquire(timeout=0.5 if told else 0)
                break
            if not told:
                waiting()
                told = True
            pause()
        try:
            yield
        finally:
            lock.release()


def _remove(path: Path) -> None:
    """Remove a folder, a file or a link, whichever it is; nothing where it is not there."""
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path, ignore_errors=True)
    else:
        path.unlink(missing_ok=True)
