"""Decoders of one interface: sizes of the study, scores, losses, any encoder under any of them."""

import copy

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from gkdbench.models.decoders.head import Decoded
from gkdbench.models.decoders.mask2former import DecodedMasks, Mask2Former
from gkdbench.models.encoder import Encoder
from gkdbench.models.grids import padded
from gkdbench.models.segmentor import Segmentor
from gkdbench.spec.decoder import (
    Decoder,
    GridDecoder,
    Mask2FormerDecoder,
    SemFPNDecoder,
    other_decoder,
)
from gkdbench.spec.model import ModelEntry

SIZE = (64, 96)
CLASSES = 5
SMALL = Mask2FormerDecoder(
    name="mask2former", width=32, queries=12, pixel_layers=1, query_layers=2, heads=4, pixel_feedforward=64,
    query_feedforward=64, points=128
)  # fmt: skip
SMALL_DECODERS: dict[str, Decoder] = {
    "linear": GridDecoder(name="linear"),
    "context": GridDecoder(name="context", width=32),
    "semfpn": SemFPNDecoder(name="semfpn", width=32, head_width=32),
    "mask2former": SMALL,
}
VIT = {"embed_dim": 32, "depth": 6, "num_heads": 2, "patch_size": 16, "img_size": list(SIZE)}


def entry(timm: str = "vit_tiny_patch16_224", **arguments: object) -> ModelEntry:
    chosen = arguments or (VIT if timm.startswith("vit_tiny") else {})
    return ModelEntry(description="-", role="local", timm=timm, weights=None, licence="-", arguments=chosen)


def segmentor(decoder: Decoder, timm: str = "vit_tiny_patch16_224", size: tuple[int, int] = SIZE) -> Segmentor:
    torch.manual_seed(0)
    encoder = Encoder(entry(timm))
    encoder.resize(size)
    made = Segmentor(encoder, decoder, CLASSES)
    made.add_head(1)
    return made


def labels(count: int = 2, seed: int = 3) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    coarse = torch.randint(0, CLASSES, (count, 1, 4, 6), generator=generator).float()
    found = F.interpolate(coarse, size=SIZE, mode="nearest")[:, 0].long()
    found[:, :8] = 255
    return found


@pytest.mark.parametrize(
    ("arch", "decoder", "millions", "tolerance"),
    [
        # whole segmentors of the paper with 19 classes
        ("vit_small_patch14_dinov2", "mask2former", 41.9, 0.003),
        ("vit_base_patch14_dinov2", "mask2former", 106.8, 0.003),
        ("vit_large_patch14_dinov2", "mask2former", 324.8, 0.003),
        # the standard semantic FPN; the paper's of 33.2 and 99.7 M is a larger one that it does not describe
        ("vit_small_patch14_dinov2", "semfpn", 26.4, 0.003),
        ("vit_base_patch14_dinov2", "semfpn", 91.2, 0.003),
    ],
)
def test_sizes_are_those_of_the_study(arch: str, decoder: str, millions: float, tolerance: float) -> None:
    with torch.device("meta"):
        encoder = Encoder(entry(arch).model_copy(update={"patch": 16, "resampling": "study"}))
        encoder.resize((512, 512))
        made = Segmentor(encoder, other_decoder(decoder, GridDecoder(name="context")), 19)
        made.add_head(0)
    assert encoder.grid == (32, 32)
    assert sum(p.numel() for p in made.parameters()) / 1e6 == pytest.approx(millions, rel=tolerance)


@pytest.mark.parametrize("timm", ["vit_tiny_patch16_224", "test_resnet", "test_efficientnet", "test_convnext"])
@pytest.mark.parametrize("decoder", SMALL_DECODERS)
def test_any_decoder_learns_on_any_encoder(decoder: str, timm: str) -> None:
    made = segmentor(SMALL_DECODERS[decoder], timm).train()
    assert made.head is not None
    images, wanted = torch.rand(2, 3, *SIZE, generator=torch.Generator().manual_seed(2)), labels()
    optimiser = torch.optim.AdamW(made.parameters(), lr=3e-3)
    losses = []
    for _ in range(5):
        torch.manual_seed(5)  # Mask2Former draws points from the global generator
        decoded = made.decode(made.features(images))
        loss = made.head.task_loss(decoded, wanted, 255)
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        losses.append(loss.item())
    assert losses[-1] < losses[0]
    assert decoded.logits.shape[:2] == (2, CLASSES) and decoded.pixels.shape[1] == made.head.pixel_dim
    assert decoded.logits.shape[2:] == decoded.pixels.shape[2:]
    assert made.head.scores(decoded, SIZE).shape == (2, CLASSES, *SIZE)
    # every parameter of the head has learnt
    idle = [name for name, p in made.head.named_parameters() if p.grad is None]
    assert not idle


@pytest.mark.parametrize("decoder", ["semfpn", "mask2former"])
@pytest.mark.parametrize("size", [(64, 64), (48, 80), (80, 48)])
def test_pyramids_have_four_strides_on_any_grid(decoder: str, size: tuple[int, int]) -> None:
    made = segmentor(SMALL_DECODERS[decoder], size=size).eval()
    maps = made.head_inputs(made.features(torch.rand(1, 3, *size)))
    sides = [tuple(m.shape[2:]) for m in maps]
    assert sides[:3] == [(size[0] // stride, size[1] // stride) for stride in (4, 8, 16)]
    assert sides[3] == tuple(max(round(side / 32), 1) for side in size)
    logits = made(torch.rand(1, 3, *size))
    assert logits.shape == (1, CLASSES, size[0] // 4, size[1] // 4)


def test_a_pyramid_reads_raw_blocks_and_a_hierarchy_its_own_levels() -> None:
    made = segmentor(SMALL_DECODERS["semfpn"]).eval()
    assert made.reads == [1, 2, 3, 5]  # of six blocks, and the last one without the final norm
    images = torch.rand(1, 3, *SIZE)
    features = made.features(images)
    raw = made.encoder.model.forward_intermediates(
        (images - made.encoder.mean) / made.encoder.std, indices=[5], norm=False, output_fmt="NLC",
        intermediates_only=True
    )  # fmt: skip
    assert torch.equal(features.blocks[5], raw[0]) and not torch.equal(features.tokens, raw[0])
    cnn = segmentor(SMALL_DECODERS["semfpn"], "test_efficientnet").eval()
    sides = [tuple(m.shape[2:]) for m in cnn.head_inputs(cnn.features(images))]
    assert sides == [(SIZE[0] // stride, SIZE[1] // stride) for stride in (4, 8, 16, 32)]


def _decoded(classes: Tensor, masks: Tensor) -> DecodedMasks:
    return DecodedMasks(pixels=masks, classes=classes, masks=masks, earlier=[])


def test_logits_of_queries_are_the_logarithm_of_their_sum() -> None:
    made = segmentor(SMALL).eval()
    with torch.no_grad():
        decoded = made.decode(made.features(torch.rand(2, 3, *SIZE)))
    assert isinstance(decoded, DecodedMasks)
    small = torch.einsum("bqc,bqhw->bchw", decoded.classes.softmax(-1)[..., :-1], decoded.masks.sigmoid())
    assert torch.allclose(decoded.logits, (small + 1e-6).log(), atol=1e-5)
    assert len(decoded.earlier) == SMALL.query_layers
    head = made.head
    assert isinstance(head, Mask2Former)
    larger = F.interpolate(decoded.masks, size=SIZE, mode="bilinear", align_corners=False)
    chances = decoded.classes.softmax(-1)[..., :-1]
    wanted = torch.einsum("bqc,bqhw->bchw", chances, larger.sigmoid())
    assert torch.allclose(head.scores(decoded, None), wanted, atol=1e-6)


def test_a_perfect_set_of_masks_costs_nearly_nothing() -> None:
    head = segmentor(SMALL).head
    assert isinstance(head, Mask2Former)
    # one class everywhere: points between two classes would see both. Not quite nothing, as points at the border of
    # the image see the zeros around it.
    wanted = torch.full((1, *SIZE), 2)
    classes = torch.full((1, SMALL.queries, CLASSES + 1), -20.0)
    classes[..., -1] = 20.0
    masks = torch.full((1, SMALL.queries, *SIZE), -20.0)
    classes[0, 4], masks[0, 4] = -20.0, 20.0
    classes[0, 4, 2] = 20.0
    torch.manual_seed(0)
    perfect = head.task_loss(_decoded(classes, masks), wanted, 255)
    torch.manual_seed(0)
    poor = head.task_loss(_decoded(classes.roll(1, dims=2), masks), wanted, 255)
    assert 5 * perfect < poor


def test_images_without_a_labelled_pixel_are_left_out() -> None:
    made = segmentor(SMALL)
    assert made.head is not None
    decoded = made.decode(made.features(torch.rand(2, 3, *SIZE)))
    wanted = labels()
    wanted[1] = 255
    torch.manual_seed(0)
    mixed = made.head.task_loss(decoded, wanted, 255)
    torch.manual_seed(0)
    alone = made.head.task_loss(_only(decoded, 0), wanted[:1], 255)
    assert mixed.item() == pytest.approx(alone.item(), rel=1e-6)
    nothing = made.head.task_loss(decoded, torch.full_like(wanted, 255), 255)
    assert nothing.item() == 0 and nothing.requires_grad


def _only(decoded: Decoded, row: int) -> DecodedMasks:
    assert isinstance(decoded, DecodedMasks)
    rows = slice(row, row + 1)
    earlier = [{name: part[rows] for name, part in one.items()} for one in decoded.earlier]
    return DecodedMasks(decoded.pixels[rows], decoded.classes[rows], decoded.masks[rows], earlier)


@pytest.mark.parametrize("decoder", SMALL_DECODERS)
def test_a_head_is_the_same_at_a_seed_and_survives_a_copy(decoder: str) -> None:
    first, second = segmentor(SMALL_DECODERS[decoder]), segmentor(SMALL_DECODERS[decoder])
    assert first.head is not None and second.head is not None
    for a, b in zip(first.head.state_dict().values(), second.head.state_dict().values(), strict=True):
        assert torch.equal(a, b)
    copied = copy.deepcopy(first).eval()
    images = torch.rand(1, 3, *SIZE)
    with torch.no_grad():
        assert torch.equal(copied(images), first.eval()(images))


@pytest.mark.parametrize("decoder", SMALL_DECODERS)
def test_bfloat16_is_close(decoder: str) -> None:
    made = segmentor(SMALL_DECODERS[decoder]).eval()
    images = torch.rand(1, 3, *SIZE, generator=torch.Generator().manual_seed(2))
    with torch.no_grad():
        exact = made(images)
        with torch.autocast("cpu", torch.bfloat16):
            rough = made(images).float()
    assert torch.isfinite(rough).all()
    assert (rough - exact).abs().mean() < 0.1 * exact.abs().mean()


def test_semfpn_sums_what_it_says() -> None:
    made = segmentor(SMALL_DECODERS["semfpn"])
    assert made.head is not None
    convolutions = [m for m in made.head.modules() if isinstance(m, nn.Conv2d)]
    # 4 lateral, 4 smoothing, 1 + 1 + 2 + 3 rising, 1 classifying
    assert len(convolutions) == 4 + 4 + 7 + 1


@pytest.mark.parametrize("decoder", SMALL_DECODERS)
def test_images_of_no_whole_patches_are_padded_and_cropped(decoder: str) -> None:
    made = segmentor(SMALL_DECODERS[decoder], size=(64, 96)).eval()
    assert made.encoder.whole((50, 90)) == (64, 96) and made.encoder.whole((64, 96)) == (64, 96)
    images = torch.rand(1, 3, 50, 90, generator=torch.Generator().manual_seed(2))
    full = padded(images, (64, 96))
    assert torch.allclose(full[:, :, :50, :90], images, atol=1e-6)
    assert torch.allclose(full[0, :, 60, 95], images[0].mean((1, 2)), atol=1e-6)
    with torch.no_grad():
        found, larger = made.scores(images, None), made.scores(images, (100, 180))
        wanted = made.scores(full, (64, 96))[:, :, :50, :90]
    assert torch.equal(found, wanted) and larger.shape == (1, CLASSES, 100, 180)
    cnn = segmentor(SMALL_DECODERS[decoder], "test_efficientnet", size=(50, 90)).eval()
    assert cnn.encoder.whole((50, 90)) == (50, 90)
    with torch.no_grad():
        assert cnn.scores(images, (50, 90)).shape == (1, CLASSES, 50, 90)
