"""Every dataset is read from its official files, unpacked or packed, and from what converters leave."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from releases import (
    CITYSCAPES_IDS,
    IGNORE,
    SYNTHIA_IDS,
    URBAN,
    by_top,
    classes,
    coloured,
    encoded,
    photo,
    picture,
    sixteen,
    tar_bytes,
    tarred,
    unpacked,
    zipped,
)
from splits import digest_of, open_in

from gkdbench.data.dataset import DataPlace
from gkdbench.data.files.hashes import ContentHashes
from gkdbench.data.readers import DatasetSplit
from gkdbench.errors import DataError, UsageError
from gkdbench.identity.digest import digest
from gkdbench.spec.catalogue import find_benchmark
from gkdbench.spec.dataset_catalogue import datasets, find_dataset

ISPRS = ("impervious_surface", "building", "low_vegetation", "tree", "car", "clutter")
ISPRS_COLOURS = ((255, 255, 255), (0, 0, 255), (0, 255, 255), (0, 255, 0), (255, 255, 0), (255, 0, 0))
ENDOVIS = tuple(find_dataset("endovis18").entry.labels.classes)
ENDOVIS_COLOURS = (
    (0, 0, 0), (0, 255, 0), (0, 255, 255), (125, 255, 12), (255, 55, 0), (24, 55, 125), (187, 155, 25), (0, 255, 125),
    (255, 255, 125), (123, 15, 175), (124, 155, 5), (12, 255, 141),
)  # fmt: skip


def opened(tmp_path: Path, name: str, split: str, names=URBAN, labelled=True, **only):
    chosen = DatasetSplit(reader="dataset", dataset=name, split=split, only=only)
    return open_in(tmp_path, chosen, names, labelled=labelled)


def check(dataset, wanted: dict[str, tuple[np.ndarray, np.ndarray]], near: float = 0) -> None:
    """Names, images (up to what JPEG loses) and class indices are those written."""
    assert [dataset.name(i) for i in range(len(dataset))] == sorted(wanted)
    for index, name in enumerate(sorted(wanted)):
        image, truth = wanted[name]
        assert np.abs(dataset.image(index).astype(int) - image).mean() <= near
        assert np.array_equal(dataset.labels(index), truth)
        seen, raw = dataset.pair(index)
        assert np.array_equal(seen, dataset.image(index)) and np.array_equal(dataset.mapped(raw, index), truth)
        assert np.array_equal(dataset.mapped(raw[2:5, 3:9], index), truth[2:5, 3:9])


def urban(ids, void, palette=False, count=3):
    """Images and label files by number."""
    made = {}
    for n in range(count):
        truth = classes(n, 19)
        made[n] = (photo(n), truth, picture(encoded(truth, ids, void).astype(np.uint8), palette=palette))
    return made


def test_cityscapes(tmp_path):
    files, wanted = {}, {}
    for n, (image, truth, label) in urban(CITYSCAPES_IDS, 4).items():
        stem = f"frankfurt_00000{n}_000294"
        files[f"leftImg8bit/val/frankfurt/{stem}_leftImg8bit.png"] = picture(image)
        files[f"gtFine/val/frankfurt/{stem}_gtFine_labelIds.png"] = label
        files[f"gtFine/val/frankfurt/{stem}_gtFine_color.png"] = picture(image)
        files[f"gtFine/val/frankfurt/{stem}_gtFine_instanceIds.png"] = picture(truth.astype(np.uint16) * 100)
        wanted[f"frankfurt/{stem}"] = (image, truth)
    files["leftImg8bit/train/ulm/ulm_0_0_leftImg8bit.png"] = picture(photo(9))
    files["gtFine/train/ulm/ulm_0_0_gtFine_labelIds.png"] = picture(
        encoded(classes(9, 19), CITYSCAPES_IDS, 0).astype(np.uint8)
    )
    unpacked(tmp_path / "data/cityscapes", files)
    plain = opened(tmp_path, "cityscapes", "val")
    check(plain, wanted)
    assert len(opened(tmp_path, "cityscapes", "train")) == 1 and plain.without_image == 0
    packed = tmp_path / "packed"
    for top, part in by_top(files, lambda name: name.split("/")[0]).items():
        zipped(packed / "data/cityscapes" / f"{top}_trainvaltest.zip", {**part, "README": b"read me"})
    check(opened(packed, "cityscapes", "val"), wanted)
    assert opened(packed, "cityscapes", "val").names == plain.names


def test_cityscapes_as_converters_leave_it(tmp_path):
    files, wanted = {}, {}
    for n, (image, truth, _) in urban(CITYSCAPES_IDS, 4).items():
        files[f"leftImg8bit/train/ulm/ulm_{n}_leftImg8bit.png"] = picture(image)
        files[f"gtFine/train/ulm/ulm_{n}_gtFine_labelTrainIds.png"] = picture(truth)
        wanted[f"ulm/ulm_{n}"] = (image, truth)
    unpacked(tmp_path / "data/Cityscapes", files)
    check(opened(tmp_path, "cityscapes", "train"), wanted)


@pytest.mark.parametrize("packed", [False, True])
def test_gtav_palette_indices_are_ids_and_labels_of_other_sizes_are_resized(tmp_path, packed):
    made = urban(CITYSCAPES_IDS, 34, palette=True)
    files = {}
    for n, (image, _, label) in made.items():
        files[f"images/{n:05d}.png"], files[f"labels/{n:05d}.png"] = picture(image), label
    small = encoded(classes(1, 19, (6, 10)), CITYSCAPES_IDS, 0).astype(np.uint8)
    files["labels/00001.png"] = picture(small, palette=True)
    root = tmp_path / "data/gtav"
    if packed:
        for part in ("images", "labels"):
            for n in made:
                name = f"{part}/{n:05d}.png"
                zipped(root / f"{n + 1:02d}_{part}.zip", {name: files[name]})
    else:
        unpacked(root, files)
    dataset = opened(tmp_path, "gtav", "all")
    for n, (image, truth, _) in made.items():
        wanted = classes(1, 19, (6, 10)).repeat(2, 0).repeat(2, 1) if n == 1 else truth
        assert np.array_equal(dataset.labels(n), wanted) and np.array_equal(dataset.image(n), image)


def test_a_mirror_of_gtav_with_colours(tmp_path):
    palette = find_benchmark("gtav").benchmark.palette
    truth = classes(3, 19)
    painted = coloured(truth, palette, void=(111, 74, 0))
    unpacked(tmp_path / "data/gtav", {"images/00001.png": picture(photo(1)), "labels/00001.png": picture(painted)})
    check(opened(tmp_path, "gtav-colours", "all"), {"00001": (photo(1), truth)})


def test_synthia_ids_are_16_bit_red(tmp_path):
    files, wanted = {}, {}
    for n in range(2):
        truth = classes(n, 19)
        files[f"RGB/000000{n}.png"] = picture(photo(n))
        files[f"GT/LABELS/000000{n}.png"] = sixteen(encoded(truth, SYNTHIA_IDS, 22))
        wanted[f"000000{n}"] = (photo(n), truth)
    unpacked(tmp_path / "data/SYNTHIA/RAND_CITYSCAPES", files)
    check(opened(tmp_path, "synthia", "all"), wanted)


def test_urbansyn(tmp_path):
    files, wanted = {}, {}
    for n in range(2):
        truth = classes(n, 19)
        files[f"rgb/rgb_000{n}.png"] = picture(photo(n))
        files[f"ss/ss_000{n}.png"] = picture(encoded(truth, range(19), 19).astype(np.uint8))
        wanted[f"000{n}"] = (photo(n), truth)
    unpacked(tmp_path / "data/urbansyn", files)
    check(opened(tmp_path, "urbansyn", "all"), wanted)


@pytest.mark.parametrize("packed", [False, True])
def test_bdd100k(tmp_path, packed):
    files, wanted = {}, {}
    for n, (_, truth, label) in urban(range(19), 255, palette=True).items():
        smooth = np.full((12, 20, 3), 40 * n + 60, np.uint8)
        files[f"images/10k/val/{n}aa-b.jpg"] = picture(smooth, "JPEG")
        files[f"labels/sem_seg/masks/val/{n}aa-b.png"] = label
        files[f"labels/sem_seg/colormaps/val/{n}aa-b.png"] = picture(smooth)
        wanted[f"{n}aa-b"] = (smooth, truth)
    if packed:
        for top, part in by_top(files, lambda name: name.split("/")[0]).items():
            zipped(tmp_path / "data/bdd100k" / f"bdd100k_{top}.zip", part, before="bdd100k/")
    else:
        unpacked(tmp_path / "data/bdd100k/bdd100k", files)
    if packed:
        check(opened(tmp_path, "bdd100k", "val"), wanted, near=2)
    else:
        chosen = DatasetSplit(reader="dataset", dataset="bdd100k", split="val", root="bdd100k/bdd100k")
        check(open_in(tmp_path, chosen, URBAN), wanted, near=2)


def mapillary_files(labels: str) -> tuple[dict[str, bytes], dict[str, np.ndarray]]:
    entry = find_dataset("mapillary").entry
    files, truths = {}, {}
    for n in range(2):
        ids = np.random.default_rng(n).integers(0, 66, (12, 20)).astype(np.uint8)
        table = np.full(256, IGNORE, np.uint8)
        for name, members in entry.labels.classes.items():
            table[members] = URBAN.index(name)
        files[f"validation/images/{n}x_Y.jpg"] = picture(np.full((12, 20, 3), 90 + n, np.uint8), "JPEG")
        files[f"validation/{labels}/{n}x_Y.png"] = picture(ids, palette=True)
        truths[f"{n}x_Y"] = table[ids]
    return files, truths


@pytest.mark.parametrize("labels", ["labels", "v1.2/labels"])
def test_mapillary_whole_and_halved(tmp_path, labels):
    files, truths = mapillary_files(labels)
    unpacked(tmp_path / "data/mapillary", files)
    whole = opened(tmp_path, "mapillary", "val")
    half = opened(tmp_path, "mapillary-half", "val")
    for n, name in enumerate(sorted(truths)):
        assert whole.name(n) == half.name(n) == name
        assert np.array_equal(whole.labels(n), truths[name])
        assert half.image(n).shape == (6, 10, 3)
        small = Image.fromarray(truths[name]).resize((10, 6), Image.Resampling.NEAREST)
        assert np.array_equal(half.labels(n), np.asarray(small))
    contents = ContentHashes(tmp_path / "hashes").identities
    assert digest(whole.identity(contents)) != digest(half.identity(contents))


def test_the_table_of_mapillary_is_whole():
    labels = find_dataset("mapillary").entry.labels
    assert sorted(value for _, value in labels.values()) == list(range(66))
    assert sum(len(members) for members in labels.classes.values()) == 34


def test_acdc_by_condition(tmp_path):
    files, wanted = {}, {}
    for n, condition in enumerate(("fog", "night", "rain", "snow")):
        truth = classes(n, 19)
        stem = f"{condition}/val/GOPR0{n}/GOPR0{n}_frame_000001"
        files[f"rgb_anon/{stem}_rgb_anon.png"] = picture(photo(n))
        files[f"rgb_anon/{condition}/val_ref/GOPR0{n}/GOPR0{n}_frame_000001_rgb_ref_anon.png"] = picture(photo(n))
        files[f"gt/{stem}_gt_labelTrainIds.png"] = picture(truth)
        files[f"gt/{stem}_gt_labelColor.png"] = picture(photo(n))
        wanted[condition] = (photo(n), truth)
    for top, part in by_top(files, lambda name: name.split("/")[0]).items():
        zipped(tmp_path / "data/acdc" / f"{top}_trainvaltest.zip", part)
    night = opened(tmp_path, "acdc", "val", condition=["night"])
    assert len(night) == 1 and np.array_equal(night.labels(0), wanted["night"][1])
    assert len(opened(tmp_path, "acdc", "val")) == 4
    with pytest.raises(UsageError, match=r"only.condition: no 'nite'; did you mean 'night'\? \(known: fog, night"):
        opened(tmp_path, "acdc", "val", condition=["nite"])


@pytest.mark.parametrize("packed", [False, True])
@pytest.mark.parametrize("name", ["potsdam-rgb", "potsdam-irrg", "potsdam-rgb-no-clutter"])
def test_potsdam_tiles(tmp_path, packed, name):
    band = "IRRG" if "irrg" in name else "RGB"
    truth, image = classes(1, 6, (1100, 600)), photo(1, (1100, 600))
    label = coloured(truth, ISPRS_COLOURS)
    label[3, 3:6] = (252, 255, 0)  # what losses leave
    folder = {"RGB": "2_Ortho_RGB", "IRRG": "3_Ortho_IRRG"}[band]
    images = {f"{folder}/top_potsdam_2_13_{band}.tif": picture(image, "TIFF")}
    labels = {"top_potsdam_2_13_label_noBoundary.tif": picture(label, "TIFF")}
    root = tmp_path / "data/potsdam"
    if packed:
        zipped(root / f"{folder}.zip", images)
        zipped(root / "5_Labels_all_noBoundary.zip", labels)
    else:
        unpacked(root, images)
        unpacked(root / "5_Labels_all_noBoundary", labels)
    names = ISPRS[:5] if "no-clutter" in name else ISPRS
    dataset = opened(tmp_path, name, "val", names=names)
    # rows at 0, 512, 588 and columns at 0, 88: the last ones are shifted inwards
    assert [dataset.name(i) for i in range(len(dataset))] == [
        f"2_13_{left}_{top}_{left + 512}_{top + 512}" for top in (0, 512, 588) for left in (0, 88)
    ]
    truth[3, 3:6] = IGNORE
    if "no-clutter" in name:
        truth[truth == 5] = IGNORE
    for index, (top, left) in enumerate((t, x) for t in (0, 512, 588) for x in (0, 88)):
        place = (slice(top, top + 512), slice(left, left + 512))
        assert np.array_equal(dataset.labels(index), truth[place])
        assert np.array_equal(dataset.image(index), image[place])


def test_vaihingen_and_converted_tiles(tmp_path):
    truth, image = classes(2, 6, (512, 512)), photo(2, (512, 512))
    root = tmp_path / "data/vaihingen"
    unpacked(root, {"top/top_mosaic_09cm_area2.tif": picture(image, "TIFF"),
                    "top/top_mosaic_09cm_area1.tif": picture(image, "TIFF")})  # fmt: skip
    zipped(root / "ISPRS_semantic_labeling_Vaihingen_ground_truth_eroded_COMPLETE.zip",
           {"top_mosaic_09cm_area2_noBoundary.tif": picture(coloured(truth, ISPRS_COLOURS), "TIFF")})  # fmt: skip
    official = opened(tmp_path, "vaihingen-irrg", "val", names=ISPRS)
    assert len(official) == 1 and np.array_equal(official.labels(0), truth)
    stored = np.where(truth == IGNORE, 0, truth + 1).astype(np.uint8)
    converted = tmp_path / "converted"
    unpacked(converted / "data/vaihingen", {
        "img_dir/val/area2_0_0_512_512.png": picture(image), "ann_dir/val/area2_0_0_512_512.png": picture(stored),
    })  # fmt: skip
    tiles = opened(converted, "vaihingen-irrg", "val", names=ISPRS)
    assert tiles.name(0) == "area2_0_0_512_512" and np.array_equal(tiles.labels(0), truth)
    without = opened(converted, "vaihingen-irrg-no-clutter", "val", names=ISPRS[:5])
    assert np.array_equal(without.labels(0), np.where(truth == 5, IGNORE, truth))


@pytest.mark.parametrize("packed", [False, True])
def test_endovis_with_repairs_and_both_numbers_of_classes(tmp_path, packed):
    first, second, wanted = {}, {}, {}
    for sequence in (1, 2, 5):
        truth = np.random.default_rng(sequence).integers(0, 12, (12, 20)).astype(np.uint8)
        release, files = (
            ("miccai_challenge_2018_release_1", first) if sequence < 5 else ("miccai_challenge_release_2", second)
        )
        where = f"{release}/seq_{sequence}"
        files[f"{where}/left_frames/frame000.png"] = picture(photo(sequence))
        files[f"{where}/right_frames/frame000.png"] = picture(photo(50))
        files[f"{where}/labels/frame000.png"] = picture(coloured(truth, ENDOVIS_COLOURS, alpha=sequence == 2))
        wanted[sequence] = truth
    mended = np.zeros((12, 20), np.uint8)
    repair = {"seq_1/labels/frame000.png": picture(coloured(mended, ENDOVIS_COLOURS))}
    root = tmp_path / "data/endovis18"
    if packed:
        zipped(root / "miccai_challenge_2018_release_1.zip", first)
        zipped(root / "miccai_challenge_release_2.zip", second)
    else:
        unpacked(root, {**first, **second})
    source = opened(tmp_path, "endovis18", "seq1-4", names=ENDOVIS)
    assert [source.name(i) for i in range(2)] == ["1/frame000", "2/frame000"]
    assert np.array_equal(source.labels(0), wanted[1]) and np.array_equal(source.labels(1), wanted[2])
    target = opened(tmp_path, "endovis18-11", "seq5-7", names=ENDOVIS[:11])
    assert np.array_equal(target.labels(0), np.where(wanted[5] == 11, IGNORE, wanted[5]))
    before = {f"miccai_challenge_2018_release_1/{name}": content for name, content in repair.items()}
    if packed:
        zipped(root / "repairs.zip", before)
    else:
        unpacked(root / "repairs", before)
    assert np.array_equal(opened(tmp_path, "endovis18", "seq1-4", names=ENDOVIS).labels(0), mended)


def test_repairs_may_lie_in_other_folders_and_are_never_overlooked(tmp_path):
    truth = np.ones((12, 20), np.uint8)
    where = "miccai_challenge_2018_release_1/seq_1"
    files = {
        f"{where}/left_frames/frame000.png": picture(photo(1)),
        f"{where}/labels/frame000.png": picture(coloured(truth, ENDOVIS_COLOURS)),
    }
    root = tmp_path / "data/endovis18"
    unpacked(root, files)
    mended = picture(coloured(truth * 3, ENDOVIS_COLOURS))
    for name in ("seq_1/labels/frame000.png", "release1/seq_1/labels/frame000.png"):
        zipped(root / "repairs.zip", {name: mended, "seq_1/left_frames/frame000.png": picture(photo(1))})
        assert (opened(tmp_path, "endovis18", "seq1-4", names=ENDOVIS).labels(0) == 3).all()
    zipped(root / "repairs.zip", {"something/else.png": mended})
    with pytest.raises(DataError, match=r"repairs: holds no label file like .* to put in another's place"):
        opened(tmp_path, "endovis18", "seq1-4", names=ENDOVIS)


def test_what_systems_leave_beside_files_does_not_count(tmp_path):
    files = {"rgb/rgb_0001.png": picture(photo(1)), "ss/ss_0001.png": picture(np.zeros((12, 20), np.uint8))}
    junk = {f"__MACOSX/{name}": b"junk" for name in files} | {"rgb/._rgb_0002.png": b"junk"}
    zipped(tmp_path / "data/urbansyn/all.ZIP", {**files, **junk, "._x/rgb/rgb_0003.png": b"junk"})
    assert len(opened(tmp_path, "urbansyn", "all")) == 1
    unpacked(tmp_path / "plain/data/urbansyn", {**files, ".hidden/rgb_0004.png": b"-"})
    assert len(opened(tmp_path / "plain", "urbansyn", "all")) == 1


def test_complete_labels_of_vaihingen_are_called_as_its_images(tmp_path):
    truth = classes(4, 6, (512, 512))
    root = tmp_path / "data/vaihingen"
    images = {f"top/top_mosaic_09cm_area{n}.tif": picture(photo(4, (512, 512)), "TIFF") for n in (1, 2)}
    zipped(root / "ISPRS_semantic_labeling_Vaihingen.zip", images)
    zipped(
        root / "ISPRS_semantic_labeling_Vaihingen_ground_truth_COMPLETE.zip",
        {f"top_mosaic_09cm_area{n}.tif": picture(coloured(truth, ISPRS_COLOURS), "TIFF") for n in (1, 2)},
    )
    for split in ("train", "val"):
        full = opened(tmp_path, "vaihingen-irrg-full", split, names=ISPRS)
        assert len(full) == 1 and np.array_equal(full.labels(0), truth)


def test_datasets_of_equal_sizes_have_digests_of_their_own(tmp_path):
    image, label = photo(1, (600, 600)), coloured(classes(1, 6, (600, 600)), ISPRS_COLOURS)
    root = tmp_path / "data/potsdam"
    unpacked(root / "2_Ortho_RGB", {"top_potsdam_2_10_RGB.tif": picture(image, "TIFF")})
    unpacked(root / "3_Ortho_IRRG", {"top_potsdam_2_10_IRRG.tif": picture(image[..., ::-1].copy(), "TIFF")})
    unpacked(root / "5_Labels_all_noBoundary", {"top_potsdam_2_10_label_noBoundary.tif": picture(label, "TIFF")})
    unpacked(root / "5_Labels_all", {"top_potsdam_2_10_label.tif": picture(label, "TIFF")})
    known = find_benchmark("potsdam-rgb")
    found = set()
    for name in ("potsdam-rgb", "potsdam-irrg", "potsdam-rgb-full", "potsdam-irrg-full"):
        for changes in ({}, {"first": 2}):
            for limit in (None, 3):
                split = DatasetSplit(reader="dataset", dataset=name, split="train", **changes)
                place = DataPlace(tmp_path / "data", tmp_path / "cache")
                found.add(digest_of(split, known.benchmark, known.folder, place, limit))
    # `first: 2` is two tiles whatever the limit
    assert len(found) == 4 * 3


def test_parts_of_a_split_have_expected_counts():
    entry = find_dataset("acdc").entry

    def expected(**fields):
        return DatasetSplit(reader="dataset", dataset="acdc", split="val", **fields).expected(Path())

    assert expected() == [406] and expected(only={"condition": ["night"]}) == [106]
    assert expected(only={"condition": ["fog", "rain"]}) == [200] and expected(only={"stem": ["x"]}) == []
    assert expected(first=50) == [50]
    for split, parts in entry.counts_of.items():
        assert [sum(parts["condition"].values())] == entry.counts[split]


def test_rescuenet_and_its_merge(tmp_path):
    ids = np.random.default_rng(0).integers(0, 11, (12, 20)).astype(np.uint8)
    unpacked(tmp_path / "data/rescuenet", {
        "test-org-img/10778.jpg": picture(np.full((12, 20, 3), 70, np.uint8), "JPEG"),
        "test-label-img/10778_lab.png": picture(ids),
    })  # fmt: skip
    five = ("impervious_surface", "building", "vegetation", "car", "clutter")
    table = np.array([4, 4, 1, 1, 1, 1, 3, 0, 0, 2, 4], np.uint8)
    assert np.array_equal(opened(tmp_path, "rescuenet-5", "test", names=five).labels(0), table[ids])
    names = tuple(find_dataset("rescuenet").entry.labels.classes)
    assert np.array_equal(opened(tmp_path, "rescuenet", "test", names=names).labels(0), ids)


def test_imagenet_folders_and_its_tar_of_tars(tmp_path):
    inner = {f"n0{k}/n0{k}_{n}.JPEG": np.full((8, 9, 3), 50 * k + n, np.uint8) for k in range(2) for n in range(3)}
    files = {name: picture(image, "JPEG") for name, image in inner.items()}
    unpacked(tmp_path / "data/imagenet/train", files)
    groups = by_top(files, lambda name: name.split("/")[0])
    outer = {f"{top}.tar": tar_bytes({n.split("/")[1]: c for n, c in part.items()}) for top, part in groups.items()}
    tarred(tmp_path / "tar/data/imagenet/ILSVRC2012_img_train.tar", outer)
    for place in (tmp_path, tmp_path / "tar"):
        pool = opened(place, "imagenet", "train", labelled=False)
        assert len(pool) == 6 and pool.labels(0) is None
        assert [round(pool.image(i).mean()) for i in range(6)] == [0, 1, 2, 50, 51, 52]


def test_every_entry_can_be_opened_for_the_benchmarks_that_use_it():
    for name, source in datasets().items():
        splits = {split for layout in source.entry.layouts for split in layout.where}
        assert splits == set(source.entry.counts), name
        labels = source.entry.labels
        for layout in source.entry.layouts:
            if layout.means is not None and labels is not None:
                assert set(layout.means.classes) == set(labels.classes), (name, layout.name)
