"""A split of files as a dataset: pairs found when it is opened, pictures decoded when they are asked for."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from gkdbench.data.dataset import Dataset
from gkdbench.data.files.archives import Member
from gkdbench.data.files.hashes import Contents
from gkdbench.data.files.label_map import LabelMap, Raw
from gkdbench.data.files.lists import chosen_by_lists
from gkdbench.data.files.pictures import read_image, read_labels, size_of
from gkdbench.data.files.tree import Key, Values, find, find_repairs, name_of, nearly, others_there
from gkdbench.errors import DataError
from gkdbench.spec.dataset import PLACE, Layout


@dataclass(frozen=True)
class FilesDataset(Dataset):
    """Pairs of image and label files, unpacked or in archives."""

    root: Path
    names: Sequence[str]
    images: Sequence[Member]
    label_files: Sequence[Member] | None
    label_map: LabelMap | None = None
    without_image: int = field(default=0, compare=False)
    """Label files that no image goes with."""
    templates: tuple[str | None, ...] = ()
    """Where images and labels lie, and how images are read: two datasets may have files of the same names and sizes."""
    bits: int | None = None
    """How many bits count in images with more than 8 per channel."""
    doubts: Sequence[str] = field(default=(), compare=False)
    """What is wrong with it as a whole."""

    def __len__(self) -> int:
        return len(self.names)

    def name(self, index: int) -> str:
        """Return the image's name: what its path has in the template's placeholders."""
        return self.names[index]

    def image(self, index: int) -> NDArray[np.uint8]:
        """Return an RGB image, uint8 [H, W, 3]."""
        return read_image(self.images[index], self.bits)

    def ids(self, index: int, size: tuple[int, int]) -> Raw | None:
        """Return a label file's content [H, W], which must be of the image's size; None for an unlabelled split."""
        if self.label_files is None or self.label_map is None:
            return None
        member = self.label_files[index]
        found = read_labels(member, self.label_map.kind)
        if found.shape == size:
            return found
        if not self.label_map.resizes:
            raise DataError(
                f"{member}: label of {found.shape[1]}x{found.shape[0]} pixels for an image of {size[1]}x{size[0]} "
                f"({self.images[index]}); get both from one release"
            )
        return brought_to(size, found)

    def pair(self, index: int) -> tuple[NDArray[np.uint8], Raw | None]:
        """Return image [H, W, 3] and label content [H, W], each decoded once; see `mapped`."""
        image = self.image(index)
        return image, self.ids(index, (image.shape[0], image.shape[1]))

    def mapped(self, raw: Raw, index: int) -> NDArray[np.uint8]:
        """Return class indices of a label's content, or of a part of it."""
        assert self.label_map is not None and self.label_files is not None
        return self.label_map.mapped(raw, str(self.label_files[index]))

    def labels(self, index: int) -> NDArray[np.uint8] | None:
        """Return class indices or the ignore value, uint8 [H, W]; None for an unlabelled split."""
        if self.label_files is None:
            return None
        raw = self.ids(index, size_of(self.images[index]))
        assert raw is not None
        return self.mapped(raw, index)

    def files(self, index: int) -> list[Path]:
        """Return the files, or archives, that an image and its label are read from."""
        return [members[index].file for members in (self.images, self.label_files) if members is not None]

    def pictures(self) -> Iterator[Member]:
        """Yield the images' files."""
        return iter(self.images)

    def identity(self, contents: Contents) -> list[object]:
        """Return what images and labels are, for a digest: names and sizes, what labels hold, and what it means."""
        images = [[name, image.size, image.crc] for name, image in zip(self.names, self.images, strict=True)]
        if self.label_files is None or self.label_map is None:
            return [self.templates, self.bits, images]
        return [self.templates, self.bits, images, contents(self.label_files), self.label_map.identity()]

    def cut(self, limit: int | None) -> "FilesDataset":
        """Return the first `limit` images."""
        part = slice(limit)
        labels = None if self.label_files is None else self.label_files[part]
        return replace(self, names=self.names[part], images=self.images[part], label_files=labels)


def brought_to(size: tuple[int, int], raw: Raw) -> Raw:
    """Return a label's content at another size: of every pixel's centre the nearest neighbour."""
    rows, columns = (
        ((np.arange(new) + 0.5) * old / new).astype(np.intp) for new, old in zip(size, raw.shape, strict=True)
    )
    found: Raw = raw[rows[:, None], columns[None]]
    return found


class NoLabels(DataError):
    """No image of a layout has a label file: perhaps another layout is meant."""


def open_files(
    root: Path,
    layout: Layout,
    only: Values,
    *,
    label_map: LabelMap | None,
    listing: str | None = None,
    expected: str = "",
) -> FilesDataset | None:
    """Open the files of a layout below a root; None where it has no image of the split.

    label_map: what label files hold; None: labels are not wanted. `expected` ends the message where an image
    has no label file (NoLabels where none has, else DataError). `listing`: template of lists that name the images.
    """
    images = find(root, layout.images, only, repairs=layout.repairs)
    if not images:
        return None
    if listing is not None:
        images = chosen_by_lists(images, root, listing, only, expected=expected)
    keys = list(images)
    label_files, without = None, 0
    if layout.labels is not None and label_map is not None:
        found = _labels(root, layout, layout.labels, only)
        label_files, without = partners(root, layout.labels, keys, found, only, expected)
    names = [name_of(key, only) for key in keys]
    templates = (layout.images, layout.labels if label_map is not None else None, layout.labels_in)
    return FilesDataset(root, names, list(images.values()), label_files, label_map, without, templates, layout.bits)


def partners(
    root: Path,
    template: str,
    keys: Sequence[Key],
    found: Mapping[Key, Member],
    only: Values,
    expected: str = "",
    *,
    what: str = "label file",
) -> tuple[list[Member], int]:
    """Return the label file, or what it is, of every image, and how many of them no image goes with.

    DataError where some are missing, NoLabels where all are; `expected` ends the message.
    """
    places = set(PLACE.findall(template))
    labels = {frozenset(key): member for key, member in found.items()}
    wanted = [frozenset(pair for pair in key if pair[0] in places) for key in keys]
    missing = [key for key, pairs in zip(keys, wanted, strict=True) if pairs not in labels]
    if missing:
        lacking = filled(template, dict(missing[0]))
        near = nearly(lacking, {filled(template, dict(key)): member for key, member in found.items()})
        there = others_there(root, template, only) if near is None else f"; {near} differs in case"
        raise (NoLabels if len(missing) == len(keys) else DataError)(
            f"{root}: no {what} for image {name_of(missing[0], only)!r} ({len(missing)} of {len(keys)} images "
            f"have none; expected {lacking}{there}){expected}; add what is missing, or take the images out"
        )
    return [labels[pairs] for pairs in wanted], len(labels.keys() - set(wanted))


def _labels(root: Path, layout: Layout, template: str, only: Values) -> dict[Key, Member]:
    found = find(root, template, only, repairs=layout.repairs, within=layout.labels_in)
    repairs = find_repairs(root, template, only, layout.repairs) if layout.repairs else None
    if repairs is None:
        return found
    if not repairs:
        raise DataError(
            f"{root / str(layout.repairs)}: holds no label file like {template!r} to put in another's place; "
            "move it away if it is something else"
        )
    places = PLACE.findall(template)
    mended = {tuple((place, dict(key)[place]) for place in places): member for key, member in repairs.items()}
    return {**found, **mended}


def filled(template: str, values: Mapping[str, str]) -> str:
    """Return a template with values in its placeholders."""
    return PLACE.sub(lambda match: values[match[1]], template)
