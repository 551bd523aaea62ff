"""Lists of images: text files that say which of the files that a template finds are of a split."""

from collections.abc import Iterator, Mapping
from pathlib import Path

from gkdbench.data.files.archives import Member
from gkdbench.data.files.tree import STEM, Key, Values, find, nearly, normal, values_of
from gkdbench.errors import DataError
from gkdbench.spec.dataset import PLACE

Pairs = frozenset[tuple[str, str]]


def chosen_by_lists(
    images: Mapping[Key, Member],
    root: Path,
    template: str,
    only: Values,
    *,
    beside: Path | None = None,
    expected: str = "",
) -> dict[Key, Member]:
    """Return those of the images below a root that lists name, in the lists' order; DataError for one not there."""
    lines = _read(root, template, only, beside, expected)
    places = {*PLACE.findall(template), STEM}
    found: dict[Pairs, Key] = {}
    for key, image in images.items():
        pairs = frozenset(pair for pair in key if pair[0] in places)
        if pairs in found:
            other = images[found[pairs]]
            raise DataError(f"{image}: a second image for {dict(pairs)[STEM]!r}, besides {other}; keep one of them")
        found[pairs] = key
    missing = [pairs for pairs in lines if pairs not in found]
    if missing:
        stem = dict(missing[0])[STEM]
        near = nearly(stem, {dict(key)[STEM]: member for key, member in images.items()})
        advice = "a line is the name of one image, without suffix" if near is None else f"{near} differs in case"
        raise DataError(
            f"{lines[missing[0]]}: image {stem!r} not found below {root} ({len(missing)} of {len(lines)} missing); "
            f"{advice}"
        )
    return {found[pairs]: images[found[pairs]] for pairs in lines}


def _read(root: Path, template: str, only: Values, beside: Path | None, expected: str) -> dict[Pairs, str]:
    """Return values of the lists' placeholders and stem -> where the line stands.

    The lists lie below a root or, where the template has no placeholder, beside the YAML. DataError where one is not
    there for every value of `only`, is empty, or names an image twice; `expected` ends the message about one that is
    not there.
    """
    found = find(root, template, only)
    own = None if beside is None or PLACE.search(template) else beside / template
    if not found and own is not None and own.is_file():
        found = {(): Member(template, own.stat().st_size, own)}
    for place in PLACE.findall(template):
        have = {dict(key)[place] for key in found}
        lacking = [value for value in only.get(place, ()) if value not in have]
        if lacking:
            there = values_of(root, template, place)
            raise DataError(
                f"{root}: no list {template} with {place} {' or '.join(lacking)}{expected}; "
                + (f"there it is {', '.join(there[:8])}" if there else "there is none at all")
            )
    if not found:
        beside_it = "" if own is None else f" (nor {own})"
        raise DataError(f"{root / template}: list of images not found{beside_it}{expected}")
    lines: dict[Pairs, str] = {}
    for key, member in found.items():
        for where, stem in _lines(member):
            pairs = frozenset((*key, (STEM, stem)))
            if pairs in lines:
                raise DataError(f"{where}: names {stem!r} a second time, after {lines[pairs]}; take one of them out")
            lines[pairs] = where
        if not any(pairs.issuperset(key) for pairs in lines):
            raise DataError(f"{member}: the list names no image")
    return lines


def _lines(member: Member) -> Iterator[tuple[str, str]]:
    try:
        text = member.read().decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise DataError(f"{member}: is no text ({error}); get the list again") from error
    for number, line in enumerate(text.splitlines(), start=1):
        if line.strip() and not line.startswith("#"):
            yield f"{member}:{number}", normal(line.strip())
