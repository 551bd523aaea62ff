"""CNNs and Swin through the same door: levels at their own strides, tokens on any grid, no class token."""

import pytest
import torch

from gkdbench.errors import UsageError
from gkdbench.models.encoder import Encoder
from gkdbench.models.segmentor import Segmentor
from gkdbench.spec.catalogue import find_model
from gkdbench.spec.decoder import SemFPNDecoder

SIZE = (64, 96)
WIDTHS = {
    "resnet101": (256, 512, 1024, 2048),
    "convnext_tiny": (96, 192, 384, 768),
    "swin_tiny_patch4_window7_224": (96, 192, 384, 768),
    "tf_efficientnet_b0": (24, 40, 112, 320),
    "mobilenetv3_small_100": (16, 24, 48, 576),
}


@pytest.fixture(params=WIDTHS)
def encoder(request: pytest.FixtureRequest) -> Encoder:
    torch.manual_seed(0)
    made = Encoder(find_model(f"timm/{request.param}").entry).eval()
    made.resize(SIZE)
    return made


def test_levels_tokens_and_what_there_is_not(encoder: Encoder) -> None:
    assert not (encoder.is_transformer or encoder.has_cls or encoder.has_qkv or encoder.can_mask or encoder.can_drop)
    assert encoder.level_widths == WIDTHS[encoder.entry.timm] and encoder.grid == (2, 3)
    images = torch.rand(2, 3, *SIZE, generator=torch.Generator().manual_seed(1))
    with torch.no_grad():
        found = encoder(images, blocks=(0, encoder.depth - 1), levels=True)
        x = (images - encoder.mean) / encoder.std
        last = encoder.model.forward_features(x)
        maps = encoder.model.forward_intermediates(x, intermediates_only=True, output_fmt="NCHW")
    assert [tuple(level.shape[1:]) for level in found.levels] == [
        (width, SIZE[0] // stride, SIZE[1] // stride)
        for width, stride in zip(encoder.level_widths, (4, 8, 16, 32), strict=True)
    ]
    assert all(torch.equal(level, of_timm) for level, of_timm in zip(found.levels, maps[-4:], strict=True))
    # Swin's final map has its channels last
    last = last.permute(0, 3, 1, 2) if last.shape[-1] == encoder.width else last
    assert torch.allclose(found.tokens, last.flatten(2).transpose(1, 2), atol=1e-6)
    assert found.cls is None and found.blocks[0].shape == (2, 6, encoder.block_widths[0])
    assert not encoder(images[:1]).levels


def test_a_student_of_another_grid_is_met(encoder: Encoder) -> None:
    made = Segmentor(encoder, SemFPNDecoder(name="semfpn", width=32, head_width=32), 4)
    made.fixed_grid = (4, 6)
    made.add_head(0)
    # the head still reads the encoder's own levels; tokens go to the student's grid where a method asks for them
    with torch.no_grad():
        assert made.eval()(torch.rand(1, 3, *SIZE)).shape == (1, 4, 16, 24)


def test_a_size_that_does_not_work_is_one_line() -> None:
    encoder = Encoder(find_model("timm/efficientformerv2_s0").entry)
    with pytest.raises(UsageError, match=r"'efficientformerv2_s0' cannot take images of 96x128 \(.*change the"):
        encoder.resize((96, 128))


def test_what_gives_no_map_and_what_timm_cannot_build_is_one_line() -> None:
    encoder = Encoder(find_model("timm/mvitv2_tiny").entry)
    with pytest.raises(UsageError, match=r"'mvitv2_tiny' cannot be an encoder: its output of shape \(1, 49, 768\)"):
        encoder.resize((224, 224))
    with pytest.raises(UsageError, match=r"timm cannot build 'resnet18.nosuch_tag' \("):
        Encoder(find_model("timm/resnet18.nosuch_tag").entry)


def test_a_window_stays_whatever_the_image_size() -> None:
    torch.manual_seed(0)
    encoder = Encoder(find_model("timm/swin_tiny_patch4_window7_224").entry).eval()
    image = torch.rand(1, 3, 224, 224)
    with torch.no_grad():
        before = encoder.model.forward_features((image - encoder.mean) / encoder.std)
        encoder.resize((224, 224))
        assert torch.allclose(encoder(image).tokens, before.flatten(1, 2), atol=1e-5)
    encoder.resize((448, 672))
    assert encoder.model.layers[0].blocks[0].window_size == (7, 7)
