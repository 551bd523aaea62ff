"""Lists of images: text files that say which of the files that a template finds are of a split."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from gkdbench.data.files.archives import Member
from gkdbench.data.files.tree import STEM, Key, Values, find, nearly, normal, values_of
from gkdbench.errors import DataError
from gkdbench.spec.dataset import PLACE

Pairs = frozenset[tuple[str, str]]


@dataclass(frozen=True)
class Listed:
    """Images that lists name, in their order."""

    template: str
    lines: Mapping[Pairs, str]
    """Values of the list's placeholders and stem -> where the line stands."""

    @property
    def stems(self) -> frozenset[str]:
        """All stems that are named."""
        return frozenset(value for pairs in self.lines for place, value in pairs if place == STEM)

    def line(self, key: Key) -> str:
        """Return where an image is named."""
        places = {*PLACE.findall(self.template), STEM}
        return self.lines[frozenset(pair for pair in key if pair[0] in places)]

    def chosen(self, images: Mapping[Key, Member], root: Path) -> dict[Key, Member]:
        """Return the images that are named, in the lists' order; DataError for one that is not there."""
        places = {*PLACE.findall(self.template), STEM}
        found: dict[Pairs, Key] = {}
        for key in images:
            pairs = frozenset(pair for pair in key if pair[0] in places)
            if pairs in found:
                raise DataError(
                    f"{images[key]}: a second image for {_stem(pairs)!r}, besides {images[found[pairs]]}; keep one of "
                    "them"
                )
            found[pairs] = key
        missing = [pairs for pairs in self.lines if pairs not in found]
        if missing:
            raise DataError(_missing(missing, self, root, images))
        return {found[pairs]: images[found[pairs]] for pairs in self.lines}


def read_lists(root: Path, template: str, only: Values, *, beside: Path | None = None, expected: str = "") -> Listed:
    """Read the lists that a template names below a root or, where it has no placeholder, beside the YAML.

    DataError where a list is not there for every value of `only`, is empty, or names an image twice; `expected` ends
    the message about a list that is not there.
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
    return Listed(template, lines)


def _lines(member: Member) -> Iterator[tuple[str, str]]:
    try:
        text = member.read().decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise DataError(f"{member}: is no text ({error}); get the list again") from error
    for number, line in enumerate(text.splitlines(), start=1):
        if line.strip() and not line.startswith("#"):
            yield f"{member}:{number}", normal(line.strip())


def _missing(missing: Sequence[Pairs], listed: Listed, root: Path, images: Mapping[Key, Member]) -> str:
    stem = _stem(missing[0])
    near = nearly(stem, {dict(key)[STEM]: member for key, member in images.items()})
    advice = "a line is the name of one image, without suffix" if near is None else f"{near} differs in case"
    return (
        f"{listed.lines[missing[0]]}: image {stem!r} not found below {root} ({len(missing)} of {len(listed.lines)} "
        f"missing); {advice}"
    )


def _stem(pairs: Pairs) -> str:
    return dict(pairs)[STEM]
