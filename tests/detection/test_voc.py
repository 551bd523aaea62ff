"""VOC's annotations: what the XML means, every official layout, and one line for everything that is wrong."""

import os
import pickle
import re
import tarfile
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from releases import tarred, unpacked, zipped
from splits import open_in
from voc_files import SIZE, annotation, image, release

from gkdbench.data.files.hashes import ContentHashes
from gkdbench.data.readers import DatasetSplit
from gkdbench.detection.splits import VocSplit
from gkdbench.detection.stated import ClassNames, settled
from gkdbench.detection.voc import LARGEST, parse_voc
from gkdbench.errors import DataError, UsageError
from gkdbench.identity.digest import digest
from gkdbench.spec.box_labels import BoxRules
from gkdbench.spec.dataset import DatasetEntry, Layout
from gkdbench.spec.dataset_catalogue import find_dataset
from gkdbench.spec.documents import parse

VOC = tuple(find_dataset("voc").entry.boxes.classes)
CLASSES = ("car", "person", "dog")
NAMES = ClassNames.of(CLASSES, BoxRules())
BOXES = (("person", (1, 1, 30, 40), False), ("dog", (10, 5, 20, 25), True))
SHARED = Path(os.environ.get("GKDBENCH_SHARED", "/nowhere")) / "data"


def catalogued(tmp_path: Path, split: str, classes=VOC, labelled=True, **fields):
    chosen = DatasetSplit(reader="dataset", dataset="voc", split=split, **fields)
    return open_in(tmp_path, chosen, classes, labelled=labelled)


def own(tmp_path: Path, classes=CLASSES, **fields):
    split = VocSplit(reader="voc", root="mine", **fields)
    return open_in(tmp_path, split, classes, how="ask me")


def mine(tmp_path: Path, boxes=BOXES, **annotations: bytes) -> Path:
    """A set of two images in one folder without years, some annotations replaced by name."""
    files = release("", {"train": ["a", "b"], "val": ["c"]}, boxes)
    files |= {f"Annotations/{stem}.xml": content for stem, content in annotations.items()}
    unpacked(tmp_path / "data/mine", files)
    return tmp_path / "data/mine"


def read(content: bytes, names: ClassNames = NAMES):
    return parse_voc(content, "a.xml", names)


def test_boxes_become_continuous_and_parts_are_no_objects():
    stated = read(annotation(BOXES))
    assert stated.boxes.tolist() == [[0, 0, 30, 40], [9, 4, 20, 25]]
    assert stated.labels.tolist() == [1, 2] and stated.difficult.tolist() == [False, True] and stated.size == SIZE
    objects = settled(stated, SIZE, "a.jpg", clip=False).objects
    assert objects.boxes.dtype == np.float32 and objects.boxes.tolist() == stated.boxes.tolist()
    assert read(annotation([("car", (1.5, 2.25, 30.7, 4e1), False)])).boxes.tolist() == [[0.5, 1.25, 30.7, 40]]


def test_the_order_of_elements_and_missing_marks_do_not_matter():
    text = """<?xml version="1.0"?><annotation><object><actions><jumping>1</jumping></actions><bndbox><ymax>9</ymax>
      <xmin> 3 </xmin><ymin>2</ymin><xmax>8</xmax></bndbox><part><name>foot</name><bndbox><xmin>x</xmin></bndbox></part>
      <name>dog<!-- a comment --></name></object><size><depth>3</depth></size><bndbox/><name>no</name></annotation>"""
    stated = read(text.encode())
    assert stated.boxes.tolist() == [[2, 1, 8, 9]] and stated.labels.tolist() == [2]
    assert stated.difficult.tolist() == [False] and stated.size is None
    latin = '<?xml version="1.0" encoding="ISO-8859-1"?><annotation><folder>\xe9</folder></annotation>'
    assert len(read(latin.encode("latin-1")).labels) == 0


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"", r"a\.xml:1: malformed XML \(no element found\); get the file again"),
        (b"\n<annotation>\n<object>\n</annotation>", r"a\.xml:4: malformed XML \(mismatched tag\)"),
        (annotation(BOXES)[:300], r"a\.xml:\d+: malformed XML"),
        (b"<html></html>", r"a\.xml:1: begins with <html>, and VOC's annotations with <annotation>"),
        (b'<?xml version="1.0" encoding="nonsense"?><annotation/>', r"a\.xml:1: "),
        (b"<annotation>\n&nothing;</annotation>", r"a\.xml:2: malformed XML \(undefined entity\)"),
        (b"<a>" * 3, "begins with <a>"),
        (b"<annotation>" + b"<a>" * 40, "nested too deeply"),
        (annotation([("cat", (1, 1, 9, 9), False)]),
         r"a\.xml:10: class 'cat' is none of the benchmark's; did you mean 'car'\? \(known: car, person, dog\)"),
        (annotation(BOXES).replace(b"<xmin>10</xmin>", b""), r"a\.xml:\d+: the box has no <xmin>"),
        (annotation(BOXES).replace(b"<xmin>10<", b"<xmin>ten<"), r"a\.xml:\d+: <xmin> is 'ten', which is no number"),
        (annotation(BOXES).replace(b"<xmin>10</xmin>", b"<xmin>nan</xmin>"), "which is no number"),
        (annotation(BOXES).replace(b"<xmin>10</xmin>", b"<xmin>1_0</xmin>"), "which is no number"),
        (annotation(BOXES).replace(b"<xmin>10</xmin>", b"<xmin>1e999</xmin>"), "which is no number"),
        (annotation(BOXES).replace(b"<xmin>10<", b"<xmin>1</xmin><xmin>2<"), "<xmin> stands there a second"),
        (annotation(BOXES).replace(b"<name>dog</name>", b""), r"a\.xml:\d+: the object has no <name>"),
        (annotation([], extra="<object><name>dog</name></object>"), r"a\.xml:\d+: the object has no <bndbox>"),
        (annotation([], extra="<object><bndbox/><bndbox/></object>"), "second <bndbox>"),
        (annotation(BOXES).replace(b"<difficult>1<", b"<difficult>yes<"), r"<difficult> is 'yes'; it is 0 or 1"),
        (annotation(BOXES).replace(b"<width>60<", b"<width>0<"), r"a\.xml:5: <width> is 0; give"),
        (annotation(BOXES).replace(b"<width>60</width>", b""), r"a\.xml:4: <size> has no <width>"),
        (annotation(BOXES).replace(b"<width>60<", b"<width>59.5<"), "<width> is 59.5"),
        (b" " * (LARGEST + 1), "more than 16 MiB"),
    ],
)  # fmt: skip
def test_what_is_no_annotation_is_one_line_with_its_number(content, said):
    with pytest.raises(DataError, match=said) as raised:
        read(content)
    assert "\n" not in str(raised.value)


def test_a_document_type_is_refused_before_anything_of_it_counts(tmp_path):
    secret = tmp_path / "secret.txt"
    secret.write_text("dog")
    laughs = "".join(f'<!ENTITY l{n} "{f"&l{n - 1};" * 10 if n else "ha"}">' for n in range(30))
    for body in (laughs, f'<!ENTITY l29 SYSTEM "{secret.as_uri()}">'):
        text = f"<?xml version='1.0'?>\n<!DOCTYPE annotation [{body}]>\n<annotation><object><name>&l29;</name></object>"
        with pytest.raises(DataError, match=r"a\.xml:2: declares a document type"):
            read(f"{text}</annotation>".encode())


@pytest.mark.parametrize(
    ("box", "said"),
    [
        ((10, 5, 10, 25), "box 10 5 10 25 has no area"),
        ((10, 25, 20, 5), "box 10 25 20 5 has no area"),
        ((10, 5, 62, 25), "box 10 5 62 25 lies outside of the image, which has 60x40 pixels"),
        ((-1, 5, 20, 25), "box -1 5 20 25 lies outside"),
        ((100, 100, 120, 120), "box 100 100 120 120 lies outside"),
        ((1, 1, 60, 1e30), "box 1 1 60 1e+30 lies outside"),
    ],
)  # fmt: skip
def test_a_box_that_no_image_can_hold_names_file_and_line(tmp_path, box, said):
    root = mine(tmp_path, a=annotation([BOXES[0], ("car", box, False)]))
    with pytest.raises(DataError) as raised:
        own(tmp_path, list="train").objects(0)
    line = annotation([BOXES[0], ("car", box, False)]).decode().splitlines()
    number = max(at for at, text in enumerate(line, 1) if text == "<bndbox>")
    assert str(raised.value).startswith(f"{root / 'Annotations/a.xml'}:{number}: {said}")
    assert "`clip: true`" in str(raised.value)


def test_clipping_counts_what_it_does(tmp_path):
    boxes = [("car", (0, 0, 60, 41), False), ("car", (50, 30, 90, 90), True), ("dog", (5, 5, 5, 9), False),
             ("dog", (70, 1, 90, 9), False), ("person", (3, 3, 9, 9), False)]  # fmt: skip
    mine(tmp_path, a=annotation(boxes))
    dataset = own(tmp_path, list="train", clip=True)
    found = dataset.examined(0, SIZE)
    assert (found.beyond, found.clipped, found.dropped) == (1, 1, 2) and len(found.notes) == 3
    assert found.objects.boxes.tolist() == [[-1, -1, 60, 41], [49, 29, 60, 40], [2, 2, 9, 9]]
    assert found.objects.labels.tolist() == [0, 0, 1] and found.objects.difficult.tolist() == [False, True, False]
    # a pixel beyond is how some tools count: it is left as it is
    mine(tmp_path, a=annotation(boxes[:1]))
    assert own(tmp_path, list="train").objects(0).boxes.tolist() == [[-1, -1, 60, 41]]


def test_a_size_that_is_not_the_images(tmp_path):
    mine(tmp_path, a=annotation(BOXES, (60, 40)))
    with pytest.raises(DataError, match=r"a\.xml:4: is for an image of 40x60 pixels, and .*a\.jpg has 60x40; get both"):
        own(tmp_path, list="train").objects(0)
    mine(tmp_path, a=annotation(BOXES, None))
    assert len(own(tmp_path, list="train").objects(0)) == 2


def test_an_image_without_objects_is_allowed(tmp_path):
    mine(tmp_path, a=annotation([]))
    objects = own(tmp_path, list="train").objects(0)
    assert objects.boxes.shape == (0, 4) and len(objects) == 0


def test_classes_that_are_left_out(tmp_path):
    mine(tmp_path)
    with pytest.raises(DataError, match=r"class 'dog' is none of the benchmark's.*name it among `ignored`"):
        own(tmp_path, ("car", "person"), list="train").objects(0)
    for rules in ({"ignored": ["dog"]}, {"others": "ignored"}):
        assert own(tmp_path, ("car", "person"), list="train", **rules).objects(0).labels.tolist() == [1]


def test_folders_without_years_in_the_order_of_the_list(tmp_path):
    files = release("", {"train": ["b", "a"], "val": ["c"]}, BOXES)
    unpacked(tmp_path / "data/mine", files)
    dataset = own(tmp_path, list="train")
    assert [dataset.name(i) for i in range(2)] == ["b", "a"] and len(own(tmp_path)) == 3
    assert dataset.image(0).shape == (*SIZE, 3) and dataset.image(0).dtype == np.uint8 and dataset.labels(0) is None
    assert dataset.objects(1).labels.tolist() == [1, 2]
    assert [len(own(tmp_path, list="ImageSets/Main/val.txt")), len(dataset.cut(1))] == [1, 1]
    (tmp_path / "few.txt").write_text("\ufeff# mine\nc\n\n")  # beside the YAML
    assert own(tmp_path, list="few.txt").names == ["c"]
    zipped(tmp_path / "packed/data/mine/all.zip", files, before="some/where/")
    packed = own(tmp_path / "packed", list="train")
    assert np.array_equal(packed.image(1), dataset.image(1)) and packed.names == dataset.names
    bare = own(tmp_path, annotations=None)
    assert bare.objects(0) is None and len(bare) == 3
    png = (tmp_path / "data/mine/JPEGImages/a.jpg").rename(tmp_path / "data/mine/JPEGImages/a.PNG")
    assert png.is_file() and own(tmp_path, list="train").names == ["b", "a"]


def both_years() -> dict[str, dict[str, bytes]]:
    """Official archives by name, with a few images each."""
    return {
        "VOCtrainval_06-Nov-2007.tar": release(
            "VOCdevkit/VOC2007/", {"train": ["000012"], "val": ["000005"], "trainval": ["000005", "000012"]}, BOXES
        ),
        "VOCtest_06-Nov-2007.tar": release("VOCdevkit/VOC2007/", {"test": ["000001", "000002", "000003"]}, BOXES),
        "VOCtrainval_11-May-2012.tar": release(
            "VOCdevkit/VOC2012/", {"train": ["2008_000008"], "trainval": ["2008_000008"], "val": ["2008_000008"]},
            BOXES[:1], more=["2011_000009"],
        ),
    }  # fmt: skip


def lay(tmp_path: Path, layout: str) -> None:
    for name, files in both_years().items():
        if layout == "tars":
            tarred(tmp_path / "data/voc" / name, files)
        elif layout == "torchvision":
            unpacked(tmp_path / "data", files)
        elif layout == "devkit":
            unpacked(tmp_path / "data/VOC", {path.removeprefix("VOCdevkit/"): one for path, one in files.items()})
        elif layout == "folders of archives":
            unpacked(tmp_path / "data/VOC" / name.removesuffix(".tar"), files)
        elif layout == "beside the tars":  # as torchvision leaves them
            tarred(tmp_path / "data/voc" / name, files)
            unpacked(tmp_path / "data/voc", files)
        else:
            unpacked(tmp_path / "data/voc", files)


@pytest.mark.parametrize(
    "layout", ["tars", "folders", "torchvision", "devkit", "folders of archives", "beside the tars"]
)
def test_official_layouts(tmp_path, layout):
    lay(tmp_path, layout)
    training = catalogued(tmp_path, "trainval")
    assert len(training) == 3 and [name.rpartition("/")[2] for name in training.names] == [
        "000005", "000012", "2008_000008",
    ]  # fmt: skip
    assert [len(training.objects(i)) for i in range(3)] == [2, 2, 1]
    assert [VOC[label] for label in training.objects(0).labels] == ["person", "dog"]
    assert np.array_equal(training.image(0), training.image(0)) and training.image(0).shape == (*SIZE, 3)
    test = catalogued(tmp_path, "test")
    assert [name.rpartition("/")[2] for name in test.names] == ["000001", "000002", "000003"]
    assert len(catalogued(tmp_path, "trainval", first=2)) == 2
    if layout != "folders of archives":
        assert test.names[0] == "000001" and training.names[0] == "2007/000005"
        assert catalogued(tmp_path, "trainval", only={"year": ["2012"]}).names == ["2008_000008"]
    again = pickle.loads(pickle.dumps(test))
    assert np.array_equal(again.objects(2).boxes, test.objects(2).boxes) and again.files(2) == test.files(2)


def test_packed_and_unpacked_have_one_digest(tmp_path):
    lay(tmp_path / "a", "tars")
    lay(tmp_path / "b", "folders")
    one, other = catalogued(tmp_path / "a", "trainval"), catalogued(tmp_path / "b", "trainval")
    contents = ContentHashes(tmp_path / "hashes").identities
    assert digest(one.identity(contents)) == digest(other.identity(contents))
    assert digest(one.cut(2).identity(contents)) != digest(one.identity(contents))
    bare = catalogued(tmp_path / "a", "trainval", labelled=False)
    assert bare.objects(0) is None and digest(bare.identity(contents)) != digest(one.identity(contents))


def test_what_is_missing_is_said(tmp_path):
    lay(tmp_path, "tars")
    folder = tmp_path / "data/voc"
    (folder / "VOCtest_06-Nov-2007.tar").unlink()
    with pytest.raises(
        DataError, match=r"no list VOCdevkit/VOC\{year\}/.*/test.txt with year 2007; not there: VOCtest.*none"
    ):
        catalogued(tmp_path, "test")
    (folder / "VOCtrainval_11-May-2012.tar").unlink()
    with pytest.raises(DataError, match=r"trainval.txt with year 2012; not there: .*; there it is 2007"):
        catalogued(tmp_path, "trainval")
    with pytest.raises(UsageError, match=r"only.year: no '2008'; did you mean '2007'\? \(known: 2007, 2012\)"):
        catalogued(tmp_path, "trainval", only={"year": ["2008"]})
    with pytest.raises(UsageError, match=r"no split 'trainvalid'; did you mean 'trainval'"):
        catalogued(tmp_path, "trainvalid")
    with pytest.raises(UsageError, match=r"class 'aeroplane' is none of the benchmark's; did you mean 'airplane'"):
        catalogued(tmp_path, "trainval", ("airplane",))


def test_a_download_that_ended_early(tmp_path):
    lay(tmp_path, "tars")
    path = tmp_path / "data/voc/VOCtest_06-Nov-2007.tar"
    whole = path.read_bytes()
    with tarfile.open(path) as archive:
        for end in [one.offset_data + one.size // 2 for one in archive.getmembers() if "Segm" not in one.name]:
            path.write_bytes(whole[:end])
            with pytest.raises(DataError):
                dataset = catalogued(tmp_path, "test")
                [(dataset.image(index), dataset.objects(index)) for index in range(3)]


def test_another_year(tmp_path):
    unpacked(tmp_path / "data/VOC", release("VOCdevkit/VOC2010/", {"trainval": ["a"]}, BOXES))
    with pytest.raises(DataError, match="holds another year of VOC in VOCdevkit; get VOC2007 and VOC2012"):
        catalogued(tmp_path, "trainval")
    unpacked(tmp_path / "data/mine", release("VOC2010/", {"train": ["a"]}, BOXES))
    where = {"images": "VOC{year}/JPEGImages/{stem}.jpg", "annotations": "VOC{year}/Annotations/{stem}.xml"}
    with pytest.raises(DataError, match=r"no image 'VOC\{year\}/.*' with year 2011; there it is 2010"):
        own(tmp_path, only={"year": ["2011"]}, **where)
    assert own(tmp_path, list="VOC{year}/ImageSets/Main/train.txt", **where).names == ["2010/a"]


def test_counts_are_those_of_the_releases():
    entry = find_dataset("voc").entry
    assert entry.counts["trainval"] == [5011 + 11540] and entry.counts["test"] == [4952]
    for split, counts in entry.counts_of.items():
        assert sum(counts["year"].values()) == entry.counts[split][0]


def test_lists_and_files_that_do_not_fit(tmp_path):
    root = mine(tmp_path)
    lists = root / "ImageSets/Main"
    with pytest.raises(DataError, match=r"Main/trian.txt: list of images not found \(nor "):
        own(tmp_path, list="trian")
    with pytest.raises(DataError, match=r"person_train.txt:1: image 'a -1' not found .*a line is the name of one"):
        own(tmp_path, list="person_train")
    for text, said in (
        ("a\nzz\n", r"new.txt:2: image 'zz' not found below .* \(1 of 2 missing\)"),
        ("a\na.jpg\n", "new.txt:2: image 'a.jpg' not found.*without suffix"),
        ("a\nb\na\n", "new.txt:3: names 'a' a second time, after .*new.txt:1"),
        ("\n# none\n", "new.txt: the list names no image"),
    ):
        (lists / "new.txt").write_text(text)
        with pytest.raises(DataError, match=said):
            own(tmp_path, list="new")
    (lists / "new.txt").write_bytes(b"\xff\xfe\xfa")
    with pytest.raises(DataError, match=r"new.txt: is no text"):
        own(tmp_path, list="new")
    (root / "Annotations/b.xml").unlink()
    with pytest.raises(DataError, match=r"mine: no annotation for image 'b' \(1 of 2 .*expected Annot.*/b.xml"):
        own(tmp_path, list="train")
    with pytest.raises(DataError, match=r"mine: no annotation for image 'b' \(1 of 3"):
        own(tmp_path)
    (root / "Annotations/b.xml").write_bytes(annotation([]))
    (root / "Annotations/d.xml").write_bytes(annotation([]))
    assert own(tmp_path).without_image == 1
    (root / "JPEGImages/a.png").write_bytes(image(1))
    for chosen in ({}, {"list": "train"}):
        with pytest.raises(DataError, match=r"a\.png: a second image .*'a', besides .*a\.jpg; keep one of them"):
            own(tmp_path, **chosen)
    (root / "JPEGImages/a.png").unlink()
    (root / "JPEGImages/a.jpg").write_bytes(b"no picture")
    dataset = own(tmp_path, list="train")
    for look in (dataset.image, dataset.objects):
        with pytest.raises(DataError, match=r"a\.jpg: cannot be read as an image"):
            look(0)


def test_folders_that_are_not_there(tmp_path):
    (tmp_path / "data").mkdir()
    with pytest.raises(DataError, match=r"data/mine: dataset folder not found; ask me"):
        own(tmp_path)
    (tmp_path / "data/mine").mkdir()
    with pytest.raises(DataError, match=r"no image 'JPEGImages/.*say in `images` where they lie"):
        own(tmp_path)
    with pytest.raises(DataError, match=r"no image 'VOCdevkit/VOC.*for voc test get VOCtrainval_06-Nov"):
        catalogued(tmp_path, "test")


@pytest.mark.parametrize(
    ("fields", "said"),
    [
        ({"root": "../x"}, "root: '../x' must be a relative path"),
        ({"list": "a/{stem}.txt"}, "the stem is what a list's lines say"),
        ({"list": "{year}.txt"}, "placeholder 'year' is not in images"),
        ({"images": "i/{name}.jpg", "annotations": "a/{name}.xml", "list": "train"}, "{stem}, which images lacks"),
        ({"annotations": "a/{stem}.{suffix}"}, "{suffix} is that of the images"),
        ({"annotations": "a/{other}.xml"}, "placeholder 'other' is not in images"),
        ({"only": {"year": ["2007"]}}, "placeholder 'year' is not in images"),
    ],
)
def test_splits_that_cannot_be_meant(fields, said):
    with pytest.raises(UsageError, match=re.escape(said)):
        parse(VocSplit, {"reader": "voc", "root": "mine", **fields}, "my.yaml")


def test_entries_of_the_catalogue_that_cannot_be_meant():
    layout = {"name": "a", "images": "i/{stem}.jpg", "boxes": "a/{stem}.xml", "where": {"all": {}}}
    entry = {"title": "t", "home": "h", "licence": "l", "roots": ["r"], "layouts": [layout], "counts": {"all": [1]}}
    boxes = {"classes": ["dog"]}
    assert parse(DatasetEntry, {**entry, "boxes": boxes}, "x").boxes.classes == ["dog"]
    for changed, said in (
        ({}, "need a section boxes"),
        ({"boxes": {"classes": ["dog"], "ignored": ["dog"]}}, "'dog' stands there or among ignored twice"),
        ({"boxes": boxes, "layouts": [{**layout, "labels": "l/{stem}.png"}]}, "has no labels, tile or half"),
        ({"boxes": boxes, "layouts": [{**layout, "lists": {"some": "x.txt"}}]}, "split 'some' has no entry in where"),
        ({"boxes": boxes, "layouts": [layout, {k: v for k, v in layout.items() if k != "boxes"}]}, "in every layout"),
    ):
        with pytest.raises(UsageError, match=said):
            parse(DatasetEntry, {**entry, **changed}, "x")
    # what is new is written only where it says something: records of before stay what they were
    assert not {"boxes", "lists"} & Layout(name="a", images="{stem}.png").model_dump(mode="json").keys()


@st.composite
def boxes_of(draw: st.DrawFn):
    number = st.integers(1, 400) | st.floats(1, 400, allow_nan=False)
    low = (draw(number), draw(number))
    side = st.integers(1, 90) | st.floats(0.125, 90, allow_nan=False)
    name = draw(st.sampled_from(["car", "person", "dog", "a <b> & \u00e9"]))
    return name, (*low, low[0] + draw(side), low[1] + draw(side)), draw(st.booleans())


@given(st.lists(boxes_of(), max_size=6))
def test_written_boxes_come_back(boxes):
    names = ClassNames.of(("car", "person", "dog", "a <b> & \u00e9"), BoxRules())
    stated = read(annotation(boxes, (600, 500)), names)
    assert [tuple(box) for box in stated.written.tolist()] == [box for _, box, _ in boxes]
    assert [list(names.indices)[label] for label in stated.labels.tolist()] == [name for name, _, _ in boxes]
    assert stated.difficult.tolist() == [difficult for _, _, difficult in boxes]
    found = settled(stated, (600, 500), "x", clip=False)
    assert len(found.objects) == len(boxes) and (found.objects.boxes[:, 2:] > found.objects.boxes[:, :2]).all()


@given(st.binary(max_size=60), st.integers(0, 2000), st.integers(0, 60))
def test_damaged_bytes_are_never_anything_but_a_clear_error(junk, at, gone):
    whole = annotation(BOXES)
    at %= len(whole)
    for content in (junk, whole[:at] + junk + whole[at + gone :]):
        try:
            stated = read(content)
            settled(stated, SIZE, "a.jpg", clip=True)
            settled(stated, SIZE, "a.jpg", clip=False)
        except DataError as error:
            assert str(error).startswith("a.xml:") and "\n" not in str(error)


@pytest.mark.skipif(not (SHARED / "bccd_256").is_dir(), reason="needs GKDBENCH_SHARED")
def test_real_blood_cells():
    kinds = ("RBC", "WBC", "Platelets")
    counts = {name: 0 for name in kinds}
    for split, images in (("train", 205), ("val", 87), ("trainval", 292), ("test", 72)):
        chosen = VocSplit(reader="voc", root="bccd_256", list=split)
        dataset = open_in(Path(), chosen, kinds, data=SHARED)
        assert len(dataset) == images
        if split in ("trainval", "test"):
            for index in range(images):
                objects, size = dataset.objects(index), dataset.size(index)
                assert (objects.boxes >= 0).all() and (objects.boxes <= (*size[::-1], *size[::-1])).all()
                for label in objects.labels.tolist():
                    counts[kinds[label]] += 1
    assert counts == {"RBC": 4153, "WBC": 372, "Platelets": 361}
