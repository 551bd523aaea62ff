"""gkd: masks, options and what is dropped where a pair cannot serve a term."""

from dataclasses import replace

import pytest
import torch
import torch.nn.functional as F
from pairs import side
from recorded import RecordedStep, assert_close, view

from gkdbench_methods.gkd import Distillation

SETTINGS = dict(target="qsd", masked=True, cls=True, cls_in_fea=True, scale=False, mask_ratio=0.5, weight=1.0)


def gkd_stage(student: int, teacher: int, **options) -> Distillation:
    return Distillation("proxy", side(student), side(teacher), **{**SETTINGS, **options})


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
    stage = Distillation("source", side(8), replace(side(8), has_cls=False), **SETTINGS)
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
