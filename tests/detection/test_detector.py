"""Detectors: torchvision's own Faster R-CNN on the same features, pyramids of all encoders, boxes that stay exact."""

from collections import OrderedDict
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torchvision.models.detection import FasterRCNN as WholeModel
from torchvision.models.detection.anchor_utils import AnchorGenerator
from torchvision.models.detection.faster_rcnn import FastRCNNPredictor, TwoMLPHead
from torchvision.models.detection.image_list import ImageList
from torchvision.ops import MultiScaleRoIAlign, box_iou

from gkdbench.contract import Boxes
from gkdbench.detection.detector import Detector
from gkdbench.errors import Unsupported, UsageError
from gkdbench.models.encoder import Encoder
from gkdbench.spec.catalogue import find_model
from gkdbench.spec.decoder import FasterRCNNDecoder
from gkdbench.spec.model import ModelEntry

CLASSES = 4
# no value is another's: one that went to the wrong place would show
SPEC = FasterRCNNDecoder(
    name="faster-rcnn", width=12, scales=[2, 1, 0.5], anchors=[[7, 11], [15, 23], [34, 51]], ratios=[0.4, 1, 2.2],
    rpn_overlaps=(0.28, 0.62), rpn_samples=50, rpn_kept=(90, 60), rpn_kept_judging=(70, 40), rpn_nms=0.66, roi_size=4,
    roi_scale=48, roi_sampling=3, roi_overlap=0.52, roi_samples=30, roi_positives=0.3, head_width=20,
    score_threshold=0.1, nms=0.45, detections=25,
)  # fmt: skip
SIZE = (64, 96)


def vit(patch: int = 8, size: tuple[int, int] = SIZE) -> Encoder:
    entry = ModelEntry(
        description="toy", role="local", timm="vit_tiny_patch16_224", weights=None, licence="-",
        arguments={
            "embed_dim": 16, "depth": 2, "num_heads": 2, "patch_size": patch, "img_size": list(size),
        },
    )  # fmt: skip
    torch.manual_seed(0)
    made = Encoder(entry)
    made.resize(size)
    return made


def detector(encoder: Encoder | None = None, **changes: Any) -> Detector:
    """Return a detector whose scores and boxes are not all alike, as those of fresh weights are."""
    spec = SPEC.model_copy(update=changes)
    made = Detector(encoder or vit(), spec, CLASSES)
    assert isinstance(made, Detector)
    made.add_head(1)
    assert made.head is not None
    with torch.no_grad():
        for name, value in made.head.named_parameters():
            if "cls" in name or "bbox" in name:
                value.mul_(20)
    return made.eval()


def pictures(count: int = 3, size: tuple[int, int] = SIZE) -> Tensor:
    return torch.rand(count, 3, *size, generator=torch.Generator().manual_seed(5))


def targets() -> list[Boxes]:
    """Three objects, none, and one."""
    boxes = [[[5, 8, 25, 30], [40, 20, 90, 60], [60, 2, 70, 12]], [], [[0, 0, 96, 64]]]
    labels = [[0, 3, 1], [], [2]]
    return [
        Boxes(torch.tensor(b, dtype=torch.float32).reshape(-1, 4), torch.tensor(k, dtype=torch.int64))
        for b, k in zip(boxes, labels, strict=True)
    ]


class Untouched(nn.Module):
    """A transform that leaves images as they are."""

    def forward(self, images: list[Tensor], targets: Any) -> tuple[ImageList, Any]:
        return ImageList(torch.stack(images), [(image.shape[1], image.shape[2]) for image in images]), targets

    def postprocess(self, found: Any, *_: Any) -> Any:
        return found


class Maps(nn.Module):
    """The detector's pyramid as a backbone."""

    out_channels = SPEC.width

    def __init__(self, made: Detector) -> None:
        super().__init__()
        self.made = [made]

    def forward(self, images: Tensor) -> "OrderedDict[str, Tensor]":
        (made,) = self.made
        return OrderedDict((str(i), level) for i, level in enumerate(made.decode(made.features(images)).pyramid))


def whole_model(made: Detector) -> Any:
    """Return torchvision's Faster R-CNN with the detector's weights, every number given by its own name there."""
    whole = WholeModel(
        Maps(made),
        rpn_anchor_generator=AnchorGenerator(((7, 11), (15, 23), (34, 51)), ((0.4, 1.0, 2.2),) * 3),
        rpn_pre_nms_top_n_train=90, rpn_post_nms_top_n_train=60,
        rpn_pre_nms_top_n_test=70, rpn_post_nms_top_n_test=40,
        rpn_nms_thresh=0.66, rpn_bg_iou_thresh=0.28, rpn_fg_iou_thresh=0.62, rpn_batch_size_per_image=50,
        box_roi_pool=MultiScaleRoIAlign(["0", "1", "2"], 4, 3, canonical_scale=48),
        box_head=TwoMLPHead(12 * 4**2, 20), box_predictor=FastRCNNPredictor(20, CLASSES + 1),
        box_score_thresh=0.1, box_nms_thresh=0.45, box_detections_per_img=25, box_fg_iou_thresh=0.52,
        box_bg_iou_thresh=0.52, box_batch_size_per_image=30, box_positive_fraction=0.3,
    )  # fmt: skip
    assert made.head is not None
    whole.rpn.load_state_dict(made.head.rpn.state_dict())
    whole.roi_heads.load_state_dict(made.head.roi_heads.state_dict())
    whole.transform = Untouched()
    return whole


def loss_of(made: Detector, images: Tensor, labels: list[Boxes], seed: int = 3) -> Tensor:
    assert made.head is not None
    torch.manual_seed(seed)
    return made.head.task_loss(made.decode(made.features(images)), labels, 255)


def test_the_loss_and_its_gradients_are_torchvisions() -> None:
    made = detector()
    images, labels = pictures(), targets()
    whole = whole_model(made).train()
    loss_of(made, images, labels).backward()
    torch.manual_seed(3)
    parts = whole(list(images), [{"boxes": one.boxes, "labels": one.labels + 1} for one in labels])
    assert set(parts) == {"loss_objectness", "loss_rpn_box_reg", "loss_classifier", "loss_box_reg"}
    assert all(value.item() > 0 for value in parts.values())
    torch.testing.assert_close(loss_of(made, images, labels), sum(parts.values()), rtol=1e-6, atol=1e-6)
    sum(parts.values()).backward()
    assert made.head is not None
    for ours, theirs in ((made.head.rpn, whole.rpn), (made.head.roi_heads, whole.roi_heads)):
        for (name, one), other in zip(ours.named_parameters(), theirs.parameters(), strict=True):
            torch.testing.assert_close(one.grad, other.grad, rtol=1e-4, atol=1e-6, msg=name)
    assert abs(loss_of(made, images, labels, seed=4) - loss_of(made, images, labels, seed=3)) > 1e-6  # what is drawn


def test_what_is_found_is_what_torchvision_finds() -> None:
    made = detector()
    images = pictures()
    whole = whole_model(made).eval()
    with torch.no_grad():
        found, wanted = made(images), whole(list(images))
    assert sum(len(one.scores) for one in found) > 20
    for one, other in zip(found, wanted, strict=True):
        torch.testing.assert_close(one.boxes, other["boxes"])
        torch.testing.assert_close(one.scores, other["scores"])
        assert torch.equal(one.labels, other["labels"] - 1)
        assert (one.scores.diff() <= 0).all() and (one.scores > 0.1).all() and len(one.scores) <= 25
        assert one.labels.min() >= 0 and one.labels.max() < CLASSES
        for number in one.labels.unique():
            boxes = one.boxes[one.labels == number]
            assert (box_iou(boxes, boxes) - torch.eye(len(boxes))).max() <= 0.45 + 1e-6


@pytest.mark.parametrize(("patch", "size"), [(8, (64, 96)), (14, (70, 112)), (16, (96, 64))])
def test_a_transformers_pyramid_has_the_strides_of_its_scales(patch: int, size: tuple[int, int]) -> None:
    made = detector(vit(patch, size), scales=[4, 2, 1, 0.5], anchors=[[8], [16], [32], [64]])
    assert made.head is not None and made.head.pyramid_dim == 12 and made.head_widths() == [16]
    assert made.strides == [patch / 4, patch / 2, patch, 2 * patch]
    decoded = made.decode(made.features(pictures(2, size)))
    assert decoded.size == size
    assert [tuple(level.shape) for level in decoded.pyramid] == [
        (2, 12, int(size[0] / stride), int(size[1] / stride)) for stride in made.strides
    ]


@pytest.mark.parametrize(
    ("name", "widths"), [("tf_efficientnet_lite0", [40, 112, 320]), ("resnet10t", [128, 256, 512])]
)
def test_a_hierarchical_encoder_has_a_pyramid_of_its_own(name: str, widths: list[int]) -> None:
    torch.manual_seed(0)
    encoder = Encoder(find_model(f"timm/{name}").entry)
    encoder.resize(SIZE)
    made = detector(encoder)
    assert made.head_widths() == widths and made.strides == [8, 16, 32]
    decoded = made.decode(made.features(pictures(2)))
    assert [tuple(level.shape) for level in decoded.pyramid] == [(2, 12, 8, 12), (2, 12, 4, 6), (2, 12, 2, 3)]
    with torch.no_grad():
        maps = made.features(pictures(2)).levels[-3:]
    for level, wanted in zip(made.head_inputs(made.features(pictures(2))), maps, strict=True):
        torch.testing.assert_close(level, wanted)
    loss_of(made.train(), pictures(), targets()).backward()
    first = next(made.encoder.model.parameters())
    assert first.grad is not None and first.grad.abs().max() > 0


def test_more_levels_than_an_encoder_has_are_one_clear_line() -> None:
    encoder = Encoder(find_model("timm/resnet10t").entry)
    with pytest.raises(UsageError, match=r"scales asks for 5 levels, and 'resnet10t' has 4.*shorten scales"):
        detector(encoder, scales=[4, 2, 1, 0.5, 0.25], anchors=[[8], [16], [32], [64], [128]])


@pytest.mark.parametrize(("name", "stride"), [("vit", 4.0), ("resnet10t", 16.0)])
def test_one_level_is_made_from_one_map(name: str, stride: float) -> None:
    encoder = vit() if name == "vit" else Encoder(find_model(f"timm/{name}").entry)
    encoder.resize(SIZE)
    made = detector(encoder, scales=[2], anchors=[[16, 32]])
    (level,) = made.decode(made.features(pictures(1))).pyramid
    assert made.strides == [stride] and level.shape[2:] == (SIZE[0] / stride, SIZE[1] / stride)
    assert torch.isfinite(loss_of(made.train(), pictures(), targets()))


@pytest.mark.parametrize(("patch", "size"), [(8, (96, 128)), (14, (210, 238))])
@pytest.mark.parametrize("seen", [None, (20, 100)])
def test_anchors_and_pooling_lie_where_the_pixels_are(
    patch: int, size: tuple[int, int], seen: tuple[int, int] | None
) -> None:
    """Whatever part of the images is padding: torchvision would infer strides from what is not."""
    made = detector(vit(patch, size))
    assert made.head is not None
    pool, anchors = made.head.roi_heads.box_roi_pool, made.head.rpn.anchor_generator
    with torch.no_grad():
        decoded = made.decode(made.features(pictures(2, size)))
        made.head.found(decoded, [seen or size] * 2)
    levels, centres = OrderedDict(), []
    for number, (level, stride) in enumerate(zip(decoded.pyramid, made.strides, strict=True)):
        rows, columns = (torch.arange(side) * stride for side in level.shape[2:])
        place = torch.stack([columns.expand(len(rows), -1), rows[:, None].expand(-1, len(columns))])
        levels[str(number)] = place[None]  # at every cell its place in the image
        centres.append(place.flatten(1).T.repeat_interleave(6, 0))
    laid, other = anchors(ImageList(torch.empty(2, 3, *size), [size] * 2), decoded.pyramid)
    assert torch.equal(laid, other)
    torch.testing.assert_close((laid[:, :2] + laid[:, 2:]) / 2, torch.cat(centres), atol=0.51, rtol=0)  # whole sides
    boxes = torch.tensor([[9.0, 12, 17, 22], [10, 10, 50, 40], [12, 8, 92, 78]]) * (2 if patch == 14 else 1)
    assert pool.map_levels([boxes]).tolist() == [0, 1, 2]
    pooled = pool(levels, [boxes], [size])
    torch.testing.assert_close(pooled.mean(dim=(2, 3)), (boxes[:, :2] + boxes[:, 2:]) / 2)


def test_boxes_end_at_their_images_border() -> None:
    made = detector(score_threshold=0.0)
    with torch.no_grad():
        tall, wide = made.detect(pictures(2), [(64, 40), (24, 96)])
    assert tall.boxes[:, 2].max() == 40 and tall.boxes[:, 3].max() <= 64
    assert wide.boxes[:, 2].max() == 96 and wide.boxes[:, 3].max() <= 24
    assert min(tall.boxes.min(), wide.boxes.min()) >= 0


def test_smaller_images_are_padded_to_what_the_encoder_sees() -> None:
    made, small = detector(), pictures(1, (50, 80))
    by_hand = torch.zeros(1, 3, *SIZE) + small.mean(dim=(2, 3), keepdim=True)
    by_hand[:, :, :50, :80] = small
    with torch.no_grad():
        (one,), (other,) = made(small), made.detect(by_hand, [(50, 80)])
    torch.testing.assert_close(one.boxes, other.boxes, atol=1e-3, rtol=1e-4)
    assert torch.equal(one.labels, other.labels)


def test_no_pixel_has_a_score_and_methods_are_told_so() -> None:
    made = detector()
    decoded = made.decode(made.features(pictures(1)))
    with pytest.raises(Unsupported, match="class scores of every pixel, and a detector scores boxes"):
        decoded.logits  # noqa: B018
    with pytest.raises(Unsupported, match="features of every pixel before a classifier, and"):
        decoded.pixels  # noqa: B018
    with pytest.raises(AttributeError, match="no lOgits"):
        decoded.lOgits  # noqa: B018
    assert made.head is not None and made.head.pixel_dim == 0


def test_half_precision_stops_at_the_pyramid() -> None:
    made = detector()
    with torch.no_grad(), torch.autocast("cpu", torch.bfloat16):
        decoded = made.decode(made.features(pictures()))
        assert decoded.pyramid[0].dtype == torch.bfloat16
        inside = made.head.found(decoded, [SIZE] * 3)
        torch.manual_seed(3)
        loss = made.head.task_loss(decoded, targets(), 255)
        assert torch.is_autocast_enabled("cpu")
    decoded.pyramid = [level.float() for level in decoded.pyramid]
    with torch.no_grad():
        outside = made.head.found(decoded, [SIZE] * 3)
        torch.manual_seed(3)
        assert torch.equal(made.head.task_loss(decoded, targets(), 255), loss) and loss.dtype == torch.float32
    for one, other in zip(inside, outside, strict=True):
        assert one.boxes.dtype == one.scores.dtype == torch.float32 and len(one.scores)
        assert torch.equal(one.boxes, other.boxes) and torch.equal(one.scores, other.scores)


def test_images_without_an_object_teach_that_there_is_none() -> None:
    made = detector().train()
    nothing = [Boxes(torch.empty(0, 4), torch.empty(0, dtype=torch.int64))] * 3
    loss = loss_of(made, pictures(), nothing)
    loss.backward()
    assert torch.isfinite(loss) and loss > 0
    gradients = {name: value.grad for name, value in made.named_parameters() if value.grad is not None}
    assert all(torch.isfinite(gradient).all() for gradient in gradients.values())
    assert gradients["head.roi_heads.box_predictor.cls_score.weight"].abs().max() > 0
    assert gradients["head.roi_heads.box_predictor.bbox_pred.weight"].abs().max() == 0  # there is no box to learn


def test_a_head_in_eval_mode_has_the_same_loss_and_stays_in_it() -> None:
    made = detector()
    assert made.head is not None
    loss = loss_of(made.eval(), pictures(), targets())
    assert not any(part.training for part in made.head.modules())
    torch.testing.assert_close(loss_of(made.train(), pictures(), targets()), loss)
    assert all(part.training for part in made.head.modules())


def test_heads_of_a_seed_are_alike_and_leave_the_generator_alone() -> None:
    torch.manual_seed(11)
    one, other, another = detector(), detector(), detector()
    another.add_head(2)
    before = torch.random.get_rng_state()
    one.add_head(1)
    assert torch.equal(torch.random.get_rng_state(), before)
    other.add_head(1)
    assert one.head is not None and other.head is not None and another.head is not None
    same = zip(one.head.parameters(), other.head.parameters(), strict=True)
    assert all(torch.equal(a, b) for a, b in same)
    assert not torch.equal(next(one.head.rpn.parameters()), next(another.head.rpn.parameters()))
