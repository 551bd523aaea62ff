"""Pictures decoded from bytes: RGB images, and label files as they hold their ids."""

import io
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Literal

import cv2
import numpy as np
from numpy.typing import NDArray
from PIL import Image, UnidentifiedImageError

from gkdbench.data.files.archives import Member
from gkdbench.data.files.label_map import Raw
from gkdbench.errors import DataError

_PNG = b"\x89PNG\r\n\x1a\n"
_EIGHT_BITS_RGB = b"\x08\x02"
"""Bit depth and colour type in a PNG's header."""
ID_MODES = ("L", "P", "I;16", "I", "1")


def read_image(member: Member) -> NDArray[np.uint8]:
    """Return an RGB image, uint8 [H, W, 3]; channels beyond the third are left out."""
    content = member.read()
    if content.startswith(_PNG) and content[24:26] == _EIGHT_BITS_RGB:
        # the same pixels as Pillow's in two thirds of the time; what it cannot read is left to Pillow's words
        found = cv2.imdecode(np.frombuffer(content, np.uint8), cv2.IMREAD_COLOR | cv2.IMREAD_IGNORE_ORIENTATION)
        if found is not None:
            return np.asarray(cv2.cvtColor(found, cv2.COLOR_BGR2RGB, dst=found), np.uint8)
    with _clear_errors(member), Image.open(io.BytesIO(content)) as picture:
        if picture.mode.startswith(("I", "F")):
            # Pillow would cut everything above 255 to white
            raise DataError(f"{member}: images have 8 bits per channel, this one has mode {picture.mode!r}")
        return np.array(picture.convert("RGB"))


def read_labels(member: Member, kind: Literal["ids", "colours", "red16"]) -> Raw:
    """Return what a label file holds, [H, W]: ids, or colours as 0xRRGGBB."""
    content = member.read()
    if kind == "red16":
        return _red(content, member)
    with _clear_errors(member), Image.open(io.BytesIO(content)) as picture:
        if kind == "colours":
            if picture.mode not in ("RGB", "RGBA", "P"):
                raise DataError(f"{member}: labels are RGB colours here, this file has mode {picture.mode!r}")
            codes = np.asarray(picture.convert("RGB")).astype(np.int32)
            return codes[..., 0] << 16 | codes[..., 1] << 8 | codes[..., 2]
        if picture.mode not in ID_MODES:
            raise DataError(
                f"{member}: label files hold one id per pixel, this one has mode {picture.mode!r}: colours in "
                "place of ids, or another file of the release?"
            )
        ids = np.asarray(picture)
    if ids.dtype == np.bool_:
        return ids.astype(np.uint8)
    if ids.dtype in (np.uint8, np.uint16):
        return ids
    if ids.size and (ids.min() < 0 or ids.max() > 65535):
        raise DataError(f"{member}: label id {int(ids.min() if ids.min() < 0 else ids.max())} is outside 0..65535")
    return ids.astype(np.int32)


def size_of(member: Member) -> tuple[int, int]:
    """Return height and width without decoding the pixels."""
    with _clear_errors(member), member.opened() as stream, Image.open(stream) as picture:
        return picture.height, picture.width


def _red(content: bytes, member: Member) -> NDArray[np.uint16]:
    # Pillow keeps 8 bits of each channel of such files, and the ids are in the other 8
    found = cv2.imdecode(np.frombuffer(content, np.uint8), cv2.IMREAD_UNCHANGED)
    if found is None:
        raise DataError(f"{member}: cannot be read as an image; get the file again")
    if found.ndim != 3 or found.dtype != np.uint16:
        bits = 8 * found.dtype.itemsize
        shape = "x".join(map(str, found.shape))
        raise DataError(f"{member}: labels here have several channels of 16 bits, this file is {shape} of {bits} bits")
    red: NDArray[np.uint16] = np.ascontiguousarray(found[..., 2])  # blue, green, red
    return red


@contextmanager
def _clear_errors(member: Member) -> Iterator[None]:
    try:
        yield
    except (OSError, UnidentifiedImageError, SyntaxError, ValueError, Image.DecompressionBombError) as error:
        said = "is no image" if isinstance(error, UnidentifiedImageError) else str(error)
        raise DataError(f"{member}: cannot be read as an image ({said}); get the file again") from error
