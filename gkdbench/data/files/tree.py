"""Searching a folder and the archives in it for paths of a template, and pairing images with labels."""

import os
import re
from collections.abc import Collection, Iterator, Mapping, Sequence
from functools import lru_cache
from pathlib import Path

from gkdbench.data.files.archives import SUFFIXES, Member, members
from gkdbench.errors import DataError
from gkdbench.spec.dataset import PLACE

Key = tuple[tuple[str, str], ...]
"""Placeholder and value, in the template's order."""
Values = Mapping[str, Collection[str]]


def archives(root: Path) -> list[Path]:
    """Return the zip and tar files directly in a folder."""
    return sorted(path for path in root.iterdir() if path.suffix.lower() in SUFFIXES and path.is_file())


def find(
    root: Path, template: str, only: Values, *, repairs: str | None = None, within: str | None = None
) -> dict[Key, Member]:
    """Return the files below a root that a template names, in order of their paths.

    Unpacked files count before those in archives; two of either that a template cannot tell apart are an error. What
    systems leave beside files (names that begin with a dot, `__MACOSX`) does not count.

    Args:
        repairs: folder or archive that is left out; see `find_repairs`.
        within: folder or archive, by its name without suffix, outside of which nothing counts.
    """
    paths = [path for path in archives(root) if path.stem != repairs and within in (None, path.stem)]
    packed = _packed(paths, template, only)
    found = {**packed, **{key: member for member, key in _unpacked(root / (within or ""), template, only)}}
    return _ordered(found)


def find_repairs(root: Path, template: str, only: Values, repairs: str) -> dict[Key, Member] | None:
    """Return the files that replace others: those in a folder or archive of this name, which may lie in any folders.

    None where there is no such folder or archive.
    """
    parts = template.split("/")
    first = next(number for number, part in enumerate(parts) if PLACE.search(part))
    tail = "/".join(parts[first:])  # of the folders before, each release has its own
    mended = [path for path in archives(root) if path.stem == repairs]
    folder = root / repairs
    if not mended and not folder.is_dir():
        return None
    pattern = _pattern(tail, anywhere=True)
    found = _packed(mended, tail, only)
    for path in sorted(path for path in folder.rglob("*") if path.is_file()):
        name = path.relative_to(folder).as_posix()
        match = pattern.match(name)
        if match is not None and not _hidden(name) and _wanted(match.groupdict(), only):
            found[tuple(match.groupdict().items())] = Member(f"{repairs}/{name}", path.stat().st_size, path)
    return _ordered(found)


def at(root: Path, paths: Collection[str]) -> dict[str, Member]:
    """Return those of some paths below a root that are there: unpacked, else in an archive in which folders may stand
    before them. DataError where an archive has two for one path.
    """
    found: dict[str, Member] = {}
    for name in paths:
        file = root / name
        if file.is_file():
            found[name] = Member(name, file.stat().st_size, file)
    missing = [name for name in paths if name not in found]
    if not missing:
        return found
    by_file: dict[str, list[str]] = {}
    for name in missing:
        by_file.setdefault(name.rpartition("/")[2], []).append(name)
    for archive in archives(root):
        for member in members(archive):
            for name in by_file.get(member.path.rpartition("/")[2], ()):
                if not f"/{member.path}".endswith(f"/{name}") or _hidden(member.path):
                    continue
                if name in found:
                    raise DataError(f"{member}: a second file for {name!r}, besides {found[name]}; keep one of them")
                found[name] = member
    return found


def values_of(root: Path, template: str, place: str) -> list[str]:
    """Return the values that a placeholder of a template has below a root, for messages."""
    return sorted({dict(key)[place] for key in find(root, template, {})})


def _ordered(found: Mapping[Key, Member]) -> dict[Key, Member]:
    return {key: found[key] for key in sorted(found, key=lambda key: tuple(value for _, value in key))}


def _hidden(name: str) -> bool:
    return any(part.startswith(".") or part == "__MACOSX" for part in name.split("/"))


def _packed(paths: Sequence[Path], template: str, only: Values) -> dict[Key, Member]:
    pattern = _pattern(template, anywhere=True)
    packed: dict[Key, Member] = {}
    for archive in paths:
        for member in members(archive):
            match = pattern.match(member.path)
            if match is None or _hidden(member.path) or not _wanted(match.groupdict(), only):
                continue
            key = tuple(match.groupdict().items())
            if key in packed:
                raise DataError(f"{member}: a second file for {_named(key)}, besides {packed[key]}; keep one of them")
            packed[key] = member
    return packed


def name_of(key: Key, only: Values) -> str:
    """Return the name of an image: the values of its placeholders that vary, joined by slashes."""
    varying = [value for place, value in key if len(only.get(place, "??")) > 1]
    return "/".join(varying or [value for _, value in key])


def _named(key: Key) -> str:
    return ", ".join(f"{place} {value!r}" for place, value in key)


def _wanted(values: Mapping[str, str], only: Values) -> bool:
    return all(values[place] in allowed for place, allowed in only.items() if place in values)


@lru_cache(maxsize=256)
def _pattern(template: str, anywhere: bool) -> re.Pattern[str]:
    pieces = PLACE.split(template)  # text, placeholder, text, ...
    body = "".join(f"(?P<{p}>[^/]+)" if i % 2 else re.escape(p) for i, p in enumerate(pieces))
    return re.compile(f"(?:.*/)?{body}$" if anywhere else f"{body}$")


def _unpacked(root: Path, template: str, only: Values) -> Iterator[tuple[Member, Key]]:
    """Walk only where the template leads, folder by folder."""
    steps = [_pattern(part, anywhere=False) for part in template.split("/")]
    literal = [None if PLACE.search(part) else part for part in template.split("/")]

    def walk(folder: Path, depth: int, key: Key, above: frozenset[tuple[int, int]]) -> Iterator[tuple[Member, Key]]:
        here = _identity(folder)
        if here in above:
            raise DataError(f"{folder}: a link to a folder that it lies in; remove the link")
        fixed, last = literal[depth], depth == len(steps) - 1
        names = [fixed] if fixed is not None else sorted(entry.name for entry in os.scandir(folder))
        for name in names:
            match = steps[depth].match(name)
            if match is None or _hidden(name) or not _wanted(match.groupdict(), only):
                continue
            path, longer = folder / name, (*key, *match.groupdict().items())
            if not last and path.is_dir():
                yield from walk(path, depth + 1, longer, above | {here})
            elif last and path.is_file():
                yield Member(path.relative_to(root).as_posix(), path.stat().st_size, path), longer

    try:
        if root.is_dir():
            yield from walk(root, 0, (), frozenset())
    except OSError as error:
        raise DataError(f"{error.filename or root}: cannot be read ({error.strerror or error})") from error


def _identity(folder: Path) -> tuple[int, int]:
    state = folder.stat()
    return state.st_dev, state.st_ino
