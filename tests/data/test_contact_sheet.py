"""A contact sheet shows every row, at any image size, and colours only labelled pixels."""

import numpy as np
import pytest

from gkdbench.data.checking.contact_sheet import contact_sheet

PALETTE = np.array([(255, 0, 0), (0, 0, 255)], np.uint8)


def test_rows_of_different_sizes() -> None:
    small = np.full((64, 128, 3), 40, np.uint8)
    label = np.full((64, 128), 255, np.uint8)
    label[:, :64] = 0
    photograph = np.full((900, 700, 3), 200, np.uint8)
    rows = [("rain", [small] * 3, [label] * 3), ("photos", [photograph], None)]
    sheet = np.asarray(contact_sheet(rows, PALETTE))
    assert sheet.shape[0] > 2 * 128 + 300
    reddish = (sheet[..., 0] > 150) & (sheet[..., 1] < 60)
    grey = (sheet == 40).all(-1)
    assert reddish.sum() == 3 * 128 * 128
    assert grey.sum() >= 3 * 128 * (256 + 128)
    assert (sheet == 200).all(-1).sum() > 50_000


def test_labels_must_match_the_images() -> None:
    image = np.zeros((8, 8, 3), np.uint8)
    with pytest.raises(ValueError, match="shorter"):
        contact_sheet([("a", [image, image], [image[..., 0]])], PALETTE)


def test_an_empty_sheet_is_refused() -> None:
    with pytest.raises(ValueError, match="at least one image"):
        contact_sheet([("a", [], None)], PALETTE)


def test_a_legend_names_every_class() -> None:
    image = np.full((64, 128, 3), 40, np.uint8)
    names = [f"class number {n}" for n in range(12)]
    palette = np.array([(20 * n, 255, 0) for n in range(12)], np.uint8)
    sizes = []
    for classes in ((), names):
        sheet = np.asarray(contact_sheet([("a", [image], None)], palette, classes))
        sizes.append(sheet.shape)
    assert sizes[0][1] == sizes[1][1] and sizes[1][0] >= sizes[0][0] + 6 * 26  # two names to a line
    patches = [(sheet == colour).all(-1).sum() for colour in palette]
    assert min(patches) > 200
