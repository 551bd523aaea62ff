"""What the images of a split hold: sizes, pixels or boxes of every class, files that cannot be read."""

import zlib
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
from pydantic import BaseModel

from gkdbench.data.dataset import Dataset, Image, LabelSpace
from gkdbench.errors import DataError
from gkdbench.spec.benchmark import Benchmark


class Reading(BaseModel):
    """What an image and its label were found to be."""

    index: int
    changed: list[int] = []
    """When its files were last changed, in nanoseconds; empty where they are not known."""
    size: tuple[int, int] | None = None
    """Height and width; None where something cannot be read."""
    content: int = 0
    """Checksum of the image's pixels."""
    classes: dict[int, int] | None = None
    """Pixels, or boxes, by class index or ignore value; None where there is no label."""
    boxes: dict[str, int] | None = None
    """How many boxes are difficult, reach beyond the image, were cut or left out; None where there are no boxes."""
    problem: str | None = None


def spread(length: int, count: int) -> list[int]:
    """Return up to `count` indices spread evenly over a split."""
    if length <= count:
        return list(range(length))
    return [int(i) for i in np.linspace(0, length - 1, count).round()]


def read(dataset: Dataset, index: int, *, labelled: bool) -> tuple[Image, Image | None]:
    """Return an image [H, W, 3] and its class indices [H, W], each file decoded once; DataError where one is bad."""
    if not labelled:
        return dataset.image(index), None
    image, raw = dataset.pair(index)
    return image, None if raw is None else dataset.mapped(raw, index)


def reading(dataset: Dataset, index: int, *, labelled: bool) -> Reading:
    """Read an image and its label, and keep what a check asks about them."""
    when = changed(dataset, index)
    try:
        image, labels = read(dataset, index, labelled=labelled)
        size = (image.shape[0], image.shape[1])
        settled = dataset.examined(index, size) if labelled else None
    except DataError as error:
        return Reading(index=index, problem=str(error))
    classes, boxes = None, None
    if settled is not None:
        classes = dict(Counter(settled.objects.labels.tolist()))
        boxes = {
            "difficult": int(settled.objects.difficult.sum()), "reaching_beyond": settled.beyond,
            "clipped": settled.clipped, "dropped": settled.dropped,
        }  # fmt: skip
    elif labels is not None:
        pixels = np.bincount(labels.ravel())
        classes = {value: int(pixels[value]) for value in np.flatnonzero(pixels).tolist()}
    content = zlib.crc32(image.tobytes())
    return Reading(index=index, changed=when, size=size, content=content, classes=classes, boxes=boxes)


def changed(dataset: Dataset, index: int) -> list[int]:
    """Return when the files of an image were last changed, in nanoseconds; empty where one is gone."""
    try:
        states = [path.stat() for path in dataset.files(index)]
    except OSError:
        return []
    return [when for state in states for when in (state.st_mtime_ns, state.st_ctime_ns)]


@dataclass
class Counts:
    """What the readings of a split add up to."""

    dataset: Dataset | None
    """None: it could not be opened, so nothing was read."""
    labels: Benchmark | LabelSpace
    readings: Sequence[Reading]

    @cached_property
    def labelled(self) -> list[Reading]:
        """Readings of images with a label."""
        return [one for one in self.readings if one.classes is not None]

    @cached_property
    def empty(self) -> list[str]:
        """Names of images without a box or labelled pixel."""
        known = range(len(self.labels.classes))
        return [self._name(one) for one in self.labelled if not any(index in known for index in one.classes or ())]

    @cached_property
    def by_class(self) -> Counter[int]:
        """Pixels, or boxes, of all images."""
        return _sum(one.classes or {} for one in self.labelled)

    @cached_property
    def boxes(self) -> Counter[str] | None:
        """How many boxes are difficult and the like; None where there are no boxes."""
        found = [one.boxes for one in self.labelled if one.boxes is not None]
        return _sum(found) if found else None

    def facts(self) -> dict[str, Any]:
        """Return it as JSON; `frequencies` are shares of the labelled pixels read."""
        known = {name: self.by_class[index] for index, name in enumerate(self.labels.classes)}
        total, boxes = sum(known.values()), self.boxes
        pixels = 0 if boxes is not None else total
        sizes = Counter(one.size for one in self.readings if one.size is not None)
        (height, width), _ = sizes.most_common(1)[0] if sizes else ((0, 0), 0)
        return {
            "images": None if self.dataset is None else len(self.dataset),
            "read": len(self.readings),
            "size": f"{width}x{height}{' and others' if len(sizes) > 1 else ''}" if sizes else "",
            "labelled": pixels / self.by_class.total() if self.labelled and boxes is None else None,
            "ignored_pixels": self.by_class[self.labels.ignore],
            "classes_seen": sum(count > 0 for count in known.values()),
            "frequencies": {name: count / pixels if pixels else 0.0 for name, count in known.items()},
            "without_labelled_pixel": len(self.empty) if boxes is None else 0,
            "boxes": None
            if boxes is None
            else {"objects": total, **boxes, "images_without_object": len(self.empty), "by_class": known},
        }

    def fault(self, name: str) -> str | None:
        """Return what is wrong with the labels that were read, of a split that needs some; None where nothing is."""
        if not self.labelled and any(one.size for one in self.readings):
            return f"{name} has no labels, and something is trained or judged with them; say where they lie"
        if len(self.empty) < max(len(self.labelled), 1):
            return None
        if self.boxes is not None:
            return f"none of the {len(self.empty)} images read, such as {self.empty[0]}, has an object of any class"
        return (
            f"none of the {len(self.empty)} labels read, such as that of {self.empty[0]}, has a pixel of any "
            "class; is this the label map of these files?"
        )

    def notes(self) -> list[str]:
        """Return what a user may want to know and need not mend."""
        said, boxes = [], self.boxes
        absent = [name for index, name in enumerate(self.labels.classes) if not self.by_class[index]]
        whole = self.dataset is not None and len(self.readings) == len(self.dataset)
        if boxes is not None and whole and absent:
            said.append(f"classes without an object: {', '.join(absent)}")
        if self.empty:
            example = f"{len(self.empty)}, such as"
            said.append(
                f"labels without a labelled pixel: {example} that of {self.empty[0]}"
                if boxes is None
                else f"images without an object: {example} {self.empty[0]}"
            )
        beyond = boxes["reaching_beyond"] if boxes else 0
        if beyond:
            said.append(f"boxes that reach up to a pixel beyond their image: {beyond}; left as they are")
        cut = [one for one in self.labelled if one.boxes and one.boxes["clipped"] + one.boxes["dropped"]]
        if boxes and cut:
            name = self._name(cut[0])
            said.append(f"boxes cut to their image: {boxes['clipped']}, dropped: {boxes['dropped']}, such as in {name}")
        return said

    def _name(self, found: Reading) -> str:
        return "" if self.dataset is None else self.dataset.name(found.index)


def _sum(counts: Iterable[dict[Any, int]]) -> Counter[Any]:
    total: Counter[Any] = Counter()
    for one in counts:
        total.update(one)
    return total
