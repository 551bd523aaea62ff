"""Features as colours: principal directions as a decomposition of the tokens finds them, signs fixed, one scale."""

import numpy as np
import pytest
import torch
from PIL import Image

from gkdbench.models.encoder import Features
from gkdbench.models.feature_picture import main_directions, token_colours


def by_singular_values(tokens):
    centred = tokens - tokens.mean(axis=0)
    _, _, directions = np.linalg.svd(centred, full_matrices=False)
    found = []
    for direction in directions[:3]:
        found.append(centred @ (direction * np.sign(direction[np.abs(direction).argmax()])))
    return np.stack(found, axis=1)


@pytest.mark.parametrize(("count", "width"), [(200, 16), (12, 64)])
def test_directions_are_those_of_the_singular_values(count, width):
    tokens = np.random.default_rng(3).normal(size=(count, width)) * np.linspace(3, 0.1, width)
    values, mine = by_singular_values(tokens), main_directions(tokens)
    low, high = np.percentile(values, [1, 99], axis=0)
    np.testing.assert_allclose(mine, ((values - low) / (high - low)).clip(0, 1), atol=1e-9)
    np.testing.assert_allclose(main_directions(-tokens), 1 - mine, atol=1e-9)
    np.testing.assert_allclose(main_directions(tokens + 5.0), mine, atol=1e-9)


def test_few_channels_and_no_variation_are_drawn_all_the_same():
    assert main_directions(np.ones((5, 4))).tolist() == [[0.0] * 3] * 5
    assert main_directions(np.arange(6.0)[:, None]).shape == (6, 3)


class Encoder(torch.nn.Module):
    """Gives the mean colour of quarters as tokens."""

    size, mean = (8, 12), torch.zeros(1)

    def forward(self, images):
        assert images.shape == (1, 3, 8, 12)
        tokens = torch.nn.functional.adaptive_avg_pool2d(images, (2, 3)).flatten(2).transpose(1, 2)
        return Features(tokens=tokens, cls=None, grid=(2, 3))


def test_a_colour_means_the_same_in_all_maps_of_a_run():
    rng = np.random.default_rng(0)
    images = [rng.integers(0, 255, (16, 24, 3)).astype(np.uint8) for _ in range(3)]
    one, two, three = token_colours(Encoder(), [images[0], images[1], images[0]])
    assert one.shape == (2, 3, 3) and one.dtype == np.uint8
    assert (one == three).all() and (one != two).any()
    pooled = [np.array(Image.fromarray(image).resize((12, 8), Image.Resampling.BICUBIC)) for image in images]
    tokens = [image.reshape(2, 4, 3, 4, 3).mean(axis=(1, 3)).reshape(6, 3) / 255 for image in (*pooled[:2], pooled[0])]
    wanted = (255 * main_directions(np.concatenate(tokens).astype(np.float32))).round()
    assert np.abs(np.concatenate([one, two, three]).reshape(-1, 3) - wanted).max() <= 1
    assert token_colours(Encoder(), []) == []


def test_features_that_are_not_finite_are_not_drawn():
    class Broken(Encoder):
        def forward(self, images):
            features = super().forward(images)
            features.tokens[0, 0] = float("nan")
            return features

    with pytest.raises(ValueError, match="not finite"):
        token_colours(Broken(), [np.zeros((8, 12, 3), np.uint8)])
