"""What needs an accelerator: the same stage on a GPU starts from the same losses, in every precision."""

import pytest
import torch
from lightning_fabric import Fabric
from toy import module, recipe, training

from gkdbench.engine.loop import train
from gkdbench_methods.vanilla_kd import VanillaKD

pytestmark = [
    pytest.mark.gpu,
    pytest.mark.skipif(not torch.cuda.is_available(), reason="torch sees no CUDA device"),
]


@pytest.mark.parametrize("precision", ["32-true", "bf16-mixed"])
def test_a_stage_on_a_gpu_follows_the_cpu(tmp_path, precision):
    reference = train(training(module(VanillaKD(1.0, 1.0, "pixel")), tmp_path / "cpu", recipe()))
    made = module(VanillaKD(1.0, 1.0, "pixel"), precision)
    job = training(made, tmp_path / "gpu", recipe(precision=precision))
    job.fabric = Fabric(accelerator="cuda", devices=1)
    made.teacher.to(job.fabric.device)
    outcome = train(job)
    tolerance = 1e-4 if precision == "32-true" else 3e-2
    for name, value in reference.first_losses.items():
        assert outcome.first_losses[name] == pytest.approx(value, rel=tolerance)
    assert outcome.losses["task"] < outcome.first_losses["task"]
