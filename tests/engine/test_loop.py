"""The loop: exact resume, interruption, freezing, what a checkpoint holds, losses that are not finite."""

import pytest
import torch
from toy import module, recipe, training

from gkdbench.api import Stage
from gkdbench.engine.interruption import StopFlag
from gkdbench.engine.loop import train
from gkdbench.errors import DataError, GkdbenchError, Interrupted
from gkdbench_methods.gkd import Task
from gkdbench_methods.vanilla_kd import VanillaKD


def kd() -> Stage:
    return VanillaKD(1.0, 1.0, "pixel")


class StopAt:
    """A meter that raises the stop flag at a step."""

    def __init__(self, flag: StopFlag, step: int) -> None:
        self.flag, self.step = flag, step

    def __call__(self, done: int, total: int, text: str) -> None:
        if done == self.step:
            self.flag.signal = "SIGTERM"


@pytest.mark.parametrize("stop_at", [7, 10])
def test_resume_is_bit_for_bit(tmp_path, stop_at):
    whole = module(kd())
    straight = train(training(whole, tmp_path / "whole", recipe()))

    flag = StopFlag()
    first = training(module(kd()), tmp_path / "parts", recipe(), stop=flag)
    first.meter = StopAt(flag, stop_at)
    with pytest.raises(Interrupted, match=f"at step {stop_at} of 20"):
        train(first)
    second = module(kd())
    continued = train(training(second, tmp_path / "parts", recipe()))

    assert continued.losses == straight.losses
    assert continued.first_losses == straight.first_losses
    assert (continued.student_passes, continued.teacher_passes) == (80, 80)
    for name, value in whole.state_dict().items():
        assert torch.equal(value, second.state_dict()[name]), name
    assert (tmp_path / "parts/log.jsonl").read_text() == (tmp_path / "whole/log.jsonl").read_text()


def test_log_lines_after_the_checkpoint_are_cut(tmp_path):
    flag = StopFlag()
    part = training(module(kd()), tmp_path, recipe(), stop=flag)
    part.meter = StopAt(flag, 10)
    with pytest.raises(Interrupted):
        train(part)
    with (tmp_path / "log.jsonl").open("a") as stream:
        stream.write('{"step": 20, "terms": {"task": 99.0, "kl": 99.0}, "lr": 1}\n')
    train(training(module(kd()), tmp_path, recipe()))
    assert "99.0" not in (tmp_path / "log.jsonl").read_text()


def test_the_teacher_is_in_no_checkpoint_and_never_moves(tmp_path):
    made = module(kd())
    teacher = made.teacher.segmentor
    before = {name: value.clone() for name, value in teacher.state_dict().items()}
    job = training(made, tmp_path, recipe(steps=4), every_s=0.0)
    train(job)
    state, _, _ = job.checkpoint.load()
    assert state and not any("teacher" in name for name in state)
    assert not any(value.shape[-1:] == (24,) and "encoder" in name for name, value in state.items())
    assert all(torch.equal(value, before[name]) for name, value in teacher.state_dict().items())
    assert not any(m.training for m in teacher.modules())


def test_frozen_means_frozen(tmp_path):
    made = module(Task())
    before = {n: v.clone() for n, v in made.student.encoder.state_dict().items()}
    head = {n: v.clone() for n, v in made.student.head.state_dict().items()}
    train(training(made, tmp_path, recipe(steps=5)))
    assert all(torch.equal(v, before[n]) for n, v in made.student.encoder.state_dict().items())
    assert any(not torch.equal(v, head[n]) for n, v in made.student.head.state_dict().items())
    assert not any(m.training for m in made.student.encoder.modules())


class Diverging(Stage):
    teacher = None

    def loss(self, step):
        return {"odd": step.student().tokens.sum() * (float("nan") if step.index == 3 else 0.0)}


def test_a_loss_that_is_not_finite_names_stage_step_term_and_batch(tmp_path):
    with pytest.raises(GkdbenchError, match=r"step 3: loss term 'odd' is nan; .* samples 12 to 15"):
        train(training(module(Diverging()), tmp_path, recipe()))


def test_accumulation_gives_the_gradients_of_the_whole_batch(tmp_path):
    results = []
    for micro in (None, 2, 1):
        made = module(kd())
        train(training(made, tmp_path / str(micro), recipe(steps=3, micro_batch=micro)))
        results.append(torch.cat([p.detach().flatten() for p in made.student.parameters()]))
    for other in results[1:]:
        torch.testing.assert_close(other, results[0], rtol=0, atol=2e-5)


def test_a_damaged_checkpoint_is_named(tmp_path):
    (tmp_path / "checkpoint.pt").write_bytes(b"not a checkpoint")
    with pytest.raises(DataError, match=r"checkpoint\.pt: damaged checkpoint .* delete it"):
        train(training(module(kd()), tmp_path, recipe()))


def test_the_clip_of_the_adaptor_touches_the_adaptor_alone(tmp_path):
    class Clipped(Stage):
        teacher, clip_adaptor = None, 1e-12

        def __init__(self):
            super().__init__()
            self.adaptor = torch.nn.Linear(16, 16)

        def loss(self, step):
            return {"fit": (self.adaptor(step.student().tokens) ** 2).mean()}

        def after_backward(self, step):
            self.norms = [p.grad.norm().item() for p in self.parameters()]

    stage = Clipped()
    made = module(stage)
    train(training(made, tmp_path, recipe(steps=1, warmup=0, clip=None)))
    assert max(stage.norms) <= 1e-12
