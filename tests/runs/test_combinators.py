"""Combinators and ablation rows: what they make of a method's stages, and which artefacts rows share."""

import pytest

from gkdbench.data.dataset import DataPlace
from gkdbench.identity.run import DataDigests, run_digest
from gkdbench.runs.plan import build_pair, make_stages, plan_run
from gkdbench.spec.methods import offers
from gkdbench.spec.selection import Selection, resolve

ALL = (
    "af_dcd", "cirkd", "cwd", "dist", "finetune", "fitnet_mse", "frozen", "g2sd", "gkd", "proteus", "teacher",
    "tinymim", "vanilla_kd", "vitkd",
)  # fmt: skip


def stages(method: str, *options: str):
    chosen = Selection(methods=(method,), options=options, preset="smoke", with_teacher=False)
    (spec,) = resolve(chosen)
    return {stage.name: stage for stage in make_stages(spec, build_pair(spec))}


def digests(method: str, *options: str) -> dict[str, str]:
    chosen = Selection(methods=(method,), options=options, preset="smoke", with_teacher=False)
    (spec,) = resolve(chosen)
    plan = plan_run(spec, DataDigests(spec, DataPlace()), "head")
    return {planned.stage.name: planned.digest for planned in plan.stages}


def identity(method: str, *options: str) -> str:
    (spec,) = resolve(Selection(methods=(method,), options=options, preset="smoke", with_teacher=False))
    return run_digest(spec, DataDigests(spec, DataPlace()))


def test_decoupling_takes_the_task_out_and_trains_the_head_afterwards():
    made = stages("decoupled(fitnet_mse)")
    assert list(made) == ["source", "task"]
    assert not made["source"].task and made["source"].trains == {"encoder"} and made["source"].data == "source"
    assert made["task"].trains == {"head"} and made["task"].teacher is None and made["task"].fresh == {"head"}
    # logits reach the encoder only through a head, so that one trains too while distilling
    assert stages("decoupled(cwd)")["source"].trains == {"encoder", "head"}
    assert list(stages("decoupled(proteus)")) == ["proxy", "task"]
    assert list(stages("decoupled(g2sd)")) == ["proxy", "source", "task"]


def test_coupling_distils_and_learns_in_one_stage():
    made = stages("coupled(gkd)")
    assert list(made) == ["joint"] and made["joint"].task and made["joint"].data == "source"
    assert made["joint"].trains == {"encoder", "head"} and made["joint"].teacher == "encoder"
    assert made["joint"].notes == ("coupled leaves out the stages proxy, task",)
    assert stages("coupled(proteus)")["joint"].data == "source"
    assert list(stages("coupled(decoupled(fitnet_mse))")) == ["joint"]


def test_labels_that_a_loss_reads_are_there_without_a_task():
    made = stages("decoupled(cirkd)")
    assert made["source"].labels and not made["source"].task


@pytest.mark.parametrize(
    ("method", "reason"),
    [
        ("decoupled(finetune)", "nothing to decouple"),
        ("coupled(frozen)", "nothing to couple"),
        ("coupled(cwd)", "nothing to couple: stage 'joint' distils together"),
        ("coupled(g2sd)", "nothing to couple: stage 'joint' distils together"),  # its second stage has terms of its own
        ("unfrozen(finetune)", "nothing to unfreeze"),
    ],
)
def test_what_cannot_be_combined_is_recorded_as_unsupported(do, method, reason):
    (record,) = do(method)
    assert record.status == "unsupported" and reason in record.reason


def test_rows_that_differ_in_a_later_stage_share_the_earlier_artefacts():
    gkd, unfrozen = digests("gkd"), digests("unfrozen(gkd)")
    assert (unfrozen["proxy"], unfrozen["source"]) == (gkd["proxy"], gkd["source"])
    assert unfrozen["task"] != gkd["task"]
    assert digests("decoupled(proteus)")["proxy"] == digests("proteus")["proxy"]
    specific, default = digests("g2sd", "specific_weight=0.5"), digests("g2sd")
    assert specific["proxy"] == default["proxy"] and specific["joint"] != default["joint"]
    assert digests("gkd-decoupled-mse")["source"] != digests("gkd-proxy-mse")["source"]
    assert digests("gkd-qsd")["proxy"] != gkd["proxy"]


def test_shared_artefacts_are_trained_once(do):
    (first,) = do("gkd")
    (second,) = do("unfrozen(gkd)")
    assert [stage.cached for stage in second.stages] == [True, True, False]
    assert [stage.digest for stage in second.stages[:2]] == [stage.digest for stage in first.stages[:2]]
    assert first.run_id != second.run_id and "(" not in second.run_id
    assert second.spec.method == "unfrozen(gkd)"


def test_every_variant_is_its_method_with_its_options():
    variants = {name: offer for name, (offer, *_) in offers().items() if offer.kind == "variant"}
    assert {"gkd-single-mse", "gkd-single-qsd"} < set(variants) and len(variants) == 6
    for name, variant in variants.items():
        given = [f"{key}={value}" for key, value in variant.sets.items()]
        method = variant.origin.removeprefix("variant of ")
        assert digests(name) == digests(method, *given)
        assert identity(name) == identity(method, *given)
    made = stages("gkd-single-mse")["joint"]
    assert set(dict(made.named_children())) == {"fea_head"} and made.task
    # the rows are a path: each differs from the one before it
    rows = ["gkd-single-mse", "gkd-decoupled-mse", "gkd-proxy-mse", "gkd-qsd", "gkd-masked", "gkd"]
    assert len({identity(name) for name in rows}) == len(rows)
    assert identity("gkd-masked", "cls=true") == identity("gkd")


def test_every_method_runs_on_folders_of_images(do):
    """Two tiny random ViTs on generated images in folders: every stage trains, is judged and recorded."""
    records = do(*ALL)
    assert [(r.spec.method, r.status, r.reason) for r in records] == [(name, "done", None) for name in ALL]
    by_name = {r.spec.method: r for r in records}
    assert set(by_name["af_dcd"].stages[0].first_losses) == {"task", "kl", "fd", "ctr"}
    assert "pooled 1x1" in by_name["af_dcd"].stages[0].notes[0]
    assert set(by_name["cirkd"].stages[0].first_losses) == {"task", "kl", "batch", "pixel", "region"}
    assert by_name["proteus"].budget["proxy"] == by_name["gkd"].budget["proxy"]
    assert [s.name for s in by_name["g2sd"].stages] == ["proxy", "joint"]
