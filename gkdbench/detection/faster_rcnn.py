"""Faster R-CNN (Ren et al. 2015, arXiv 1506.01497) on any encoder's features, made of torchvision's parts.

torchvision's model owns its backbone and resizes and normalises images for it. Here the encoder stays outside, so that
one pass of it serves the head and every distillation term, and images come as the encoder sees them.
"""

import math
from collections import OrderedDict
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Protocol

import torch
from timm.layers import LayerNorm2d
from torch import Tensor, nn
from torchvision.models.detection.anchor_utils import AnchorGenerator
from torchvision.models.detection.faster_rcnn import FastRCNNPredictor, TwoMLPHead
from torchvision.models.detection.image_list import ImageList
from torchvision.models.detection.roi_heads import RoIHeads
from torchvision.models.detection.rpn import RegionProposalNetwork, RPNHead
from torchvision.ops import FeaturePyramidNetwork, MultiScaleRoIAlign
from torchvision.ops.poolers import LevelMapper

from gkdbench.models.decoders.head import Head, Output
from gkdbench.spec.decoder import FasterRCNNDecoder


class LabelledBoxes(Protocol):
    """What a detector learns of an image."""

    @property
    def boxes(self) -> Tensor:
        """Corners x0 y0 x1 y1, [n, 4] float32 in pixels."""
        ...

    @property
    def labels(self) -> Tensor:
        """Class indices, [n] int64."""
        ...


@dataclass(frozen=True)
class FoundBoxes:
    """What was found in an image, the best scored first."""

    boxes: Tensor  # [n, 4] float32, pixels of the image as the detector saw it
    labels: Tensor  # [n] int64
    scores: Tensor  # [n] float32


@dataclass
class DecodedPyramid(Output):
    """A detector's features, from which boxes are proposed and judged."""

    LACKS = {
        "logits": "needs class scores of every pixel, and a detector scores boxes",
        "pixels": "needs features of every pixel before a classifier, and a detector classifies boxes",
    }

    pyramid: list[Tensor]  # [B, D, h_i, w_i], fine to coarse
    size: tuple[int, int] = (0, 0)
    """Height and width of the images."""
    strides: Sequence[float] = ()
    """Pixels of the images from one cell to the next, by level."""


class SimplePyramid(nn.Module):
    """The simple feature pyramid of ViTDet (Li et al. 2022, arXiv 2203.16527): all levels from one map."""

    def __init__(self, before: int, after: int, scales: Sequence[float]) -> None:
        super().__init__()
        self.levels = nn.ModuleList(_level(before, after, scale) for scale in scales)

    def forward(self, maps: Sequence[Tensor]) -> list[Tensor]:
        """Return levels [B, after, h_i, w_i] of one map [B, before, h, w]."""
        (single,) = maps
        return [level(single) for level in self.levels]


class OwnPyramid(nn.Module):
    """The feature pyramid of a hierarchical encoder, whose levels are there already (arXiv 1612.03144)."""

    def __init__(self, before: Sequence[int], after: int) -> None:
        super().__init__()
        self.net = FeaturePyramidNetwork(list(before), after)

    def forward(self, maps: Sequence[Tensor]) -> list[Tensor]:
        """Return levels [B, after, h_i, w_i] of maps [B, before_i, h_i, w_i], fine to coarse."""
        return list(self.net(_named(maps)).values())


def _level(before: int, after: int, scale: float) -> nn.Sequential:
    """Bring a map to a scale by doublings or pooling, then to `after` channels."""
    layers: list[nn.Module] = []
    width = before
    if scale < 1:
        layers.append(nn.MaxPool2d(round(1 / scale)))
    while scale > 1:
        layers.append(nn.ConvTranspose2d(width, width // 2, 2, 2))
        width, scale = width // 2, scale / 2
        if scale > 1:
            layers += [LayerNorm2d(width), nn.GELU()]
    layers += [
        nn.Conv2d(width, after, 1, bias=False),
        LayerNorm2d(after),
        nn.Conv2d(after, after, 3, padding=1, bias=False),
        LayerNorm2d(after),
    ]
    return nn.Sequential(*layers)


class Anchors(AnchorGenerator):  # type: ignore[misc]
    """torchvision's anchors at the strides that the levels have.

    torchvision divides the images' side by a level's and drops the remainder: patches of 14 would have anchors 3 pixels
    apart for cells of 3.5, and the last seventh of an image none.
    """

    strides: Sequence[float] = ()

    def forward(self, image_list: ImageList, feature_maps: list[Tensor]) -> list[Tensor]:
        """Return the anchors of every image, [n, 4], all levels after one another."""
        dtype, device = feature_maps[0].dtype, feature_maps[0].device
        self.set_cell_anchors(dtype, device)
        sizes = [list(level.shape[-2:]) for level in feature_maps]
        steps = [[torch.tensor(stride, dtype=dtype, device=device)] * 2 for stride in self.strides]
        return [torch.cat(self.grid_anchors(sizes, steps))] * len(image_list.image_sizes)


class FasterRCNN(Head):
    """A feature pyramid, proposals on all of its levels, and a class and a box for each.

    Which anchors and proposals enter the loss is drawn from torch's global generator.
    """

    def __init__(self, widths: Sequence[int], num_classes: int, spec: FasterRCNNDecoder) -> None:
        super().__init__()
        self.pyramid_dim = spec.width
        single = len(widths) == 1
        self.pyramid = SimplePyramid(widths[0], spec.width, spec.scales) if single else OwnPyramid(widths, spec.width)
        ratios = tuple(spec.ratios)
        anchors = Anchors(tuple(map(tuple, spec.anchors)), (ratios,) * len(spec.anchors))
        self.rpn = RegionProposalNetwork(
            anchors,
            RPNHead(spec.width, anchors.num_anchors_per_location()[0]),
            fg_iou_thresh=spec.rpn_overlaps[1],
            bg_iou_thresh=spec.rpn_overlaps[0],
            batch_size_per_image=spec.rpn_samples,
            positive_fraction=0.5,
            pre_nms_top_n={"training": spec.rpn_kept[0], "testing": spec.rpn_kept_judging[0]},
            post_nms_top_n={"training": spec.rpn_kept[1], "testing": spec.rpn_kept_judging[1]},
            nms_thresh=spec.rpn_nms,
        )
        names = [str(number) for number in range(len(spec.scales))]
        self.roi_heads = RoIHeads(
            MultiScaleRoIAlign(names, spec.roi_size, spec.roi_sampling, canonical_scale=spec.roi_scale),
            TwoMLPHead(spec.width * spec.roi_size**2, spec.head_width),
            FastRCNNPredictor(spec.head_width, num_classes + 1),  # class 0 is the background
            fg_iou_thresh=spec.roi_overlap,
            bg_iou_thresh=spec.roi_overlap,
            batch_size_per_image=spec.roi_samples,
            positive_fraction=spec.roi_positives,
            bbox_reg_weights=None,
            score_thresh=spec.score_threshold,
            nms_thresh=spec.nms,
            detections_per_img=spec.detections,
        )

    def forward(self, maps: Sequence[Tensor], grid: tuple[int, int]) -> DecodedPyramid:
        """Decode one map [B, C, h, w], or the levels of a hierarchical encoder."""
        return DecodedPyramid(self.pyramid(maps))

    def task_loss(self, decoded: DecodedPyramid, labels: Sequence[LabelledBoxes], ignore: int) -> Tensor:
        """Return the sum of the four losses: objectness and box of proposals, class and box of what is found."""
        with _exact(decoded), _in_training(self):
            targets = [{"boxes": one.boxes, "labels": one.labels + 1} for one in labels]
            images, levels = self._inputs(decoded, [decoded.size] * len(labels))
            proposals, first = self.rpn(images, levels, targets)
            _, second = self.roi_heads(levels, proposals, images.image_sizes, targets)
            return torch.stack([*first.values(), *second.values()]).sum()

    def found(self, decoded: DecodedPyramid, sizes: Sequence[tuple[int, int]]) -> list[FoundBoxes]:
        """Return the boxes found in each image.

        Args:
            decoded: of a batch.
            sizes: height and width of each image within what was seen, less than that where it was padded. Boxes end
                at their image's border.
        """
        with _exact(decoded):
            images, levels = self._inputs(decoded, sizes)
            proposals, _ = self.rpn(images, levels)
            results, _ = self.roi_heads(levels, proposals, images.image_sizes)
        return [FoundBoxes(one["boxes"], one["labels"] - 1, one["scores"]) for one in results]

    def _inputs(
        self, decoded: DecodedPyramid, sizes: Sequence[tuple[int, int]]
    ) -> tuple[ImageList, "OrderedDict[str, Tensor]"]:
        levels = _named([level.float() for level in decoded.pyramid])
        self._lay_out(decoded.strides)
        # of the images only the sizes are read
        images = levels["0"].new_zeros(()).expand(len(sizes), 3, *decoded.size)
        return ImageList(images, list(sizes)), levels

    def _lay_out(self, strides: Sequence[float]) -> None:
        """Tell torchvision's parts the levels' strides.

        Its pooling would infer them from the first images' sizes and keep them: as powers of two, which they are not
        for patches of 14, and too small where images are padded.
        """
        self.rpn.anchor_generator.strides = strides
        pool = self.roi_heads.box_roi_pool
        finest, coarsest = (round(math.log2(stride)) for stride in (strides[0], strides[-1]))
        pool.scales = [1 / stride for stride in strides]
        pool.map_levels = LevelMapper(finest, coarsest, pool.canonical_scale, pool.canonical_level)


def _named(maps: Sequence[Tensor]) -> "OrderedDict[str, Tensor]":
    return OrderedDict((str(number), one) for number, one in enumerate(maps))


@contextmanager
def _exact(decoded: DecodedPyramid) -> Iterator[None]:
    """Keep boxes out of autocast: half precision knows a coordinate of 500 to the nearest two pixels."""
    with torch.autocast(decoded.pyramid[0].device.type, enabled=False):
        yield


@contextmanager
def _in_training(head: nn.Module) -> Iterator[None]:
    """Put a head into training mode, without which torchvision computes no loss: a frozen one is in eval mode."""
    before = head.training
    head.train()
    try:
        yield
    finally:
        head.train(before)
