"""How long an epoch is."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gkdbench.data.sampling import epoch_places, steps_per_epoch
from gkdbench.errors import UsageError


@pytest.mark.parametrize(
    ("images", "batch", "steps"),
    [(1_281_167, 512, 2502), (24_966, 128, 194), (2_975, 128, 22), (3_456, 128, 26), (596, 128, 4)],
    ids=["imagenet", "gtav", "cityscapes", "potsdam", "endovis"],
)
def test_the_studys_epochs(images: int, batch: int, steps: int) -> None:
    assert steps_per_epoch(images, batch, repeats=3) == steps
    assert epoch_places(images, batch, repeats=3) == steps * batch


@given(images=st.integers(1, 3000), batch=st.integers(1, 600), repeats=st.integers(2, 4), world=st.integers(1, 4))
def test_places_are_whole_batches_of_the_images_at_hand(images: int, batch: int, repeats: int, world: int) -> None:
    """And as many as the study's sampler leaves each of several devices, which it drops the rest on."""
    try:
        places = epoch_places(images, batch * world, repeats)
    except UsageError:
        assert (images // 256 * 256 or images) < batch * world
        return
    assert 0 < places <= images and places % (batch * world) == 0
    if images >= 256:
        assert places // world == images // 256 * 256 // world // batch * batch


def test_without_repeats_an_epoch_shows_every_image() -> None:
    assert (epoch_places(7, 4), steps_per_epoch(7, 4), steps_per_epoch(3, 4)) == (7, 1, 0)


def test_too_few_images_for_a_batch_are_refused() -> None:
    with pytest.raises(UsageError, match=r"recipe key 'repeats': 20 images fill no batch of 32"):
        epoch_places(20, 32, repeats=3)
