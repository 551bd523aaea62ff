"""Fitting transformers to other sizes: kernels, absolute and rotary positions, by each policy."""

from typing import Any

import pytest
import timm
import torch
import torch.nn.functional as F
from torch import Tensor

from gkdbench.errors import UsageError
from gkdbench.models.encoder import Encoder
from gkdbench.models.patches import plain_kernel, plain_positions
from gkdbench.spec.model import ModelEntry

SMALL = {"embed_dim": 24, "depth": 2, "num_heads": 2, "img_size": 70}
DINOV2 = "vit_small_patch14_dinov2"


def encoder(timm_name: str = DINOV2, **fields: object) -> Encoder:
    torch.manual_seed(0)
    entry = ModelEntry.model_validate(
        {"description": "-", "role": "foundation", "timm": timm_name, "weights": None, "licence": "-",
         "arguments": SMALL, **fields}
    )  # fmt: skip
    return Encoder(entry).eval()


def test_the_study_interpolates_kernels_and_positions_plainly() -> None:
    made = encoder(patch=16, resampling="study")
    kernel, table = made.model.patch_embed.proj.weight.detach().clone(), made.model.pos_embed.detach().clone()
    made.resize((96, 128))
    assert made.grid == (6, 8) and made.model.patch_embed.proj.weight.shape[-2:] == (16, 16)
    wanted = F.interpolate(kernel, size=(16, 16), mode="bicubic", align_corners=False)
    assert torch.equal(made.model.patch_embed.proj.weight, wanted)
    patches = table[:, 1:].reshape(1, 5, 5, 24).permute(0, 3, 1, 2)
    patches = F.interpolate(patches, size=(6, 8), mode="bicubic", align_corners=False)
    assert torch.equal(made.model.pos_embed[:, 1:], patches.flatten(2).transpose(1, 2))
    assert torch.equal(made.model.pos_embed[:, :1], table[:, :1])


def test_magnitude_correction_keeps_the_response_to_a_constant_image() -> None:
    responses = {}
    for policy in ("study", "study_scaled"):
        made = encoder(patch=16, resampling=policy)
        # a smooth kernel: interpolation keeps its mean
        made.model.patch_embed.proj.weight.data.fill_(0.01)
        before = _response(made, (70, 70))
        made.resize((96, 96))
        responses[policy] = _response(made, (96, 96)) / before
    assert responses["study"] == pytest.approx((16 / 14) ** 2, rel=1e-4)
    assert responses["study_scaled"] == pytest.approx(1.0, rel=1e-4)


def _response(made: Encoder, size: tuple[int, int]) -> float:
    embed = made.model.patch_embed
    embed.proj.bias.data.zero_()
    with torch.no_grad():
        return float(embed(torch.ones(1, 3, *size)).mean())


def test_the_policy_of_timm_is_what_timm_does() -> None:
    made = encoder(patch=16, resampling="timm")
    reference = timm.create_model(DINOV2, pretrained=False, num_classes=0, **SMALL).eval()
    reference.load_state_dict(made.model.state_dict())
    reference.set_input_size(img_size=(96, 128), patch_size=(16, 16))
    made.resize((96, 128))
    image = torch.rand(1, 3, 96, 128)
    with torch.no_grad():
        wanted = reference.forward_features((image - made.mean) / made.std)[:, 1:]
        assert torch.allclose(made(image).tokens, wanted, atol=1e-6)


@pytest.mark.parametrize("name", ["vit_small_patch16_dinov3", "eva02_small_patch14_224"])
@pytest.mark.parametrize("resampling", ["timm", "study"])
def test_rotary_positions_are_rebuilt(name: str, resampling: str) -> None:
    arguments = {**SMALL, "img_size": 80 if "16" in name[:18] else 70}
    made = encoder(name, patch=16, resampling=resampling, arguments=arguments)
    made.resize((48, 96))
    fresh = timm.create_model(name, pretrained=False, num_classes=0, **{**arguments, "img_size": (48, 96)},
                              patch_size=16)  # fmt: skip
    assert torch.allclose(_rotation(made.model), _rotation(fresh), atol=1e-6)
    with torch.no_grad():
        assert made(torch.rand(1, 3, 48, 96)).tokens.shape == (1, 18, 24)


def _rotation(model: Any) -> Tensor:
    rope = model.rope
    found: Tensor = rope.get_embed() if getattr(rope, "feat_shape", None) else rope.get_embed(shape=[3, 6])
    return found


def test_resizing_back_and_forth_needs_no_new_pass_of_the_same_size() -> None:
    made = encoder(patch=16, resampling="study")
    made.resize((96, 128))
    before = made.model.pos_embed
    made.resize((96, 128))
    assert made.model.pos_embed is before


def test_another_patch_needs_a_policy_and_whole_patches() -> None:
    with pytest.raises(UsageError, match=r"has patches of 14, its entry says 16; say how to resample them"):
        encoder(patch=16).resize((96, 96))
    made = encoder(patch=16, resampling="study")
    for _ in range(2):  # what failed once is not taken for done
        with pytest.raises(UsageError, match=r"images of 100x96 are no whole patches of 16"):
            made.resize((100, 96))


def test_everything_is_resampled_on_the_meta_device_too() -> None:
    with torch.device("meta"):
        made = encoder(patch=16, resampling="study_scaled")
        made.resize((512, 512))
    assert made.grid == (32, 32) and all(p.device.type == "meta" for p in made.parameters())


def test_plain_resampling_keeps_half_precision() -> None:
    kernel = torch.rand(4, 3, 14, 14, generator=torch.Generator().manual_seed(1)).half()
    assert plain_kernel(kernel, (16, 16), False).dtype == torch.float16
    table: Tensor = torch.rand(1, 5, 6, generator=torch.Generator().manual_seed(1)).half()
    assert plain_positions(table, (2, 2), (3, 4), 1).shape == (1, 13, 6)


def test_a_stage_may_ask_for_other_patches_and_the_next_for_others_again() -> None:
    made = encoder(patch=16, resampling="study")
    kernel, table = made.model.patch_embed.proj.weight.detach().clone(), made.model.pos_embed.detach().clone()
    made.resize((56, 56), 14)
    assert (made.grid, made.patch, made.size) == ((4, 4), 14, (56, 56))
    assert torch.equal(made.model.patch_embed.proj.weight, kernel)
    assert torch.equal(made.model.pos_embed, plain_positions(table, (5, 5), (4, 4), 1))
    made.resize((112, 112), 14)
    made.resize((112, 112))
    assert (made.grid, made.patch) == ((7, 7), 16)
    assert torch.equal(made.model.patch_embed.proj.weight, plain_kernel(kernel, (16, 16), False))
    unsaid = encoder(patch=None, resampling="timm")
    unsaid.resize((48, 48), 16)
    unsaid.resize((56, 56))
    assert unsaid.patch == 14  # the architecture's own, whatever came between
    assert made.whole((50, 50)) == (64, 64) and made.whole((50, 50), 14) == (56, 56)
    with pytest.raises(UsageError, match=r"has patches of 14, the recipe says 8; say how"):
        encoder().resize((56, 56), 8)
