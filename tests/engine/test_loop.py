"""The loop: exact resume, interruption, freezing, what a checkpoint holds, losses that are not finite."""

import pytest
import torch
from toy import module, recipe, training

from gkdbench.api import Stage
from gkdbench.engine.checkpoint import Progress
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
    teacher = made.teacher
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


@pytest.mark.parametrize("damage", ["no checkpoint", "empty", "halved", "one bit"])
def test_a_damaged_checkpoint_is_named_and_the_stage_starts_from_its_beginning(tmp_path, damage):
    straight = module(kd())
    train(training(straight, tmp_path / "straight", recipe(steps=6)))
    flag = StopFlag()
    part = training(module(kd()), tmp_path / "parts", recipe(steps=6), stop=flag)
    part.meter = StopAt(flag, 4)
    with pytest.raises(Interrupted):
        train(part)
    path = tmp_path / "parts/checkpoint.pt"
    whole = path.read_bytes()
    middle = len(whole) // 2
    flipped = whole[:middle] + bytes([whole[middle] ^ 1]) + whole[middle + 1 :]
    path.write_bytes({"no checkpoint": b"abc", "empty": b"", "halved": whole[:middle], "one bit": flipped}[damage])
    said, again = [], module(kd())
    done = train(training(again, tmp_path / "parts", recipe(steps=6), say=said.append))
    (line,) = said
    assert line.startswith(f"warning: {path}: damaged checkpoint (") and line.endswith("starts from its beginning")
    assert done.student_passes == 24  # all six steps, and not the last two
    assert all(torch.equal(value, again.state_dict()[name]) for name, value in straight.state_dict().items())


def test_a_checkpoint_of_another_stage_is_refused(tmp_path):
    job = training(module(Task()), tmp_path, recipe())
    job.checkpoint.save({"stage.odd": torch.zeros(1)}, {}, Progress(step=3))
    with pytest.raises(DataError, match=r"checkpoint\.pt: not a checkpoint of this stage .* delete it"):
        train(training(module(Task()), tmp_path, recipe()))


class Poisoned(Stage):
    """Sound losses; after one step's backward its hook does harm."""

    teacher = "encoder"

    def __init__(self, harm, index):
        super().__init__()
        self._harm, self._index = harm, index

    def loss(self, step):
        return {"odd": 0 * step.student().tokens.sum() + 0 * step.teacher().tokens.sum()}

    def after_backward(self, step):
        if step.index == self._index:
            self._harm(step._module)


def _spoil_gradient(live):
    live.student.encoder.model.norm.bias.grad.fill_(float("nan"))


def test_weights_that_are_not_finite_end_a_stage_although_every_loss_was(tmp_path):
    made = module(Poisoned(_spoil_gradient, 4))
    with pytest.raises(GkdbenchError, match=r"stage 'joint', after step 5: student\.encoder\.\S+ is not finite"):
        train(training(made, tmp_path, recipe(steps=5, clip=None)))
    assert not (tmp_path / "checkpoint.pt").exists()


def test_the_last_good_checkpoint_outlives_a_bad_one(tmp_path):
    made = module(Poisoned(_spoil_gradient, 2))
    job = training(made, tmp_path, recipe(steps=5, clip=None), every_s=0.0)
    with pytest.raises(GkdbenchError, match="after step 3: student"):
        train(job)
    state, _, progress = job.checkpoint.load()
    assert progress.step == 2 and all(bool(torch.isfinite(value).all()) for value in state.values())


def test_a_stages_own_buffer_may_hold_infinity_and_no_nan(tmp_path):
    stage = Poisoned(lambda live: None, 0)
    stage.register_buffer("least", torch.full((2,), float("inf")))
    train(training(module(stage), tmp_path / "inf", recipe(steps=3)))
    stage.least[1] = float("nan")
    with pytest.raises(GkdbenchError, match=r"stage\.least is not finite"):
        train(training(module(stage), tmp_path / "nan", recipe(steps=3)))


HARMS = {
    "teacher.encoder.model.blocks.0.norm1.weight": lambda m: m.teacher.encoder.model.blocks[0].norm1.weight,
    "teacher.encoder.mean": lambda m: m.teacher.encoder.mean,
    "student.encoder.model.norm.bias": lambda m: m.student.encoder.model.norm.bias,
}


@pytest.mark.parametrize("every_s", [0.0, 1e9])
@pytest.mark.parametrize("name", HARMS)
def test_a_write_into_what_a_stage_does_not_train_is_named(tmp_path, name, every_s):
    stage = Poisoned(lambda live: HARMS[name](live).data.add_(1e-3), 1)
    stage.trains = frozenset({"head"})
    job = training(module(stage), tmp_path, recipe(steps=4), every_s=every_s)
    step = 2 if every_s == 0.0 else 4
    with pytest.raises(GkdbenchError, match=f"after step {step}: {name} was changed, and the stage trains head of"):
        train(job)
    saved = job.checkpoint.load()
    assert saved is None if every_s else saved[2].step == 1  # none with what the write led to


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
