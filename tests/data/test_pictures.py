"""What pictures hold is read as their formats say, whichever reader asks; what they leave open is refused."""

import io
import os
import subprocess
import sys
import tracemalloc
from collections.abc import Callable
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image, ImageOps
from pixels import chunk, claiming, exif, png, stored, tiff

from gkdbench.data.files.archives import Member
from gkdbench.data.files.pictures import read_image, read_labels, size_of
from gkdbench.errors import DataError

# blocks of one colour, of which JPEG keeps enough to tell them apart
BLOCKS = np.array(
    [[[250, 10, 10], [10, 250, 10], [10, 10, 250]], [[240, 240, 20], [20, 240, 240], [20, 20, 20]]], np.uint8
)
LARGE = BLOCKS.repeat(16, 0).repeat(16, 1)
IDS = np.arange(6, dtype=np.uint8).reshape(2, 3)


@pytest.fixture
def file(tmp_path: Path) -> Callable[[bytes], Member]:
    def write(content: bytes) -> Member:
        path = tmp_path / "a.png"
        path.write_bytes(content)
        return Member("a.png", len(content), path)

    return write


def upright(array: np.ndarray, orientation: int) -> np.ndarray:
    """What Pillow makes of a picture with a tag: the oracle."""
    picture = Image.fromarray(array)
    picture.getexif()[274] = orientation
    tagged = Image.open(io.BytesIO(stored(picture, "PNG", exif=picture.getexif())))
    return np.asarray(ImageOps.exif_transpose(tagged))


def tagged(form: str, array: np.ndarray, orientation: int) -> bytes:
    if form == "PNG":
        return png(array, 8, 2, before=chunk(b"eXIf", exif(orientation)))
    if form == "PNG with the tag behind the pixels":
        return png(array, 8, 2, after=chunk(b"eXIf", exif(orientation)))
    if form == "PNG with XMP":
        said = f'<x tiff:Orientation="{orientation}"/>'.encode()
        return png(array, 8, 2, before=chunk(b"iTXt", b"XML:com.adobe.xmp\0\0\0\0\0" + said))
    if form == "TIFF":
        return tiff(array, more={274: ("H", [orientation])})
    options: dict[str, Any] = {"lossless": True} if form == "WEBP" else {"quality": 95} if form == "JPEG" else {}
    return stored(Image.fromarray(array), form, exif=b"Exif\0\0" + exif(orientation), **options)


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize(
    "form", ["JPEG", "PNG", "PNG with the tag behind the pixels", "PNG with XMP", "TIFF", "WEBP"]
)
def test_images_are_turned_as_their_tag_says(file, form: str, orientation: int) -> None:
    member = file(tagged(form, LARGE, orientation))
    wanted = upright(LARGE, orientation)
    image = read_image(member)
    assert image.shape == wanted.shape and size_of(member) == wanted.shape[:2]
    assert np.abs(image.astype(int) - wanted)[8::16, 8::16].max() <= (40 if form == "JPEG" else 0)
    if form != "JPEG":
        assert np.array_equal(image, wanted)


@pytest.mark.parametrize("orientation", range(1, 9))
def test_labels_of_every_kind_are_turned_with_their_images(file, orientation: int) -> None:
    before = chunk(b"eXIf", exif(orientation))
    wanted = upright(IDS, orientation)
    assert np.array_equal(read_labels(file(png(IDS, 8, before=before)), "ids"), wanted)
    assert np.array_equal(read_labels(file(tiff(IDS, 8, 1, {274: ("H", [orientation])})), "ids"), wanted)
    painted = IDS[..., None].repeat(3, 2)
    codes = read_labels(file(png(painted, 8, 2, before=before)), "colours")
    assert np.array_equal(codes & 255, wanted) and codes.shape == wanted.shape
    deep = np.stack([IDS + np.uint16(1000), IDS, IDS], axis=-1)
    assert np.array_equal(read_labels(file(png(deep, 16, 2, before=before)), "red16"), wanted + np.uint16(1000))


@pytest.mark.parametrize("damage", [b"", b"MM", b"not EXIF at all", exif(9), exif(0), exif(6)[:-9]])
def test_a_damaged_tag_turns_nothing(file, damage: bytes) -> None:
    member = file(png(LARGE, 8, 2, before=chunk(b"eXIf", damage)))
    assert np.array_equal(read_image(member), LARGE) and size_of(member) == (32, 48)


@pytest.mark.parametrize("orientation", [1, 6])
@pytest.mark.parametrize("bits", [10, 12, 14, 16])
@pytest.mark.parametrize("form", ["colour PNG", "grey PNG", "colour TIFF", "grey TIFF"])
def test_deep_images_are_scaled_by_the_bits_that_are_named(file, form: str, bits: int, orientation: int) -> None:
    full = 2**bits - 1
    colour = np.linspace(0, full, 18).round().astype(np.uint16).reshape(2, 3, 3)
    samples = colour[..., 0] if "grey" in form else colour
    before, tag = chunk(b"eXIf", exif(orientation)), {274: ("H", [orientation])}
    kind, light = (0, 1) if "grey" in form else (2, 2)
    made = png(samples, 16, kind, before=before) if "PNG" in form else tiff(samples, 16, light, tag)
    eight = np.floor(samples.astype(float) * 255 / full + 0.5).astype(np.uint8)
    wanted = upright(eight, orientation)
    member = file(made)
    image = read_image(member, bits)
    assert np.array_equal(image, wanted if wanted.ndim == 3 else wanted[..., None].repeat(3, 2))
    with pytest.raises(DataError, match=r"a\.png: has 16 bits per channel; say in `bits` of the split"):
        read_image(member)
    if bits < 16:
        samples = samples.copy()
        samples.flat[0] = full + 1
        with pytest.raises(DataError, match=rf"a\.png: holds {full + 1}, more than {bits} bits \(`bits` of the"):
            read_image(file(png(samples, 16, kind)), bits)


def test_bits_change_nothing_in_images_of_8(file) -> None:
    assert np.array_equal(read_image(file(png(LARGE, 8, 2)), 12), LARGE)


def test_images_that_are_neither_8_nor_16_bits_are_refused(file) -> None:
    floats = np.linspace(0, 1, 6, dtype=np.float32).reshape(2, 3)
    with pytest.raises(DataError, match="has 32 bits per channel; images have 8, or up to 16"):
        read_image(file(tiff(floats, 32, 1, {339: ("H", [3])})), 16)
    with pytest.raises(DataError, match="are signed or inverted; write it as a 16-bit PNG"):
        read_image(file(tiff(IDS.astype(np.uint16), 16, 0)), 16)


@pytest.mark.parametrize("bits", [1, 2, 4, 8, 16])
@pytest.mark.parametrize("form", ["grey PNG", "palette PNG", "grey TIFF"])
def test_ids_are_the_samples_that_are_stored(file, form: str, bits: int) -> None:
    if bits == 16 and form == "palette PNG":
        return
    ids = np.array([[0, 1, 2, 3], [2**bits - 1, 0, 1, 1]]) % 2**bits
    if form == "grey PNG":
        content = png(ids, bits)
    elif form == "palette PNG":
        colours = bytes((7 * i) % 256 for i in range(3 * 2**bits))  # that say nothing
        content = png(ids, bits, 3, before=chunk(b"PLTE", colours))
    else:
        content = tiff(ids, bits, 1)
    found = read_labels(file(content), "ids")
    assert found.dtype in (np.uint8, np.uint16) and np.array_equal(found, ids)


@pytest.mark.parametrize("big_endian", [False, True])
def test_16_bit_ids_keep_every_bit(file, big_endian: bool) -> None:
    ids = np.array([[0, 255, 256], [7000, 40000, 65535]], np.uint16)
    if not big_endian:
        assert np.array_equal(read_labels(file(png(ids, 16)), "ids"), ids)
        return
    picture = Image.fromarray(ids.astype(">u2"))
    assert picture.mode == "I;16B"
    assert np.array_equal(read_labels(file(stored(picture, "TIFF")), "ids"), ids)


def lossy() -> list[Any]:
    grey, colour = Image.fromarray(IDS.repeat(16, 0).repeat(16, 1)), Image.fromarray(LARGE)
    return [
        pytest.param("ids", stored(grey, "JPEG", quality=100), "JPEG", id="JPEG"),
        pytest.param("colours", stored(colour, "JPEG", quality=100), "JPEG", id="JPEG in colour"),
        pytest.param("colours", stored(colour, "WEBP", quality=90), "WEBP", id="WebP"),
        pytest.param("ids", stored(grey, "TIFF", compression="jpeg"), "TIFF with compression 7", id="JPEG in TIFF"),
    ]


@pytest.mark.parametrize(("kind", "content", "named"), lossy())
def test_labels_that_need_not_be_exact_are_refused(file, kind: Any, content: bytes, named: str) -> None:
    with pytest.raises(DataError, match=rf"a\.png: labels stored as {named} are not exact.*get or write them as PNG"):
        read_labels(file(content), kind)


@pytest.mark.parametrize("kind", ["PPM", "JPEG2000"])
def test_formats_whose_deeper_samples_are_cut_without_a_word_are_not_read(file, kind: str) -> None:
    """12 bits of a 16-bit PPM or JPEG 2000 would look black."""
    content = b"P6 2 1 4095\n" + bytes(12) if kind == "PPM" else stored(Image.fromarray(LARGE), kind)
    for read in (read_image, lambda member: read_labels(member, "colours"), size_of):
        with pytest.raises(DataError, match=rf"a\.png: {kind} is not read; write it as PNG, JPEG"):
            read(file(content))


def test_lossless_labels_of_other_formats_are_read(file) -> None:
    codes = LARGE.astype(np.int32) @ [1 << 16, 1 << 8, 1]
    assert np.array_equal(read_labels(file(stored(Image.fromarray(LARGE), "WEBP", lossless=True)), "colours"), codes)
    for compression in ("tiff_lzw", "tiff_adobe_deflate", "packbits"):
        content = stored(Image.fromarray(IDS), "TIFF", compression=compression)
        assert np.array_equal(read_labels(file(content), "ids"), IDS)
    assert np.array_equal(read_labels(file(stored(Image.fromarray(IDS), "BMP")), "ids"), IDS)


def several(form: str) -> bytes:
    first = Image.fromarray(IDS * np.uint8(40))
    return stored(first, form, save_all=True, append_images=[Image.fromarray(IDS.T.copy().reshape(2, 3))])


@pytest.mark.parametrize("form", ["TIFF", "GIF", "PNG"])
def test_files_of_several_pictures_are_refused(file, form: str) -> None:
    member = file(several(form))
    for read in (lambda: read_labels(member, "ids"), lambda: read_image(member), lambda: size_of(member)):
        with pytest.raises(DataError, match=r"a\.png: holds 2 pictures; write the one that is meant"):
            read()


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (stored(Image.fromarray(LARGE), "PNG"), "this one has mode 'RGB': colours in place of ids"),
        (stored(Image.new("LA", (3, 2), (1, 255)), "PNG"), "this one has mode 'LA'"),
        (tiff(np.ones((2, 3), np.float32), 32, 1, {339: ("H", [3])}), "this one has mode 'F'"),
        (tiff(IDS, 8, 0), "a TIFF whose greys are inverted"),
    ],
)
def test_labels_that_hold_no_ids_are_refused(file, content: bytes, said: str) -> None:
    with pytest.raises(DataError, match=said):
        read_labels(file(content), "ids")


def test_colour_labels_are_of_8_bits_and_opaque(file) -> None:
    with pytest.raises(DataError, match="labels are RGB colours of 8 bits here, this file has mode 'RGB' of 16 bits"):
        read_labels(file(png(LARGE.astype(np.uint16) * 257, 16, 2)), "colours")
    clear = np.dstack([LARGE, np.full((32, 48), 255, np.uint8)])
    assert np.array_equal(read_labels(file(png(clear, 8, 6)), "colours") >> 16, LARGE[..., 0])
    clear[0, :2, 3] = 0
    with pytest.raises(DataError, match=r"2 pixels are transparent"):
        read_labels(file(png(clear, 8, 6)), "colours")


def test_greys_and_palettes_become_rgb(file) -> None:
    greys = np.array([[0, 1, 2, 3]])
    assert read_image(file(png(greys, 2)))[0, :, 0].tolist() == [0, 85, 170, 255]
    assert read_image(file(png(greys % 2, 1)))[0, :, 1].tolist() == [0, 255, 0, 255]
    palette = chunk(b"PLTE", bytes([9, 8, 7, 6, 5, 4, 3, 2, 1, 0, 0, 0]))
    assert read_image(file(png(greys, 2, 3, before=palette)))[0, 1].tolist() == [6, 5, 4]


def transparent() -> list[Any]:
    clear = np.dstack([LARGE, np.full((32, 48), 255, np.uint8)])
    clear[0, 0, 3] = 254
    palette, ids = chunk(b"PLTE", bytes(12)), np.array([[0, 1, 2, 3]])
    return [
        pytest.param(png(clear, 8, 6), id="RGBA"),
        pytest.param(png(clear[..., 2:], 8, 4), id="grey with alpha"),
        pytest.param(png(ids, 2, 3, before=palette + chunk(b"tRNS", b"\xff\0")), id="palette"),
        pytest.param(png(LARGE, 8, 2, before=chunk(b"tRNS", bytes([0, 20, 0, 20, 0, 20]))), id="colour key"),
        pytest.param(png(clear.astype(np.uint16) * 257, 16, 6), id="16 bits"),
    ]


@pytest.mark.parametrize("content", transparent())
def test_transparent_pixels_are_refused(file, content: bytes) -> None:
    with pytest.raises(DataError, match=r"a\.png: \d+ pixels are transparent, and what shows behind them is not said"):
        read_image(file(content), 16)


def test_alpha_that_hides_nothing_is_left_out(file) -> None:
    opaque = np.dstack([LARGE, np.full((32, 48), 255, np.uint8)])
    assert np.array_equal(read_image(file(png(opaque, 8, 6))), LARGE)
    key = chunk(b"tRNS", bytes([0, 1, 0, 2, 0, 3]))  # a colour that no pixel has
    assert np.array_equal(read_image(file(png(LARGE, 8, 2, before=key))), LARGE)


def test_cmyk_is_read_where_it_says_whether_it_is_inverted(file) -> None:
    ink = Image.merge("CMYK", [Image.new("L", (16, 16), value) for value in (255, 0, 0, 51)])  # cyan with a fifth black
    content = stored(ink, "JPEG", quality=100, subsampling=0)
    assert b"Adobe" in content
    assert np.abs(read_image(file(content))[8, 8].astype(int) - [0, 204, 204]).max() <= 2
    at = content.index(b"\xff\xee")
    with pytest.raises(DataError, match="a CMYK JPEG that does not say whether it is inverted"):
        read_image(file(content[:at] + content[at + 16 :]))
    assert np.abs(read_image(file(stored(ink, "TIFF")))[8, 8].astype(int) - [0, 204, 204]).max() <= 1


def test_other_colour_spaces_and_formats_are_refused(file) -> None:
    with pytest.raises(DataError, match="has mode 'LAB', which is not read as RGB"):
        read_image(file(stored(Image.new("LAB", (4, 4)), "TIFF")))
    with pytest.raises(DataError, match="EPS is not read; write it as PNG, JPEG"):
        read_image(file(stored(Image.fromarray(LARGE), "EPS")))


@pytest.mark.parametrize(("bits", "colour"), [(8, 2), (8, 0), (16, 2), (8, 3), (8, 6)])
@pytest.mark.parametrize("read", [
    read_image, size_of, lambda m: read_image(m, 12), lambda m: read_labels(m, "ids"),
    lambda m: read_labels(m, "red16"), lambda m: read_labels(m, "colours"),
])  # fmt: skip
def test_a_header_that_claims_too_much_is_refused_before_memory_is_taken(file, read, bits: int, colour: int) -> None:
    member = file(claiming(100_000, 100_000, bits, colour))
    tracemalloc.start()
    with pytest.raises(DataError, match=r"a\.png: is not read: .*10000000000 pixels"):
        read(member)
    assert tracemalloc.get_traced_memory()[1] < 10 * 2**20
    tracemalloc.stop()


def test_a_large_aerial_picture_is_read_without_a_warning(tmp_path: Path) -> None:
    path = tmp_path / "large.png"
    assert cv2.imwrite(str(path), np.zeros((9500, 9500), np.uint8), [cv2.IMWRITE_PNG_COMPRESSION, 1])
    script = (
        "import sys; from pathlib import Path; from gkdbench.data.files.archives import Member;"
        "from gkdbench.data.files.pictures import read_labels, size_of; path = Path(sys.argv[1]);"
        "member = Member(path.name, path.stat().st_size, path);"
        "print(size_of(member), read_labels(member, 'ids').shape)"
    )
    done = subprocess.run(
        [sys.executable, "-c", script, str(path)], capture_output=True, text=True, check=True, env=os.environ
    )
    assert done.stdout.strip() == "(9500, 9500) (9500, 9500)" and done.stderr == ""


def samples() -> list[bytes]:
    forms: list[tuple[str, dict[str, Any]]] = [
        ("JPEG", {}), ("TIFF", {}), ("TIFF", {"compression": "tiff_lzw"}), ("WEBP", {}), ("GIF", {}), ("BMP", {}),
    ]  # fmt: skip
    made = [stored(Image.fromarray(LARGE), form, **options) for form, options in forms]
    turned = png(LARGE, 8, 2, before=chunk(b"eXIf", exif(6)))
    return [*made, turned, png(LARGE.astype(np.uint16), 16, 2), tagged("JPEG", LARGE, 6)]


@given(st.data())
@settings(max_examples=300, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_damaged_pictures_are_read_or_one_line(tmp_path: Path, data: st.DataObject) -> None:
    content = bytearray(data.draw(st.sampled_from(samples())))
    for _ in range(data.draw(st.integers(1, 4))):
        content[data.draw(st.integers(0, min(len(content), 400) - 1))] = data.draw(st.integers(0, 255))
    content = content[: data.draw(st.integers(1, len(content)))] if data.draw(st.booleans()) else content
    path = tmp_path / "a.png"
    path.write_bytes(content)
    member = Member("a.png", len(content), path)
    for read in (
        lambda: read_image(member), lambda: read_image(member, 16), lambda: read_labels(member, "ids"),
        lambda: read_labels(member, "colours"), lambda: read_labels(member, "red16"), lambda: size_of(member),
    ):  # fmt: skip
        try:
            read()
        except DataError as error:
            assert str(error).startswith(str(path)) and "\n" not in str(error)
