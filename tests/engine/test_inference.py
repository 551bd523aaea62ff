"""Windows cover every pixel, overlaps are averaged, and a label map has the size of its ground truth."""

import itertools
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor, nn

from gkdbench.engine.inference import _label_map, class_scores, predict, window_starts
from gkdbench.spec.inference import Inference

CPU = torch.device("cpu")


class Scorer(nn.Module):
    """A stand-in for a segmentor whose head brings its logits to the window's size bilinearly."""

    def scores(self, images: Tensor, size: tuple[int, int] | None) -> Tensor:
        logits = self(images)
        return logits if size is None else F.interpolate(logits, size=size, mode="bilinear", align_corners=False)


class Colours(Scorer):
    """Scores each class by a channel of the image, at a quarter of its resolution; remembers what it saw."""

    num_classes = 3

    def __init__(self, stride: int = 1) -> None:
        super().__init__()
        self.stride = stride
        self.seen: list[Tensor] = []

    def forward(self, images: Tensor) -> Tensor:
        self.seen.append(images)
        return F.avg_pool2d(images, self.stride) if self.stride > 1 else images


class Constant(Scorer):
    """Gives every pixel the same scores."""

    num_classes = 4

    def forward(self, images: Tensor) -> Tensor:
        scores = torch.tensor([0.25, -1.0, 3.0, 2.0])
        return scores.view(1, 4, 1, 1).expand(len(images), 4, images.shape[2] // 2, images.shape[3] // 2)


class CallNumber(Scorer):
    """Scores the n-th window n everywhere."""

    num_classes = 1
    calls = 0

    def forward(self, images: Tensor) -> Tensor:
        self.calls += 1
        return torch.full((len(images), 1, 2, 2), float(self.calls))


def protocol(size: tuple[int, int], window: int | None = None, stride: int | None = None) -> Inference:
    sides = {} if window is None else {"window": (window, window), "stride": (stride, stride)}
    return Inference.model_validate({"size": size, **sides})


def scores(model: Any, images: Tensor, how: Inference) -> Tensor:
    return class_scores(model, images, how, "32-true")


def pictures(count: int, height: int, width: int, seed: int = 0) -> list[Any]:
    rng = np.random.default_rng(seed)
    return [rng.integers(0, 256, (height, width, 3)).astype(np.uint8) for _ in range(count)]


@given(st.integers(1, 300), st.integers(1, 80), st.data())
def test_windows_cover_everything_and_end_at_the_border(length: int, window: int, data: st.DataObject) -> None:
    stride = data.draw(st.integers(1, window))
    starts = window_starts(length, window, stride)
    assert starts[0] == 0 and starts == sorted(set(starts))
    covered = {pixel for start in starts for pixel in range(start, start + window)}
    assert covered >= set(range(length))
    if length >= window:
        assert starts[-1] + window == length and max(covered) == length - 1
        assert all(b - a == stride for a, b in itertools.pairwise(starts[:-1]))
    else:
        assert starts == [0]


@pytest.mark.parametrize(
    ("length", "window", "stride", "starts"),
    [
        (10, 10, 5, [0]),
        (10, 4, 3, [0, 3, 6]),
        (11, 4, 3, [0, 3, 6, 7]),
        (1024, 512, 341, [0, 341, 512]),
        (3, 8, 8, [0]),
    ],
)
def test_known_windows(length: int, window: int, stride: int, starts: list[int]) -> None:
    assert window_starts(length, window, stride) == starts


@pytest.mark.parametrize("stride", [1, 4])
def test_one_window_equals_the_whole_image(stride: int) -> None:
    images = torch.rand(2, 3, 16, 16, generator=torch.Generator().manual_seed(1))
    whole = scores(Colours(stride), images, protocol((16, 16)))
    window = scores(Colours(stride), images, protocol((16, 16), 16, 16))
    full = F.interpolate(whole, size=(16, 16), mode="bilinear", align_corners=False)
    assert torch.equal(window, full)


@pytest.mark.parametrize(("height", "width", "stride"), [(20, 33, 5), (16, 16, 8), (17, 40, 8), (8, 24, 3)])
def test_windows_of_a_pixelwise_model_put_the_image_together_again(height: int, width: int, stride: int) -> None:
    images = torch.rand(2, 3, height, width, generator=torch.Generator().manual_seed(2))
    together = scores(Colours(), images, protocol((height, width), 8, stride))
    torch.testing.assert_close(together, images)


@pytest.mark.parametrize(("height", "width"), [(16, 16), (19, 37), (5, 30), (5, 6)])
def test_averaging_leaves_a_constant_alone(height: int, width: int) -> None:
    found = scores(Constant(), torch.zeros(1, 3, height, width), protocol((height, width), 8, 5))
    assert found.shape == (1, 4, height, width)
    expected = torch.tensor([0.25, -1.0, 3.0, 2.0]).view(1, 4, 1, 1).expand_as(found)
    torch.testing.assert_close(found, expected)


def test_overlaps_are_means_over_their_windows() -> None:
    """Windows of 4 with stride 2 on a row of 8: starts 0, 2, 4."""
    model = CallNumber()
    found = scores(model, torch.zeros(1, 3, 4, 8), protocol((4, 8), 4, 2))
    assert model.calls == 3
    assert found[0, 0, 0].tolist() == [1, 1, 1.5, 1.5, 2.5, 2.5, 3, 3]


def test_an_image_smaller_than_the_window_is_padded_with_its_mean_colour() -> None:
    images = torch.rand(2, 3, 5, 12, generator=torch.Generator().manual_seed(3))
    model = Colours()
    found = scores(model, images, protocol((5, 12), 8, 8))
    torch.testing.assert_close(found, images)
    (first, second) = model.seen
    assert first.shape == second.shape == (2, 3, 8, 8)
    mean = images[..., :8].mean(dim=(2, 3), keepdim=True)
    torch.testing.assert_close(first[:, :, 5:], mean.expand(2, 3, 3, 8))


@pytest.mark.parametrize("window", [None, 16])
def test_predictions_have_the_size_of_their_ground_truth(window: int | None) -> None:
    sizes = [(30, 50), (7, 9), (24, 32)]
    how = protocol((24, 32), window, window)
    found = predict(Colours(4), pictures(3, 24, 32), sizes, how, CPU, "32-true")  # type: ignore[arg-type]
    assert [one.shape for one in found] == sizes
    assert all(one.dtype == np.uint8 and one.max() <= 2 for one in found)


def test_images_of_any_size_are_brought_to_the_protocols() -> None:
    model = Colours()
    images = [*pictures(1, 24, 32), *pictures(1, 60, 41, seed=1)]
    predict(model, images, [(24, 32), (60, 41)], protocol((12, 16)), CPU, "32-true")  # type: ignore[arg-type]
    assert model.seen[0].shape == (2, 3, 12, 16)
    assert model.seen[0].min() >= 0 and model.seen[0].max() <= 1
    expected = F.interpolate(
        torch.from_numpy(images[1]).permute(2, 0, 1)[None].float() / 255, size=(12, 16), mode="bilinear", antialias=True
    )
    torch.testing.assert_close(model.seen[0][1:], expected)


@pytest.mark.parametrize("window", [None, 8])
def test_a_pixelwise_model_finds_the_brightest_channel(window: int | None) -> None:
    (image,) = pictures(1, 19, 23)
    how = protocol((19, 23), window, window and 5)
    (found,) = predict(Colours(), [image], [(19, 23)], how, CPU, "32-true")  # type: ignore[arg-type]
    assert np.array_equal(found, image.argmax(-1))


def test_a_batch_equals_its_images_one_by_one() -> None:
    images, how = pictures(3, 20, 20), protocol((16, 16), 8, 6)
    sizes = [(20, 20)] * 3
    together = predict(Colours(2), images, sizes, how, CPU, "32-true")  # type: ignore[arg-type]
    alone = [predict(Colours(2), [image], [(20, 20)], how, CPU, "32-true")[0] for image in images]  # type: ignore[arg-type]
    assert all(np.array_equal(a, b) for a, b in zip(together, alone, strict=True))


def test_views_with_reversed_axes_are_accepted() -> None:
    (image,) = pictures(1, 12, 12)
    how = protocol((12, 12))
    (found,) = predict(Colours(), [image[:, ::-1]], [(12, 12)], how, CPU, "32-true")  # type: ignore[arg-type]
    assert np.array_equal(found, image[:, ::-1].argmax(-1))


def test_scores_are_float32_whatever_the_precision() -> None:
    class Mixing(Scorer):
        num_classes = 2

        def __init__(self) -> None:
            super().__init__()
            self.mix = nn.Conv2d(3, 2, 1)

        def forward(self, images: Tensor) -> Tensor:
            mixed: Tensor = self.mix(images)
            return mixed

    model = Mixing()
    images = torch.rand(1, 3, 8, 8, generator=torch.Generator().manual_seed(4))
    for how in (protocol((8, 8)), protocol((8, 8), 4, 4)):
        exact = class_scores(model, images, how, "32-true")  # type: ignore[arg-type]
        rough = class_scores(model, images, how, "bf16-mixed")  # type: ignore[arg-type]
        assert exact.dtype == rough.dtype == torch.float32
        assert 0 < (exact - rough).abs().max() < 0.05


@pytest.mark.parametrize("window", [None, (16, 16)])
def test_what_is_mirrored_is_mirrored_back(window: tuple[int, int] | None) -> None:
    image = np.random.default_rng(0).integers(0, 256, (16, 24, 3), dtype=np.uint8)
    stride = window and (8, 8)
    plain = Inference(size=(16, 24), window=window, stride=stride)
    flipped = plain.model_copy(update={"flip": True})
    model: Any = Colours()
    once, twice = (predict(model, [image], [(16, 24)], p, CPU, "32-true")[0] for p in (plain, flipped))
    assert np.array_equal(once, twice)  # the scorer is symmetrical
    lopsided: Any = Lopsided()
    (found,) = predict(lopsided, [image], [(16, 24)], Inference(size=(16, 24), flip=True), CPU, "32-true")
    # class 1 leads by 1 on the left of what it sees: both ways round it leads by 0.5 everywhere, less than class 0
    assert (found == 0).all()


def test_scores_of_scales_are_averaged_in_windows_of_the_base_size() -> None:
    image = np.random.default_rng(0).integers(0, 256, (16, 24, 3), dtype=np.uint8)
    model: Any = Colours()
    protocol = Inference(size=(16, 24), scales=(0.5, 1.0, 2.0))
    (found,) = predict(model, [image], [(16, 24)], protocol, CPU, "32-true")
    assert {tuple(seen.shape[2:]) for seen in model.seen} == {(16, 24)}
    # 0.5: one padded window; 1: the image; 2: rows at 0, 10, 16 and columns at 0, 16, 24
    assert len(model.seen) == 1 + 1 + 9
    unit = torch.from_numpy(image).permute(2, 0, 1)[None].float() / 255
    total = unit.clone()
    for factor in (0.5, 2.0):
        size = (int(16 * factor), int(24 * factor))
        scaled = F.interpolate(unit, size=size, mode="bilinear", antialias=True)
        total += F.interpolate(scaled, size=(16, 24), mode="bilinear", align_corners=False)
    assert (found == total.argmax(1)[0].numpy()).mean() > 0.99


class Lopsided(Scorer):
    """Scores class 0 with 0.75 everywhere, and class 1 with 1 on the left half of what it sees."""

    num_classes = 2

    def forward(self, images: Tensor) -> Tensor:
        scores = torch.zeros(len(images), 2, *images.shape[2:])
        scores[:, 0] = 0.75
        scores[:, 1, :, : images.shape[3] // 2] = 1.0
        return scores


def test_augmentation_is_told() -> None:
    assert Inference(size=(4, 4)).tta == []
    assert Inference(size=(4, 4), scales=(0.75, 1.0), flip=True).tta == ["scale 0.75", "scale 1", "flip"]
    with pytest.raises(ValueError, match="each once"):
        Inference(size=(4, 4), scales=(1.0, 1.0))


@pytest.mark.parametrize("size", [(512, 512), (513, 640), (700, 400)])
def test_large_label_maps_are_those_of_torch(size: tuple[int, int]) -> None:
    smooth = F.avg_pool2d(torch.randn(1, 7, 130, 210, generator=torch.Generator().manual_seed(1)), 9, 1, 4)[0]
    whole = F.interpolate(smooth[None], size=size, mode="bilinear", align_corners=False)[0]
    found = _label_map(smooth, size)
    assert found.shape == size and found.dtype == np.uint8
    # two classes whose scores differ in the last bits alone may change places
    best = whole.gather(0, torch.from_numpy(found).long()[None])[0]
    assert (whole.max(0).values - best).abs().max() < 1e-6
    assert (found != whole.argmax(0).numpy()).mean() < 1e-5
    ties = torch.zeros(3, 600, 600)
    assert (_label_map(ties, (600, 600)) == 0).all()  # the first of equals
