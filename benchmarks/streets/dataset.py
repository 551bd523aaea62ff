"""Street scenes as a dataset: drawn once, then mapped from disk."""

from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from gkdbench.data.dataset import Progress
from gkdbench.errors import UsageError
from gkdbench.identity.digest import digest
from gkdbench.readers import Dataset, Objects, Opening
from gkdbench.spec.documents import nearest

from .boxes import BOXES, OBJECT_CLASSES, BoxedSplit, boxed_split
from .cache import RenderedSplit, rendered_split
from .parts import CLASSES, IGNORE
from .reader import StreetsSplit
from .render import KINDS, RENDERER, SIZE


@dataclass(frozen=True)
class StreetsDataset(Dataset):
    """The first `count` scenes of a kind and seed."""

    cache: Path
    kind: str
    seed: int
    count: int
    labelled_with: Literal["classes", "boxes", "nothing"]

    @cached_property
    def _scenes(self) -> RenderedSplit:
        return rendered_split(self.cache, self.kind, self.seed, self.count)

    @cached_property
    def _boxes(self) -> BoxedSplit:
        return boxed_split(self.cache, self.kind, self.seed, self.count)

    def __len__(self) -> int:
        return self.count

    def name(self, index: int) -> str:
        """Return kind and number of the image."""
        return f"{self.kind}/{index}"

    def image(self, index: int) -> NDArray[np.uint8]:
        """Return the image, a view of the cache."""
        return np.asarray(self._scenes.images[index])

    def labels(self, index: int) -> NDArray[np.uint8] | None:
        """Return the class indices, a view of the cache."""
        return np.asarray(self._scenes.labels[index]) if self.labelled_with == "classes" else None

    def objects(self, index: int) -> Objects | None:
        """Return the boxes of the things that stand in the scene."""
        return self._boxes.objects(index) if self.labelled_with == "boxes" else None

    def identity(self, contents: object) -> list[object]:
        """Return what decides about the pixels, and about boxes where they are wanted."""
        boxes = ["boxes", BOXES] if self.labelled_with == "boxes" else []
        return [RENDERER, self.kind, self.seed, self.count, SIZE, *boxes]

    def digest(self, contents: object) -> str:
        """Return the digest: no file is read, so no version of reading counts."""
        return digest(self.identity(contents))

    def cut(self, limit: int | None) -> "StreetsDataset":
        """Return the first `limit` scenes."""
        return replace(self, count=min(self.count, limit or self.count))

    def prepare(self, progress: Progress | None = None) -> None:
        """Draw the scenes that are not in the cache."""
        rendered_split(self.cache, self.kind, self.seed, self.count, progress=progress)
        if self.labelled_with == "boxes":
            boxed_split(self.cache, self.kind, self.seed, self.count, progress=progress)

    @property
    def rendered(self) -> bool:
        """Whether images are drawn: they are."""
        return True

    def __getstate__(self) -> dict[str, Any]:
        # another process maps the files itself
        return {key: value for key, value in vars(self).items() if not key.startswith("_")}


def open_streets(split: StreetsSplit, opening: Opening) -> StreetsDataset:
    """Return the scenes of a split; UsageError where the renderer lacks its kind or the benchmark's classes."""
    name, labels = opening.labels.name, opening.labels
    if split.kind not in KINDS:
        raise UsageError(
            f"benchmark {name!r}: the streets renderer has no kind {split.kind!r}{nearest(split.kind, KINDS)} (known: "
            f"{', '.join(KINDS)})"
        )
    boxed = split.labels == "boxes"
    known = OBJECT_CLASSES if boxed else CLASSES
    other = list(labels.classes) != list(known) if boxed else len(labels.classes) != len(known)
    if opening.labelled and (other or labels.ignore != IGNORE or labels.label_map):
        raise UsageError(
            f"benchmark {name!r}: the streets renderer has the {len(known)} classes {', '.join(known)}, ignore "
            f"{IGNORE} and no label_map"
        )
    labelled_with = "nothing" if boxed and not opening.labelled else split.labels
    return StreetsDataset(opening.place.cache_folder(), split.kind, split.seed, split.count, labelled_with)
