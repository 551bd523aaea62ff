"""Picture files written byte by byte, where no library writes what is to be read."""

import io
import struct
import zlib
from collections.abc import Mapping
from typing import Any

import numpy as np
from PIL import Image


def chunk(name: bytes, content: bytes) -> bytes:
    return struct.pack(">I", len(content)) + name + content + struct.pack(">I", zlib.crc32(name + content))


def png(samples: np.ndarray, bits: int, colour: int = 0, before: bytes = b"", after: bytes = b"") -> bytes:
    """Return a PNG of [H, W] or [H, W, C] samples; `before` and `after` the pixels stand more chunks."""
    height, width = samples.shape[:2]
    if bits == 16:
        rows = samples.astype(">u2").reshape(height, -1).view(np.uint8)
    else:
        flat = samples.reshape(height, -1).astype(np.uint8)
        shifts = np.arange(bits - 1, -1, -1)
        rows = np.packbits((flat[..., None] >> shifts & 1).reshape(height, -1), axis=1)
    body = b"".join(b"\0" + row.tobytes() for row in rows)
    header = struct.pack(">IIBBBBB", width, height, bits, colour, 0, 0, 0)
    parts = chunk(b"IHDR", header) + before + chunk(b"IDAT", zlib.compress(body)) + after + chunk(b"IEND", b"")
    return b"\x89PNG\r\n\x1a\n" + parts


def claiming(width: int, height: int, bits: int = 8, colour: int = 2) -> bytes:
    """Return a PNG whose header claims a size that its pixels do not have."""
    header = chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, bits, colour, 0, 0, 0))
    return b"\x89PNG\r\n\x1a\n" + header + chunk(b"IDAT", zlib.compress(b"\0" * 100)) + chunk(b"IEND", b"")


def exif(orientation: int) -> bytes:
    """Return EXIF with one tag."""
    return b"MM\0*\0\0\0\x08\0\x01" + struct.pack(">HHIHH", 274, 3, 1, orientation, 0) + bytes(4)


def tiff(
    samples: np.ndarray, bits: int = 8, photometric: int = 2, more: Mapping[int, tuple[str, Any]] | None = None
) -> bytes:
    """Return a TIFF without compression; `more`: tags by number, each with its type for struct and value."""
    height, width = samples.shape[:2]
    channels = 1 if samples.ndim == 2 else samples.shape[2]
    if bits in (8, 16, 32):
        data = samples.tobytes() if samples.dtype == np.float32 else samples.astype(f"<u{bits // 8}").tobytes()
    else:
        shifts = np.arange(bits - 1, -1, -1)
        data = np.packbits((samples[..., None] >> shifts & 1).reshape(height, -1).astype(np.uint8), axis=1).tobytes()
    tags: dict[int, tuple[str, Any]] = {
        256: ("H", [width]), 257: ("H", [height]), 258: ("H", [bits] * channels), 259: ("H", [1]),
        262: ("H", [photometric]), 273: ("I", [0]), 277: ("H", [channels]), 278: ("H", [height]),
        279: ("I", [len(data)]), **(more or {}),
    }  # fmt: skip
    place, entries, apart = 8 + 2 + 12 * len(tags) + 4, b"", b""
    packed = {number: struct.pack(f"<{len(value)}{kind}", *value) for number, (kind, value) in tags.items()}
    start = place + sum(len(content) for content in packed.values() if len(content) > 4)
    packed[273] = struct.pack("<I", start)
    for number in sorted(tags):
        kind, value = tags[number]
        content = packed[number]
        if len(content) > 4:
            content, apart = struct.pack("<I", place + len(apart)), apart + content
        entries += struct.pack("<HHI", number, {"H": 3, "I": 4}[kind], len(value)) + content.ljust(4, b"\0")
    return b"II*\0" + struct.pack("<IH", 8, len(tags)) + entries + bytes(4) + apart + data


def stored(image: Image.Image, form: str, **options: Any) -> bytes:
    stream = io.BytesIO()
    image.save(stream, format=form, **options)
    return stream.getvalue()
