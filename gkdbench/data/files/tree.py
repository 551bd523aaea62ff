"""Searching a folder and the archives in it for paths of a template, and pairing images with labels.

Names are compared in Unicode's normal form NFC (archives made on a Mac have another), suffixes and folders up to case:
what is nearly there is used, and two files that fall together are an error.
"""

import os
import re
from collections import Counter
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import lru_cache
from itertools import chain
from pathlib import Path
from unicodedata import normalize

from gkdbench.data.files.archives import SUFFIXES, Member, members
from gkdbench.errors import DataError
from gkdbench.spec.dataset import PLACE

Key = tuple[tuple[str, str], ...]
"""Placeholder and value, in the template's order."""
Values = Mapping[str, Collection[str]]
Spellings = Mapping[str, Mapping[str, str]]
"""Placeholder -> what a name may have there -> the value that this is."""
STEM = "stem"
"""The placeholder that a list's lines fill: of its values case counts, as two images may differ by it alone."""
_LEFT_BY_SYSTEMS = ("__macosx", "thumbs.db", "desktop.ini")


def archives(root: Path) -> list[Path]:
    """Return the zip and tar files directly in a folder."""
    found = (path for path in root.iterdir() if path.suffix.lower() in SUFFIXES and not hidden(path.name))
    return sorted(path for path in found if path.is_file())


def find(
    root: Path, template: str, only: Values, *, repairs: str | None = None, within: str | None = None
) -> dict[Key, Member]:
    """Return the files below a root that a template names, in order of their paths.

    Unpacked files count before those in archives; two of either that a template cannot tell apart are an error. What
    systems leave beside files (names that begin with a dot, `__MACOSX`, `Thumbs.db`) does not count.

    Args:
        repairs: folder or archive that is left out; see `find_repairs`.
        within: folder or archive, by its name without suffix, outside of which nothing counts.
    """
    paths = [path for path in archives(root) if path.stem != repairs and within in (None, path.stem)]
    below = template if within is None else f"{within}/{template}"
    spellings = _spellings(only)
    packed, unpacked = _in_archives(paths, template, spellings), _unpacked(root, below, spellings)
    return _ordered({**_each_once(packed), **_each_once(unpacked)})


def find_below(folder: Path, suffixes: Collection[str]) -> dict[Key, Member]:
    """Return all files of some kinds below a folder, in order of their paths; stems are paths without suffix."""
    parts = ((*os.path.splitext(member.path), member) for member in files_below(folder))
    return _each_once((((STEM, normal(path)),), member) for path, end, member in parts if end.lower() in suffixes)


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
    spellings = _spellings(only)
    unpacked = _matching(_pattern(tail, anywhere=True), files_below(folder), spellings)
    return _ordered({**_each_once(_in_archives(mended, tail, spellings)), **_each_once(unpacked)})


def files_below(folder: Path, leads: Callable[[str], bool] = lambda path: True) -> Iterator[Member]:
    """Yield all files below a folder, in order of their paths, following links.

    DataError for a link that leads back or nowhere, and for what cannot be read. leads: whether a path, which ends
    with a slash if it is a folder's, is of interest; what is not is left alone.
    """

    def walk(here: Path, before: str, above: frozenset[tuple[int, int]]) -> Iterator[Member]:
        around = _entered(here, above)
        for entry in _entries(here):
            is_folder = entry.is_dir()
            path = f"{before}{entry.name}{'/' if is_folder else ''}"
            if not leads(path):
                continue
            if is_folder:
                yield from walk(Path(entry.path), path, around)
            elif _is_file(entry):
                yield Member(path, entry.stat().st_size, Path(entry.path))

    with clear_errors(folder):
        if folder.is_dir():
            yield from walk(folder, "", frozenset())


def others_there(root: Path, template: str, only: Values) -> str:
    """Say, for a message, which other kinds of files lie where a template leads; empty where there are none."""
    folder, _, name = template.rpartition("/")
    if "any" in PLACE.findall(template):
        return ""
    every, spellings = f"{folder}/{{any}}" if folder else "{any}", _spellings(only)
    found = chain(_unpacked(root, every, spellings), _in_archives(archives(root), every, spellings))
    ends = [Path(dict(key)["any"]).suffix for key, _ in found]
    # archives beside unpacked folders were never meant
    kinds = Counter(end for end in ends if end.lower() not in (Path(name).suffix.lower(), *SUFFIXES))
    said = [f"{count} {end or 'suffixless'} file{'s' if count > 1 else ''}" for end, count in kinds.most_common(3)]
    return f"; {' and '.join(said)} {'is' if kinds.total() == 1 else 'are'} there" if said else ""


def nearly(name: str, files: Mapping[str, Member]) -> Member | None:
    """Return the file whose name is another's but for case; for messages."""
    wanted = normal(name).casefold()
    return next((member for one, member in files.items() if normal(one).casefold() == wanted), None)


def normal(name: str) -> str:
    """Return a name in the normal form in which names are compared."""
    return name if name.isascii() else normalize("NFC", name)


def at(root: Path, paths: Collection[str]) -> dict[str, Member]:
    """Return those of some paths below a root that are there: unpacked, else in an archive in which folders may stand
    before them. DataError where there are two for one path.
    """
    wanted: dict[str, dict[str, str]] = {}  # template -> stem -> path
    for path in paths:
        folder, slash, name = path.rpartition("/")
        stem, suffix = os.path.splitext(name)
        wanted.setdefault(f"{folder}{slash}{{{STEM}}}{suffix}", {})[stem] = path
    return {
        stems[dict(key)[STEM]]: member
        for template, stems in wanted.items()
        for key, member in find(root, template, {STEM: stems}).items()
    }


def values_of(root: Path, template: str, place: str) -> list[str]:
    """Return the values that a placeholder of a template has below a root, for messages."""
    return sorted({dict(key)[place] for key in find(root, template, {})})


def _ordered(found: Mapping[Key, Member]) -> dict[Key, Member]:
    return {key: found[key] for key in sorted(found, key=lambda key: tuple(value for _, value in key))}


def hidden(name: str) -> bool:
    """Say whether a path is that of what systems leave beside files."""
    return any(part.startswith(".") or part.lower() in _LEFT_BY_SYSTEMS for part in name.split("/"))


def _in_archives(paths: Sequence[Path], template: str, spellings: Spellings) -> Iterator[tuple[Key, Member]]:
    inside = (member for path in paths for member in members(path) if not hidden(member.path))
    return _matching(_pattern(template, anywhere=True), inside, spellings)


def _each_once(found: Iterable[tuple[Key, Member]]) -> dict[Key, Member]:
    once: dict[Key, Member] = {}
    for key, member in found:
        if key in once:
            alike = normal(str(member)) == normal(str(once[key]))
            form = " (their names differ in Unicode's normal form)" if alike else ""
            raise DataError(f"{member}: a second file for {_named(key)}, besides {once[key]}{form}; keep one of them")
        once[key] = member
    return once


def name_of(key: Key, only: Values) -> str:
    """Return the name of an image: the values of its placeholders that vary, joined by slashes."""
    varying = [value for place, value in key if len(only.get(place, "??")) > 1]
    return "/".join(varying or [value for _, value in key])


def _named(key: Key) -> str:
    return ", ".join(f"{place} {value!r}" for place, value in key)


def _spellings(only: Values) -> Spellings:
    found = {}
    for place, values in only.items():
        loose = {} if place == STEM else {normal(value).casefold(): value for value in values}
        found[place] = {**loose, **{normal(value): value for value in values}}
    return found


def _key(pattern: re.Pattern[str], path: str, spellings: Spellings) -> Key | None:
    """Return the key of a path; None where it is none of those looked for."""
    match = pattern.match(normal(path))
    if match is None:
        return None
    found = match.groupdict()
    for place in found.keys() & spellings.keys():
        value = found[place] if place == STEM or found[place] in spellings[place] else found[place].casefold()
        if value not in spellings[place]:
            return None
        found[place] = spellings[place][value]
    return tuple(found.items())


@lru_cache(maxsize=256)
def _pattern(template: str, anywhere: bool) -> re.Pattern[str]:
    pieces = PLACE.split(normal(template))  # text, placeholder, text, ...
    body = "".join(f"(?P<{p}>[^/]+)" if i % 2 else re.escape(p) for i, p in enumerate(pieces))
    return re.compile(f"(?:.*/)?{body}$" if anywhere else f"{body}$", re.IGNORECASE)


def _unpacked(root: Path, template: str, spellings: Spellings) -> Iterator[tuple[Key, Member]]:
    """Walk only where the template leads, folder by folder."""
    parts = template.split("/")
    steps = [_pattern("/".join(parts[: number + 1]), anywhere=False) for number in range(len(parts))]

    keys: dict[str, Key] = {}

    def leads(path: str) -> bool:
        plain = path.removesuffix("/")
        depth, deepest = plain.count("/"), len(steps) - 1
        if depth >= deepest if plain != path else depth != deepest:
            return False
        key = _key(steps[depth], plain, spellings)
        if key is not None:
            keys[path] = key
        return key is not None

    for member in files_below(root, leads):
        yield keys[member.path], member


def _matching(pattern: re.Pattern[str], found: Iterable[Member], spellings: Spellings) -> Iterator[tuple[Key, Member]]:
    for member in found:
        key = _key(pattern, member.path, spellings)
        if key is not None:
            yield key, member


def _entries(folder: Path) -> list[os.DirEntry[str]]:
    with os.scandir(folder) as entries:
        found = sorted((entry for entry in entries if not hidden(entry.name)), key=lambda entry: entry.name)
    for entry in found:
        if not entry.name.isprintable() and any("\ud800" <= letter <= "\udfff" for letter in entry.name):
            raise DataError(f"{folder}: the name {entry.name!a} is no UTF-8, which records are; rename the file")
    return found


def _entered(folder: Path, above: frozenset[tuple[int, int]]) -> frozenset[tuple[int, int]]:
    state = folder.stat()
    here = state.st_dev, state.st_ino
    if here in above:
        raise DataError(f"{folder}: a link to a folder that it lies in; remove the link")
    return above | {here}


def _is_file(entry: os.DirEntry[str]) -> bool:
    if entry.is_symlink() and not os.path.exists(entry.path):
        raise DataError(f"{entry.path}: a link that leads nowhere; mend or remove it")
    return entry.is_file()


@contextmanager
def clear_errors(folder: Path) -> Iterator[None]:
    """Raise DataError where a folder or file cannot be read."""
    try:
        yield
    except OSError as error:
        raise DataError(f"{error.filename or folder}: cannot be read ({error.strerror or error})") from error
