"""SHA-256 of stored pictures: some at once, or all of them in processes, going on where an interrupted check ended."""

import hashlib
from collections.abc import Callable, Sequence
from pathlib import Path

from gkdbench.data.checking.full_reading import CHUNK, PARALLEL_FROM, Effort
from gkdbench.data.checking.kept_results import KeptResults
from gkdbench.data.checking.reading_processes import results_of
from gkdbench.data.checking.stored import Identity, Stored, identity
from gkdbench.data.files.archives import Member
from gkdbench.errors import DataError

Fault = Callable[[Stored, str], None]
Answer = tuple[str | None, str | None]
"""SHA-256, or what is wrong."""


def hash_some(items: Sequence[Stored], pause: Callable[[], None], fault: Fault) -> dict[Identity, str]:
    """Return the hashes of pictures; `fault` is told of those that cannot be read."""
    found: dict[Identity, str] = {}
    for item in items:
        pause()
        _keep(item, _hashed(item), found, fault)
    return found


def hash_all(
    items: Sequence[Stored], kept: Path, effort: Effort, fault: Fault, progress: Callable[[int, int], None]
) -> dict[Identity, str]:
    """Return the hashes of pictures; those kept in a file count where the picture's file has not changed since."""
    results = KeptResults(kept)
    if effort.fresh:
        results.forget()
    known = results.load()
    found: dict[Identity, str] = {}
    missing: list[Member] = []
    for item in items:
        if not isinstance(item, Member):
            _keep(item, _hashed(item), found, fault)
        elif _key(item) in known:
            found[identity(item)] = known[_key(item)]
        else:
            missing.append(item)
    chunks = [missing[start : start + CHUNK] for start in range(0, len(missing), CHUNK)]
    done = len(items) - len(missing)
    workers = 1 if len(missing) < PARALLEL_FROM else effort.workers
    for chunk, answers in results_of(_hash_chunk, chunks, workers, effort.pause):
        for item, answer in zip(chunk, answers, strict=True):
            _keep(item, answer, found, fault)
        results.add({_key(item): sha} for item, (sha, _) in zip(chunk, answers, strict=True) if sha is not None)
        done += len(chunk)
        progress(done, len(items))
    return found


def _hash_chunk(chunk: list[Member]) -> tuple[list[Member], list[Answer]]:
    return chunk, [_hashed(item) for item in chunk]


def _hashed(item: Stored) -> Answer:
    try:
        return hashlib.sha256(item.read()).hexdigest(), None
    except DataError as error:
        return None, str(error)


def _keep(item: Stored, answer: Answer, found: dict[Identity, str], fault: Fault) -> None:
    sha, wrong = answer
    if sha is not None:
        found[identity(item)] = sha
    if wrong is not None:
        fault(item, wrong)


def _key(member: Member) -> str:
    try:
        changed = member.file.stat().st_mtime_ns
    except OSError:  # gone: reading it says so
        changed = 0
    return f"{member} {member.size} {changed}"
