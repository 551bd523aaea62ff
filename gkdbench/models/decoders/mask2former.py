"""Mask2Former (Cheng et al. 2022, arXiv 2112.01527) on any encoder's pyramid, through transformers' public classes.

The model of transformers owns its backbone. Here the encoder stays outside, so that one pass of it serves the head
and every distillation term: the backbone that the model is given hands on the maps that the head was called with.
"""

import math
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import cached_property, partial
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from transformers import (
    AutoBackbone,
    AutoConfig,
    Mask2FormerConfig,
    Mask2FormerForUniversalSegmentation,
    PreTrainedConfig,
    PreTrainedModel,
)
from transformers.backbone_utils import BackboneConfigMixin, BackboneMixin
from transformers.modeling_outputs import BackboneOutput
from transformers.utils import logging

from gkdbench.models.decoders.head import Decoded, SegmentationHead
from gkdbench.spec.decoder import Mask2FormerDecoder

FINEST = 4
"""Stride of the finest map and of the mask scores."""
FLOOR = 1e-6


class GivenPyramidConfig(BackboneConfigMixin, PreTrainedConfig):  # type: ignore[misc]
    """Four maps of given widths."""

    model_type = "gkdbench_given_pyramid"
    widths: tuple[int, ...] | list[int] = (1, 1, 1, 1)

    def __post_init__(self, **settings: Any) -> None:
        """Name the maps as transformers wants them named."""
        self.stage_names = ["stem", *(f"stage{number}" for number in range(1, len(self.widths) + 1))]
        features = settings.pop("out_features", None) or self.stage_names[1:]
        indices = settings.pop("out_indices", None)
        super().__post_init__(**settings)
        self.set_output_features_output_indices(out_features=features, out_indices=indices)


class GivenPyramid(BackboneMixin, PreTrainedModel):  # type: ignore[misc]
    """A backbone without parameters: returns the maps it was told."""

    config_class = GivenPyramidConfig
    main_input_name = "pixel_values"

    def __init__(self, config: GivenPyramidConfig) -> None:
        super().__init__(config)
        self.num_features = [1, *config.widths]
        self.maps: tuple[Tensor, ...] | None = None
        self.post_init()

    @contextmanager
    def giving(self, maps: Sequence[Tensor]) -> Iterator[None]:
        """Return these maps for the length of a with block."""
        self.maps = tuple(maps)
        try:
            yield
        finally:
            self.maps = None

    def forward(self, pixel_values: Tensor, **_: Any) -> BackboneOutput:
        """Return the maps; the image is a stand-in for its size."""
        assert self.maps is not None
        return BackboneOutput(feature_maps=self.maps)


AutoConfig.register(GivenPyramidConfig.model_type, GivenPyramidConfig, exist_ok=True)
AutoBackbone.register(GivenPyramidConfig, GivenPyramid, exist_ok=True)


class DecodedMasks(Decoded):
    """The common output, and what prediction and task loss read; logits are computed when first looked at.

    Args:
        pixels: [B, D, h', w'] embeddings of the pixels.
        classes: [B, Q, K+1] scores of the last layer, the last of them "no object".
        masks: [B, Q, h', w'] scores of the last layer.
        earlier: scores of the initial queries and of the layers before the last.
    """

    def __init__(self, pixels: Tensor, classes: Tensor, masks: Tensor, earlier: list[dict[str, Tensor]]) -> None:
        self.pixels, self.classes, self.masks, self.earlier = pixels, classes, masks, earlier

    @cached_property
    def logits(self) -> Tensor:  # type: ignore[override]
        """log(S + 1e-6), [B, K, h', w']; see Mask2Former."""
        return (summed(self.classes, self.masks) + FLOOR).log()


class Mask2Former(SegmentationHead):
    """Queries that each give a class and, by a product with every pixel's embedding, a mask; at stride 4.

    Logits are log(S + 1e-6) with S_c = sum over queries of softmax(classes)_c * sigmoid(masks), the "no object" column
    dropped: S is no logit, and the softmax of this is S over its sum. That is our definition for methods that distil
    logits; none of their papers has such a head.
    """

    # The queries' contents and positions and the level embedding of the transformer decoder; the release's keys do not
    # name that of the pixel decoder.
    undecayed = tuple(
        f"net.model.transformer_module.{name}" for name in ("queries_embedder", "queries_features", "level_embed")
    )

    def __init__(self, widths: Sequence[int], num_classes: int, spec: Mask2FormerDecoder) -> None:
        super().__init__()
        self.pixel_dim = spec.width
        self.num_classes = num_classes
        with _without_warnings():  # that another backbone than Swin is no official combination
            self.net = Mask2FormerForUniversalSegmentation(mask2former_config(widths, num_classes, spec))
        if spec.init == "mmdet":
            initialise_as_mmdet(self.net)

    def forward(self, maps: Sequence[Tensor], grid: tuple[int, int]) -> DecodedMasks:
        """Decode maps [B, C_i, h_i, w_i] at strides 4, 8, 16 and 32."""
        height, width = maps[0].shape[2] * FINEST, maps[0].shape[3] * FINEST
        # of the image only the size is read
        image = maps[0].new_zeros(()).expand(maps[0].shape[0], 3, height, width)
        with self._backbone.giving(maps):
            output = self.net(pixel_values=image, output_auxiliary_logits=True)
        return DecodedMasks(
            pixels=output.pixel_decoder_last_hidden_state,
            classes=output.class_queries_logits,
            masks=output.masks_queries_logits,
            earlier=list(output.auxiliary_logits or []),
        )

    @property
    def _backbone(self) -> GivenPyramid:
        backbone: GivenPyramid = self.net.model.pixel_level_module.encoder
        return backbone

    def scores(self, decoded: Decoded, size: tuple[int, int] | None) -> Tensor:
        """Return S with every mask brought to the image's size first, as the release predicts."""
        assert isinstance(decoded, DecodedMasks)
        masks = decoded.masks.float()
        wanted = size or (masks.shape[2] * FINEST, masks.shape[3] * FINEST)
        return summed(decoded.classes, F.interpolate(masks, size=wanted, mode="bilinear", align_corners=False))

    def task_loss(self, decoded: Decoded, labels: Tensor, ignore: int) -> Tensor:
        """Match queries to the classes of each image; class, mask and dice losses of all layers, summed.

        labels: [B, H, W] int64. Every class present is one mask, in which ignored pixels count as outside (as in the
        release). Images without a labelled pixel are left out; a batch of such images costs zero.
        """
        assert isinstance(decoded, DecodedMasks)
        present = [torch.unique(one[one != ignore]) for one in labels]
        rows = [row for row, classes in enumerate(present) if len(classes)]
        if not rows:
            return 0.0 * (decoded.classes.float().sum() + decoded.masks.float().sum())
        every = len(rows) == len(labels)

        def kept(scores: Tensor) -> Tensor:
            return (scores if every else scores[rows]).float()

        losses = self.net.get_loss_dict(
            masks_queries_logits=kept(decoded.masks),
            class_queries_logits=kept(decoded.classes),
            mask_labels=[(labels[row][None] == present[row][:, None, None]).float() for row in rows],
            class_labels=[present[row] for row in rows],
            auxiliary_predictions=[{name: kept(part) for name, part in one.items()} for one in decoded.earlier],
        )
        loss: Tensor = self.net.get_loss(losses)
        return loss


@contextmanager
def _without_warnings() -> Iterator[None]:
    before = logging.get_verbosity()
    logging.set_verbosity_error()
    try:
        yield
    finally:
        logging.set_verbosity(before)


def summed(classes: Tensor, masks: Tensor) -> Tensor:
    """Return S [B, K, h, w] of class scores [B, Q, K+1] and mask scores [B, Q, h, w], in float32."""
    with torch.autocast(classes.device.type, enabled=False):
        chances = classes.float().softmax(dim=-1)[..., :-1]
        return torch.einsum("bqc,bqhw->bchw", chances, masks.float().sigmoid())


def mask2former_config(widths: Sequence[int], num_classes: int, spec: Mask2FormerDecoder) -> Mask2FormerConfig:
    """Return what transformers builds the model from."""
    return Mask2FormerConfig(
        backbone_config=GivenPyramidConfig(widths=list(widths)),
        num_labels=num_classes,
        feature_size=spec.width,
        mask_feature_size=spec.width,
        hidden_dim=spec.width,
        encoder_feedforward_dim=spec.pixel_feedforward,
        encoder_layers=spec.pixel_layers,
        # transformers counts the initial queries' prediction as a layer
        decoder_layers=spec.query_layers + 1,
        num_attention_heads=spec.heads,
        dim_feedforward=spec.query_feedforward,
        dropout=0.0,
        num_queries=spec.queries,
        train_num_points=spec.points,
        class_weight=spec.class_weight,
        mask_weight=spec.mask_weight,
        dice_weight=spec.dice_weight,
        no_object_weight=spec.no_object_weight,
        use_auxiliary_loss=True,
    )


def initialise_as_mmdet(net: Any) -> None:
    """Draw the weights of a Mask2FormerForUniversalSegmentation anew as mmdet does, from torch's global generator.

    What is drawn how; biases that are not named are zero. Norms and the offsets, attention weights and zero biases of
    attentions stay: both libraries agree on them.

    | part | weights | said by |
    | --- | --- | --- |
    | input convolutions of the pixel decoder | Xavier uniform | 1 |
    | its lateral, output and mask convolutions | Caffe2's Xavier | 1 |
    | values and outputs of its deformable attention | Xavier uniform | 2 |
    | its offsets and attention weights | zero, the offsets' bias on rays | 2 |
    | its feed-forward layers | Xavier normal, torch's bias | 1 |
    | attention and feed-forward layers of the queries | Xavier normal, torch's bias in the latter | 3 |
    | classes, mask embedding | torch's linear layer | 3 |
    | queries, level embeddings | N(0, 1) | 1, 3 |

    1: mmdetection 3, mmdet/models/layers/msdeformattn_pixel_decoder.py; 2: mmcv, mmcv/ops/multi_scale_deform_attn.py;
    3: mmdet/models/dense_heads/mask2former_head.py. Caffe2's Xavier is uniform with variance 1 / fan-in (mmengine,
    mmengine/model/weight_init.py). Queries, keys and values of an attention are one matrix there, of three times the
    width, so their Xavier has twice the fan.
    """
    pixels = net.model.pixel_level_module.decoder
    module = net.model.transformer_module
    with torch.no_grad():
        for projection in pixels.input_projections:
            _without_bias(nn.init.xavier_uniform_, projection[0])
        for block in (*pixels.lateral_convolutions, *pixels.output_convolutions):
            _without_bias(_caffe2_xavier, block[0])
        for convolution in (pixels.mask_projection, *module.input_projections):
            if isinstance(convolution, nn.Conv2d):  # equal widths need no projection
                _without_bias(_caffe2_xavier, convolution)
        for layer in pixels.encoder.layers:
            _without_bias(nn.init.xavier_uniform_, layer.self_attn.value_proj)
            _without_bias(nn.init.xavier_uniform_, layer.self_attn.output_proj)
            _feed_forward(layer)
        for layer in module.decoder.layers:
            own, cross = layer.self_attn, layer.cross_attn
            _packed_xavier_normal(own.q_proj.weight, own.k_proj.weight, own.v_proj.weight)
            nn.init.xavier_normal_(own.out_proj.weight)
            _packed_xavier_normal(*cross.in_proj_weight.chunk(3))
            nn.init.xavier_normal_(cross.out_proj.weight)
            _feed_forward(layer)
        net.class_predictor.reset_parameters()
        for linear in module.decoder.mask_predictor.modules():
            if isinstance(linear, nn.Linear):
                linear.reset_parameters()
        levels = (module.queries_embedder, module.queries_features, module.level_embed)
        for table in (pixels.level_embed, *(embedding.weight for embedding in levels)):
            nn.init.normal_(table)


_caffe2_xavier = partial(nn.init.kaiming_uniform_, a=1)


def _without_bias(draw: Callable[[Tensor], Tensor], layer: nn.Linear | nn.Conv2d) -> None:
    """Draw a layer's weights; its bias becomes zero."""
    draw(layer.weight)
    if layer.bias is not None:
        nn.init.zeros_(layer.bias)


def _feed_forward(layer: Any) -> None:
    for linear in (layer.fc1, layer.fc2):
        linear.reset_parameters()  # for the bias
        nn.init.xavier_normal_(linear.weight)


def _packed_xavier_normal(*parts: Tensor) -> None:
    """Draw square matrices [C, C] as parts of one matrix [len(parts) * C, C]."""
    for part in parts:
        nn.init.normal_(part, std=math.sqrt(2 / ((len(parts) + 1) * part.shape[1])))
