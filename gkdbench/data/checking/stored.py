"""What lies behind the images of a split: files and members of archives."""

import json
from collections.abc import Iterator

from gkdbench.data.dataset import Dataset
from gkdbench.data.files.archives import Member
from gkdbench.data.files.variants import JoinedDataset
from gkdbench.spec.split import Split

Identity = tuple[object, ...]


def identity(item: Member) -> Identity:
    """Return what is equal for one and the same picture, without reading it."""
    return str(item.file), item.inside, item.offset


def stored(split: Split, dataset: Dataset) -> Iterator[tuple[str, Member]]:
    """Yield the pictures of a split, each with the definition that found it; of tiles, what they are cut from."""
    if isinstance(dataset, JoinedDataset):
        for part, inner in zip(split.pieces, dataset.parts, strict=True):
            yield from stored(part, inner)
        return
    whose = definition(split)
    yield from ((whose, member) for member in dataset.pictures())


def definition(split: Split, *, whole: bool = False) -> str:
    """Return which images and labels a split asks for, but not how many of them; `whole`: nor which part."""
    left_out = {"count", "first", *(("only", "list") if whole else ())}
    return json.dumps(split.model_dump(mode="json", exclude=left_out), sort_keys=True)
