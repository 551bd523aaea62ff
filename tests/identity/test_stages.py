"""What enters a stage's digest: every option, initial tensors, weights; and what does not."""

import dataclasses
import functools
import importlib
import sys

import pytest
import torch
from torch import nn

from gkdbench.api import Stage
from gkdbench.data.dataset import DataPlace
from gkdbench.errors import GkdbenchError
from gkdbench.identity.run import DataDigests, model_identity, run_digest
from gkdbench.identity.stage import stage_code, stage_identity
from gkdbench.runs.plan import plan_run
from gkdbench.spec.catalogue import find_model
from gkdbench.spec.methods import find_method
from gkdbench.spec.selection import Selection, resolve


def planned(*options: str, method: str = "gkd", **selection):
    chosen = Selection(methods=(method,), options=options, preset="smoke", with_teacher=False, **selection)
    (spec,) = resolve(chosen)
    data = DataDigests(spec, DataPlace())
    return {p.stage.name: p.digest for p in plan_run(spec, data, "head").stages}, run_digest(spec, data)


OPTIONS = ["target=mse", "masked=false", "cls=false", "cls_in_fea=false", "scale=true", "mask_ratio=0.3", "weight=2"]


@pytest.mark.parametrize("option", OPTIONS)
def test_every_option_of_gkd_changes_the_distillation(option):
    default, run = planned()
    changed, other_run = planned(option)
    assert changed["proxy"] != default["proxy"] and changed["source"] != default["source"]
    assert other_run != run


def test_ablation_rows_share_what_they_have_in_common():
    default, _ = planned()
    later, _ = planned("recipe.task.lr=0.5")
    assert (later["proxy"], later["source"]) == (default["proxy"], default["source"])
    assert later["task"] != default["task"]
    again, _ = planned()
    assert again == default
    without, _ = planned("proxy=false")
    assert set(without) == {"source", "task"} and without["source"] != default["source"]


def test_the_micro_batch_counts_where_a_mean_depends_on_it():
    default, _ = planned()
    halved, _ = planned("recipe.proxy.micro_batch=4", "recipe.task.micro_batch=4")
    assert halved["proxy"] == default["proxy"] and halved["task"] != default["task"]


def test_seeds_pairs_and_presets_count():
    assert planned(seeds=(1,))[0]["proxy"] != planned()[0]["proxy"]
    assert planned(settings=("f2f",))[0]["proxy"] != planned()[0]["proxy"]


class Odd(Stage):
    def __init__(self, **attributes):
        super().__init__()
        self.inner = nn.Identity()
        for name, value in attributes.items():
            setattr(self.inner if name.startswith("inner_") else self, name.removeprefix("inner_"), value)


def test_attributes_functions_and_buffers_count_wherever_they_are():
    identities = [
        stage_identity(Odd(**attributes))
        for attributes in (
            {}, {"factor": 2.0}, {"inner_factor": 2.0}, {"f": torch.sin}, {"f": torch.cos},
            {"f": nn.functional.l1_loss}, {"taps": (1, 2)}, {"taps": (1, 3)},
        )
    ]  # fmt: skip
    for value in (1.0, 2.0):
        stage = Odd()
        stage.register_buffer("state", torch.full((2,), value))
        identities.append(stage_identity(stage))
    texts = [repr(identity) for identity in identities]
    assert len(set(texts)) == len(texts)
    assert repr(stage_identity(Odd(f=torch.sin))) == repr(stage_identity(Odd(f=torch.sin)))
    noted = Odd()
    noted.notes = ("said in the record",)
    assert repr(stage_identity(noted)) == texts[0]


def test_an_attribute_without_a_stable_form_is_refused():
    with pytest.raises(GkdbenchError, match=r"Odd\.thing is a object, which cannot enter the stage's digest"):
        stage_identity(Odd(thing=object()))


def test_functions_that_no_name_stands_for_are_refused():
    """Two closures of one function look the same, and what they do need not be."""

    def scaled(factor):
        def apply(x):
            return factor * x

        return apply

    for value in (scaled(2), lambda x: x):
        with pytest.raises(GkdbenchError, match=r"Odd\.thing is a function, which cannot enter the stage's digest"):
            stage_identity(Odd(thing=value))
    replaced = Odd()
    replaced.loss = scaled(10)
    with pytest.raises(GkdbenchError, match=r"Odd\.loss was replaced on the instance"):
        stage_identity(replaced)
    texts = [repr(stage_identity(Odd(f=functools.partial(torch.add, alpha=alpha)))) for alpha in (1, 2, 1)]
    assert texts[0] == texts[2] != texts[1] and "0x" not in texts[0]


def test_the_code_of_a_wrapped_stage_counts(tmp_path, monkeypatch):
    """A plugin's stage may hold another package's: editing either changes what is trained."""
    monkeypatch.syspath_prepend(str(tmp_path))
    (tmp_path / "outer_of_tests.py").write_text(
        "from gkdbench.api import Stage\nclass Outer(Stage):\n"
        "    def __init__(self, inner):\n        super().__init__()\n        self.inner = inner\n"
    )
    inner = "from gkdbench.api import Stage\nclass Inner(Stage):\n    def loss(self, step):\n        return {X}\n"
    source = find_method("gkd")
    codes = []
    for text in ("{}", "{'a': 1}", "{}"):
        (tmp_path / "inner_of_tests.py").write_text(inner.replace("{X}", text))
        outer_file, inner_file = (importlib.import_module(f"{name}_of_tests") for name in ("outer", "inner"))
        codes.append(stage_code(outer_file.Outer(inner_file.Inner()), source))
    assert codes[0] == codes[2] != codes[1] and len(codes[0]) == 2
    monkeypatch.delitem(sys.modules, "outer_of_tests")
    monkeypatch.delitem(sys.modules, "inner_of_tests")


def test_undeclared_weights_count_by_their_bytes(tmp_path, monkeypatch):
    source = find_model("efficientnet-lite0")
    weights = source.entry.weights.model_copy(update={"sha256": {}, "package": None})
    source = dataclasses.replace(source, entry=source.entry.model_copy(update={"weights": weights}))
    monkeypatch.setenv("GKDBENCH_WEIGHTS", str(tmp_path))
    identities = []
    for content in (b"one", b"two"):
        (tmp_path / "tf_efficientnet_lite0.safetensors").write_bytes(content)
        identities.append(model_identity(source)["weights"])
    assert identities[0] != identities[1]


def test_splits_of_equal_names_in_different_roles_are_kept_apart():
    (spec,) = resolve(Selection(methods=("finetune",), with_teacher=False))
    data = DataDigests(spec, DataPlace())
    benchmark = spec.benchmark
    val = data.of("val", benchmark.source.val)
    assert data.of("target", benchmark.targets["fog"]) != val
    assert data.of("source", benchmark.source.train) == data.training("source", labelled=True)
