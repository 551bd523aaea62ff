"""Images that two splits share, byte by byte: a method must not be judged on what it was trained on.

Only images of equal size in bytes are candidates, and only their SHA-256 is compared: the same photograph stored once
more, with other compression, is not recognised.
"""

import json
import random
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations

from gkdbench.data.checking.subject import Part
from gkdbench.data.dataset import Dataset
from gkdbench.data.files.archives import Member
from gkdbench.data.files.hashes import ContentHashes
from gkdbench.data.files.variants import JoinedDataset
from gkdbench.errors import DataError
from gkdbench.spec.split import Split

SAMPLED_BYTES = 256 * 2**20
"""Hashed where a sample is checked: a second or two."""

Place = tuple[str, str, int]
"""Where a picture lies: equal for one and the same, without reading it."""


@dataclass(frozen=True)
class Picture:
    """A picture of a split, and which split's definition found it."""

    file: Member
    definition: str

    @property
    def place(self) -> Place:
        """Where it lies."""
        return str(self.file.file), str(self.file.inside), self.file.offset or 0


@dataclass(frozen=True)
class Overlap:
    """Images of one split that another has too."""

    splits: tuple[str, str]
    images: int
    example: tuple[str, str]
    reason: str | None
    """Why the benchmark means it so; None: it is a mistake."""
    message: str


@dataclass(frozen=True)
class Comparison:
    """What was compared, and what is shared."""

    candidates: int
    """Images whose size in bytes is that of an image of another split."""
    compared: int
    overlaps: Sequence[Overlap]
    unreadable: Mapping[str, Sequence[str]]
    """What is wrong with files that could not be compared, by split."""


def compare(
    splits: Sequence[tuple[Part, Dataset]],
    budget: int | None,
    hashes: ContentHashes,
    pause: Callable[[], None] = lambda: None,
    progress: Callable[[int, int], None] = lambda done, total: None,
) -> Comparison:
    """Look for images that splits share; `budget`: bytes that are hashed at most, None: all candidates."""
    held = [(part, list(pictures(part.split, dataset))) for part, dataset in splits]
    candidates = _candidates([picture for _, found in held for picture in found])
    chosen = _within(candidates, budget)
    answers = hashes.each([picture.file for picture in chosen], pause, progress)
    hashed = dict(zip((picture.place for picture in chosen), answers, strict=True))
    found: dict[str, list[str]] = {}
    keyed: list[tuple[Part, dict[str | Place, Picture]]] = []
    for part, of_part in held:
        shown: dict[str | Place, Picture] = {}
        for picture in of_part:
            # a picture that is not hashed is still the same as itself
            key = hashed.get(picture.place, picture.place)
            if isinstance(key, DataError):
                found.setdefault(part.name, []).append(str(key))
            else:
                shown[key] = picture
        keyed.append((part, shown))
    overlaps = [overlap for one, other in combinations(keyed, 2) for overlap in _shared(*one, *other)]
    return Comparison(len(candidates), len(chosen), overlaps, found)


def pictures(split: Split, dataset: Dataset) -> Iterator[Picture]:
    """Yield the pictures of a split; of tiles, what they are cut from."""
    if isinstance(dataset, JoinedDataset):
        for part, inner in zip(split.pieces, dataset.parts, strict=True):
            yield from pictures(part, inner)
    else:
        whose = definition(split)
        yield from (Picture(member, whose) for member in dataset.pictures())


def definition(split: Split, *, whole: bool = False) -> str:
    """Return which images and labels a split asks for, but not how many of them; `whole`: nor which part."""
    left_out = {"count", "first", *(("only", "list") if whole else ())}
    return json.dumps(split.model_dump(mode="json", exclude=left_out), sort_keys=True)


def _candidates(found: Sequence[Picture]) -> list[Picture]:
    """Return pictures that have the size of one with another definition, in an order that is fit to be cut short.

    Sizes come in random but repeatable order, and of equal sizes equal file names together: copies often keep them.
    """
    by_size: dict[int, dict[Place, Picture]] = {}
    definitions: dict[int, set[str]] = {}
    for picture in found:
        by_size.setdefault(picture.file.size, {})[picture.place] = picture
        definitions.setdefault(picture.file.size, set()).add(picture.definition)
    sizes = sorted(size for size, alike in by_size.items() if len(alike) > 1 and len(definitions[size]) > 1)
    random.Random(0).shuffle(sizes)
    return [
        picture
        for size in sizes
        for picture in sorted(by_size[size].values(), key=lambda one: str(one.file).rpartition("/")[::-1])
    ]


def _within(candidates: list[Picture], budget: int | None) -> list[Picture]:
    left = float("inf") if budget is None else budget
    for number, picture in enumerate(candidates):
        left -= picture.file.size
        if left < 0:
            return candidates[:number]
    return candidates


def _shared(
    first: Part, one: Mapping[str | Place, Picture], second: Part, other: Mapping[str | Place, Picture]
) -> Iterator[Overlap]:
    by_reason: dict[str | None, list[tuple[str, str]]] = {}
    for key in (key for key in other if key in one):
        reason = _reason(first, second, one[key].definition == other[key].definition)
        by_reason.setdefault(reason, []).append((str(one[key].file), str(other[key].file)))
    for reason, files in by_reason.items():
        shared = f"{second.name} has {len(files)} image{'s' if len(files) > 1 else ''} of {first.name}"
        example = files[0]
        if reason is not None:
            message = f"{shared}: {reason}"
        else:
            why = "what is trained on would be judged" if first.trained != second.trained else "they would count twice"
            in_domain = {first.role, second.role} == {"train", "val"}
            meant = ", or write `in_domain: train` where that is meant" if in_domain else ""
            where = f"such as {example[1]} ({example[0]})"
            message = f"{shared}, {where}: {why}; take them out of one of the two{meant}"
        yield Overlap((first.name, second.name), len(files), example, reason, message)


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
