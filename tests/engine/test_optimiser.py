"""Which parameters are decayed, and at which rate they learn."""

import pytest
import torch
from toy import MASK2FORMER, module, recipe

from gkdbench.api import Stage
from gkdbench.engine.optimiser import build_optimiser, set_rates


class Joint(Stage):
    """Everything learns, and an adaptor with a norm."""

    teacher = None

    def __init__(self):
        super().__init__()
        self.norm, self.project = torch.nn.LayerNorm(8), torch.nn.Linear(8, 4)

    def loss(self, step):
        return {}


def decayed(**changes) -> tuple[set[str], set[str], dict[str, float]]:
    """Return the names that are decayed, those that are not, and every name's peak rate."""
    made = module(Joint(), decoder=MASK2FORMER)
    groups = build_optimiser(made, recipe(lr=1e-2, encoder_lr=1e-3, **changes)).param_groups
    names = {id(p): name for name, p in made.named_parameters()}
    found = {names[id(p)]: group for group in groups for p in group["params"]}
    assert found.keys() == set(names.values())
    assert {group["weight_decay"] for group in groups} == {0.0, 0.05}
    yes = {name for name, group in found.items() if group["weight_decay"]}
    return yes, found.keys() - yes, {name: group["peak"] for name, group in found.items()}


def test_matrices_are_decayed_and_the_encoder_has_its_own_rate():
    yes, no, rates = decayed()
    shapes = {name: p.ndim for name, p in module(Joint(), decoder=MASK2FORMER).named_parameters()}
    assert all(shapes[name] > 1 for name in yes) and all(shapes[name] <= 1 for name in no)
    assert "student.encoder.model.pos_embed" in yes
    assert all((rate == 1e-3) == name.startswith("student.encoder.") for name, rate in rates.items())


def test_the_study_spares_norms_and_queries_of_what_is_not_the_encoder():
    yes, no, _ = decayed(decays="study")
    assert all(name in yes for name in encoder_names())
    head = "student.head.net.model."
    for name in ("queries_embedder.weight", "queries_features.weight", "level_embed.weight"):
        assert f"{head}transformer_module.{name}" in no
    # the release's keys do not name this one
    assert f"{head}pixel_level_module.decoder.level_embed" in yes
    assert "student.head.net.class_predictor.bias" in yes and "stage.project.bias" in yes
    # a GroupNorm whose name does not say so
    assert f"{head}pixel_level_module.decoder.input_projections.0.1.weight" in no
    assert f"{head}transformer_module.decoder.layers.0.final_layer_norm.bias" in no and "stage.norm.weight" in no


def encoder_names() -> list[str]:
    made = module(Joint(), decoder=MASK2FORMER)
    return [name for name, _ in made.named_parameters() if name.startswith("student.encoder.")]


@pytest.mark.parametrize("decays", ["matrices", "study"])
def test_what_is_frozen_is_in_no_group(decays):
    class HeadOnly(Joint):
        trains = frozenset({"head"})

    made = module(HeadOnly())
    groups = build_optimiser(made, recipe(decays=decays)).param_groups
    held = {id(p) for group in groups for p in group["params"]}
    assert held == {id(p) for p in made.parameters() if p.requires_grad}
    assert not held & {id(p) for p in made.student.encoder.parameters()}


def test_rates_grow_with_the_batch_they_are_not_meant_for():
    made = module(Joint())
    chosen = recipe(lr=5e-4, encoder_lr=1e-4, batch=128, rates_for_batch=512, warmup=0)
    optimiser = build_optimiser(made, chosen)
    encoder = {id(p) for p in made.student.encoder.parameters()}
    for step, share in ((0, 1.0), (10, 0.5)):
        set_rates(optimiser, chosen, step)
        for group in optimiser.param_groups:
            expected = 2.5e-5 if id(group["params"][0]) in encoder else 1.25e-4
            assert group["peak"] == pytest.approx(expected) and group["lr"] == pytest.approx(expected * share)


def test_rates_stand_as_they_are_where_no_batch_is_named():
    assert recipe(batch=128).rate_scale == 1.0
    peaks = {group["peak"] for group in build_optimiser(module(Joint()), recipe(lr=0.3, encoder_lr=0.1)).param_groups}
    assert peaks == {0.3, 0.1}
