"""Files that are nearly where they are expected are used or named, by every reader."""

import io
import json
import tarfile
from pathlib import Path
from typing import Any
from unicodedata import normalize

import numpy as np
import pytest
from pixels import chunk, exif, png
from releases import URBAN, photo, picture, unpacked, zipped
from splits import digest_of, open_in

from gkdbench.data.dataset import DataPlace, LabelSpace, open_split
from gkdbench.data.readers import DatasetSplit, FilesSplit, FolderSplit
from gkdbench.detection.splits import CocoSplit, VocSplit
from gkdbench.errors import DataError

SPLITS = {
    "files": lambda **more: FilesSplit(
        reader="files", root="mine", images="images/{stem}.png", labels="labels/{stem}.png", **more
    ),
    "folders": lambda **more: FolderSplit(reader="folders", root="mine", images="images", labels="labels", **more),
}
BOTH = pytest.mark.parametrize("reader", SPLITS)
COMPOSED, APART = (normalize(form, "Köln") for form in ("NFC", "NFD"))
BOX = (
    "<annotation><object><name>car</name><bndbox><xmin>2</xmin><ymin>2</ymin><xmax>9</xmax><ymax>9</ymax></bndbox>"
    "</object></annotation>"
)


SPACE = LabelSpace("mine", ("sky", "road", "car"))


def pair(number: int) -> tuple[bytes, bytes]:
    return picture(photo(number)), picture(np.full((12, 20), number % 3, np.uint8))


def write(root: Path, image: str, number: int, label: str | None = None) -> None:
    image_bytes, label_bytes = pair(number)
    unpacked(root / "mine", {f"images/{image}": image_bytes, f"labels/{label or image}": label_bytes})


def opened(root: Path, split: Any):
    return open_split(split, SPACE, root, DataPlace(root, root / "cache"))


def told(root: Path, split: Any) -> str:
    with pytest.raises(DataError) as raised:
        opened(root, split)
    assert "\n" not in str(raised.value)
    return str(raised.value)


def numbers(dataset) -> list[int]:
    """Which pairs were read, by their pixels; image and label agree."""
    found = []
    for index in range(len(dataset)):
        number = next(n for n in range(9) if np.array_equal(photo(n), dataset.image(index)))
        assert (dataset.labels(index) == number % 3).all()
        found.append(number)
    return found


@BOTH
def test_suffixes_count_up_to_case(tmp_path, reader: str) -> None:
    write(tmp_path, "a.png", 0)
    write(tmp_path, "b.PNG", 1)
    write(tmp_path, "c.png", 2, "c.PNG")
    assert numbers(opened(tmp_path, SPLITS[reader]())) == [0, 1, 2]


def test_folders_count_up_to_case(tmp_path) -> None:
    image, label = pair(1)
    unpacked(tmp_path / "mine", {"Images/Train/a.png": image, "LABELS/train/a.png": label})
    split = FilesSplit(
        reader="files", root="mine", images="images/{part}/{stem}.png", labels="labels/{part}/{stem}.png",
        only={"part": ["train"]},
    )  # fmt: skip
    assert numbers(opened(tmp_path, split)) == [1]
    zipped(tmp_path / "packed/mine/all.zip", {"x/IMAGES/TRAIN/a.PNG": image, "x/labels/Train/a.png": label})
    assert numbers(opened(tmp_path / "packed", split)) == [1]


@BOTH
def test_two_files_that_fall_together_are_named(tmp_path, reader: str) -> None:
    write(tmp_path, "a.png", 0)
    write(tmp_path, "a.PNG", 1)
    message = told(tmp_path, SPLITS[reader]())
    assert "images/a.png: a second file" in message and "images/a.PNG; keep one of them" in message
    write(tmp_path / "x", f"{COMPOSED}.png", 0)
    write(tmp_path / "x", f"{APART}.png", 1)
    message = told(tmp_path / "x", SPLITS[reader]())
    assert COMPOSED in message and APART in message


@BOTH
@pytest.mark.parametrize(("image", "label"), [(COMPOSED, APART), (APART, COMPOSED)])
def test_names_count_up_to_unicodes_normal_form(tmp_path, reader: str, image: str, label: str) -> None:
    write(tmp_path, f"{image}.png", 1, f"{label}.png")
    dataset = opened(tmp_path, SPLITS[reader]())
    assert numbers(dataset) == [1] and dataset.name(0) == COMPOSED
    if reader == "folders":
        (tmp_path / "list.txt").write_text(f"\ufeff{label}\n", encoding="utf-8")
        assert numbers(opened(tmp_path, SPLITS[reader](list="list.txt"))) == [1]


def test_names_in_archives_of_a_mac_are_read_as_utf_8(tmp_path) -> None:
    image, label = pair(1)
    raw = f"labels/{APART}.png".encode()
    plain = b"labels/" + b"x" * (len(raw) - 11) + b".png"
    unpacked(tmp_path / "mine", {f"images/{COMPOSED}.png": image})
    zipped(tmp_path / "mine/labels.zip", {plain.decode(): label})
    content = (tmp_path / "mine/labels.zip").read_bytes()
    (tmp_path / "mine/labels.zip").write_bytes(content.replace(plain, raw))  # without the flag that it is UTF-8
    assert numbers(opened(tmp_path, SPLITS["files"]())) == [1]


@BOTH
def test_what_differs_in_case_elsewhere_is_named(tmp_path, reader: str) -> None:
    write(tmp_path, "Town.png", 1, "town.png")
    message = told(tmp_path, SPLITS[reader]())
    assert "no label file for image 'Town' (1 of 1 images" in message
    assert f"{tmp_path}/mine/labels/town.png differs in case" in message


def test_a_list_line_that_is_nearly_there_names_the_file(tmp_path) -> None:
    write(tmp_path, "town.png", 1)
    (tmp_path / "list.txt").write_text("Town\n")
    message = told(tmp_path, SPLITS["folders"](list="list.txt"))
    assert message.endswith(f"(1 of 1 missing); {tmp_path}/mine/images/town.png differs in case")
    voc = VocSplit(reader="voc", root="mine", images="images/{stem}.{suffix}", annotations=None, list="list.txt")
    message = told(tmp_path, voc)
    assert message.endswith(f"(1 of 1 missing); {tmp_path}/mine/images/town.png differs in case")


@BOTH
def test_linked_folders_and_files_are_followed(tmp_path, reader: str) -> None:
    for kind, content in zip(("images", "labels"), pair(1), strict=True):
        unpacked(tmp_path / "else", {f"{kind}/more/a.png": content})
    write(tmp_path, "b.png", 2)
    for kind in ("images", "labels"):
        (tmp_path / "mine" / kind / "c.png").symlink_to(tmp_path / f"else/{kind}/more/a.png")
        (tmp_path / "mine" / kind / "more").symlink_to(tmp_path / f"else/{kind}/more", target_is_directory=True)
    found = numbers(opened(tmp_path, SPLITS[reader]()))
    assert found == ([2, 1, 1] if reader == "folders" else [2, 1])
    (tmp_path / "mine/images/d.png").symlink_to(tmp_path / "nowhere")
    assert told(tmp_path, SPLITS[reader]()).endswith("images/d.png: a link that leads nowhere; mend or remove it")


def test_a_linked_folder_that_leads_back_is_named(tmp_path) -> None:
    write(tmp_path, "a.png", 1)
    (tmp_path / "mine/images/again").symlink_to(tmp_path / "mine/images", target_is_directory=True)
    message = told(tmp_path, SPLITS["folders"]())
    assert message.endswith("images/again: a link to a folder that it lies in; remove the link")


@BOTH
def test_what_systems_leave_does_not_count(tmp_path, reader: str) -> None:
    write(tmp_path, "a.png", 1)
    before = digest_of(SPLITS[reader](), SPACE, tmp_path, DataPlace(tmp_path, tmp_path / "cache"))
    for kind in ("images", "labels"):
        unpacked(tmp_path / "mine" / kind, dict.fromkeys(
            ["._a.png", ".hidden/b.png", "__MACOSX/a.png", "Thumbs.db", "desktop.ini", ".DS_Store"], b"\0\5\26\7"
        ))  # fmt: skip
    assert numbers(opened(tmp_path, SPLITS[reader]())) == [1]
    assert digest_of(SPLITS[reader](), SPACE, tmp_path, DataPlace(tmp_path, tmp_path / "cache")) == before


def test_what_a_mac_leaves_beside_archives_does_not_count_and_members_may_begin_at_the_folder(tmp_path) -> None:
    image, label = pair(2)
    zipped(tmp_path / "mine" / "all.zip", {"./images/a.png": image, "./labels/a.png": label})
    (tmp_path / "mine" / "._all.zip").write_bytes(b"\0\5\26\7")
    assert numbers(opened(tmp_path, SPLITS["files"]())) == [2]


def test_links_inside_a_tar_are_followed_and_one_that_leads_nowhere_is_named(tmp_path) -> None:
    image, label = pair(2)
    root = tmp_path / "mine"
    root.mkdir()

    def pack(*links: tuple[bytes, str, str]) -> None:
        with tarfile.open(root / "all.tar", "w") as archive:
            for name, content in (("./images/a.png", image), ("./labels/a.png", label)):
                entry = tarfile.TarInfo(name)
                entry.size = len(content)
                archive.addfile(entry, io.BytesIO(content))
            for kind, name, target in links:
                link = tarfile.TarInfo(name)
                link.type, link.linkname = kind, target
                archive.addfile(link)

    pack(
        (tarfile.LNKTYPE, "./images/b.png", "./images/a.png"), (tarfile.SYMTYPE, "./labels/b.png", "a.png"),
        (tarfile.SYMTYPE, "./images/c.png", "../images/b.png"), (tarfile.SYMTYPE, "./labels/c.png", "b.png"),
    )  # fmt: skip
    assert numbers(opened(tmp_path, SPLITS["files"]())) == [2, 2, 2]
    pack((tarfile.SYMTYPE, "./images/b.png", "../../elsewhere.png"))
    assert told(tmp_path, SPLITS["files"]()).endswith(
        "all.tar: './images/b.png' is a link to no file of the tar; pack the file itself"
    )


@BOTH
def test_a_name_that_no_record_can_hold_is_refused_before_training(tmp_path, reader: str) -> None:
    write(tmp_path, "a.png", 1)
    (tmp_path / "mine" / "images" / "b\udcff.png").write_bytes(pair(2)[0])
    assert r"mine/images: the name 'b\udcff.png' is no UTF-8" in told(tmp_path, SPLITS[reader]())


def test_boxes_find_pictures_and_annotations_that_are_nearly_there(tmp_path) -> None:
    unpacked(tmp_path / "mine", {
        f"JPEGImages/{APART}.Jpg": picture(photo(1), "JPEG"), f"annotations/{COMPOSED}.XML": BOX.encode(),
    })  # fmt: skip
    voc = opened(tmp_path, VocSplit(reader="voc", root="mine"))
    assert len(voc) == 1 and voc.objects(0).boxes.tolist() == [[1, 1, 9, 9]]
    coco = {
        "images": [{"id": 1, "file_name": f"{COMPOSED}.jpg"}], "categories": [{"id": 1, "name": "car"}],
        "annotations": [{"image_id": 1, "category_id": 1, "bbox": [1, 1, 8, 8]}],
    }  # fmt: skip
    (tmp_path / "mine/all.json").write_text(json.dumps(coco))
    split = CocoSplit(reader="coco", root="mine", annotations="all.json", images="jpegimages")
    assert opened(tmp_path, split).image(0).shape == (12, 20, 3)
    coco["images"] = [{"id": 1, "file_name": f"{COMPOSED.upper()}.jpg"}]
    (tmp_path / "mine/all.json").write_text(json.dumps(coco))
    message = told(tmp_path, split)
    assert "not found" in message and message.endswith(f"{APART}.Jpg differs in case")


def test_boxes_are_compared_with_images_turned_upright(tmp_path) -> None:
    side = "<size><width>12</width><height>20</height></size>"
    turned = png(photo(1), 8, 2, before=chunk(b"eXIf", exif(6)))
    unpacked(tmp_path / "mine", {
        "JPEGImages/a.png": turned, "Annotations/a.xml": BOX.replace("<object>", side + "<object>").encode()
    })  # fmt: skip
    dataset = opened(tmp_path, VocSplit(reader="voc", root="mine"))
    assert dataset.image(0).shape == (20, 12, 3) and dataset.objects(0).boxes.tolist() == [[1, 1, 9, 9]]
    assert np.array_equal(dataset.image(0), np.rot90(photo(1), -1))


@BOTH
def test_deep_images_need_bits_in_every_reader_and_bits_enter_the_digest(tmp_path, reader: str) -> None:
    deep = picture(np.full((12, 20), 1023, np.uint16))
    unpacked(tmp_path / "mine", {"images/a.png": deep, "labels/a.png": pair(1)[1]})
    plain, split = SPLITS[reader](), SPLITS[reader](bits=10)
    assert (opened(tmp_path, split).image(0) == 255).all()
    with pytest.raises(DataError, match="say in `bits` of the split"):
        opened(tmp_path, plain).image(0)
    assert "bits" not in plain.model_dump(mode="json") and split.model_dump(mode="json")["bits"] == 10
    place = DataPlace(tmp_path, tmp_path / "cache")
    assert digest_of(split, SPACE, tmp_path, place) != digest_of(plain, SPACE, tmp_path, place)


@BOTH
def test_other_files_that_are_there_are_counted(tmp_path, reader: str) -> None:
    unpacked(tmp_path / "mine", {f"images/{n}.{'jpg' if n else 'png'}": pair(n)[0] for n in range(3)})
    unpacked(tmp_path / "mine", {f"labels/{n}.tif": pair(n)[1] for n in range(12)})
    assert "; 12 .tif files are there" in told(tmp_path, SPLITS[reader]())
    unpacked(tmp_path / "x/mine", {"images/1.gif": b"", "images/2.bmp": b"", "images/3.bmp": b"", "labels/a.png": b""})
    assert "; 2 .bmp files and 1 .gif file are there" in told(tmp_path / "x", SPLITS[reader]())


def test_a_dataset_of_the_catalogue_says_what_is_there(tmp_path) -> None:
    unpacked(tmp_path / "cityscapes", {f"leftImg8bit/val/ulm/{n}_leftImg8bit.jpg": b"" for n in range(12)})
    split = DatasetSplit(reader="dataset", dataset="cityscapes", split="val")
    with pytest.raises(DataError, match=r"no image .leftImg8bit/.*; 12 \.jpg files are there"):
        open_in(tmp_path, split, URBAN, data=tmp_path)


@pytest.mark.parametrize("split", ["train", "val"])
def test_half_a_package_of_mapillary_v2_is_read_as_v1_2(tmp_path, split: str) -> None:
    ids = picture(np.full((12, 20), 55, np.uint8))
    unpacked(tmp_path / "mapillary/validation", {
        "images/a.jpg": picture(photo(1), "JPEG"), "v1.2/labels/a.png": ids, "v2.0/labels/a.png": ids,
    })  # fmt: skip
    chosen = DatasetSplit(reader="dataset", dataset="mapillary", split=split)

    def look():
        return open_in(tmp_path, chosen, URBAN, data=tmp_path)

    if split == "val":
        assert (look().labels(0) == URBAN.index("car")).all()
    else:
        with pytest.raises(DataError, match=r"no image 'training.*for mapillary train|no image .*\{part\}"):
            look()
