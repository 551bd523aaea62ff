"""Images that two splits share, byte by byte: a method must not be judged on what it was trained on.

Only images of equal size in bytes are candidates, and only their SHA-256 is compared: the same photograph stored once
more, with other compression, is not recognised.
"""

import random
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations

from gkdbench.data.checking.stored import Identity, definition, identity, stored
from gkdbench.data.checking.subject import Part
from gkdbench.data.dataset import Dataset
from gkdbench.data.files.archives import Member
from gkdbench.data.files.hashes import ContentHashes
from gkdbench.errors import DataError

SAMPLED_BYTES = 256 * 2**20
"""Hashed where a sample is checked: a second or two."""

Keyed = Mapping[str | Identity, tuple[str, Member]]
Hasher = Callable[[Sequence[Member]], Mapping[Identity, str]]


@dataclass(frozen=True)
class Overlap:
    """Images of one split that another has too."""

    splits: tuple[str, str]
    images: int
    example: tuple[str, str]
    reason: str | None
    """Why the benchmark means it so; None: it is a mistake."""
    trained: bool
    """Whether one of the splits is trained on and the other judged."""
    in_domain: bool
    """Whether these are the images that are trained on with labels and the in-domain ones."""

    @property
    def message(self) -> str:
        """What there is to say."""
        first, second = self.splits
        shared = f"{second} has {self.images} image{'s' if self.images > 1 else ''} of {first}"
        if self.reason is not None:
            return f"{shared}: {self.reason}"
        why = "what is trained on would be judged" if self.trained else "they would count twice"
        meant = ", or write `in_domain: train` where that is meant" if self.in_domain else ""
        return f"{shared}, such as {self.example[1]} ({self.example[0]}): {why}; take them out of one of the two{meant}"


@dataclass(frozen=True)
class Comparison:
    """What was compared, and what is shared."""

    candidates: int
    """Images whose size in bytes is that of an image of another split."""
    compared: int
    overlaps: Sequence[Overlap]


def hash_with(
    hashes: ContentHashes,
    fault: Callable[[Member, str], None],
    pause: Callable[[], None] = lambda: None,
    progress: Callable[[int, int], None] = lambda done, total: None,
) -> Hasher:
    """Return what hashes pictures for `compare`; `fault` is told of those that cannot be read, which are left out."""

    def hashed(items: Sequence[Member]) -> dict[Identity, str]:
        found = {}
        for item, one in zip(items, hashes.each(items, pause, progress), strict=True):
            if isinstance(one, DataError):
                fault(item, str(one))
            else:
                found[identity(item)] = one
        return found

    return hashed


def compare(splits: Sequence[tuple[Part, Dataset]], budget: int | None, hasher: Hasher) -> Comparison:
    """Look for images that splits share; `budget`: bytes that are hashed at most, None: all candidates."""
    held = [list(stored(part.split, dataset)) for part, dataset in splits]
    candidates = _candidates(held)
    chosen = _within(candidates, budget)
    hashes = hasher(chosen)
    # a picture that is not hashed is still the same as itself
    keyed: list[Keyed] = [
        {hashes.get(identity(item), identity(item)): (whose, item) for whose, item in items} for items in held
    ]
    overlaps = [
        overlap
        for (first, one), (second, other) in combinations(zip((part for part, _ in splits), keyed, strict=True), 2)
        for overlap in _shared(first, one, second, other)
    ]
    return Comparison(len(candidates), len(hashes), overlaps)


def _candidates(held: Sequence[Sequence[tuple[str, Member]]]) -> list[Member]:
    """Return pictures that have the size of one with another definition, in an order that is fit to be cut short.

    Sizes come in random but repeatable order, and of equal sizes equal file names together: copies often keep them.
    """
    definitions: dict[int, set[str]] = {}
    for items in held:
        for whose, item in items:
            definitions.setdefault(item.size, set()).add(whose)
    by_size: dict[int, dict[Identity, tuple[str, Member]]] = {}
    for items in held:
        for whose, item in items:
            if len(definitions[item.size]) > 1:
                by_size.setdefault(item.size, {})[identity(item)] = (whose, item)
    sizes = sorted(size for size, group in by_size.items() if len(group) > 1)
    random.Random(0).shuffle(sizes)
    found: list[Member] = []
    for size in sizes:
        group = sorted(by_size[size].values(), key=lambda one: (str(one[1]).rpartition("/")[2], one[0], str(one[1])))
        found += [item for _, item in group]
    return found


def _within(items: list[Member], budget: int | None) -> list[Member]:
    if budget is None:
        return items
    total = 0
    for number, item in enumerate(items):
        total += item.size
        if total > budget:
            return items[:number]
    return items


def _shared(first: Part, one: Keyed, second: Part, other: Keyed) -> Iterator[Overlap]:
    by_reason: dict[str | None, list[str | Identity]] = {}
    for key in other:
        if key in one:
            by_reason.setdefault(_reason(first, second, one[key][0] == other[key][0]), []).append(key)
    for reason, keys in by_reason.items():
        example = (str(one[keys[0]][1]), str(other[keys[0]][1]))
        in_domain = {first.role, second.role} == {"train", "val"}
        trained = first.trained != second.trained
        yield Overlap((first.name, second.name), len(keys), example, reason, trained, in_domain)


def _reason(first: Part, second: Part, same: bool) -> str | None:
    if first.trained and second.trained:
        return "what is distilled on is trained on later"
    if first.trained or second.trained:
        judged = second if first.trained else first
        return "the benchmark judges images in-domain that are trained on" if judged.may_be_trained else None
    if same:
        return "both are defined by the same split"
    if first.split.catalogued and second.split.catalogued:
        parts = definition(first.split, whole=True) == definition(second.split, whole=True)
        return "both are parts of one split" if parts else None
    return None
