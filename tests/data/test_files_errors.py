"""What is wrong with files is one line: where, what was expected, what to do."""

import os
import zipfile
from pathlib import Path

import numpy as np
import pytest
from releases import CITYSCAPES_IDS, IGNORE, URBAN, classes, encoded, photo, picture, unpacked, zipped
from splits import open_in

from gkdbench.data.files.archives import Member, members
from gkdbench.data.files.label_map import LabelMap
from gkdbench.data.files.pictures import size_of
from gkdbench.data.readers import DatasetSplit, FilesSplit
from gkdbench.errors import DataError, UsageError
from gkdbench.spec.dataset import Labels
from gkdbench.spec.documents import parse


def opened(tmp_path: Path, name: str, split: str, **fields):
    chosen = DatasetSplit(reader="dataset", dataset=name, split=split, **fields)
    return open_in(tmp_path, chosen, URBAN)


def cityscapes(count: int = 2) -> dict[str, bytes]:
    files = {}
    for n in range(count):
        stem = f"val/lindau/lindau_{n}"
        files[f"leftImg8bit/{stem}_leftImg8bit.png"] = picture(photo(n))
        label = encoded(classes(n, 19), CITYSCAPES_IDS, 0).astype(np.uint8)
        files[f"gtFine/{stem}_gtFine_labelIds.png"] = picture(label)
    return files


LABEL = "gtFine/val/lindau/lindau_1_gtFine_labelIds.png"


def test_a_missing_root_says_where_to_get_the_data(tmp_path):
    with pytest.raises(DataError, match=r"--data-root .*: no such folder; Cityscapes.*: get it from https"):
        opened(tmp_path, "cityscapes", "val")
    (tmp_path / "data").mkdir()
    with pytest.raises(DataError, match=r"no folder cityscapes or Cityscapes for dataset 'cityscapes'; .*get it from"):
        opened(tmp_path, "cityscapes", "val")
    with pytest.raises(UsageError, match=r"no split 'vall'; did you mean 'val'\?"):
        opened(tmp_path, "cityscapes", "vall")
    with pytest.raises(UsageError, match=r"unknown dataset 'cityscape'; did you mean 'cityscapes'\?"):
        opened(tmp_path, "cityscape", "val")


def test_an_empty_or_wrong_root_says_what_was_expected(tmp_path):
    unpacked(tmp_path / "data/cityscapes", {"notes.txt": b"-"})
    with pytest.raises(
        DataError,
        match=r"no image 'leftImg8bit/\{part\}.* in an archive.*; for cityscapes val get leftImg8bit",
    ):
        opened(tmp_path, "cityscapes", "val")
    unpacked(tmp_path / "data/cityscapes", {"leftImg8bit_trainvaltest.tar.gz": b"-"})
    with pytest.raises(DataError, match=r"unpack leftImg8bit_trainvaltest.tar.gz first: it cannot be read in place"):
        opened(tmp_path, "cityscapes", "val")


def test_labels_missing_for_some_or_all_images(tmp_path):
    files = cityscapes()
    del files[LABEL]
    root = tmp_path / "data/cityscapes"
    unpacked(root, files)
    with pytest.raises(
        DataError, match=r"no label file for image 'lindau/lindau_1' \(1 of 2 images have none; expected gt"
    ):
        opened(tmp_path, "cityscapes", "val")
    packed = tmp_path / "packed"
    zipped(packed / "data/cityscapes/leftImg8bit_trainvaltest.zip",
           {n: c for n, c in cityscapes().items() if n.startswith("left")})  # fmt: skip
    with pytest.raises(DataError, match=r"\(2 of 2 images have none; .*; not there: gtFine_trainvaltest.zip"):
        opened(packed, "cityscapes", "val")


def test_one_zip_missing_shows_in_the_count(tmp_path):
    for n in (1, 2):
        zipped(tmp_path / f"data/gtav/0{n}_images.zip", {f"images/0000{n}.png": picture(photo(n))})
        zipped(
            tmp_path / f"data/gtav/0{n}_labels.zip", {f"labels/0000{n}.png": picture(np.full((12, 20), 7, np.uint8))}
        )
    dataset = opened(tmp_path, "gtav", "all")
    (said,) = dataset.doubts
    assert "gtav all has 2 images, expected 24966 or 24941; not there: 03_images.zip, 03_labels.zip, 04" in said


def test_mapillary_of_v2_is_told_from_v1(tmp_path):
    files = {"validation/images/a.jpg": picture(photo(1), "JPEG"),
             "validation/v2.0/labels/a.png": picture(np.full((12, 20), 100, np.uint8))}  # fmt: skip
    root = tmp_path / "data/mapillary"
    unpacked(root, files)
    with pytest.raises(
        DataError, match=r"labels of Mapillary Vistas v2.0 alone, whose ids mean other classes; get v1.2"
    ):
        opened(tmp_path, "mapillary", "val")
    # somebody put them where those of v1.2 belong
    unpacked(root, {"validation/labels/a.png": picture(np.full((12, 20), 100, np.uint8))})
    with pytest.raises(DataError, match=r"a.png: label id 100 is not in the label map \(240 pixels\): another release"):
        opened(tmp_path, "mapillary", "val").labels(0)


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (picture(photo(1)), r"label files hold one id per pixel, this one has mode 'RGB': colours in place of ids"),
        (picture(np.full((6, 20), 7, np.uint8)), r"label of 20x6 pixels for an image of 20x12 \(.*leftImg8bit.png\)"),
        (picture(np.full((12, 20), 77, np.uint8)), r"label id 77 is not in the label map \(240 pixels\)"),
        (picture(np.full((12, 20), 770, np.uint16)), r"label id 770 is not in the label map"),
        (
            picture(np.ascontiguousarray(photo(1)[..., 0]))[:200],
            r"cannot be read as an image \(.*\); get the file again",
        ),
        (b"<html>", r"cannot be read as an image \(is no image\); get the file again"),
    ],
)
def test_bad_label_files_are_named(tmp_path, content, said):
    unpacked(tmp_path / "data/cityscapes", {**cityscapes(), LABEL: content})
    with pytest.raises(DataError, match=rf"{LABEL}: .*{said}|{LABEL}: {said}"):
        opened(tmp_path, "cityscapes", "val").labels(1)


def test_bad_members_of_archives_are_named(tmp_path):
    path = tmp_path / "data/cityscapes/gtFine_trainvaltest.zip"
    files = cityscapes()
    unpacked(tmp_path / "data/cityscapes", {n: c for n, c in files.items() if n.startswith("left")})
    zipped(path, {n: c for n, c in files.items() if n.startswith("gt")} | {"../../evil.png": b"-"})
    with pytest.raises(
        DataError, match=r"holds a member named '../../evil.png', which leads outside: not an official one"
    ):
        opened(tmp_path, "cityscapes", "val")
    zipped(path, {n: c for n, c in files.items() if n.startswith("gt")})
    whole = path.read_bytes()
    path.write_bytes(whole[: len(whole) // 2])
    with pytest.raises(
        DataError, match=r"gtFine_trainvaltest.zip: cannot be read as a zip \(.*\); is the download complete"
    ):
        opened(tmp_path, "cityscapes", "val")
    # a byte changed inside: the checksum tells
    broken = bytearray(whole)
    at = whole.index(b"IDAT") + 10
    broken[at] ^= 255
    path.write_bytes(bytes(broken))
    dataset = opened(tmp_path, "cityscapes", "val")
    with pytest.raises(DataError, match=r"gtFine_trainvaltest.zip:gtFine/.*: cannot be read \(Bad CRC-32"):
        [dataset.labels(i) for i in range(2)]


def test_a_member_that_claims_to_be_huge_is_not_read(tmp_path):
    path = tmp_path / "bomb.zip"
    with (
        zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive,
        archive.open("a.png", "w", force_zip64=True) as stream,
    ):
        for _ in range(11):
            stream.write(bytes(100 * 2**20))
    (member,) = members(path)
    assert path.stat().st_size < 2 * 2**20
    with pytest.raises(DataError, match=r"bomb.zip:a.png: claims 1.1 GiB, more than any image has; not read"):
        member.read()


def test_two_files_for_one_image_are_refused(tmp_path):
    root = tmp_path / "data/cityscapes"
    unpacked(root, cityscapes())
    one = {n: c for n, c in cityscapes().items() if n.startswith("left")}
    zipped(root / "a.zip", one)
    assert len(opened(tmp_path, "cityscapes", "val")) == 2  # unpacked ones count
    zipped(root / "b.zip", one)
    with pytest.raises(
        DataError, match=r"b.zip:left.*: a second file for part 'val', city 'lindau', .* keep one of them"
    ):
        opened(tmp_path, "cityscapes", "val")


def test_links_that_lead_back_are_named(tmp_path):
    root = tmp_path / "data/cityscapes"
    unpacked(root, cityscapes())
    (root / "leftImg8bit/val/again").symlink_to(root / "leftImg8bit/val", target_is_directory=True)
    with pytest.raises(DataError, match=r"again: a link to a folder that it lies in; remove the link"):
        opened(tmp_path, "cityscapes", "val")


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read everything")
def test_folders_that_may_not_be_read_are_named(tmp_path):
    root = tmp_path / "data/cityscapes"
    unpacked(root, cityscapes())
    (root / "leftImg8bit/val").chmod(0)
    try:
        with pytest.raises(DataError, match=r"leftImg8bit/val: cannot be read \(Permission denied\)"):
            opened(tmp_path, "cityscapes", "val")
    finally:
        (root / "leftImg8bit/val").chmod(0o755)


def test_a_file_that_went_away_is_named(tmp_path):
    unpacked(tmp_path / "data/cityscapes", cityscapes())
    dataset = opened(tmp_path, "cityscapes", "val")
    (tmp_path / "data/cityscapes" / LABEL).unlink()
    with pytest.raises(DataError, match=rf"{LABEL}: cannot be read"):
        dataset.labels(1)
    with pytest.raises(DataError, match=r"the archive ends before its member does"):
        Member("x", 10, _written(tmp_path / "short.tar", b"12345"), offset=0).read()


def _written(path: Path, content: bytes) -> Path:
    path.write_bytes(content)
    return path


@pytest.mark.parametrize(
    ("content", "said"),
    [
        ({"classes": {"road": [1], "car": [1]}}, r"car: 1 stands for something else already"),
        ({"kind": "colours", "classes": {"road": [1]}}, r"road: 1 is no colour"),
        ({"classes": {"road": [[1, 2, 3]]}}, r"road: \(1, 2, 3\) is no id"),
        ({"kind": "colours", "classes": {"road": [[1, 2, 300]]}}, r"classes.road"),
        ({"classes": {"road": [70000]}}, r"road: id 70000 is outside 0..65535"),
    ],
)
def test_label_maps_are_checked(content, said):
    with pytest.raises(UsageError, match=said):
        parse(Labels, content, "labels")


@pytest.mark.parametrize(
    ("fields", "said"),
    [
        ({"images": "/etc/{stem}.png"}, r"images: '/etc/\{stem\}.png' must be a relative path"),
        ({"images": "../{stem}.png"}, r"must be a relative path with at least one \{placeholder\}, without '..'"),
        ({"images": "a.png"}, r"at least one \{placeholder\}"),
        ({"images": "{a}/{a}.png"}, r"names a placeholder twice"),
        ({"images": "{a}.png", "labels": "{b}.png"}, r"labels: placeholder 'b' is not in images"),
        ({"images": "{a}.png", "only": {"b": ["1"]}}, r"placeholder 'b' is not in images"),
        ({"images": "{a}.png", "root": "../x"}, r"root: '../x' must be a relative path without"),
    ],
)
def test_templates_are_checked(fields, said):
    with pytest.raises(UsageError, match=said):
        parse(FilesSplit, {"reader": "files", "root": "mine", **fields}, "split")


def test_files_of_a_users_own(tmp_path):
    colours = Labels.model_validate(
        {"kind": "colours", "classes": {"road": [[9, 9, 9]], "car": [[1, 2, 3]]}, "ignored": [[0, 0, 0]]}
    )
    truth = np.array([[0, 13, IGNORE]] * 2, np.uint8)
    painted = np.array([[[9, 9, 9], [1, 2, 3], [0, 0, 0]]] * 2, np.uint8)
    zipped(tmp_path / "data/mine/all.zip", {
        "x/pictures/b/1.png": picture(photo(1, (2, 3))), "x/truth/b/1_gt.png": picture(painted),
        "x/pictures/c/1.png": picture(photo(2, (2, 3))),
    })  # fmt: skip
    split = FilesSplit(
        reader="files", root="mine", images="pictures/{town}/{stem}.png", labels="truth/{town}/{stem}_gt.png",
        only={"town": ["b"]}, means=colours,
    )  # fmt: skip
    own = open_in(tmp_path, split, URBAN)
    assert len(own) == 1 and own.name(0) == "1" and np.array_equal(own.labels(0), truth)
    unlabelled = open_in(tmp_path, split.model_copy(update={"only": {}}), URBAN, labelled=False)
    assert [unlabelled.name(i) for i in range(2)] == ["b/1", "c/1"] and unlabelled.labels(0) is None
    with pytest.raises(DataError, match=r"no image 'x\{stem\}.png', neither unpacked nor in all.zip; ask the owner"):
        other = split.model_copy(update={"images": "x{stem}.png", "labels": None})
        open_in(tmp_path, other, URBAN, how="ask the owner")


def test_a_damaged_archive_is_named_where_only_a_header_is_read(tmp_path):
    path = tmp_path / "a.zip"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("a.png", picture(photo(1)))
    content = bytearray(path.read_bytes())
    content[45:60] = bytes(15)  # within the compressed data
    path.write_bytes(bytes(content))
    (member,) = members(path)
    with pytest.raises(DataError, match=r"a.zip:a.png: cannot be read"):
        size_of(member)
    zipped(path, {"b.png": picture(photo(2))})
    with pytest.raises(DataError, match=r"a.zip:a.png: cannot be read .*get the file again"):
        size_of(member)  # another archive lies there now


def test_a_map_in_which_every_value_is_taken_still_knows_what_it_lacks():
    pairs = {**{id: id for id in range(254)}, 1000: 254, 255: 255}
    table = LabelMap.from_pairs(pairs, 255)
    raw = np.array([[0, 253, 255]], np.uint8)
    assert table.mapped(raw, "a.png").tolist() == [[0, 253, 255]]
    assert table.mapped(raw.astype(np.uint16) + np.uint16(0), "a.png").tolist() == [[0, 253, 255]]
    assert table.mapped(np.array([[1000]], np.uint16), "a.png").tolist() == [[254]]
    with pytest.raises(DataError, match=r"a\.png: label id 254 is not in the label map \(2 pixels\)"):
        table.mapped(np.array([[254, 254, 1]], np.uint8), "a.png")
