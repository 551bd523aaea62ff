"""Proteus: accessing vision foundation models at ImageNet-level costs (Zhang et al. 2024, arXiv 2407.10366).

Distils the final-norm tokens of a foundation model on unlabelled proxy images, then fine-tunes as usual; there is no
distillation in the task stage. Three heads [LayerNorm, Linear] and three mean squared errors:

    token: head_token(cls_s) -> cls_t
    fea:   [head_token(cls_s), head_fea(patch_s)] -> [cls_t, patch_t]
    patch: head_patch(patch_s of a masked pass) -> patch_t, over the masked tokens only

Masks as in GKD, whose code descends from this one: half of the tokens of the first half of the batch. Defaults of the
release (BeSpontaneous/Proteus-pytorch): weights 1, ratio 0.5; the cls term stands in `fea` once more. The release
averages the patch term over the masked tokens of a batch, which is nothing for a batch of one; here that term is then
0. The average is over the global batch, so micro-batches change nothing. Its students start from random weights and
train for 300 epochs of ImageNet; here every method starts from the same student and gets the recipe's budget.

Needs an encoder as teacher; terms without a cls or mask token are dropped and noted. Cost per distilled image: one
teacher pass, one and a half student passes.
"""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from gkdbench.api import Pair, Stage, Step
from gkdbench_methods.finetune import Finetune


def _head(student: int, teacher: int) -> nn.Sequential:
    return nn.Sequential(nn.LayerNorm(student), nn.Linear(student, teacher))


class TokenDistillation(Stage):
    """Distils tokens, class token and masked tokens of the last layer on proxy images."""

    name = "proxy"
    data = "proxy"
    task = False
    trains = frozenset({"encoder"})
    teacher = "encoder"

    def __init__(self, pair: Pair, mask_ratio: float, weight: float) -> None:
        super().__init__()
        self.mask_ratio, self.weight = mask_ratio, weight
        student, teacher = pair.student, pair.teacher
        has_cls = student.has_cls and teacher.has_cls
        notes = [] if has_cls else ["a model has no cls token: cls terms dropped"]
        if not student.can_mask:
            notes.append("student has no patches to mask: masked term dropped")
        self.notes = tuple(notes)
        self.fea_head = _head(student.width, teacher.width)
        self.patch_head = _head(student.width, teacher.width) if student.can_mask else None
        self.token_head = _head(student.width, teacher.width) if has_cls else None

    def loss(self, step: Step) -> dict[str, Tensor]:
        """Return the weighted terms token, fea and patch, as far as the pair has them."""
        student, teacher = step.student(), step.teacher()
        terms = {}
        mapped, target = self.fea_head(student.tokens), teacher.tokens  # [B, N, C_t]
        if self.token_head is not None and student.cls is not None and teacher.cls is not None:
            cls = self.token_head(student.cls)  # [B, C_t]
            terms["token"] = self.weight * F.mse_loss(cls, teacher.cls)
            mapped = torch.cat([cls[:, None], mapped], dim=1)
            target = torch.cat([teacher.cls[:, None], target], dim=1)
        terms["fea"] = self.weight * F.mse_loss(mapped, target)
        if self.patch_head is not None:
            terms["patch"] = self.weight * self._masked_term(self.patch_head, step)
        return terms

    def _masked_term(self, head: nn.Module, step: Step) -> Tensor:
        teacher = step.teacher().tokens
        images, tokens, width = teacher.shape
        hidden = int(self.mask_ratio * tokens)
        masked_images = step.batch // 2
        chosen = step.random(tokens).argsort(dim=1).argsort(dim=1) < hidden
        mask = chosen & (step.position < masked_images).to(chosen.device)[:, None]  # [B, N]
        passed = step.student(mask=mask).tokens
        error: Tensor = (head(passed[mask]) - teacher[mask]).square().sum()
        # this micro-batch's share of the masked tokens of the whole batch: a mean over micro-batches is the batch's
        share = max(masked_images * hidden, 1) * images / step.batch
        return error / (share * width)


def proteus(pair: Pair, *, mask_ratio: float = 0.5, weight: float = 1.0) -> list[Stage]:
    """Distil tokens on proxy images, then fine-tune encoder and head on the labelled source."""
    return [TokenDistillation(pair, mask_ratio, weight), Finetune()]
