"""What an encoder claims of itself holds for families beyond the plain ViT: masks, drops, taps, prefix tokens."""

import pytest
import torch

from gkdbench.models.encoder import Encoder
from gkdbench.spec.model import ModelEntry

SMALL = {"embed_dim": 48, "depth": 2, "num_heads": 2}
FAMILIES = {
    "vit_tiny_patch16_224": {"img_size": 32},
    "deit_tiny_distilled_patch16_224": {"img_size": 32},
    "vit_small_patch14_reg4_dinov2": {"img_size": 28},
    "vit_small_patch16_dinov3": {"img_size": 32},
    "eva02_tiny_patch14_224": {"img_size": 28},
    "beit_base_patch16_224": {"img_size": 32},
}


@pytest.fixture(params=FAMILIES)
def encoder(request):
    torch.manual_seed(0)
    arguments = {**SMALL, **FAMILIES[request.param]}
    entry = ModelEntry(
        description="small", role="foundation", timm=request.param, arguments=arguments, weights=None, licence="none"
    )
    made = Encoder(entry)
    size = arguments["img_size"]
    made.resize((size, 2 * size))
    made.images = torch.rand(2, 3, size, 2 * size)
    return made.eval()


def test_a_mask_changes_what_it_says(encoder):
    height, width = encoder.grid
    assert encoder.can_mask and width == 2 * height
    mask = torch.zeros(2, height * width, dtype=torch.bool)
    mask[0, 1] = True
    with torch.no_grad():
        torch.nn.init.ones_(encoder.mask_token)
        plain, masked = encoder(encoder.images), encoder(encoder.images, mask=mask)
    assert plain.tokens.shape == masked.tokens.shape == (2, height * width, 48)
    assert torch.equal(plain.tokens[1], masked.tokens[1]) and not torch.equal(plain.tokens[0], masked.tokens[0])


def test_queries_are_tapped_where_that_is_claimed_and_only_there(encoder):
    count = encoder.grid[0] * encoder.grid[1]
    if encoder.has_qkv:
        with torch.no_grad():
            q, k, v = encoder(encoder.images, qkv=(1,)).qkv[1]
        assert q.shape == k.shape == v.shape == (2, encoder.prefix + count, 48)
    else:
        # the family uses the layer's weight alone, or has none
        assert type(encoder.model).__name__ in ("Eva", "Beit")


def test_patches_are_dropped_where_that_is_claimed(encoder):
    count = encoder.grid[0] * encoder.grid[1]
    if encoder.can_drop:
        keep = torch.arange(count // 2).expand(2, -1)
        with torch.no_grad():
            found = encoder(encoder.images, keep=keep)
        assert found.tokens.shape == (2, count // 2, 48)
    else:
        assert type(encoder.model).__name__ in ("Eva", "Beit")


def test_the_class_token_is_there_where_that_is_claimed(encoder):
    with torch.no_grad():
        found = encoder(encoder.images)
    assert (found.cls is not None) == encoder.has_cls
    if found.cls is not None:
        assert found.cls.shape == (2, 48)
