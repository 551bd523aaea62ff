"""Pictures decoded from bytes, for every reader: RGB images, and label files as they hold their ids.

What a format says is applied (orientation, palettes, inverted CMYK); what it leaves open, such as how many of 16 bits
count or what shows behind transparent pixels, is refused. The rules' version is READING: whoever changes the pixels
that a file is read as raises it.
"""

import io
import struct
import warnings
import zlib
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import IO, Any, Literal

import cv2
import numpy as np
from numpy.typing import NDArray
from PIL import Image, UnidentifiedImageError

from gkdbench.data.files.archives import Member
from gkdbench.data.files.label_map import Raw
from gkdbench.errors import DataError

FORMATS = ("PNG", "JPEG", "MPO", "TIFF", "WEBP", "BMP", "GIF", "AVIF")
"""Not those of which Pillow cuts deeper samples to 8 bits without saying so, as of PPM and JPEG 2000."""
COLOUR_MODES = ("1", "L", "LA", "P", "PA", "RGB", "RGBA", "RGBX", "CMYK", "YCbCr")
ID_MODES = ("L", "P", "I;16", "I;16B", "I", "1")
_ORIENTATION = 274
_TURNS: Mapping[int, Callable[[NDArray[Any]], NDArray[Any]]] = {
    2: lambda a: a[:, ::-1],
    3: lambda a: a[::-1, ::-1],
    4: lambda a: a[::-1],
    5: lambda a: a.swapaxes(0, 1),
    6: lambda a: a.swapaxes(0, 1)[:, ::-1],
    7: lambda a: a.swapaxes(0, 1)[::-1, ::-1],
    8: lambda a: a.swapaxes(0, 1)[::-1],
}
"""Value of the orientation tag -> what brings a picture upright; 1 and unknown values say that it is."""
_ON_ITS_SIDE = (5, 6, 7, 8)
_LOSSLESS_TIFF = (1, 2, 3, 4, 5, 8, 32773, 32946, 34925, 50000)
"""Values of the compression tag: none, CCITT, LZW, deflate, PackBits, LZMA, Zstandard."""
_WIDTH, _HEIGHT, _BITS, _COMPRESSION, _PHOTOMETRIC, _SUBFILE = 256, 257, 258, 259, 262, 254
_WHITE_IS_ZERO = 0
_SMALLER_OR_MASK = 0b101
_BROKEN = (OSError, SyntaxError, ValueError, EOFError, LookupError, TypeError, struct.error, cv2.error)
_PNG = b"\x89PNG\r\n\x1a\n"
_SAYS_HOW_TO_TURN = (b"eXIf", b"XML:com.adobe.xmp", b"Raw profile type exif")
"""PNG's chunk, and beginnings of text chunks."""
# up to twice the size at which Pillow warns (some aerial pictures) is read; above that it refuses
warnings.filterwarnings("ignore", category=Image.DecompressionBombWarning)


def read_image(member: Member, bits: int | None = None) -> NDArray[np.uint8]:
    """Return an RGB image, uint8 [H, W, 3], upright; channels beyond the third are left out.

    bits: how many bits of a file with more than 8 per channel count, from the lowest; they are scaled to 8. None: such
    a file is refused, for 10- and 12-bit cameras write 16-bit files that look black.
    """
    content = member.read()
    with _opened(member, io.BytesIO(content)) as picture:
        _check_whole(content)
        depth = _depth(picture, content)
        if depth > 8:
            image = _scaled(picture, content, member, depth, bits)
        elif picture.format == "PNG" and picture.mode == "RGB" and not _says(io.BytesIO(content), b"tRNS"):
            # the same pixels as Pillow's in two thirds of the time; what it cannot read is left to Pillow's words
            found = cv2.imdecode(np.frombuffer(content, np.uint8), cv2.IMREAD_COLOR | cv2.IMREAD_IGNORE_ORIENTATION)
            image = (
                _colours(picture, member)
                if found is None
                else np.asarray(cv2.cvtColor(found, cv2.COLOR_BGR2RGB, dst=found), np.uint8)
            )
        else:
            image = _colours(picture, member)
        return _upright(image, picture, content)


def read_labels(member: Member, kind: Literal["ids", "colours", "red16"]) -> Raw:
    """Return what a label file holds, [H, W], upright: ids as they are stored, or colours as 0xRRGGBB."""
    content = member.read()
    with _opened(member, io.BytesIO(content)) as picture:
        _check_whole(content)
        _check_exact(picture, content, member)
        if kind == "red16":
            return _upright(_red(content, member), picture, content)
        depth = _depth(picture, content)
        if kind == "ids":
            return _upright(_ids(picture, member, depth), picture, content)
        if picture.mode not in ("RGB", "RGBA", "P") or depth > 8:
            raise DataError(
                f"{member}: labels are RGB colours of 8 bits here, this file has mode {picture.mode!r} of {depth} bits"
            )
        codes = _colours(picture, member).astype(np.int32)
        return _upright(codes[..., 0] << 16 | codes[..., 1] << 8 | codes[..., 2], picture, content)


def size_of(member: Member) -> tuple[int, int]:
    """Return height and width, upright, without decoding the pixels."""
    with member.opened() as stream, _opened(member, stream) as picture:
        height, width, orientation = picture.height, picture.width, _orientation(picture, stream)
        if picture.format == "TIFF":  # some versions of Pillow state the size upright
            height, width = int(picture.tag_v2[_HEIGHT]), int(picture.tag_v2[_WIDTH])  # type: ignore[attr-defined]
        return (width, height) if orientation in _ON_ITS_SIDE else (height, width)


def is_turned(member: Member) -> bool:
    """Say whether a picture is stored otherwise than it stands; DataError where its header cannot be read."""
    with member.opened() as stream, _opened(member, stream) as picture:
        return _orientation(picture, stream) in _TURNS


def _colours(picture: Image.Image, member: Member) -> NDArray[np.uint8]:
    """Return a picture of up to 8 bits per channel as RGB."""
    if picture.mode not in COLOUR_MODES:
        raise DataError(f"{member}: has mode {picture.mode!r}, which is not read as RGB; write it as an RGB PNG")
    if picture.format in ("JPEG", "MPO") and picture.mode == "CMYK" and "adobe" not in picture.info:
        raise DataError(f"{member}: a CMYK JPEG that does not say whether it is inverted; write it as RGB")
    if not picture.has_transparency_data:
        return np.array(picture.convert("RGB"))
    found = np.asarray(picture.convert("RGBA"))
    return _opaque(found, member)


def _opaque(found: NDArray[Any], member: Member, most: int = 255) -> NDArray[Any]:
    clear = int((found[..., 3] < most).sum())
    if clear:
        raise DataError(
            f"{member}: {clear} pixels are transparent, and what shows behind them is not said; write it without alpha"
        )
    return np.ascontiguousarray(found[..., :3])


def _scaled(
    picture: Image.Image, content: bytes, member: Member, depth: int, bits: int | None
) -> NDArray[np.uint8]:
    """Return a picture with more than 8 bits per channel as RGB of 8."""
    if depth > 16 or picture.mode == "F":
        raise DataError(f"{member}: has {depth} bits per channel; images have 8, or up to 16 (`bits` of the split)")
    if bits is None:
        raise DataError(
            f"{member}: has {depth} bits per channel; say in `bits` of the split how many of them count (10, 12, 14 or "
            "16), or write it with 8"
        )
    found = _by_cv2(content, member)
    if found.dtype != np.uint16 or _photometric(picture) == _WHITE_IS_ZERO:
        raise DataError(f"{member}: its {depth} bits per channel are signed or inverted; write it as a 16-bit PNG")
    full = 2**bits - 1
    if found.max(initial=0) > full:
        raise DataError(f"{member}: holds {found.max()}, more than {bits} bits (`bits` of the split) can say")
    if found.ndim == 2:
        found = found[..., None].repeat(3, axis=2)
    elif picture.format == "PNG" and found.shape[2] == 4:
        found = _opaque(found, member, full)
    table = np.rint(np.arange(full + 1) * 255 / full).astype(np.uint8)  # no value lies halfway
    return np.ascontiguousarray(table[found[..., 2::-1]])


def _ids(picture: Image.Image, member: Member, depth: int) -> Raw:
    if picture.mode not in ID_MODES:
        raise DataError(
            f"{member}: label files hold one id per pixel, this one has mode {picture.mode!r}: colours in place of "
            "ids, or another file of the release? Write the ids as a greyscale PNG"
        )
    if _photometric(picture) == _WHITE_IS_ZERO:
        raise DataError(f"{member}: a TIFF whose greys are inverted, so that ids are not certain; write it as a PNG")
    ids = np.asarray(picture)
    if ids.dtype == np.bool_:
        return ids.astype(np.uint8)
    if picture.mode == "L" and depth < 8:  # Pillow spreads greys over 0..255
        return ids // np.uint8(255 // (2**depth - 1))
    if ids.dtype in (np.uint8, np.uint16):
        return ids
    if ids.size and (ids.min() < 0 or ids.max() > 65535):
        raise DataError(f"{member}: label id {int(ids.min() if ids.min() < 0 else ids.max())} is outside 0..65535")
    return ids.astype(np.int32)


def _red(content: bytes, member: Member) -> NDArray[np.uint16]:
    # Pillow keeps 8 bits of each channel of such files, and the ids are in the other 8
    found = _by_cv2(content, member)
    if found.ndim != 3 or found.dtype != np.uint16:
        bits = 8 * found.dtype.itemsize
        shape = "x".join(map(str, found.shape))
        raise DataError(f"{member}: labels here have several channels of 16 bits, this file is {shape} of {bits} bits")
    red: NDArray[np.uint16] = np.ascontiguousarray(found[..., 2])  # blue, green, red
    return red


def _by_cv2(content: bytes, member: Member) -> NDArray[Any]:
    """Decode as stored; OpenCV turns TIFF upright, as Pillow does, and nothing else."""
    found: NDArray[Any] | None = cv2.imdecode(np.frombuffer(content, np.uint8), cv2.IMREAD_UNCHANGED)
    if found is None:
        raise DataError(f"{member}: cannot be read as an image; get the file again")
    return found


def _check_exact(picture: Image.Image, content: bytes, member: Member) -> None:
    """Refuse a label file whose numbers need not be those that were annotated."""
    what = str(picture.format)
    exact = what in ("PNG", "BMP", "GIF") or (what == "WEBP" and b"VP8 " not in content)
    if what == "TIFF":
        compression = _tag(picture, _COMPRESSION, 1)
        exact, what = compression in _LOSSLESS_TIFF, f"TIFF with compression {compression}"
    if not exact:
        raise DataError(
            f"{member}: labels stored as {what} are not exact, for compression or scaling changes ids; get or write "
            "them as PNG"
        )


def _depth(picture: Image.Image, content: bytes) -> int:
    """Return bits per channel, or per index, as stored: Pillow cuts some pictures to 8 and spreads others over 8."""
    if picture.format == "PNG":
        return content[24]
    if picture.format == "TIFF":
        stated = _tag(picture, _BITS, (1,))
        return int(max(stated)) if isinstance(stated, tuple) else int(stated)
    return 32 if picture.mode in ("I", "F") else 16 if picture.mode.startswith("I") else 8


def _tag(picture: Image.Image, number: int, default: int | tuple[int, ...]) -> int | tuple[int, ...]:
    found: int | tuple[int, ...] = getattr(picture, "tag_v2", {}).get(number, default)
    return found


def _photometric(picture: Image.Image) -> object:
    return _tag(picture, _PHOTOMETRIC, -1)


def _upright(found: NDArray[Any], picture: Image.Image, content: bytes) -> NDArray[Any]:
    """Return a decoded picture as its orientation tag says."""
    if picture.format == "TIFF":
        return found
    turn = _TURNS.get(_orientation(picture, io.BytesIO(content)))
    return found if turn is None else np.ascontiguousarray(turn(found))


def _orientation(picture: Image.Image, stream: IO[bytes]) -> int:
    """Return what EXIF, or else XMP, says; 1 where that is damaged, as viewers do."""
    if picture.format == "PNG":  # what stands behind the pixels would be found by decoding them
        place = stream.tell()
        if not _says(stream, *_SAYS_HOW_TO_TURN):
            return 1
        stream.seek(place)
    try:
        found: int = picture.getexif().get(_ORIENTATION, 1)
    except (SyntaxError, ValueError, LookupError, TypeError, struct.error):
        return 1
    return found


def _says(stream: IO[bytes], *beginnings: bytes) -> bool:
    """Say whether a PNG has a chunk that begins, or is called, so."""
    stream.seek(8)
    while len(head := stream.read(32)) >= 8:
        if head[4:8] in beginnings or head[8:].startswith(beginnings):
            return True
        stream.seek(int.from_bytes(head[:4]) + 12 - len(head), io.SEEK_CUR)
    return False


@contextmanager
def _opened(member: Member, stream: IO[bytes]) -> Iterator[Image.Image]:
    """Open a picture, of which only the header is read yet; DataError for what cannot be read, now or later."""
    try:
        with Image.open(stream) as picture:
            if picture.format not in FORMATS:
                raise DataError(f"{member}: {picture.format} is not read; write it as {', '.join(FORMATS[:2])}")
            _check_single(picture, member)
            yield picture
    except Image.DecompressionBombError as error:
        raise DataError(f"{member}: is not read: {error}") from error
    except _BROKEN as error:
        said = "is no image" if isinstance(error, UnidentifiedImageError) else str(error)
        raise DataError(f"{member}: cannot be read as an image ({said}); get the file again") from error


def _check_whole(content: bytes) -> None:
    """Refuse a PNG whose pixels are not those that were written: no decoder here looks at the checksums of them all."""
    at, end = len(_PNG), len(content)
    while content.startswith(_PNG) and at < end:
        length, kind = struct.unpack_from(">I4s", content, at)
        stated = at + 8 + length
        needed = kind[:1].isupper()
        if needed and content[stated : stated + 4] != struct.pack(">I", zlib.crc32(content[at + 4 : stated])):
            raise ValueError(f"the checksum of its part {kind.decode('latin-1')} is wrong")
        if kind == b"IEND":
            return
        at = stated + 4
    if content.startswith(_PNG):
        raise ValueError("it ends before its picture does")


def _check_single(picture: Image.Image, member: Member) -> None:
    """Refuse a file of several pictures; smaller copies and masks beside the one that is meant do not count."""
    count = getattr(picture, "n_frames", 1)
    if count > 1 and picture.format == "TIFF":
        subfiles = []
        for number in range(count):
            picture.seek(number)
            subfiles.append(_tag(picture, _SUBFILE, 0))
        picture.seek(0)
        count = sum(isinstance(one, int) and not one & _SMALLER_OR_MASK for one in subfiles)
    if count > 1 and picture.format != "MPO":  # a camera's photograph and its thumbnails
        raise DataError(f"{member}: holds {count} pictures; write the one that is meant to a file of its own")
