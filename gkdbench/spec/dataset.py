"""Datasets as data: which files there are, how images and labels pair, and what the labels' ids mean."""

import re
from collections.abc import Iterable, Iterator
from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, Field, model_validator

from gkdbench.spec.box_labels import BoxLabels
from gkdbench.spec.documents import Added, Names, Strict

Kind = Literal["ids", "colours", "red16"]
"""ids: one channel, greyscale or palette (whose colours are never looked at); colours: RGB pictures; red16: the red
channel of a picture with 16 bits per channel."""
Name = Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9_.+-]*$")]
Byte = Annotated[int, Field(ge=0, le=255)]
Colour = tuple[Byte, Byte, Byte]
Bits = Annotated[Literal[10, 12, 14, 16] | None, Added()]
"""How many bits count in images with more than 8 per channel, from the lowest; they are scaled to 8. None: such images
are refused."""
PLACE = re.compile(r"\{(\w+)\}")
"""A placeholder of a path template: stands for anything within one folder or file name."""


class Labels(Strict):
    """What label files hold, and which classes that is."""

    kind: Kind = "ids"
    classes: dict[str, list[int] | list[Colour]] = Field(min_length=1)
    """Class name -> its ids or colours; a benchmark finds its own classes by their names."""
    ignored: list[int] | list[Colour] = []
    """Ids or colours of pixels without a class."""
    others: Literal["error", "ignored"] = "error"
    """What an id or colour is that stands nowhere here."""
    other_size: Literal["error", "resize"] = "error"
    """What a label of another size than its image is; resize: brought to it by nearest neighbour."""

    @model_validator(mode="after")
    def _values(self) -> "Labels":
        wants_colours = self.kind == "colours"
        seen: set[int | Colour] = set()
        for name, value in self.values():
            if isinstance(value, tuple) != wants_colours:
                raise ValueError(f"{name or 'ignored'}: {value} is no {'colour' if wants_colours else 'id'}")
            if isinstance(value, int) and not 0 <= value <= 65535:
                raise ValueError(f"{name or 'ignored'}: id {value} is outside 0..65535")
            if value in seen:
                raise ValueError(f"{name or 'ignored'}: {value} stands for something else already")
            seen.add(value)
        return self

    def values(self) -> Iterator[tuple[str | None, int | Colour]]:
        """Yield class name, or None where ignored, and id or colour."""
        for name, members in self.classes.items():
            for member in members:
                yield name, member
        for member in self.ignored:
            yield None, member


class Half(Strict):
    """Images and labels at half size, as a study made them before it used them."""

    jpeg_quality: Annotated[int, Field(ge=1, le=100)] | None = None
    """Quality at which the halved image was stored as JPEG; None: not stored again."""


class Layout(Strict):
    """One way in which a dataset's files may lie below its root.

    Templates: `{name}` stands for part of a path within one folder; images and labels pair where all that both name is
    the same. In an archive, folders may stand before the template.
    """

    name: str
    images: str
    labels: str | None = None
    where: dict[Name, dict[str, Names]] = {}
    """Split -> placeholder -> the values it may take there."""
    means: Labels | None = None
    """What this layout's label files hold, if other than the dataset's."""
    labels_in: str | None = None
    """Folder, or archive by its name without suffix, in which labels lie; None: anywhere. For labels whose files are
    called as the images are."""
    repairs: str | None = None
    """Folder, or archive by its name without suffix, whose label files count in place of others."""
    tile: Annotated[int, Field(gt=0)] | None = None
    """Side of the square tiles that every image is cut into; the last row and column are shifted inwards."""
    half: Half | None = None
    boxes: Annotated[str | None, Added()] = None
    """Files of boxes, one per image, in place of labels."""
    bits: Bits = None
    lists: Annotated[dict[Name, str], Added()] = {}
    """Split -> template of text files that name its images, one `{stem}` per line; images that none names are of no
    such split."""

    @model_validator(mode="after")
    def _templates(self) -> "Layout":
        if self.tile is not None and self.half is not None:
            raise ValueError("a layout has tile or half, not both")
        check_templates(self.images, self.labels)
        check_templates(self.images, self.boxes, "boxes")
        if self.boxes is not None and (self.labels or self.tile or self.half):
            raise ValueError("a layout with boxes has no labels, tile or half")
        for split, template in self.lists.items():
            check_lists(f"lists.{split}", template, self.images)
            if split not in self.where:
                raise ValueError(f"lists: split {split!r} has no entry in where")
        for split, values in self.where.items():
            check_places(f"where.{split}", values, self.images)
        return self


def check_templates(images: str, labels: str | None, key: str = "labels") -> None:
    """Raise ValueError for templates that cannot be paired."""
    check_template("images", images)
    if labels is not None:
        check_template(key, labels)
        extra = set(PLACE.findall(labels)) - set(PLACE.findall(images))
        if extra:
            raise ValueError(f"{key}: placeholder {sorted(extra)[0]!r} is not in images ({images})")


def check_lists(key: str, template: str, images: str) -> None:
    """Raise ValueError for a list of images that cannot say which `{stem}` is meant."""
    inside(key, template)
    if "stem" not in PLACE.findall(images):
        raise ValueError(f"{key}: a list names images by their {{stem}}, which images lacks ({images})")
    if "stem" in PLACE.findall(template):
        raise ValueError(f"{key}: {template!r}: the stem is what a list's lines say")
    check_places(key, PLACE.findall(template), images)


def inside(key: str, path: str) -> None:
    """Raise ValueError for a path that leaves the folder it is looked for in."""
    if path.startswith("/") or "\\" in path or ".." in path.split("/"):
        raise ValueError(f"{key}: {path!r} must be a relative path without '..'")


def check_places(key: str, values: Iterable[str], images: str) -> None:
    """Raise ValueError for a placeholder that a template lacks."""
    for place in values:
        if place not in PLACE.findall(images):
            raise ValueError(f"{key}: placeholder {place!r} is not in images ({images})")


def check_template(key: str, template: str) -> None:
    """Raise ValueError for a path template that leaves its root or names a placeholder twice."""
    parts = template.split("/")
    if template.startswith("/") or ".." in parts or not PLACE.search(template):
        raise ValueError(f"{key}: {template!r} must be a relative path with at least one {{placeholder}}, without '..'")
    places = PLACE.findall(template)
    if len(set(places)) < len(places):
        raise ValueError(f"{key}: {template!r} names a placeholder twice")


def _flat(layouts: Any) -> Any:
    if not isinstance(layouts, list):
        return layouts
    return [one for entry in layouts for one in (entry if isinstance(entry, list) else [entry])]


class DatasetEntry(Strict):
    """One dataset: where it comes from, how its files lie, what its labels mean."""

    title: str
    home: str
    """Where a user gets it."""
    licence: str
    files: dict[str, str] = {}
    """Official archives and their sizes; they are read as downloaded, or unpacked."""
    roots: list[str] = Field(min_length=1)
    """Folders below the data root in which it is looked for, in this order."""
    layouts: Annotated[list[Layout], BeforeValidator(_flat)] = Field(min_length=1)
    """Looked for in this order; the first with images of the split counts. A list within the list counts as its
    members, so that entries can share some by a YAML anchor."""
    labels: Labels | None = None
    """None: unlabelled, or labelled with boxes."""
    boxes: Annotated[BoxLabels | None, Added()] = None
    """What its files of boxes hold; None: it has none."""
    counts: dict[Name, list[int]] = {}
    """Split -> images it should have; several where releases differ."""
    counts_of: dict[Name, dict[str, dict[str, int]]] = {}
    """Split -> placeholder -> value -> images it should have: of parts of a split."""
    wrong: dict[str, str] = {}
    """Path templates of files that tell of another release of a split -> what to say. Placeholders that the layouts
    restrict in that split are restricted here too."""
    notes: list[str] = []

    @model_validator(mode="after")
    def _splits(self) -> "DatasetEntry":
        for layout in self.layouts:
            for split in layout.where:
                if split not in self.counts:
                    raise ValueError(f"layout {layout.name!r}: split {split!r} has no entry in counts")
        for template in self.wrong:
            if template.startswith("/") or ".." in template.split("/"):
                raise ValueError(f"wrong: {template!r} must be a relative path without '..'")
        if self.boxes is None and any(layout.boxes for layout in self.layouts):
            raise ValueError("layouts with boxes need a section boxes that says which classes they have")
        if self.boxes is not None and (self.labels or not all(layout.boxes for layout in self.layouts)):
            raise ValueError("a dataset with boxes has no labels, and boxes in every layout")
        return self


class DatasetTable(Strict):
    """The content of a file of datasets; `shared` holds what entries refer to by YAML anchors, and is not read."""

    shared: object = None
    datasets: dict[Name, DatasetEntry] = Field(min_length=1)
