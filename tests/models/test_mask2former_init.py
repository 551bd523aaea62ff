"""Mask2Former's initial weights as mmdet draws them: every tensor against the spread and the bound of its formula."""

import math
from collections.abc import Callable
from fnmatch import fnmatchcase

import numpy as np
import pytest
import torch
from torch import Tensor

from gkdbench.models.decoders.mask2former import Mask2Former
from gkdbench.models.encoder import Encoder
from gkdbench.models.network import Network
from gkdbench.models.segmentor import Segmentor
from gkdbench.spec.decoder import Mask2FormerDecoder
from gkdbench.spec.model import ModelEntry

WIDTH, LEVEL, PIXEL, QUERY, CLASSES, HEADS = 128, 96, 192, 320, 70, 4

# Written down from the definitions, not from torch.nn.init: what a layer of so many inputs and outputs gets.
Wanted = tuple[str, float]
"""Shape of the distribution, and its standard deviation; for "constant" the value."""


def xavier_normal(inputs: int, outputs: int) -> Wanted:
    return "normal", math.sqrt(2 / (inputs + outputs))


def xavier_uniform(inputs: int, outputs: int) -> Wanted:
    return "uniform", math.sqrt(2 / (inputs + outputs))


def caffe2(inputs: int) -> Wanted:
    return "uniform", math.sqrt(1 / inputs)


def torchs(inputs: int) -> Wanted:
    """Weights and biases of torch's linear layer: within 1 / sqrt(inputs)."""
    return "uniform", math.sqrt(1 / (3 * inputs))


ZERO: Wanted = ("constant", 0.0)
ONE: Wanted = ("constant", 1.0)
UNIT: Wanted = ("normal", 1.0)
PACKED = xavier_normal(WIDTH, 3 * WIDTH)  # queries, keys and values are one matrix in mmdet
PIXELS = "net.model.pixel_level_module.decoder"
QUERIES = "net.model.transformer_module"
WANTED: dict[str, Wanted] = {
    f"{PIXELS}.level_embed": UNIT,
    f"{PIXELS}.input_projections.?.0.weight": xavier_uniform(LEVEL, WIDTH),
    f"{PIXELS}.input_projections.?.0.bias": ZERO,
    f"{PIXELS}.adapter_1.0.weight": caffe2(LEVEL),
    f"{PIXELS}.layer_1.0.weight": caffe2(9 * WIDTH),
    f"{PIXELS}.mask_projection.weight": caffe2(WIDTH),
    f"{PIXELS}.mask_projection.bias": ZERO,
    f"{PIXELS}.encoder.layers.?.self_attn.sampling_offsets.weight": ZERO,
    f"{PIXELS}.encoder.layers.?.self_attn.attention_weights.*": ZERO,
    f"{PIXELS}.encoder.layers.?.self_attn.*_proj.weight": xavier_uniform(WIDTH, WIDTH),
    f"{PIXELS}.encoder.layers.?.self_attn.*_proj.bias": ZERO,
    f"{PIXELS}.encoder.layers.?.fc?.weight": xavier_normal(WIDTH, PIXEL),
    f"{PIXELS}.encoder.layers.?.fc1.bias": torchs(WIDTH),
    f"{PIXELS}.encoder.layers.?.fc2.bias": torchs(PIXEL),
    f"{QUERIES}.queries_*.weight": UNIT,
    f"{QUERIES}.level_embed.weight": UNIT,
    f"{QUERIES}.decoder.layers.?.self_attn.[kvq]_proj.weight": PACKED,
    f"{QUERIES}.decoder.layers.?.cross_attn.in_proj_weight": PACKED,
    f"{QUERIES}.decoder.layers.?.*_attn.out_proj.weight": xavier_normal(WIDTH, WIDTH),
    f"{QUERIES}.decoder.layers.?.*_attn.*bias": ZERO,
    f"{QUERIES}.decoder.layers.?.fc?.weight": xavier_normal(WIDTH, QUERY),
    f"{QUERIES}.decoder.layers.?.fc1.bias": torchs(WIDTH),
    f"{QUERIES}.decoder.layers.?.fc2.bias": torchs(QUERY),
    f"{QUERIES}.decoder.mask_predictor.mask_embedder.?.0.*": torchs(WIDTH),
    "net.class_predictor.*": torchs(WIDTH),
    f"{PIXELS}.input_projections.?.1.weight": ONE,
    f"{PIXELS}.*_1.1.weight": ONE,
    "*norm.weight": ONE,
    f"{PIXELS}.input_projections.?.1.bias": ZERO,
    f"{PIXELS}.*_1.1.bias": ZERO,
    "*norm.bias": ZERO,
}
OFFSETS = "*.sampling_offsets.bias"


def decoder(init: str) -> Mask2FormerDecoder:
    return Mask2FormerDecoder.model_validate(
        {"name": "mask2former", "width": WIDTH, "heads": HEADS, "queries": 40, "pixel_layers": 3, "query_layers": 3,
         "pixel_feedforward": PIXEL, "query_feedforward": QUERY, "init": init}
    )  # fmt: skip


def head(init: str, seed: int = 0) -> Mask2Former:
    torch.manual_seed(seed)
    return Mask2Former([LEVEL] * 4, CLASSES, decoder(init))


def groups() -> dict[str, Tensor]:
    """All values of the layers of a kind, together."""
    found: dict[str, list[Tensor]] = {pattern: [] for pattern in WANTED}
    for name, parameter in head("mmdet").named_parameters():
        if fnmatchcase(name, OFFSETS):
            continue
        matching = [pattern for pattern in WANTED if fnmatchcase(name, pattern)]
        assert matching, f"nothing says how {name} is drawn"
        found[matching[0]].append(parameter.detach().flatten())
    return {pattern: torch.cat(values) for pattern, values in found.items()}


def test_every_parameter_is_spread_as_mmdet_spreads_it() -> None:
    kurtosis = {"normal": 3.0, "uniform": 1.8}
    for pattern, values in groups().items():
        kind, wanted = WANTED[pattern]
        if kind == "constant":
            assert bool((values == wanted).all()), pattern
            continue
        count, spread = len(values), float(values.std(unbiased=False))
        # sampling error of a standard deviation, five times
        error = 5 * wanted * math.sqrt((kurtosis[kind] - 1) / (4 * count))
        assert abs(spread - wanted) < error, (pattern, spread, wanted)
        assert abs(float(values.mean())) < 5 * wanted / math.sqrt(count), pattern
        largest, bound = float(values.abs().max()), math.sqrt(3) * wanted
        if kind == "uniform":  # up to its bound, and not beyond
            assert bound * (1 - 20 / count) < largest <= bound * (1 + 1e-6), (pattern, largest, bound)
        else:
            assert largest > bound, pattern


def test_queries_keys_and_values_have_the_fan_of_one_matrix() -> None:
    for layer in head("mmdet").net.model.transformer_module.decoder.layers:
        parts = [layer.self_attn.q_proj.weight, layer.self_attn.k_proj.weight, layer.self_attn.v_proj.weight]
        for part in (*parts, *layer.cross_attn.in_proj_weight.chunk(3)):
            assert float(part.detach().std()) == pytest.approx(math.sqrt(2 / (4 * WIDTH)), rel=0.04)


def test_offsets_look_in_as_many_directions_as_there_are_heads() -> None:
    for layer in head("mmdet").net.model.pixel_level_module.decoder.encoder.layers:
        bias = layer.self_attn.sampling_offsets.bias.detach().reshape(HEADS, 3, 4, 2).numpy()
        for number, direction in enumerate([(1, 0), (0, 1), (-1, 0), (0, -1)]):
            for point in range(4):
                assert np.allclose(bias[number, :, point], np.multiply(direction, point + 1), atol=1e-5)


def test_the_default_is_transformers_initialisation() -> None:
    spreads: dict[str, Callable[[Mask2Former], Tensor]] = {
        "mask": lambda one: one.net.model.pixel_level_module.decoder.mask_projection.weight,
        "feed-forward": lambda one: one.net.model.pixel_level_module.decoder.encoder.layers[0].fc1.weight,
    }
    for of in spreads.values():
        assert float(of(head("transformers")).detach().std()) == pytest.approx(0.02, rel=0.03)
    assert Mask2FormerDecoder(name="mask2former").init == "transformers"
    assert "init" not in Mask2FormerDecoder(name="mask2former").model_dump()
    assert decoder("mmdet").model_dump()["init"] == "mmdet"


def test_the_seed_alone_decides_and_the_global_generator_is_left_alone() -> None:
    entry = ModelEntry(
        description="-", role="local", timm="vit_tiny_patch16_224", weights=None, licence="-", patch=16,
        arguments={"embed_dim": 32, "depth": 4, "num_heads": 2, "img_size": 64}
    )  # fmt: skip

    def built(seed: int, before: int) -> Network:
        network = Segmentor(Encoder(entry), decoder("mmdet"), CLASSES)
        network.encoder.resize((64, 64))
        torch.manual_seed(before)
        network.add_head(seed)
        return network

    one, same, different = built(3, before=1), built(3, before=2), built(4, before=2)
    after = torch.rand(3)
    torch.manual_seed(2)
    assert torch.equal(after, torch.rand(3))
    for name, value in one.head.state_dict().items():
        assert torch.equal(value, same.head.state_dict()[name]), name
    weight = "net.model.pixel_level_module.decoder.mask_projection.weight"
    assert not torch.equal(one.head.state_dict()[weight], different.head.state_dict()[weight])
