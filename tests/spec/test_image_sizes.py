"""The sizes at which images are seen: stretched to one size, fitted in two ways, or left alone."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gkdbench.errors import UsageError
from gkdbench.spec.documents import parse
from gkdbench.spec.inference import Inference

WINDOWS = {"window": (512, 512), "stride": (341, 341)}


@pytest.mark.parametrize(
    ("fit", "box", "image", "seen"),
    [
        ("stretch", (64, 128), (1080, 1920), (64, 128)),
        ("inside", (512, 1024), (1024, 2048), (512, 1024)),  # Cityscapes
        ("edges", (512, 1024), (1024, 2048), (512, 1024)),
        ("inside", (540, 960), (1080, 1920), (540, 960)),  # ACDC
        ("inside", (512, 1024), (1500, 2000), (512, 683)),  # Mapillary at half size, 4:3
        ("edges", (512, 1024), (1500, 2000), (512, 683)),
        ("inside", (512, 1024), (1224, 2176), (512, 910)),  # 16:9
        ("inside", (512, 1024), (1000, 3000), (341, 1024)),  # wider than the box
        ("edges", (512, 1024), (1000, 3000), (341, 1024)),
        ("inside", (512, 1024), (2000, 1500), (512, 384)),  # portraits, where the two differ
        ("edges", (512, 1024), (2000, 1500), (683, 512)),
        ("inside", (512, 1024), (2176, 1224), (512, 288)),
        ("edges", (512, 1024), (2176, 1224), (910, 512)),
        ("inside", (512, 512), (3000, 4000), (384, 512)),  # RescueNet
        ("edges", (512, 512), (3000, 4000), (384, 512)),
        ("inside", (512, 1024), (100, 160), (512, 819)),  # upwards too
        ("native", (8, 8), (720, 1280), (720, 1280)),  # BDD100K
        ("native", (8, 8), (1024, 1280), (1024, 1280)),  # EndoVis18
        ("inside", (4, 400), (3, 2000), (1, 400)),  # never nothing
    ],
)
def test_sizes(fit: Any, box: tuple[int, int], image: tuple[int, int], seen: tuple[int, int]) -> None:
    assert Inference(size=box, fit=fit, **WINDOWS).fitted(*image) == seen


@pytest.mark.parametrize(
    ("fit", "whole", "smaller"),
    [
        ("stretch", (56, 184), (42, 138)),
        ("inside", (56, 100), (42, 75)),
        ("edges", (56, 100), (42, 75)),
        ("native", (1800, 3200), (1350, 2400)),
    ],
)
def test_sizes_at_other_scales(fit: Any, whole: tuple[int, int], smaller: tuple[int, int]) -> None:
    protocol = Inference(size=(56, 184), fit=fit, **WINDOWS)
    assert protocol.fitted(1800, 3200) == whole and protocol.fitted(1800, 3200, 0.75) == smaller


@given(st.integers(1, 5000), st.integers(1, 5000), st.integers(1, 2000), st.integers(1, 2000))
def test_what_is_fitted_inside_touches_its_box(height: int, width: int, box_height: int, box_width: int) -> None:
    protocol = Inference(size=(box_height, box_width), fit="inside", **WINDOWS)
    found = protocol.fitted(height, width)
    assert found[0] <= box_height and found[1] <= box_width
    assert found[0] == box_height or found[1] == box_width
    turned = Inference(size=(box_width, box_height), fit="edges", **WINDOWS)
    edges = protocol.model_copy(update={"fit": "edges"})
    assert edges.fitted(height, width) == turned.fitted(height, width)  # the box's orientation is not looked at
    assert edges.fitted(height, width) == edges.fitted(width, height)[::-1]


@pytest.mark.parametrize("fit", ["inside", "edges", "native"])
def test_images_that_keep_their_aspect_need_a_window(fit: str) -> None:
    with pytest.raises(UsageError, match=rf"fit '{fit}' needs a window and a stride: images keep their aspect"):
        parse(Inference, {"size": [8, 8], "fit": fit}, "my.yaml")


def test_the_default_is_written_nowhere() -> None:
    assert set(Inference(size=(4, 4)).model_dump()) == {"size", "window", "stride", "batch"}
    assert Inference(size=(4, 4), fit="native", **WINDOWS).model_dump()["fit"] == "native"
    with pytest.raises(UsageError, match="key 'fit': Input should be 'stretch', 'inside', 'edges' or 'native'"):
        parse(Inference, {"size": [8, 8], "fit": "crop"}, "my.yaml")
