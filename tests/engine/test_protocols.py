"""The protocols of real benchmarks: how many windows an image takes, and images of one batch that differ in size."""

from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from gkdbench.engine.inference import predict
from gkdbench.spec.inference import Inference

CPU = torch.device("cpu")


class Windows(nn.Module):
    """Scores each class by a channel of the image; remembers the size of everything it saw."""

    num_classes = 3

    def __init__(self) -> None:
        super().__init__()
        self.seen: list[tuple[int, ...]] = []

    def scores(self, images: Tensor, size: tuple[int, int] | None) -> Tensor:
        self.seen.append(tuple(images.shape))
        return images if size is None else F.interpolate(images, size=size, mode="bilinear", align_corners=False)


def pictures(*sizes: tuple[int, int]) -> list[Any]:
    rng = np.random.default_rng(sum(map(sum, sizes)))
    return [rng.integers(0, 256, (*size, 3)).astype(np.uint8) for size in sizes]


def run(model: Any, images: list[Any], protocol: Inference) -> list[Any]:
    return predict(model, images, [image.shape[:2] for image in images], protocol, CPU, "32-true")


def sliding(size: tuple[int, int], fit: Any, side: int = 512, stride: int = 341, **more: Any) -> Inference:
    return Inference(size=size, fit=fit, window=(side, side), stride=(stride, stride), **more)


@pytest.mark.parametrize(
    ("image", "protocol", "rows", "columns"),
    [
        pytest.param((1024, 2048), sliding((512, 1024), "inside"), 1, 3, id="cityscapes"),
        pytest.param((720, 1280), sliding((512, 512), "native"), 2, 4, id="bdd100k"),
        pytest.param((1080, 1920), sliding((540, 960), "inside"), 2, 3, id="acdc"),
        pytest.param((1024, 1280), sliding((512, 512), "native"), 3, 4, id="endovis18"),
        pytest.param((512, 512), sliding((512, 512), "native"), 1, 1, id="isprs"),
        pytest.param((1224, 1632), sliding((512, 1024), "edges"), 1, 2, id="mapillary 4:3"),
        pytest.param((1080, 1920), sliding((512, 1024), "edges"), 1, 3, id="mapillary 16:9"),
        pytest.param((1632, 1224), sliding((512, 1024), "edges"), 2, 1, id="mapillary portrait"),
        pytest.param((1632, 1224), sliding((512, 1024), "inside"), 1, 1, id="portrait inside the box"),
        pytest.param((3000, 4000), sliding((512, 512), "inside"), 1, 1, id="rescuenet"),
    ],
)
def test_windows_of_the_studys_benchmarks(
    image: tuple[int, int], protocol: Inference, rows: int, columns: int
) -> None:
    model = Windows()
    (found,) = run(model, pictures(image), protocol)
    assert model.seen == [(1, 3, 512, 512)] * (rows * columns)
    assert found.shape == image and found.dtype == np.uint8


def test_a_native_image_is_seen_as_it_is() -> None:
    (image,) = pictures((37, 61))
    (found,) = run(Windows(), [image], sliding((8, 8), "native", 16, 11))
    assert np.array_equal(found, image.argmax(-1))


@pytest.mark.parametrize("fit", ["inside", "edges"])
def test_a_fitted_image_is_seen_at_its_size_and_judged_at_its_own(fit: str) -> None:
    (image,) = pictures((60, 30))
    protocol = sliding((24, 40), fit, 24, 16)
    (found,) = run(Windows(), [image], protocol)
    size = {"inside": (24, 12), "edges": (40, 20)}[fit]
    assert protocol.fitted(60, 30) == size
    unit = torch.from_numpy(image).permute(2, 0, 1)[None].float() / 255
    small = F.interpolate(unit, size=size, mode="bilinear", antialias=True)
    expected = F.interpolate(small, size=(60, 30), mode="bilinear", align_corners=False).argmax(1)[0].numpy()
    assert (found == expected).mean() > 0.999  # sums of overlapping windows round otherwise


@pytest.mark.parametrize("more", [{}, {"scales": (0.5, 1.0, 1.5), "flip": True}], ids=["plain", "augmented"])
@pytest.mark.parametrize("fit", ["stretch", "inside", "edges", "native"])
def test_images_of_different_sizes_are_told_apart(fit: str, more: dict[str, Any]) -> None:
    """Alone or in a batch, in whatever order: the same label maps."""
    images = pictures((20, 30), (31, 17), (20, 30), (41, 41), (31, 17))
    protocol = sliding((16, 24), fit, 16, 10, **more)
    together = run(Windows(), images, protocol)
    assert [found.shape for found in together] == [image.shape[:2] for image in images]
    for image, found in zip(images, together, strict=True):
        assert np.array_equal(run(Windows(), [image], protocol)[0], found)


def test_images_seen_at_the_same_size_go_through_the_model_together() -> None:
    model = Windows()
    run(model, pictures((16, 16), (12, 16), (16, 16)), sliding((16, 16), "native", 16, 16))
    assert [seen[0] for seen in model.seen] == [2, 1]
    model = Windows()
    # both are seen at 16 x 11, but at half the size the one at 8 x 6 and the other at 8 x 5
    run(model, pictures((32, 22), (48, 32)), sliding((16, 16), "inside", 16, 16, scales=(1.0, 0.5)))
    assert [seen[0] for seen in model.seen] == [1, 1, 1, 1]


def test_scales_are_relative_to_the_fitted_size() -> None:
    model = Windows()
    (image,) = pictures((30, 60))
    (found,) = run(model, [image], sliding((20, 40), "inside", 20, 14, scales=(1.0, 2.0), flip=True))
    # 20 x 40: columns at 0, 14, 20; 40 x 80: rows at 0, 14, 20 and columns at 0, 14, 28, 42, 56, 60; each mirrored too
    assert len(model.seen) == 2 * (3 + 3 * 6) and found.shape == (30, 60)
    constant = np.full((30, 60, 3), (10, 200, 90), np.uint8)
    (found,) = run(model, [constant], sliding((20, 40), "edges", 20, 14, scales=(0.7, 1.3), flip=True))
    assert (found == 1).all()


def test_of_equal_scores_the_first_class_wins() -> None:
    image = np.zeros((6, 8, 3), np.uint8)
    image[:3] = 5
    image[3:, :, 2] = 5
    image[3:, 4:, 1] = 5
    (found,) = run(Windows(), [image], sliding((6, 8), "native", 8, 8))
    assert (found[:3] == 0).all() and (found[3:, :4] == 2).all() and (found[3:, 4:] == 1).all()
