"""COCO's JSON of boxes: what it means, where its images lie, and one line for everything that is wrong."""

import json
import pickle
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from releases import tarred, unpacked, zipped
from splits import open_in
from voc_files import SIZE, image

from gkdbench.data.files.archives import Member
from gkdbench.detection.coco import read_coco
from gkdbench.detection.splits import CocoSplit
from gkdbench.detection.stated import ClassNames, settled
from gkdbench.errors import DataError
from gkdbench.identity.digest import digest
from gkdbench.spec.box_labels import BoxRules

CLASSES = ("car", "person")
NAMES = ClassNames.of(CLASSES, BoxRules())


def document(**changes: Any) -> dict[str, Any]:
    return {
        "info": {},
        "images": [
            {"id": 7, "file_name": "town/b.jpg", "height": SIZE[0], "width": SIZE[1]},
            {"id": 3, "file_name": "town/a.jpg", "height": SIZE[0], "width": SIZE[1], "license": 1},
            {"id": 9, "file_name": "c.jpg"},
        ],
        "annotations": [
            {"id": 1, "image_id": 3, "category_id": 18, "bbox": [2.5, 3, 10, 20.25], "area": 3, "iscrowd": 0},
            {"id": 2, "image_id": 7, "category_id": 44, "bbox": [0, 0, 60, 40], "iscrowd": 1, "segmentation": {}},
            {"id": 3, "image_id": 3, "category_id": 44, "bbox": [1, 2, 3, 4], "ignore": 1},
        ],
        "categories": [{"id": 18, "name": "person"}, {"id": 44, "name": "car"}, {"id": 99, "name": "zebra"}],
        **changes,
    }


def files(content: Any) -> dict[str, bytes]:
    text = content if isinstance(content, bytes) else json.dumps(content, indent=1).encode()
    return {
        "annotations/train.json": text, "images/town/a.jpg": image(1), "images/town/b.jpg": image(2),
        "images/c.jpg": image(3),
    }  # fmt: skip


def opened(tmp_path: Path, classes=CLASSES, **fields: Any):
    told = {"root": "mine", "annotations": "annotations/train.json", "images": "images", **fields}
    return open_in(tmp_path, CocoSplit(reader="coco", **told), classes)


def test_boxes_crowds_and_categories(tmp_path):
    unpacked(tmp_path / "data/mine", files(document()))
    dataset = opened(tmp_path)
    assert [dataset.name(i) for i in range(3)] == ["town/b", "town/a", "c"] and dataset.ids == [7, 3, 9]
    assert dataset.categories == {0: 44, 1: 18}
    crowd, two, none = (dataset.objects(i) for i in range(3))
    assert two.boxes.tolist() == [[2.5, 3, 12.5, 23.25], [1, 2, 4, 6]] and two.labels.tolist() == [1, 0]
    assert two.difficult.tolist() == [False, True] and crowd.difficult.tolist() == [True] and len(none) == 0
    assert dataset.image(1).shape == (*SIZE, 3) and dataset.files(1)[1].name == "train.json"
    one = pickle.loads(pickle.dumps(dataset)).cut(1)
    assert len(one) == 1 and len(one.objects(0)) == 1 and one.ids == [7]
    first, second, whole = (digest(d.identity(list)) for d in (one, dataset.cut(1), dataset))
    assert first == second != whole
    # without labels its classes may be any: a proxy pool of another benchmark
    split = CocoSplit(reader="coco", root="mine", annotations="annotations/train.json", images="images")
    bare = open_in(tmp_path, split, ("boat", "sail"), labelled=False)
    assert bare.objects(0) is None and len(bare) == 3 and bare.name(1) == "town/a"


@pytest.mark.parametrize("pack", [zipped, tarred])
def test_archives_are_read_in_place(tmp_path, pack):
    unpacked(tmp_path / "data/mine", files(document()))
    pack(tmp_path / "packed/data/mine/all.tar" if pack is tarred else tmp_path / "packed/data/mine/all.zip",
         {f"top/{name}": content for name, content in files(document()).items()})  # fmt: skip
    one, other = opened(tmp_path), opened(tmp_path / "packed")
    assert np.array_equal(one.image(2), other.image(2)) and one.names == other.names
    assert np.array_equal(one.objects(1).boxes, other.objects(1).boxes)


def test_names_keep_their_suffix_where_they_would_be_equal(tmp_path):
    content = document()
    content["images"][2]["file_name"] = "town/a.png"
    unpacked(tmp_path / "data/mine", {**files(content), "images/town/a.png": image(4)})
    assert opened(tmp_path).names == ["town/b.jpg", "town/a.jpg", "town/a.png"]


def images(**changes: Any) -> dict[str, Any]:
    content = document()
    content["images"][1].update(changes)
    return content


def boxes(**changes: Any) -> dict[str, Any]:
    content = document()
    content["annotations"][1].update(changes)
    return content


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"{\n\n'a': 1}", r"train\.json:3: not valid JSON"),
        (b"[" * 100000, r"train\.json: not valid JSON"),
        (b'{"a": ' + b"1" * 5000 + b"}", r"train\.json: not valid JSON"),
        (b"\xff\xfe\xfa", r"train\.json: not valid JSON"),
        ([], r"train\.json: is no object with images, annotations and categories"),
        ({"images": []}, "categories: is missing or no list"),
        (document(annotations={}), "annotations: is missing or no list"),
        (document(annotations=[1]), r"annotations\[0\]: is no object"),
        (document(images=[]), "images: there is none; is this the right file"),
        (document(categories=[{"id": 1, "name": "car"}] * 2), r"categories\[1\]: id 1 stands there twice"),
        (document(categories=[{"id": 1}]), r"categories\[0\]: name is None; it is a text"),
        (images(id=7), r"images\[1\]: 7 is that of images\[0\] already"),
        (images(id=True), r"images\[1\]: id is True; it is a whole number or a text"),
        (images(file_name="town/b.jpg"), r"images\[1\]: 'town/b.jpg' is that of images\[0\] already"),
        (images(file_name="../x.jpg"), r"images\[1\]: file_name '../x.jpg' must be a path below"),
        (images(file_name="gone.jpg"), r"images\[1\]: image 'gone.jpg' not found below .*\(1 of 3 missing\)"),
        (images(height=None), r"images\[1\]: height and width are \[None, 60\]"),
        (boxes(image_id=5), r"annotations\[1\]: image_id 5 is the id of no image"),
        (boxes(category_id=5), r"annotations\[1\]: category_id 5 is the id of no category"),
        (boxes(category_id=99), r"annotations\[1\]: class 'zebra' is none of the benchmark's"),
        (boxes(bbox=[1, 2, 3]), r"annotations\[1\]: bbox is \[1, 2, 3\]; it is \[x, y, width, height\]"),
        (boxes(bbox=[1, 2, 3, float("nan")]), r"annotations\[1\]: bbox is"),
        (boxes(bbox=[1, 2, 3, 10**400]), r"annotations\[1\]: bbox is"),
        (boxes(iscrowd="no"), r"annotations\[1\]: iscrowd is 'no'; it is 0 or 1"),
        (boxes(bbox=[1, 2, 0, 4]), r"annotations\[1\]: box 1 2 0 4 has no area"),
        (boxes(bbox=[1, 2, -3, 4]), r"annotations\[1\]: box 1 2 -3 4 has no area"),
        (boxes(bbox=[30, 2, 32, 4]), r"annotations\[1\]: box 30 2 32 4 lies outside of the image, which has 60x40"),
        (images(height=50), r"images\[1\]: is for an image of 60x50 pixels, and .*a\.jpg has 60x40"),
    ],
)
def test_what_is_wrong_is_one_line(tmp_path, content, said):
    unpacked(tmp_path / "data/mine", files(content))
    with pytest.raises(DataError, match=said) as raised:
        dataset = opened(tmp_path)
        [dataset.objects(index) for index in range(len(dataset))]
    assert "\n" not in str(raised.value) and "train.json" in str(raised.value)


def test_a_json_that_is_not_there(tmp_path):
    (tmp_path / "data/mine").mkdir(parents=True)
    with pytest.raises(DataError, match=r"mine/annotations/train\.json: file of annotations not found.*lies$"):
        opened(tmp_path)
    (tmp_path / "data/mine/instances.json").write_text("{}")
    with pytest.raises(DataError, match=r"say in `annotations` where it lies \(there is instances\.json\)"):
        opened(tmp_path)


def test_classes_that_are_left_out_and_boxes_that_are_cut(tmp_path):
    unpacked(tmp_path / "data/mine", files(boxes(bbox=[30, 2, 50, 4])))
    found = opened(tmp_path, clip=True).examined(0, SIZE)
    assert found.clipped == 1 and found.objects.boxes.tolist() == [[30, 2, 60, 6]]
    only = opened(tmp_path, ("person",), ignored=["car"])
    assert [len(only.objects(i)) for i in range(3)] == [0, 1, 0] and only.categories == {0: 18}
    assert len(opened(tmp_path, ("person",), others="ignored").objects(1)) == 1


values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=5), inner, max_size=3), max_leaves=6,
)  # fmt: skip


@given(
    st.sampled_from(["images", "annotations", "categories"]),
    st.integers(0, 2),
    st.sampled_from(
        ["id", "file_name", "height", "width", "image_id", "category_id", "bbox", "iscrowd", "ignore", "name"]
    ),
    values,
)
def test_any_value_anywhere_is_read_or_refused(tmp_path_factory, part, entry, key, value):
    content = document()
    content[part][entry][key] = value
    path = tmp_path_factory.getbasetemp() / "any.json"
    path.write_text(json.dumps(content))
    try:
        read = read_coco(Member("any.json", path.stat().st_size, path), NAMES)
        for index in range(3):
            settled(read.table.stated(index), SIZE, "x", clip=True)
    except DataError as error:
        assert str(path) in str(error)
