"""gkd and vanilla_kd against numbers recorded from their authors' code: values and gradients at 1e-5."""

import pytest
import torch
import torch.nn.functional as F
from recorded import RecordedStep, assert_close, leaf, load_vectors, view

from gkdbench.api import Side
from gkdbench_methods.gkd import QSD, Distillation
from gkdbench_methods.vanilla_kd import VanillaKD, pixel_kl


def side(width: int) -> Side:
    return Side(
        width=width, depth=2, heads=2, grids={"proxy": (4, 4), "source": (4, 4)}, tap_widths=(width,) * 2,
        pixel_dim=8, has_cls=True, has_qkv=True, can_mask=True, can_drop=True, has_head=True,
    )  # fmt: skip


def gkd_stage(student: int, teacher: int, **options) -> Distillation:
    settings = dict(
        target="qsd", masked=True, cls=True, cls_in_fea=True, scale=False, mask_ratio=0.5, weight=1.0
    )
    return Distillation("proxy", side(student), side(teacher), **{**settings, **options})


def test_one_qsd_head():
    vectors = load_vectors("gkd_qsd_case1")
    head = QSD(32, 48)
    head.load_state_dict({k.removeprefix("w."): v for k, v in vectors.items() if k.startswith("w.")})
    student = leaf(vectors["student_patch"])
    out = head(student, vectors["teacher_patch"])
    loss = F.mse_loss(out, vectors["teacher_patch"])
    loss.backward()
    assert_close(out, vectors["out.x"])
    assert_close(loss, vectors["out.mse"])
    assert_close(student.grad, vectors["grad.student_patch"])
    for name, parameter in head.named_parameters():
        assert_close(parameter.grad, vectors[f"grad.w.{name}"])


def test_the_three_gkd_terms():
    vectors = load_vectors("gkd_case1")
    stage = gkd_stage(32, 48)
    stage.load_state_dict({k.removeprefix("w."): v for k, v in vectors.items() if k.startswith("w.")})
    cls, patch, masked = (leaf(vectors[f"student_{n}"]) for n in ("cls", "patch", "patch_masked"))
    step = RecordedStep(
        view(tokens=patch, cls=cls),
        view(tokens=vectors["teacher_patch"], cls=vectors["teacher_cls"]),
        view(tokens=masked),
    )
    terms = stage.loss(step)
    total = sum(terms.values())
    total.backward()
    for name in ("patch", "fea", "token"):
        assert_close(terms[name], vectors[f"out.{name}_loss"])
    assert_close(total, vectors["out.loss"])
    assert_close(cls.grad, vectors["grad.student_cls"])
    assert_close(patch.grad, vectors["grad.student_patch"])
    assert_close(masked.grad, vectors["grad.student_patch_masked"])
    checked = 0
    for name, parameter in stage.named_parameters():
        key = f"grad.w.{name}"
        if key in vectors:
            assert_close(parameter.grad, vectors[key])
            checked += 1
    assert checked >= 16
    # one key: the softmax is 1 whatever the query, so the token head's query learns nothing
    assert stage.token_head.proj_q[1].weight.grad.abs().max() == 0


@pytest.mark.parametrize("temperature", [1, 4])
@pytest.mark.parametrize(
    ("name", "reduction", "squared"),
    [("torchdistiller", "element", False), ("afdcd_cirkd", "pixel", True), ("g2sd_mmseg", "element", True)],
)
def test_pixel_kl_in_its_three_published_reductions(temperature, name, reduction, squared):
    vectors = load_vectors("vanilla_kd_case1")
    student = leaf(vectors["student_logits"])
    value = pixel_kl(student, vectors["teacher_logits"].float(), temperature, reduction)
    value = value * (temperature**2 if squared else 1)
    value.backward()
    assert_close(value, vectors[f"out.{name}_T{temperature}"])
    assert_close(student.grad, vectors[f"grad.student_logits_{name}_T{temperature}"])


def test_vanilla_kd_stage_weighs_by_temperature_squared():
    vectors = load_vectors("vanilla_kd_case1")
    stage = VanillaKD(weight=2.0, temperature=4.0, reduction="pixel")
    step = RecordedStep(
        view(logits=leaf(vectors["student_logits"])), view(logits=vectors["teacher_logits"].float())
    )
    assert_close(stage.loss(step)["kl"], 2 * vectors["out.afdcd_cirkd_T4"])


def test_pixel_kl_is_zero_for_equal_logits_and_finite_for_extreme_ones():
    logits = torch.randn(2, 5, 4, 6) * 3
    assert pixel_kl(logits, logits.clone(), 1.0, "pixel").abs() < 1e-6
    for dtype in (torch.float16, torch.bfloat16):
        huge = (torch.randn(1, 19, 3, 5) * 500).to(dtype)
        assert torch.isfinite(pixel_kl(huge, -huge, 1.0, "pixel"))


@pytest.mark.parametrize("grid", [(3, 5), (1, 1), (8, 2)])
@pytest.mark.parametrize("widths", [(16, 16), (8, 24)])
def test_gkd_masks_half_of_the_first_half(grid, widths):
    tokens = grid[0] * grid[1]
    stage = gkd_stage(*widths)
    student = view(tokens=torch.randn(5, tokens, widths[0]), cls=torch.randn(5, widths[0]))
    teacher = view(tokens=torch.randn(5, tokens, widths[1]), cls=torch.randn(5, widths[1]))
    step = RecordedStep(student, teacher, student, batch=5)
    terms = stage.loss(step)
    assert all(torch.isfinite(value) for value in terms.values())
    assert step.masks[0].sum(1).tolist() == [tokens // 2] * 2 + [0] * 3


def test_options_drop_terms_and_say_nothing_of_what_was_not_asked():
    assert set(_terms(gkd_stage(8, 8, masked=False))) == {"token", "fea"}
    assert set(_terms(gkd_stage(8, 8, masked=False, cls=False))) == {"fea"}
    paper = gkd_stage(8, 8, cls_in_fea=False, target="mse")
    step = _step()
    expected = F.mse_loss(paper.fea_head(step.student().tokens, None), step.teacher().tokens)
    assert_close(paper.loss(step)["fea"], expected)
    assert gkd_stage(8, 8, cls=False).notes == ()


def test_a_teacher_without_a_cls_token_drops_the_cls_terms_and_says_so():
    from dataclasses import replace

    settings = dict(
        target="qsd", masked=True, cls=True, cls_in_fea=True, scale=False, mask_ratio=0.5, weight=1.0
    )
    stage = Distillation("source", side(8), replace(side(8), has_cls=False), **settings)
    step = _step()
    step._teacher.cls = None
    assert set(stage.loss(step)) == {"fea", "patch"}
    assert "teacher has no cls token" in stage.notes[0]


def _step():
    tokens, cls = torch.randn(2, 6, 8), torch.randn(2, 8)
    student = view(tokens=tokens, cls=cls)
    return RecordedStep(student, view(tokens=torch.randn(2, 6, 8), cls=torch.randn(2, 8)), student)


def _terms(stage):
    return stage.loss(_step())
