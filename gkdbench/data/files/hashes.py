"""SHA-256 of what files hold, remembered between commands: a second look reads only what changed since."""

import hashlib
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
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
        self._known: dict[Path, dict[str, str]] = {}

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
                chunk = [(member, _key(member)) for member in members[start : start + CHUNK]]
                missing = {key: member for member, key in chunk if key not in self._remembered(member)}
                read = dict(zip(missing, pool.map(_hashed, missing.values()), strict=True))
                self._keep({key: (missing[key], answer) for key, answer in read.items()})
                progress(start + len(chunk), len(members))
                yield from (read[key] if key in read else self._remembered(member)[key] for member, key in chunk)

    def _remembered(self, member: Member) -> dict[str, str]:
        """Return what is known of the files in a folder, which has a file of its own in the memory."""
        folder = member.file.parent
        if folder not in self._known:
            self._known[folder] = {} if self._fresh else self._file(folder).load()
        return self._known[folder]

    def _file(self, folder: Path) -> KeptResults:
        return KeptResults(self._folder / f"{digest(str(folder.absolute()))[:24]}.jsonl")

    def _keep(self, learnt: Mapping[str, tuple[Member, Hash]]) -> None:
        by_folder: dict[Path, list[dict[str, str]]] = {}
        for key, (member, answer) in learnt.items():
            if isinstance(answer, str) and _settled(member):
                self._remembered(member)[key] = answer
                by_folder.setdefault(member.file.parent, []).append({key: answer})
        with suppress(DataError):  # a cache that cannot be written costs time and changes no answer
            for folder, results in by_folder.items():
                self._file(folder).add(results)


def _hashed(member: Member) -> Hash:
    try:
        return hashlib.sha256(member.read()).hexdigest()
    except DataError as error:
        return error


def _key(member: Member) -> str:
    try:
        state = member.file.stat()
    except OSError:  # gone: reading it says so
        return str(member)
    return f"{member} {member.size} {state.st_ino} {state.st_size} {state.st_mtime_ns} {state.st_ctime_ns}"


def _settled(member: Member) -> bool:
    try:
        state = member.file.stat()
    except OSError:
        return False
    return time.time_ns() - max(state.st_mtime_ns, state.st_ctime_ns) > SETTLED_S * 1e9
