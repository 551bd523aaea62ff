"""mmdet's initialisation of Mask2Former's head, for the model of transformers.

What is drawn how; biases that are not named are zero:

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
mmengine/model/weight_init.py). Queries, keys and values of an attention are one matrix there, of three times the width,
so their Xavier has twice the fan.
"""

import math
from typing import Any

import torch
from torch import Tensor, nn


def initialise_as_mmdet(net: Any) -> None:
    """Draw the weights of a Mask2FormerForUniversalSegmentation anew, from torch's global generator.

    Norms and the offsets, attention weights and zero biases of attentions stay: both libraries agree on them.
    """
    pixels = net.model.pixel_level_module.decoder
    module = net.model.transformer_module
    with torch.no_grad():
        for projection in pixels.input_projections:
            _xavier_uniform(projection[0])
        for block in (*pixels.lateral_convolutions, *pixels.output_convolutions):
            _caffe2_xavier(block[0])
        for convolution in (pixels.mask_projection, *module.input_projections):
            if isinstance(convolution, nn.Conv2d):  # equal widths need no projection
                _caffe2_xavier(convolution)
        for layer in pixels.encoder.layers:
            _xavier_uniform(layer.self_attn.value_proj)
            _xavier_uniform(layer.self_attn.output_proj)
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


def _xavier_uniform(layer: nn.Linear | nn.Conv2d) -> None:
    nn.init.xavier_uniform_(layer.weight)
    _without_bias(layer)


def _caffe2_xavier(layer: nn.Conv2d) -> None:
    nn.init.kaiming_uniform_(layer.weight, a=1)
    _without_bias(layer)


def _without_bias(layer: nn.Linear | nn.Conv2d) -> None:
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
