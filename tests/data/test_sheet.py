"""A contact sheet shows every split, at any image size; only labelled pixels are coloured, and boxes where they are."""

import numpy as np
from releases import photo
from voc_files import SIZE

from gkdbench.data.checking.sheet import Sample, contact_sheet, overlaid, with_boxes
from gkdbench.spec.objects import Objects

PALETTE = np.array([(255, 0, 0), (0, 0, 255)], np.uint8)


def test_splits_of_images_of_different_sizes() -> None:
    small = np.full((64, 128, 3), 40, np.uint8)
    label = np.full((64, 128), 255, np.uint8)
    label[:, :64] = 0
    photograph = np.full((900, 700, 3), 200, np.uint8)
    sheet = np.asarray(contact_sheet({"rain": [Sample(small, label)] * 3, "photos": [Sample(photograph)]}, PALETTE))
    assert sheet.shape[0] > 2 * 128 + 300
    reddish = (sheet[..., 0] > 150) & (sheet[..., 1] < 60)
    grey = (sheet == 40).all(-1)
    assert reddish.sum() == 3 * 128 * 128
    assert grey.sum() >= 3 * 128 * (256 + 128)
    assert (sheet == 200).all(-1).sum() > 50_000


def test_more_samples_than_fit_into_a_row() -> None:
    sheet = np.asarray(contact_sheet({"many": [Sample(np.full((8, 8, 3), 40, np.uint8))] * 8}, PALETTE))
    assert (sheet == 40).all(-1).sum() == 8 * 256 * 256


def test_a_legend_names_every_class() -> None:
    image = np.full((64, 128, 3), 40, np.uint8)
    names = [f"class number {n}" for n in range(12)]
    palette = np.array([(20 * n, 255, 0) for n in range(12)], np.uint8)
    plain, legend = (np.asarray(contact_sheet({"a": [Sample(image)]}, palette, names_)) for names_ in ((), names))
    assert plain.shape[1] == legend.shape[1] and legend.shape[0] >= plain.shape[0] + 2 * 16  # six names to a line
    patches = [(legend == colour).all(-1).sum() for colour in palette]
    assert min(patches) > 200


def test_labels_over_an_image() -> None:
    image = np.full((4, 6, 3), 100, np.uint8)
    labels = np.full((4, 6), 255, np.uint8)
    labels[0] = 1
    drawn = overlaid(image, labels, PALETTE)
    assert (drawn[1:] == image[1:]).all() and (drawn[0, :, 2] > 190).all() and (drawn[0, :, 0] < 40).all()
    assert (image == 100).all()


def test_boxes_are_drawn_where_they_are_in_their_colours() -> None:
    palette = np.array([[255, 0, 0], [0, 255, 0], [0, 0, 255]], np.uint8)
    image = np.full((*SIZE, 3), 200, np.uint8)
    boxes = np.array([[10, 10, 30, 20], [40, 5, 59, 35]], np.float32)
    drawn = with_boxes(image, Objects(boxes, np.array([0, 2]), np.array([False, True])), palette, fit=(240, 160))
    assert drawn.shape == (160, 240, 3)
    assert (drawn[40:42, 45:115] == palette[0]).all() and (drawn[45:75, 40:42] == palette[0]).all()
    assert (drawn[60, 60] == 200).all()  # inside is as it was
    assert (drawn[22:138, 160] == palette[2]).all() and (drawn[22:138, 161] == 200).all()  # difficult: thin


def test_any_boxes_can_be_drawn() -> None:
    boxes = np.array([[-50, -50, 500, 500], [3, 3, 3.1, 3.1], [100, 100, 120, 120]], np.float32)
    objects = Objects(boxes, np.array([0, 0, 0]), np.array([False, True, False]))
    for size in ((1, 1), (400, 3), (30, 700)):
        assert with_boxes(photo(1, size), objects, np.zeros((1, 3), np.uint8)).dtype == np.uint8
    nothing = Objects(np.zeros((0, 4), np.float32), np.zeros(0, np.int64), np.zeros(0, np.bool_))
    assert np.array_equal(with_boxes(photo(1, (320, 256)), nothing, np.zeros((1, 3), np.uint8)), photo(1, (320, 256)))
