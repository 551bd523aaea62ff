"""What an encoder claims of itself holds for all families: masks, drops, taps, prefix tokens, timm's own outputs."""

import pytest
import torch

from gkdbench.models.encoder import Encoder
from gkdbench.spec.model import ModelEntry

SMALL = {"embed_dim": 48, "depth": 2, "num_heads": 2}
FAMILIES = {
    "vit_tiny_patch16_224": {"img_size": 32},
    "deit_small_patch16_224": {"img_size": 32},
    "deit_tiny_distilled_patch16_224": {"img_size": 32},
    "vit_small_patch14_dinov2": {"img_size": 28},
    "vit_small_patch14_reg4_dinov2": {"img_size": 28},
    "vit_giant_patch14_dinov2": {"img_size": 28},
    "vit_small_patch16_dinov3": {"img_size": 32},
    "eva02_tiny_patch14_224": {"img_size": 28, "global_pool": "token"},  # fused projection, biases apart from it
    "eva02_large_patch14_224": {"img_size": 28, "global_pool": "token"},  # three projections
    "vit_base_patch16_siglip_224": {"img_size": 32},  # no prefix token
    "vit_relpos_small_patch16_224": {"img_size": 32},  # no prefix token, relative positions
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
    for name, parameter in made.model.named_parameters():
        if name.endswith(".gamma") or ".gamma_" in name or name.endswith(("q_bias", "v_bias", "qkv.bias")):
            torch.nn.init.uniform_(parameter, 0.5, 1)  # a LayerScale of 1e-5 would hide what blocks do
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
    if not encoder.has_qkv:
        assert type(encoder.model).__name__ == "Beit"  # its blocks want more than tokens
        return
    with torch.no_grad():
        before = encoder(encoder.images, qkv=(1,)).qkv[1]
        for part in _query_parts(encoder.model.blocks[1].attn):
            part *= 2
        after = encoder(encoder.images, qkv=(1,)).qkv[1]
    assert all(part.shape == (2, encoder.prefix + count, 48) for part in before)
    # doubled weights and biases of the queries double the queries, and nothing else
    assert torch.allclose(after[0], 2 * before[0], atol=1e-6) and after[0].abs().max() > 0.1
    assert torch.equal(after[1], before[1]) and torch.equal(after[2], before[2])


def _query_parts(attention):
    """Weights and biases that make a block's queries, as parts of the parameters."""
    layer = attention.q_proj if attention.qkv is None else attention.qkv
    biases = [layer.bias, getattr(attention, "q_bias", None)]
    return [layer.weight[:48], *(bias[:48] for bias in biases if bias is not None)]


def test_patches_are_dropped_where_that_is_claimed(encoder):
    count = encoder.grid[0] * encoder.grid[1]
    if not encoder.can_drop:
        assert type(encoder.model).__name__ in ("Beit", "VisionTransformerRelPos")
        return
    keep = torch.tensor([[0, 3, 5], [1, 2, 7]])
    with torch.no_grad():
        found = encoder(encoder.images, keep=keep)
        every = encoder(encoder.images, keep=torch.arange(count).expand(2, -1))
        swapped = encoder(encoder.images, keep=keep.flip(1))
        plain = encoder(encoder.images)
    assert found.tokens.shape == (2, 3, 48)
    # dropping nothing changes nothing; patches carry their positions with them, rotary ones too
    assert torch.allclose(every.tokens, plain.tokens, atol=1e-5)
    assert torch.allclose(swapped.tokens.flip(1), found.tokens, atol=1e-5)
    assert not torch.allclose(found.tokens[0, 0], plain.tokens[0, 0], atol=1e-3)


def test_outputs_and_taps_are_those_of_timm(encoder):
    x = (encoder.images - encoder.mean) / encoder.std
    with torch.no_grad():
        found = encoder(encoder.images, blocks=(0, 1))
        wanted = encoder.model.forward_features(x)
        maps = encoder.model.forward_intermediates(x, indices=[0, 1], intermediates_only=True, output_fmt="NLC")
    assert torch.allclose(found.tokens, wanted[:, encoder.model.num_prefix_tokens :], atol=1e-6)
    for number, tap in enumerate(maps):
        assert torch.equal(found.blocks[number], tap)
    settings = encoder.model.pretrained_cfg
    assert encoder.mean.flatten().tolist() == pytest.approx(settings["mean"])
    assert encoder.std.flatten().tolist() == pytest.approx(settings["std"])


def test_the_class_token_is_there_where_that_is_claimed(encoder):
    with torch.no_grad():
        found = encoder(encoder.images)
    assert (found.cls is not None) == encoder.has_cls
    if found.cls is not None:
        assert found.cls.shape == (2, 48)
