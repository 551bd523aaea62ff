"""Two processes with half of the batch each do what one process with two micro-batches does.

A loss over gathered tensors does what one process with the whole batch does.
"""

import pytest
import torch
import torch.nn.functional as F
from lightning_fabric import Fabric
from lightning_fabric.strategies.ddp import DDPStrategy
from torch import nn
from toy import MASK2FORMER, module, recipe, samples, training

from gkdbench.api import Side, Stage
from gkdbench.data.stream import Share, batches
from gkdbench.engine.loop import train
from gkdbench.engine.optimiser import build_optimiser
from gkdbench.engine.passes import Moment
from gkdbench.engine.ranks import leave_group, own_part
from gkdbench_methods.finetune import Finetune
from gkdbench_methods.gkd import Distillation
from gkdbench_methods.vanilla_kd import VanillaKD


class Gathering(Stage):
    """Similarities between all images of the global batch: the same loss on every rank."""

    task = False
    trains = frozenset({"encoder"})
    teacher = "encoder"
    mixes_batch = True

    def __init__(self):
        super().__init__()
        self.before, self.after = nn.Linear(16, 8), nn.Linear(8, 8)

    def loss(self, step):
        own = self.before(step.student().tokens.mean(1))
        student = self.after(step.gather(own))
        teacher = step.gather(step.teacher().tokens.mean(1))
        assert torch.equal(step.gather(own)[step.position[0] % len(student) :][: len(own)], own)
        return {"similarity": F.mse_loss(student @ student.T, teacher @ teacher.T)}


def decoder_of(kind: str):
    return {"decoder": MASK2FORMER} if kind == "mask2former" else {}


def make(kind: str):
    torch.manual_seed(2)
    if kind == "mask2former":
        return Finetune()
    if kind == "gather":
        return Gathering()
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


def _first_gradients(fabric, kind, size):
    """Gradients after the first optimiser step's accumulation."""
    chosen = recipe()
    made = module(make(kind), **decoder_of(kind))
    wrapped, _ = fabric.setup(made, build_optimiser(made, chosen))
    share = Share(chosen.batch, size, fabric.global_rank, fabric.world_size)
    moment = Moment(3, made.stage.name, 0, chosen.steps, chosen.batch)
    for turn, piece in zip(range(share.turns), batches(samples(made.stage, chosen), share, 0, 1, 0), strict=True):
        torch.manual_seed(turn * share.world + share.rank)  # as the loop does, for the points of Mask2Former
        with fabric.no_backward_sync(wrapped, enabled=turn < share.turns - 1):
            terms = wrapped(piece, moment)
            fabric.backward(torch.stack(list(terms.values())).sum() / share.turns)
    return torch.cat([p.grad.flatten() for p in made.parameters() if p.grad is not None])


def _rank(fabric, kind, folder):
    torch.set_num_threads(1)
    _train(fabric, kind, folder)
    leave_group()


def _train(fabric, kind, folder):
    size = 4 if kind == "gather" and fabric.world_size == 1 else 2
    gradients = _first_gradients(fabric, kind, size)
    job = training(module(make(kind), **decoder_of(kind)), folder, recipe(micro_batch=size))
    job.fabric = fabric
    outcome = train(job)
    if fabric.is_global_zero:
        torch.save({"gradients": gradients, "losses": outcome.losses}, folder / "result.pt")


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["kd", "gkd", "gather", "mask2former"])
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


def test_the_own_part_keeps_every_bit_and_multiplies_its_gradient():
    x = torch.rand(3, 5, requires_grad=True)
    part = own_part(x, 3)
    assert torch.equal(part, x)
    (part**2).sum().backward()
    assert torch.equal(x.grad, 3 * 2 * x.detach())
