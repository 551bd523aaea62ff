"""The step-0 scale audit: printed for a person, a warning in the record where a term is far from the task loss."""

from gkdbench.runs import scales


def test_terms_far_from_the_task_loss_are_warned_of():
    terms = {"task": 2.0, "kl": 0.5, "huge": 2001.0, "tiny": 0.0019, "just": 2000.0, "none": 0.0}
    warned = scales.warnings("joint", terms)
    assert [text.split("'")[1] for text in warned] == ["huge", "tiny", "none"]
    assert warned[0] == "stage joint: term 'huge' starts at 2e+03, the task loss at 2"
    assert scales.warnings("proxy", {"fea": 1e9}) == []
    assert scales.shown("joint", {"task": 2.0, "kl": 0.5}) == "stage joint, step 0: task 2, kl 0.5 (0.25 x task)"


def test_a_run_prints_and_records_the_audit(do, shop):
    (record,) = do("fitnet_mse", options=("weight=100000",))
    (stage,) = record.stages
    assert stage.first_losses["mse"] > 1000 * stage.first_losses["task"]
    assert any("term 'mse' starts at" in warning for warning in record.warnings)
    said = [text for text in shop.display.said if "step 0" in text or "warning" in text]
    assert len(said) == 2 and said[0].startswith("stage joint, step 0: task ")
    (usual,) = do("fitnet_mse")
    assert not any("starts at" in warning for warning in usual.warnings)
