"""Small imitations of VOC's releases: annotations, lists and images as the development kit describes them."""

from collections.abc import Mapping, Sequence
from xml.sax.saxutils import escape

import numpy as np
from releases import photo, picture

SIZE = (40, 60)
"""Height and width of the images."""
Box = tuple[str, tuple[float, float, float, float], bool]
"""Class, corners as VOC writes them, difficult."""


def annotation(boxes: Sequence[Box], size: tuple[int, int] | None = SIZE, extra: str = "", parts: bool = True) -> bytes:
    """An XML as VOC's, in which persons have parts; one element per line."""
    lines = ["<annotation>", "<folder>VOC2007</folder>", "<filename>x.jpg</filename>"]
    if size is not None:
        lines += ["<size>", f"<width>{size[1]}</width>", f"<height>{size[0]}</height>", "<depth>3</depth>", "</size>"]
    for name, box, difficult in boxes:
        lines += ["<object>", f"<name>{escape(name)}</name>", "<pose>Left</pose>", "<truncated>1</truncated>"]
        lines += [f"<difficult>{int(difficult)}</difficult>", *corners(box)]
        if name == "person" and parts:
            lines += ["<part>", "<name>head</name>", *corners((2, 2, 3, 3)), "</part>"]
        lines.append("</object>")
    return "\n".join([*lines, extra, "</annotation>"]).encode()


def corners(box: Sequence[float]) -> list[str]:
    names = ("xmin", "ymin", "xmax", "ymax")
    return [
        "<bndbox>", *(f"<{name}>{number!r}</{name}>" for name, number in zip(names, box, strict=True)), "</bndbox>"
    ]  # fmt: skip


def image(seed: int, size: tuple[int, int] = SIZE) -> bytes:
    return picture(np.asarray(photo(seed, size)), "JPEG")


def release(
    top: str, lists: Mapping[str, Sequence[str]], boxes: Sequence[Box], more: Sequence[str] = ()
) -> dict[str, bytes]:
    """Files of a release by path: images of all lists and `more`, each with these boxes."""
    files: dict[str, bytes] = {}
    for name, stems in lists.items():
        files[f"{top}ImageSets/Main/{name}.txt"] = "".join(f"{stem}\n" for stem in stems).encode()
        files[f"{top}ImageSets/Main/person_{name}.txt"] = "".join(f"{stem} -1\n" for stem in stems).encode()
    for stem in dict.fromkeys([*(stem for stems in lists.values() for stem in stems), *more]):
        files[f"{top}JPEGImages/{stem}.jpg"] = image(sum(stem.encode()))
        files[f"{top}Annotations/{stem}.xml"] = annotation(boxes)
        files[f"{top}SegmentationClass/{stem}.png"] = b"-"
    return files
