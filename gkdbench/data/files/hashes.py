"""SHA-256 of what files hold, remembered between commands: a second look reads only what changed since."""

import hashlib
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from functools import cache, cached_property
from pathlib import Path

from gkdbench.data.files.archives import Member
from gkdbench.errors import DataError

CHUNK = 256
"""Files between two looks at whether the work is to stop; what is hashed by then is kept."""
SETTLED_S = 2.0
"""A file that changed less than this ago may change again within one tick of its clock, and is not remembered."""

Contents = Callable[[Sequence[Member]], Sequence[str | int]]
"""What tells the contents of files apart."""
Hash = str | DataError
"""Of one file; or why it cannot be read."""


class ContentHashes:
    """Hashes of files and members of archives; `folder`: where they are remembered, one a line.

    Path, size, inode and both times of a file's change say whether it is the one that was hashed. These are the
    memory's alone: digests are made of content, so that data may be copied and moved.
    """

    def __init__(self, folder: Path, *, fresh: bool = False) -> None:
        self._file, self._fresh = folder / "sha256.txt", fresh

    @cached_property
    def _known(self) -> dict[str, str]:
        return {} if self._fresh else _remembered(self._file)

    def identities(self, members: Sequence[Member]) -> list[str | int]:
        """Return what tells contents apart: the checksum that a zip states, else the hash.

        DataError for the first file that cannot be read.
        """
        hashes = self.each([member for member in members if member.crc is None])
        found: list[str | int] = []
        for member in members:
            one = next(hashes) if member.crc is None else member.crc
            if isinstance(one, DataError):
                raise one
            found.append(one)
        return found

    def each(
        self,
        members: Sequence[Member],
        pause: Callable[[], None] = lambda: None,
        progress: Callable[[int, int], None] = lambda done, total: None,
    ) -> Iterator[Hash]:
        """Yield the hash of every file, in order; `pause` is called now and then, and may raise."""
        with ThreadPoolExecutor() as pool:  # reading, unpacking and hashing all leave other threads alone
            for start in range(0, len(members), CHUNK):
                pause()
                chunk = members[start : start + CHUNK]
                states = [_state(member) for member in chunk]
                missing = {
                    key: member for (key, _), member in zip(states, chunk, strict=True) if key not in self._known
                }
                read = dict(zip(missing, pool.map(_hashed, missing.values()), strict=True))
                self._keep({key: read[key] for key, settled in states if settled and key in read})
                progress(start + len(chunk), len(members))
                yield from (read[key] if key in read else self._known[key] for key, _ in states)

    def _keep(self, learnt: dict[str, Hash]) -> None:
        kept = {key: answer for key, answer in learnt.items() if isinstance(answer, str)}
        self._known.update(kept)
        with suppress(OSError):  # a cache that cannot be written costs time and changes no answer
            self._file.parent.mkdir(parents=True, exist_ok=True)
            with self._file.open("a") as stream:
                stream.write("".join(f"\n{key} {answer}" for key, answer in kept.items()))


@cache
def _remembered(file: Path) -> dict[str, str]:
    """Return what a memory holds; what a killed process left unfinished in it does not count."""
    try:
        lines = file.read_text(errors="replace").splitlines()
    except OSError:
        return {}
    pairs = (line.partition(" ") for line in lines)
    return {key: answer for key, _, answer in pairs if len(answer) == hashlib.sha256().digest_size * 2}


def _hashed(member: Member) -> Hash:
    try:
        return hashlib.sha256(member.read()).hexdigest()
    except DataError as error:
        return error


def _state(member: Member) -> tuple[str, bool]:
    """Return what a file's hash is remembered by, and whether it may be."""
    try:
        state = member.file.stat()
    except OSError:  # gone: reading it says so
        return str(member), False
    times = state.st_mtime_ns, state.st_ctime_ns
    known_by = f"{member} {member.size} {state.st_ino} {state.st_size} {times}"
    return hashlib.sha256(known_by.encode()).hexdigest(), time.time_ns() - max(times) > SETTLED_S * 1e9
