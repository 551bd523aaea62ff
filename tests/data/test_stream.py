"""Which image stands where, augmented how, depends on seed, epoch and index alone."""

import dataclasses
import pickle
import re
from collections.abc import Sequence

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from torch import Tensor

from gkdbench.data.dataset import Dataset
from gkdbench.data.seeds import seed_of
from gkdbench.data.stream import Batch, Sample, Samples, Share, batches, unit_images
from gkdbench.errors import DataError, UsageError
from gkdbench.spec.augmentation import AnyAugmentation, Augmentation, DistillationViews, TaskCrops

PHOTOMETRIC = Augmentation(scale=(0.7, 1.5), brightness=0.3, contrast=0.3)
GEOMETRIC = Augmentation(scale=(0.7, 1.5))
CROPS = TaskCrops(kind="task_crops", short_sides=(12, 24, 30))
VIEWS = DistillationViews(kind="distillation_views")
KNOWN_SUMS = [557724, 527044, 89428]
IGNORE = 255


@dataclasses.dataclass(frozen=True)
class Checkerboard(Dataset):
    """Images of flat cells whose colour is their label: red = 10 * label, green = image number."""

    count: int = 7
    size: tuple[int, int] = (24, 40)
    cell: int = 8
    labelled: bool = True

    def __len__(self) -> int:
        return self.count

    def name(self, index: int) -> str:
        return str(index)

    def labels(self, index: int) -> NDArray[np.uint8] | None:
        if not self.labelled:
            return None
        height, width = self.size
        cells = np.random.default_rng(index).integers(0, 20, (height // self.cell, width // self.cell))
        return cells.repeat(self.cell, 0).repeat(self.cell, 1).astype(np.uint8)

    def image(self, index: int) -> NDArray[np.uint8]:
        labels = dataclasses.replace(self, labelled=True).labels(index)
        assert labels is not None
        return np.stack([10 * labels, np.full_like(labels, index % 256), 255 - labels], axis=-1)


def make_samples(
    dataset: Checkerboard = Checkerboard(),
    *,
    batch: int = 4,
    size: tuple[int, int] = (16, 24),
    augmentation: AnyAugmentation = PHOTOMETRIC,
    seed: int = 5,
    labelled: bool | None = None,
    repeats: int = 1,
) -> Samples:
    if labelled is None:
        labelled = not isinstance(augmentation, DistillationViews)
    return Samples(
        dataset, batch=batch, size=size, augmentation=augmentation, ignore=IGNORE, seed=seed, labelled=labelled,
        repeats=repeats
    )  # fmt: skip


def equal(one: Batch, other: Batch) -> bool:
    pairs: Sequence[tuple[Tensor | None, Tensor | None]] = [
        (getattr(one, field.name), getattr(other, field.name))
        for field in dataclasses.fields(Batch)
        if field.name != "extra"
    ]
    return all(a is b is None or (a is not None and b is not None and torch.equal(a, b)) for a, b in pairs)


def same(one: Sample, other: Sample) -> bool:
    assert (one.labels is None) == (other.labels is None)
    arrays = np.array_equal(one.image, other.image) and np.array_equal(one.clean, other.clean)
    labels = one.labels is None or np.array_equal(one.labels, other.labels)
    return arrays and labels and one.variant == other.variant


def test_shapes_and_ranges() -> None:
    (batch, *_) = batches(make_samples(), Share(4, 4), 0, 1, workers=0)
    assert batch.images.shape == (4, 3, 16, 24) and batch.images.dtype == torch.float32
    assert batch.labels is not None and batch.labels.shape == (4, 16, 24) and batch.labels.dtype == torch.int64
    assert batch.position.tolist() == [0, 1, 2, 3]
    assert batch.images.min() >= 0 and batch.images.max() <= 1
    assert batch.clean.shape == batch.images.shape and not torch.equal(batch.clean, batch.images)


every_kind = pytest.mark.parametrize(
    ("augmentation", "repeats"), [(PHOTOMETRIC, 1), (CROPS, 1), (VIEWS, 1), (CROPS, 2), (VIEWS, 3)],
    ids=["plain", "crops", "views", "crops, repeated", "views, repeated"],
)  # fmt: skip


@every_kind
@pytest.mark.parametrize("workers", [1, 2])
def test_workers_change_nothing(augmentation: AnyAugmentation, repeats: int, workers: int) -> None:
    samples = make_samples(augmentation=augmentation, repeats=repeats)
    alone, helped = (list(batches(samples, Share(4, 2), 0, 5, count)) for count in (0, workers))
    assert len(alone) == len(helped) == 10
    assert all(map(equal, alone, helped))
    shared, shared_too = ([batch.clean is batch.images for batch in found] for found in (alone, helped))
    assert shared == shared_too


@every_kind
@pytest.mark.parametrize("start", [1, 4, 5])
def test_a_resumed_stream_goes_on_as_if_nothing_had_happened(
    augmentation: AnyAugmentation, repeats: int, start: int
) -> None:
    samples = make_samples(augmentation=augmentation, repeats=repeats)
    whole = list(batches(samples, Share(4, 2), 0, 6, workers=0))
    torch.rand(3)  # whatever the global generators did meanwhile
    np.random.rand(5)
    rest = list(batches(make_samples(augmentation=augmentation, repeats=repeats), Share(4, 2), start, 6, workers=0))
    assert len(rest) == 2 * (6 - start)
    assert all(map(equal, whole[2 * start :], rest))


@every_kind
def test_the_order_of_reading_changes_nothing(augmentation: AnyAugmentation, repeats: int) -> None:
    numbers = range(20)
    forwards, backwards = (make_samples(augmentation=augmentation, repeats=repeats) for _ in range(2))
    there = {number: forwards[number] for number in numbers}
    assert all(same(there[number], backwards[number]) for number in reversed(numbers))


@every_kind
def test_two_ranks_see_what_one_process_sees_in_two_turns(augmentation: AnyAugmentation, repeats: int) -> None:
    samples = make_samples(Checkerboard(count=9), batch=8, augmentation=augmentation, repeats=repeats)
    alone = list(batches(samples, Share(8, 2), 0, 3, workers=0))
    ranks = [list(batches(samples, Share(8, 2, rank, 2), 0, 3, workers=0)) for rank in (0, 1)]
    assert len(alone) == 12 and [len(rank) for rank in ranks] == [6, 6]
    together = [batch for pair in zip(*ranks, strict=True) for batch in pair]
    assert all(map(equal, alone, together))


@given(size=st.integers(1, 5), world=st.integers(1, 4), turns=st.integers(1, 4))
def test_shares_cut_the_batch_without_rest_or_overlap(size: int, world: int, turns: int) -> None:
    batch = size * world * turns
    shares = [Share(batch, size, rank, world) for rank in range(world)]
    assert {share.turns for share in shares} == {turns}
    positions = [p for turn in range(turns) for share in shares for p in share.positions(turn)]
    assert positions == list(range(batch))


def shown_by(samples: Samples, first: int, count: int) -> list[int]:
    """Return which images the samples number `first` and on show, by their green channel."""
    return [int(samples[number].clean[0, 0, 1]) for number in range(first, first + count)]


def test_every_epoch_shows_every_image_once_in_its_own_order() -> None:
    samples = make_samples(augmentation=Augmentation(), size=(24, 40))
    epochs = [shown_by(samples, 7 * epoch, 7) for epoch in range(3)]
    assert all(sorted(epoch) == list(range(7)) for epoch in epochs)
    assert len({tuple(epoch) for epoch in epochs}) == 3


def test_the_batch_size_does_not_change_the_sequence() -> None:
    one, other = make_samples(batch=4), make_samples(batch=6)
    for number in range(20):
        assert same(one[number], other[number])


@pytest.mark.parametrize(("count", "repeats"), [(14, 3), (14, 2), (600, 3)])
def test_repeats_show_an_image_several_times_in_a_row(count: int, repeats: int) -> None:
    dataset = Checkerboard(count, size=(8, 8))
    samples = make_samples(dataset, size=(8, 8), augmentation=Augmentation(), repeats=repeats)
    places = {14: 12, 600: 512}[count]
    assert samples.places == places and len(samples) == count
    shown = []
    for epoch in range(2):
        images = np.random.default_rng([samples.seed, epoch]).permutation(count).repeat(repeats)
        order = images[:places].tolist()
        found = [int(samples[epoch * places + place].clean[0, 0, 1]) for place in range(places)]
        assert found == [index % 256 for index in order]
        assert len(set(order)) == -(-places // repeats)
        shown.append(order)
    assert shown[0] != shown[1]


@pytest.mark.parametrize("augmentation", [CROPS, VIEWS, PHOTOMETRIC])
def test_repeats_are_augmented_anew(augmentation: AnyAugmentation) -> None:
    samples = make_samples(batch=6, augmentation=augmentation, repeats=3)
    for first in (0, 3):
        images = [samples[first + number].image for number in range(3)]
        assert not any(np.array_equal(images[one], images[other]) for one, other in [(0, 1), (0, 2), (1, 2)])


def test_too_few_images_for_repeats_are_refused() -> None:
    with pytest.raises(UsageError, match="key 'repeats': 7 images fill no batch of 8"):
        make_samples(batch=8, repeats=3)


def test_a_distillation_view_is_its_own_clean_image() -> None:
    """Float values that were drawn beyond [0, 1] arrive as they are."""
    drawn = []
    for batch in batches(make_samples(augmentation=VIEWS), Share(4, 4), 0, 8, workers=0):
        assert batch.images.shape == (4, 3, 16, 24) and batch.images.dtype == torch.float32
        assert batch.clean is batch.images and batch.labels is None and batch.variant is None
        drawn.append(batch.images)
    assert torch.stack(drawn).max() > 1 and torch.stack(drawn).min() < 0
    assert unit_images(drawn[0]) is drawn[0]


def test_distillation_views_have_no_labels() -> None:
    with pytest.raises(ValueError, match="distillation views have no labels"):
        make_samples(augmentation=VIEWS, labelled=True)


def test_task_crops_have_the_stages_size_and_labels() -> None:
    (batch, *_) = batches(make_samples(augmentation=CROPS), Share(4, 4), 0, 1, workers=0)
    assert batch.images.shape == batch.clean.shape == (4, 3, 16, 24) and batch.images.max() <= 1
    assert batch.labels is not None and batch.labels.shape == (4, 16, 24) and batch.labels.dtype == torch.int64


def test_the_plain_kind_is_bit_for_bit_what_it_was() -> None:
    """Published runs saw these very batches."""
    (batch,) = batches(make_samples(augmentation=PHOTOMETRIC), Share(4, 4), 3, 4, workers=0)
    assert batch.labels is not None
    sums = [(255 * batch.images).double().sum(), (255 * batch.clean).double().sum(), batch.labels.sum()]
    assert [round(value.item()) for value in sums] == KNOWN_SUMS


def test_another_seed_is_another_stream() -> None:
    one, other = (next(batches(make_samples(seed=seed), Share(4, 4), 0, 1, 0)) for seed in (5, 6))
    assert not torch.equal(one.images, other.images)


def test_clean_is_the_very_same_tensor_without_photometric_change() -> None:
    for workers in (0, 1):
        (batch,) = batches(make_samples(augmentation=GEOMETRIC), Share(4, 4), 0, 1, workers)
        assert batch.clean is batch.images
        assert batch.to(torch.device("cpu")).clean is batch.images
    (batch,) = batches(make_samples(), Share(4, 4), 0, 1, workers=0)
    assert batch.clean is not batch.images


def test_photometric_change_leaves_the_geometry_alone() -> None:
    changed, plain = make_samples(), make_samples(augmentation=GEOMETRIC)
    for position in range(4):
        sample, expected = changed[position], plain[position]
        assert expected.image is expected.clean and np.array_equal(sample.clean, expected.clean)
        assert sample.labels is not None and np.array_equal(sample.labels, expected.labels)
        assert not np.array_equal(sample.image, sample.clean)


@settings(max_examples=40)
@given(
    seed=st.integers(0, 2**40),
    step=st.integers(0, 30),
    flip=st.sampled_from([0.0, 0.5, 1.0]),
    scale=st.none() | st.tuples(st.floats(0.75, 1.0), st.floats(1.0, 2.0)),
    size=st.sampled_from([(40, 56), (48, 80), (61, 45)]),
)
def test_image_and_labels_stay_aligned(
    seed: int, step: int, flip: float, scale: tuple[float, float] | None, size: tuple[int, int]
) -> None:
    """Wherever the image still shows a cell's pure colour, the label is that cell's; elsewhere is an edge."""
    dataset = Checkerboard(size=(48, 80), cell=16)
    samples = make_samples(dataset, size=size, augmentation=Augmentation(flip=flip, scale=scale), seed=seed)
    for number in (2 * step, 2 * step + 1):
        sample = samples[number]
        clean, labels = sample.clean, sample.labels
        assert labels is not None and clean.shape == (*size, 3) and labels.shape == size
        original = dataset.labels(int(clean[0, 0, 1]))
        assert original is not None and set(labels.flat) <= {*original.flat, IGNORE}  # ids are never mixed
        known = labels != IGNORE
        # interpolation mixes red = 10 * label and blue = 255 - label alike, but only whole labels are pure
        red, blue = clean[..., 0].astype(int), clean[..., 2].astype(int)
        pure = known & (red % 10 == 0) & (255 - blue == red // 10)
        inside = pure & _flat(red)
        assert (labels[inside] == red[inside] // 10).all()
        assert inside.sum() >= 0.1 * known.sum()


def _flat(values: NDArray[np.int64]) -> NDArray[np.bool_]:
    """Return which pixels equal all eight neighbours (borders count as equal)."""
    padded = np.pad(values, 1, mode="edge")
    height, width = values.shape
    shifts = [padded[i : i + height, j : j + width] for i in range(3) for j in range(3)]
    return np.all([shift == values for shift in shifts], axis=0)


def test_flipping_mirrors() -> None:
    plain, mirrored = (make_samples(size=(24, 40), augmentation=Augmentation(flip=flip)) for flip in (0.0, 1.0))
    one, other = plain[0], mirrored[0]
    assert np.array_equal(one.image[:, ::-1], other.image) and not np.array_equal(one.image, other.image)
    assert one.labels is not None and np.array_equal(one.labels[:, ::-1], other.labels)


def test_about_half_are_flipped() -> None:
    samples = make_samples(Checkerboard(count=200), size=(24, 40), augmentation=Augmentation(flip=0.5))
    flipped = 0
    for number in range(200):
        image = samples[number].image
        original = samples.dataset.image(int(image[0, 0, 1]))
        assert np.array_equal(image, original) or np.array_equal(image, original[:, ::-1])
        flipped += not np.array_equal(image, original)
    assert 70 <= flipped <= 130


def test_a_small_image_is_padded_with_its_mean_colour_and_ignored_labels() -> None:
    samples = make_samples(size=(24, 40), augmentation=Augmentation(flip=0.0, scale=(0.5, 0.5)))
    sample = samples[0]
    image, labels = sample.image, sample.labels
    assert labels is not None and (labels[:12, :20] != IGNORE).all()
    assert (labels[12:] == IGNORE).all() and (labels[:, 20:] == IGNORE).all()
    mean = image[:12, :20].reshape(-1, 3).mean(axis=0).round()
    assert (image[12:] == mean).all() and (image[:, 20:] == mean).all()


@pytest.mark.parametrize("dataset", [Checkerboard(labelled=False), Checkerboard()])
def test_without_labels(dataset: Checkerboard) -> None:
    (batch,) = batches(make_samples(dataset, labelled=False), Share(4, 4), 0, 1, workers=0)
    assert batch.labels is None


def test_brightness_and_contrast_stay_in_range_and_act() -> None:
    strong = Augmentation(flip=0.0, brightness=1.0, contrast=1.0)
    for position in range(4):
        sample = make_samples(augmentation=strong)[position]
        assert sample.image.dtype == np.uint8 and not np.array_equal(sample.image, sample.clean)


def test_samples_travel_to_another_process() -> None:
    samples = make_samples()
    copy = pickle.loads(pickle.dumps(samples))
    assert same(samples[13], copy[13])


@pytest.mark.parametrize("flip", [0.0, 0.5, 1.0])
@pytest.mark.parametrize("size", [(24, 40), (16, 24)])
def test_a_stream_with_flips_alone_names_its_variants(flip: float, size: tuple[int, int]) -> None:
    samples = make_samples(augmentation=Augmentation(flip=flip), size=size)
    assert samples.variants == 14
    seen = set()
    for batch in batches(samples, Share(4, 4), 0, 12, workers=0):
        assert batch.variant is not None
        for row, variant in zip(batch.images, batch.variant.tolist(), strict=True):
            expected = torch.from_numpy(samples.variant_image(variant).copy()).permute(2, 0, 1) / 255
            assert torch.equal(row, expected)
            seen.add(variant)
    assert {variant % 2 for variant in seen} == {0.0: {0}, 0.5: {0, 1}, 1.0: {1}}[flip]


@pytest.mark.parametrize("augmentation", [GEOMETRIC, PHOTOMETRIC, Augmentation(contrast=0.1), CROPS, VIEWS])
def test_an_endless_stream_has_no_variants(augmentation: AnyAugmentation) -> None:
    samples = make_samples(augmentation=augmentation)
    (batch,) = batches(samples, Share(4, 4), 0, 1, workers=0)
    assert samples.variants is None and batch.variant is None


@given(st.lists(st.integers(-5, 5) | st.text(alphabet="ab-", max_size=3), min_size=1, max_size=4))
def test_seeds_are_63_bit_and_repeatable(parts: list[int | str]) -> None:
    assert 0 <= seed_of(*parts) < 2**63
    assert seed_of(*parts) == seed_of(*parts)
    assert seed_of(*parts) != seed_of(*parts, 0)


def test_known_seeds() -> None:
    """A change here makes every finished stage irreproducible."""
    assert (seed_of(0, "head"), seed_of(1, "head")) == (644485331064736306, 2095106267730112419)


class Damaged(Checkerboard):
    """A dataset whose files cannot be read."""

    def image(self, index: int) -> NDArray[np.uint8]:
        raise DataError(f"image {index}: cannot be read")


@pytest.mark.parametrize("workers", [0, 1])
def test_a_bad_file_is_one_line_whoever_reads_it(workers: int) -> None:
    with pytest.raises(DataError) as caught:
        list(batches(make_samples(Damaged()), Share(4, 4), 0, 1, workers))
    assert re.fullmatch(r"image \d+: cannot be read", str(caught.value))
