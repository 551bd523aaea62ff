"""Two processes with half of the batch each do what one process with two micro-batches does."""

import pytest
import torch
from lightning_fabric import Fabric
from lightning_fabric.strategies.ddp import DDPStrategy
from toy import module, recipe, samples, training

from gkdbench.api import Side
from gkdbench.data.stream import Share, batches
from gkdbench.engine.loop import train
from gkdbench.engine.optimiser import build_optimiser
from gkdbench.engine.passes import Moment
from gkdbench_methods.gkd import Distillation
from gkdbench_methods.vanilla_kd import VanillaKD


def make(kind: str):
    torch.manual_seed(2)
    if kind == "kd":
        return VanillaKD(1.0, 1.0, "pixel")
    common = dict(
        depth=2, heads=2, grids={}, pixel_dim=0, has_cls=True, has_qkv=True, can_mask=True, can_drop=True,
        has_head=True,
    )  # fmt: skip
    student, teacher = (Side(width=w, tap_widths=(w,), **common) for w in (16, 24))
    return Distillation(
        "source", student, teacher, target="qsd", masked=True, cls=True, cls_in_fea=True, scale=False,
        mask_ratio=0.5, weight=1.0,
    )  # fmt: skip


def _first_gradients(fabric, kind):
    """Gradients after the first optimiser step's accumulation."""
    chosen = recipe()
    made = module(make(kind))
    wrapped, _ = fabric.setup(made, build_optimiser(made, chosen))
    share = Share(chosen.batch, 2, fabric.global_rank, fabric.world_size)
    moment = Moment(3, made.stage.name, 0, chosen.steps, chosen.batch)
    for turn, piece in zip(range(share.turns), batches(samples(made.stage, chosen), share, 0, 1, 0), strict=True):
        with fabric.no_backward_sync(wrapped, enabled=turn < share.turns - 1):
            terms = wrapped(piece, moment)
            fabric.backward(torch.stack(list(terms.values())).sum() / share.turns)
    return torch.cat([p.grad.flatten() for p in made.parameters() if p.grad is not None])


def _rank(fabric, kind, folder):
    torch.set_num_threads(1)
    gradients = _first_gradients(fabric, kind)
    job = training(module(make(kind)), folder, recipe(micro_batch=2))
    job.fabric = fabric
    outcome = train(job)
    if fabric.is_global_zero:
        torch.save({"gradients": gradients, "losses": outcome.losses}, folder / "result.pt")


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["kd", "gkd"])
def test_two_ranks_equal_one_process(tmp_path, kind):
    results = []
    for world in (1, 2):
        folder = tmp_path / str(world)
        folder.mkdir()
        strategy = "auto"
        if world == 2:
            strategy = DDPStrategy(
                find_unused_parameters=True, broadcast_buffers=False, process_group_backend="gloo",
                start_method="spawn",
            )  # fmt: skip
        fabric = Fabric(accelerator="cpu", devices=world, strategy=strategy)
        fabric.launch(_rank, kind, folder)
        results.append(torch.load(folder / "result.pt", weights_only=True))
    one, two = results
    scale = one["gradients"].abs().max()
    assert (one["gradients"] - two["gradients"]).abs().max() <= 1e-5 * scale
    for name, value in one["losses"].items():
        assert two["losses"][name] == pytest.approx(value, rel=1e-4)
