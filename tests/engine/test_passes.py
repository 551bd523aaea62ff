"""Steps and views: masked rows, memoised passes, random rows, looked-up features, precision of what is seen."""

import pytest
import torch
from toy import CLASSES, SIZE, module, recipe, samples

from gkdbench.api import Stage, Taps, Unsupported
from gkdbench.data.stream import Batch, Share, batches
from gkdbench.engine.frozen_features import compute, worth_it
from gkdbench.engine.interruption import StopFlag
from gkdbench.engine.passes import LiveStep, Moment
from gkdbench_methods.gkd import Task


class Probe(Stage):
    teacher = "encoder"
    taps_student = Taps(blocks=(0, -1, 0.5), qkv=(1,))
    taps_teacher = Taps(blocks=(1.0,))


def batch(size: int = 4, first: int = 0) -> Batch:
    generator = torch.Generator().manual_seed(9)
    images = torch.rand(size, 3, *SIZE, generator=generator)
    labels = torch.randint(0, CLASSES, (size, *SIZE), generator=generator)
    return Batch(images, images, labels, torch.arange(first, first + size))


def live(made, chosen=None, index=0, batch_size=4):
    return LiveStep(made, chosen or batch(), Moment(0, made.stage.name, index, 10, batch_size))


def test_shapes_and_grids():
    step = live(module(Probe()))
    student, teacher = step.student(), step.teacher()
    assert student.tokens.shape == (4, 8, 16) and student.cls.shape == (4, 16)
    assert student.grid == teacher.grid == (2, 4)
    assert [b.shape for b in student.blocks] == [(4, 8, 16)] * 3
    assert torch.equal(student.blocks[0], student.blocks[2])  # half of a depth of two is the first block
    assert [t.shape for t in student.qkv[0]] == [(4, 9, 16)] * 3
    assert [b.shape for b in teacher.blocks] == [(4, 8, 24)]
    assert student.logits.shape == (4, CLASSES, 8, 16)
    assert not teacher.tokens.requires_grad and student.tokens.requires_grad


def test_a_segmentor_has_no_pyramid():
    with pytest.raises(Unsupported, match="needs a feature pyramid"):
        live(module(Probe())).student().pyramid  # noqa: B018


def test_passes_are_memoised_and_lazy():
    made = module(Probe())
    step = live(made)
    step.student()
    assert made.passes.student == 0
    assert step.student().tokens is step.student().tokens
    assert step.student().logits is not None
    assert (made.passes.student, made.passes.teacher) == (4, 0)


@pytest.mark.parametrize("precision", ["32-true", "bf16-mixed"])
def test_masked_rows_are_passed_and_the_others_copied(precision):
    made = module(Probe(), precision)
    mask = torch.zeros(4, 8, dtype=torch.bool)
    mask[:2, :4] = True
    with torch.no_grad():
        made.student.encoder.mask_token.fill_(0.7)
    step = live(made)
    masked, plain = step.student(mask=mask), step.student()
    assert masked.tokens.dtype == torch.float32
    assert torch.equal(masked.tokens[2:], plain.tokens[2:])
    assert not torch.allclose(masked.tokens[:2], plain.tokens[:2])
    assert made.passes.student == 6
    whole = made.student.features(step.images, mask=mask).tokens.float()
    torch.testing.assert_close(masked.tokens, whole, rtol=0, atol=1e-5 if precision == "32-true" else 5e-2)
    masked.tokens.sum().backward()
    assert made.student.encoder.mask_token.grad.abs().sum() > 0


def test_a_mask_hides_the_pixels_below_it():
    made = module(Probe()).eval()
    mask = torch.zeros(4, 8, dtype=torch.bool)
    mask[:, 0] = True
    first = batch()
    other = batch()
    other.images = other.images.clone()
    other.images[:, :, :8, :8] = 0.0
    one = live(made, first).student(mask=mask).tokens
    two = live(made, other).student(mask=mask).tokens
    torch.testing.assert_close(one, two, rtol=0, atol=1e-6)


def test_drawing_encoders_pass_the_whole_batch_when_masked():
    made = module(Probe(), drop_path_rate=0.5)
    mask = torch.zeros(4, 8, dtype=torch.bool)
    mask[0] = True
    live(made).student(mask=mask).tokens.sum()
    assert made.passes.student == 4


def test_dropped_tokens_are_the_kept_ones():
    made = module(Probe()).eval()
    keep = torch.tensor([[0, 3, 5]] * 4)
    step = live(made)
    assert step.student(keep=keep).tokens.shape == (4, 3, 16)
    everything = torch.arange(8).repeat(4, 1)
    torch.testing.assert_close(step.student(keep=everything).tokens, step.student().tokens, rtol=0, atol=1e-6)


def test_random_rows_depend_on_their_position_alone():
    made = module(Probe())
    whole = live(made, batch(4)).random(3)
    part = live(made, batch(2, first=2)).random(3)
    assert torch.equal(whole[2:], part)
    step = live(made)
    assert not torch.equal(step.random(3), step.random(3))
    assert not torch.equal(live(made, index=1).random(3), whole)
    assert whole.min() >= 0 and whole.max() < 1


def test_loss_code_runs_outside_autocast():
    class Multiplies(Stage):
        teacher = None

        def loss(self, step):
            x = step.student().tokens
            self.seen = (x @ x.transpose(1, 2)).dtype
            return {"zero": x.sum() * 0}

    stage = Multiplies()
    made = module(stage, "bf16-mixed")
    with torch.autocast("cpu", dtype=torch.bfloat16):
        made(batch(), Moment(0, "joint", 0, 10, 4))
    assert stage.seen == torch.float32


def test_terms_must_be_scalars_with_names_of_their_own():
    class Vector(Stage):
        teacher = None

        def loss(self, step):
            return {"v": step.student().tokens.mean(dim=0)}

    class Twice(Stage):
        teacher = None

        def loss(self, step):
            return {"task": step.student().tokens.mean()}

    for stage, message in ((Vector(), "has shape"), (Twice(), "given twice")):
        with pytest.raises(ValueError, match=message):
            module(stage)(batch(), Moment(0, "joint", 0, 10, 4))


def test_looked_up_features_are_the_encoders_own():
    made = module(Task())
    chosen = recipe(steps=40)
    stream = samples(made.stage, chosen)
    assert worth_it(made.stage, made.student, stream, chosen)
    assert not worth_it(made.stage, made.student, samples(made.stage, chosen, brightness=0.2), chosen)
    assert not worth_it(Stage(), made.student, stream, chosen)
    quiet = dict(device=torch.device("cpu"), precision="32-true", stop=StopFlag(), meter=lambda *_: None)
    features = compute(made.student, stream, **quiet)
    made.train()
    for number, piece in zip(range(5), batches(stream, Share(4, 4), 0, 5, 0), strict=True):
        plain = live(made, piece, number).student().tokens
        made.lookup = features
        looked_up = live(made, piece, number).student()
        torch.testing.assert_close(looked_up.tokens, plain, rtol=0, atol=1e-5)
        assert looked_up.logits.requires_grad and not looked_up.tokens.requires_grad
        made.lookup = None
