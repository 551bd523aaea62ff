"""Views of images with boxes: boxes go where their pixels go, padding is below and on the right, what is learnt."""

from dataclasses import dataclass
from typing import Any

import numpy as np
import pytest
from hypothesis import assume, example, given
from hypothesis import strategies as st
from numpy.typing import NDArray

from gkdbench.data.dataset import Dataset
from gkdbench.data.stream import Samples, Share, batches, learnt
from gkdbench.detection.views import DRAWS, detection_view, moved
from gkdbench.errors import DataError
from gkdbench.spec.augmentation import DetectionViews
from gkdbench.spec.inference import Inference
from gkdbench.spec.objects import Objects

Pixels = NDArray[np.uint8]
SIDES = st.integers(16, 90)
UNIFORM = st.floats(0, 1, exclude_max=True)
SHARES = st.tuples(UNIFORM, UNIFORM, UNIFORM, UNIFORM)
LAST = float(np.nextafter(1, 0))


def views(**changes: Any) -> DetectionViews:
    return DetectionViews(kind="detection_views", **changes)


def corners(shares: tuple[float, ...], shape: tuple[int, int]) -> NDArray[np.int64]:
    """Return a box of whole pixels, x0 y0 x1 y1, from four uniform numbers."""
    x, y = sorted((shares[0], shares[2])), sorted((shares[1], shares[3]))
    low = [int(x[0] * shape[1]), int(y[0] * shape[0])]
    return np.array([*low, max(int(x[1] * shape[1]), low[0] + 1), max(int(y[1] * shape[0]), low[1] + 1)])


def drawn(box: NDArray[np.int64], shape: tuple[int, int]) -> Pixels:
    """Return a blue image with the box filled in red."""
    image = np.zeros((*shape, 3), np.uint8)
    image[..., 2] = 255
    image[box[1] : box[3], box[0] : box[2]] = 255, 0, 0
    return image


def one(box: NDArray[Any], label: int = 2, difficult: bool = False) -> Objects:
    return Objects(np.asarray(box, np.float32).reshape(1, 4), np.array([label]), np.array([difficult]))


def red(view: Pixels) -> NDArray[np.int64] | None:
    """Return the box of what is rather red than blue."""
    rows, columns = np.nonzero(view[..., 0] > view[..., 2])
    return np.array([columns.min(), rows.min(), columns.max() + 1, rows.max() + 1]) if len(rows) else None


@given(half=st.tuples(st.integers(16, 40), st.integers(16, 40)), shares=SHARES, draws=SHARES)
@example(half=(16, 16), shares=(0.0, 0.0, LAST, LAST), draws=(0.5, LAST, LAST, 0.0))
@example(half=(16, 17), shares=(0.9, 0.9, 0.95, 0.95), draws=(0.5, 0.0, 0.0, 0.0))
def test_a_box_that_is_cut_and_flipped_is_that_of_its_pixels(
    half: tuple[int, int], shares: tuple[float, ...], draws: tuple[float, ...]
) -> None:
    shape = (2 * half[0], 2 * half[1])
    box = corners(shares, shape)
    image = drawn(box, shape)
    # twice as large as half of it: no pixel is resampled, a window of half its sides is cut
    view, objects = detection_view(image, one(box), views(scale=(2, 2)), half, np.array(draws))
    assert view.shape == (*half, 3) and objects is not None
    wanted = red(view)
    assert objects.boxes.tolist() == ([] if wanted is None else [wanted.tolist()])
    assert objects.boxes.dtype == np.float32 and len(objects.labels) == len(objects.difficult) == len(objects)
    top, left = (int(draw * (side + 1)) for draw, side in zip(draws[1:3], half, strict=True))
    cut = image[top : top + half[0], left : left + half[1]]
    assert (view == (cut[:, ::-1] if draws[3] < 0.5 else cut)).all()


@given(
    shape=st.tuples(SIDES, SIDES), size=st.tuples(SIDES, SIDES), shares=SHARES, draws=SHARES,
    scale=st.sampled_from([None, (1.0, 1.0), (0.5, 2.0), (1.5, 3.0)]),
)  # fmt: skip
@example(shape=(37, 90), size=(64, 48), shares=(0.1, 0.1, 0.9, 0.9), draws=(0.0, 0.0, 0.0, 0.0), scale=None)
def test_a_box_that_is_resized_is_that_of_its_pixels(
    shape: tuple[int, int], size: tuple[int, int], shares: tuple[float, ...], draws: tuple[float, ...],
    scale: tuple[float, float] | None
) -> None:  # fmt: skip
    box = corners(shares, shape)
    view, objects = detection_view(drawn(box, shape), one(box), views(scale=scale), size, np.array(draws))
    assert view.shape == (*size, 3) and objects is not None
    inner = np.minimum(resized(shape, size, scale, draws[0]), size)
    assert (objects.boxes >= 0).all() and (objects.boxes[:, [2, 3, 2, 3]] <= [*inner[::-1], *inner[::-1]]).all()
    if not len(objects):
        return
    found = objects.boxes[0]
    # the filter blurs what is thinner than it reaches
    ratio = np.array(shape) / resized(shape, size, scale, draws[0])
    assume((found[2:] - found[:2] >= 3).all() and (box[2:] - box[:2] >= 3 * np.maximum(ratio[::-1], 1)).all())
    wanted = red(view[: inner[0], : inner[1]])
    assert wanted is not None and np.abs(found - wanted).max() <= 0.75


def resized(
    shape: tuple[int, int], size: tuple[int, int], scale: tuple[float, float] | None, draw: float
) -> NDArray[np.int64]:
    low, high = scale or (1.0, 1.0)
    factor = min(size[0] / shape[0], size[1] / shape[1]) * low * (high / low) ** draw
    return np.array([max(int(side * factor + 0.5), 1) for side in shape])


@given(shape=st.tuples(st.integers(1, 500), st.integers(1, 500)), size=st.tuples(SIDES, SIDES), flip=st.booleans())
@example(shape=(500, 333), size=(512, 512), flip=True)
@example(shape=(1, 500), size=(32, 32), flip=True)
def test_an_image_fills_the_size_as_it_does_when_it_is_judged(
    shape: tuple[int, int], size: tuple[int, int], flip: bool
) -> None:
    whole = np.array([[0, 0, shape[1], shape[0]]], np.float32)
    image = np.full((*shape, 3), 200, np.uint8)
    image[shape[0] // 2 :] = 40
    draws = np.full(DRAWS, LAST)
    view, objects = detection_view(image, one(whole), views(flip=float(flip)), size, draws)
    height, width = Inference(size=size, fit="inside", window=size, stride=size).fitted(*shape)
    assert objects is not None
    np.testing.assert_allclose(objects.boxes, [[0, 0, width, height]], rtol=1e-6, atol=1e-6)
    assert height == size[0] or width == size[1]
    inner = view[:height, :width]
    mean = inner.reshape(-1, 3).mean(axis=0).round()
    # below and on the right, of flipped images too
    assert (view[height:] == mean).all() and (view[:, width:] == mean).all()


@given(
    rows=st.lists(st.tuples(*[st.floats(-20, 120, width=32)] * 4), max_size=6),
    scale=st.tuples(st.floats(0.1, 4), st.floats(0.1, 4)), flipped=st.booleans(), share=st.sampled_from([0, 0.25, 0.8]),
    top=st.integers(0, 60), left=st.integers(0, 60),
)  # fmt: skip
def test_moved_boxes_are_those_of_the_plain_formula(
    rows: list[tuple[float, ...]], scale: tuple[float, float], flipped: bool, share: float, top: int, left: int
) -> None:
    boxes = np.array([[*np.minimum(r[:2], r[2:]), *np.maximum(r[:2], r[2:])] for r in rows], np.float32).reshape(-1, 4)
    given_ = Objects(boxes, np.arange(len(boxes)), np.arange(len(boxes)) % 2 == 0)
    found = moved(given_, scale, (slice(top, top + 40), slice(left, left + 50)), flipped, share)
    by_label = dict(zip(found.labels.tolist(), found.boxes.tolist(), strict=True))
    for label, (x0, y0, x1, y1) in enumerate(boxes.astype(float).tolist()):
        x0, x1, y0, y1 = x0 * scale[1] - left, x1 * scale[1] - left, y0 * scale[0] - top, y1 * scale[0] - top
        inside = [min(max(x0, 0), 50), min(max(y0, 0), 40), min(max(x1, 0), 50), min(max(y1, 0), 40)]
        area, left_over = (x1 - x0) * (y1 - y0), (inside[2] - inside[0]) * (inside[3] - inside[1])
        if flipped:
            inside[0], inside[2] = 50 - inside[2], 50 - inside[0]
        if label in by_label:
            np.testing.assert_allclose(by_label[label], inside, atol=1e-4)
            assert by_label[label][2] > by_label[label][0] and by_label[label][3] > by_label[label][1]
            assert left_over >= share * area - 1e-3
        else:
            assert left_over <= max(share * area, 0) + 1e-3
    assert found.difficult.tolist() == [label % 2 == 0 for label in found.labels]
    assert found.labels.tolist() == sorted(found.labels.tolist())


def test_a_box_of_which_little_is_left_is_dropped_where_asked() -> None:
    window = (slice(0, 10), slice(0, 10))
    for share, kept in ((0.0, True), (0.3, True), (0.31, False)):
        found = moved(one(np.array([7, 2, 17, 8])), (1, 1), window, False, share)
        assert found.boxes.tolist() == ([[7, 2, 10, 8]] if kept else [])


def test_a_factor_is_drawn_log_uniformly() -> None:
    image = np.zeros((40, 40, 3), np.uint8)
    box = np.array([0, 0, 40, 40])
    sides = []
    for draw in (0.0, 0.5, LAST):
        _, objects = detection_view(image, one(box), views(scale=(0.25, 1)), (40, 40), np.array([draw, 0, 0, 0.9]))
        assert objects is not None
        sides.append(objects.boxes[0, 2].item())
    assert sides == [10, 20, 40]


@dataclass(frozen=True)
class Rectangles(Dataset):
    """Three images: an object and a difficult one, a difficult one alone, none."""

    boxed: bool = True

    def __len__(self) -> int:
        return 3

    def name(self, index: int) -> str:
        return f"r/{index}"

    def objects(self, index: int) -> Objects | None:
        if not self.boxed:
            return None
        boxes = np.array([[4, 6, 20, 16], [2, 2, 9, 5]], np.float32)
        rows = [[0, 1], [1], []][index]
        return Objects(boxes[rows], np.array([3, 1])[rows], np.array([False, True])[rows])

    def image(self, index: int) -> Pixels:
        return drawn(np.array([4, 6, 20, 16]), (24, 48))

    def labels(self, index: int) -> Pixels | None:
        return None


def samples(dataset: Any = None, labelled: bool = True, **changes: Any) -> Samples:
    return Samples(
        dataset or Rectangles(), batch=3, size=(24, 48), augmentation=views(**changes), ignore=255, seed=1,
        labelled=labelled,
    )  # fmt: skip


def test_difficult_objects_are_not_learnt() -> None:
    stream = samples(flip=0.0)
    (batch,) = batches(stream, Share(3, 3), 0, 1, 0)
    assert isinstance(batch.labels, list)
    order = [stream[position].variant for position in range(3)]
    by_image = {variant // 2: boxes for variant, boxes in zip(order, batch.labels, strict=True) if variant is not None}
    assert by_image[0].boxes.tolist() == [[4, 6, 20, 16]] and by_image[0].labels.tolist() == [3]
    for index in (1, 2):
        assert by_image[index].boxes.shape == (0, 4) and by_image[index].labels.shape == (0,)
    assert {(str(b.boxes.dtype), str(b.labels.dtype)) for b in batch.labels} == {("torch.float32", "torch.int64")}


def test_what_is_learnt_is_not_a_view_of_the_dataset() -> None:
    objects = one(np.array([1, 2, 3, 4]))
    kept = learnt(objects)
    kept.boxes.add_(1)
    assert objects.boxes.tolist() == [[1, 2, 3, 4]]


def test_a_flipped_image_has_flipped_boxes_in_the_stream() -> None:
    stream, flips = samples(), set()
    for number in range(24):
        sample = stream[number]
        assert sample.variant is not None and sample.image is sample.clean and isinstance(sample.labels, Objects)
        flips.add(sample.variant % 2)
        assert isinstance(sample.image, np.ndarray)
        assert (sample.image == stream.variant_image(sample.variant)).all()
        if sample.variant // 2 == 0:
            box = red(sample.image)  # type: ignore[arg-type]
            assert box is not None and sample.labels.boxes[0].tolist() == box.tolist()
    assert flips == {0, 1} and stream.variants == 6


def test_a_sample_is_the_same_whoever_loads_it() -> None:
    stream = samples(scale=(0.5, 2.0), brightness=0.2)
    assert stream.variants is None
    whole = list(batches(stream, Share(3, 3), 0, 2, 0))
    parts = list(batches(stream, Share(3, 1, rank=0, world=1), 1, 2, 0))  # in micro-batches of one, from step 1 on
    for number, part in enumerate(parts):
        assert (part.images[0] == whole[1].images[number]).all() and (part.clean[0] == whole[1].clean[number]).all()
        assert isinstance(part.labels, list) and isinstance(whole[1].labels, list)
        assert part.labels[0].boxes.tolist() == whole[1].labels[number].boxes.tolist()
    assert not (whole[0].images == whole[0].clean).all()


def test_boxes_are_asked_for_only_where_they_are_learnt() -> None:
    assert samples(Rectangles(boxed=False), labelled=False)[0].labels is None
    with pytest.raises(DataError, match=r"image 'r/\d': a split to be learnt or judged needs boxes"):
        samples(Rectangles(boxed=False))[0]
