"""SHA-256 of what files hold, remembered between commands: a second look reads only what changed since."""

import hashlib
import os
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path

from gkdbench.data.files.archives import Member
from gkdbench.data.kept_results import KeptResults
from gkdbench.errors import DataError
from gkdbench.spec.digest import digest

CHUNK = 256
"""Files between two looks at whether the work is to stop; what is hashed by then is kept."""
SETTLED_S = 2.0
"""A file that changed less than this ago may change again within one tick of its clock, and is not remembered."""

Contents = Callable[[Sequence[Member]], Sequence[str | int]]
"""What tells the contents of files apart."""
Hash = str | DataError
"""Of one file; or why it cannot be read."""


class ContentHashes:
    """Hashes of files and members of archives; `folder`: where they are remembered.

    Path, size, inode and both times of a file's change say whether it is the one that was hashed. These are the
    memory's alone: digests are made of content, so that data may be copied and moved.
    """

    def __init__(self, folder: Path, *, fresh: bool = False) -> None:
        self._folder, self._fresh = folder, fresh

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
        if not members:
            return
        memory = KeptResults(self._folder / f"{digest(_common(members))[:24]}.jsonl")
        known = {} if self._fresh else memory.load()
        with ThreadPoolExecutor() as pool:  # reading, unpacking and hashing all leave other threads alone
            for start in range(0, len(members), CHUNK):
                pause()
                chunk = members[start : start + CHUNK]
                keys = [_key(member) for member in chunk]
                missing = [member for member, key in zip(chunk, keys, strict=True) if key not in known]
                read = pool.map(_hashed, missing)
                answers = [known[key] if key in known else next(read) for key in keys]
                fresh = [
                    {key: answer}
                    for member, key, answer in zip(chunk, keys, answers, strict=True)
                    if key not in known and isinstance(answer, str) and _settled(member)
                ]
                with suppress(DataError):  # a cache that cannot be written costs time and changes no answer
                    memory.add(fresh)
                progress(start + len(chunk), len(members))
                yield from answers


def _common(members: Sequence[Member]) -> str:
    return os.path.commonpath([str(member.file.absolute()) for member in members])


def _hashed(member: Member) -> Hash:
    try:
        return hashlib.sha256(member.read()).hexdigest()
    except DataError as error:
        return error


def _key(member: Member) -> str:
    try:
        state = member.file.stat()
    except OSError:  # gone: reading it says so
        return ""
    return f"{member} {member.size} {state.st_ino} {state.st_size} {state.st_mtime_ns} {state.st_ctime_ns}"


def _settled(member: Member) -> bool:
    try:
        state = member.file.stat()
    except OSError:
        return False
    return time.time_ns() - max(state.st_mtime_ns, state.st_ctime_ns) > SETTLED_S * 1e9
