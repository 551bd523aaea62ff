"""Pictures hold the values that were written, or are refused by name; broken ones are never guessed at."""

import io
import struct
import zlib
from pathlib import Path

import numpy as np
from fuzzing import broken, fuzz, told
from hypothesis import assume, given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from numpy.typing import NDArray
from PIL import Image

from gkdbench.data.files.archives import Member
from gkdbench.data.files.pictures import read_image, read_labels, size_of
from gkdbench.errors import DataError

GREY, RGB, PALETTE = 0, 2, 3
SIDES = st.integers(1, 40)


def chunk(kind: bytes, content: bytes) -> bytes:
    return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))


def packed(samples: NDArray[np.integer], depth: int) -> bytes:
    """Samples [H, W] as a PNG's rows: most significant bits first, each row begins with its filter."""
    if depth == 16:
        return b"".join(b"\0" + row.astype(">u2").tobytes() for row in samples)
    bits = np.unpackbits(samples.astype(np.uint8)[..., None], axis=-1)[..., 8 - depth :]
    return b"".join(b"\0" + np.packbits(row.ravel()).tobytes() for row in bits)


def png(samples: NDArray[np.integer], depth: int, kind: int, extra: bytes = b"") -> bytes:
    height, width = samples.shape[:2]
    flat = samples.reshape(height, -1)
    header = struct.pack(">IIBBBBB", width, height, depth, kind, 0, 0, 0)
    rng = np.random.default_rng(1)
    palette = chunk(b"PLTE", rng.integers(0, 256, 3 * 2**depth, np.uint8).tobytes()) if kind == PALETTE else b""
    body = chunk(b"IDAT", zlib.compress(packed(flat, depth)))
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + extra + palette + body + chunk(b"IEND", b"")


def member(folder: Path, content: bytes, name: str = "a.png") -> Member:
    path = folder / name
    path.write_bytes(content)
    return Member(name, len(content), path)


@st.composite
def ids(draw: st.DrawFn) -> tuple[NDArray[np.uint16], int, int]:
    kind = draw(st.sampled_from([GREY, PALETTE]))
    depth = draw(st.sampled_from([1, 2, 4, 8] if kind == PALETTE else [1, 2, 4, 8, 16]))
    shape = (draw(SIDES), draw(SIDES))
    return draw(arrays(np.uint16, shape, elements=st.integers(0, 2**depth - 1))), depth, kind


@fuzz(150)
@given(ids())
def test_ids_are_raw_samples(tmp_path: Path, drawn: tuple[NDArray[np.uint16], int, int]) -> None:
    samples, depth, kind = drawn
    file = member(tmp_path, png(samples, depth, kind))
    assert np.array_equal(read_labels(file, "ids"), samples) and size_of(file) == samples.shape


@fuzz(60)
@given(arrays(np.uint8, st.tuples(SIDES, SIDES, st.just(3))), st.integers(1, 8))
def test_images_stand_upright(tmp_path: Path, pixels: NDArray[np.uint8], orientation: int) -> None:
    exif = Image.Exif()
    exif[0x0112] = orientation
    stream = io.BytesIO()
    Image.fromarray(pixels).save(stream, format="PNG", exif=exif)
    turned = {
        1: pixels, 2: pixels[:, ::-1], 3: pixels[::-1, ::-1], 4: pixels[::-1], 5: pixels.transpose(1, 0, 2),
        6: np.rot90(pixels, -1), 7: np.rot90(pixels, 2).transpose(1, 0, 2), 8: np.rot90(pixels),
    }[orientation]  # fmt: skip
    file = member(tmp_path, stream.getvalue())
    assert np.array_equal(read_image(file), turned) and size_of(file) == turned.shape[:2]


@st.composite
def broken_labels(draw: st.DrawFn) -> tuple[NDArray[np.uint16], bytes]:
    samples, depth, kind = draw(ids())
    return samples, draw(broken(png(samples, depth, kind)))


@fuzz(300)
@given(broken_labels())
def test_broken_labels_are_refused_or_whole(tmp_path: Path, drawn: tuple[NDArray[np.uint16], bytes]) -> None:
    samples, content = drawn
    try:
        found = read_labels(member(tmp_path, content), "ids")
    except DataError as error:
        assert told(error).startswith(str(tmp_path))
        return
    assert np.array_equal(found, samples)


@st.composite
def broken_images(draw: st.DrawFn) -> tuple[NDArray[np.uint8], bytes]:
    pixels = draw(arrays(np.uint8, st.tuples(SIDES, SIDES, st.just(3))))
    return pixels, draw(broken(png(pixels.astype(np.uint16), 8, RGB)))


@fuzz(300)
@given(broken_images())
def test_broken_images_are_refused_or_whole(tmp_path: Path, drawn: tuple[NDArray[np.uint8], bytes]) -> None:
    pixels, content = drawn
    try:
        found = read_image(member(tmp_path, content))
    except DataError as error:
        assert told(error).startswith(str(tmp_path))
        return
    assert np.array_equal(found, pixels)


@fuzz(100)
@given(st.sampled_from(["PNG", "JPEG", "TIFF", "WEBP", "BMP", "GIF"]), st.data())
def test_broken_files_of_any_format(tmp_path: Path, kind: str, data: st.DataObject) -> None:
    stream = io.BytesIO()
    Image.fromarray(np.random.default_rng(3).integers(0, 256, (12, 10, 3), np.uint8)).save(stream, format=kind)
    content = data.draw(broken(stream.getvalue()))
    assume(content != stream.getvalue())
    for read in (read_image, lambda file: read_labels(file, "ids"), lambda file: read_labels(file, "colours"), size_of):
        try:
            read(member(tmp_path, content, "a.any"))  # type: ignore[operator]
        except DataError as error:
            told(error)
