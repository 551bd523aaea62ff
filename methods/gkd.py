"""GKD: Generalizable Knowledge Distillation from vision foundation models (CVPR 2026, arXiv 2603.02554).

Features first, task later. Stage `proxy` distils final-norm tokens on unlabelled proxy images, stage `source` on the
source images without their labels, stage `task` freezes the encoder and trains the head. Each distillation stage
has three fresh query-based soft distillation (QSD) heads,

    QSD(x_s, x_t) = softmax(q(x_s) x_t^T) v(x_s),   q, v = Linear(LayerNorm(.))

with keys straight from the teacher's tokens, a single head and no 1/sqrt(d), and three mean squared errors:

    token: QSD_token(cls_s) -> cls_t
    fea:   [QSD_token(cls_s), QSD_fea(patch_s)] -> [cls_t, patch_t]
    patch: QSD_patch(patch_s of a masked pass) -> patch_t, over all tokens of all images

In the masked pass the first half of the batch has half of its patches replaced by the student's mask token.

What the released code (Younger-hua/GKD, MIT) does and the defaults follow: the cls term stands in `fea` once more; the
token head's query is dead (one key: softmax is 1) and is kept for parity; heads are fresh in each stage. Summaries of
the paper have patches alone in the feature term: `cls_in_fea=false`. `scale=true` divides by sqrt(d) (a different
method, offered because the unscaled softmax starts almost one-hot); `target="mse"` replaces QSD by [LayerNorm, Linear],
our reading of the ablation's MSE rows; `masked=false`, `cls=false`, `proxy=false` are further ablation rows.
Summaries say that a student of the teacher's own family skips the proxy stage (`proxy=false`); no such script was
released, so the default keeps it in every setting.

Cost per distilled image: one teacher pass, one and a half student passes (rows without a mask are not passed twice).
"""

from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from gkdbench.api import Pair, Side, Stage, Step

Target = Literal["qsd", "mse"]


class QSD(nn.Module):
    """One query-based soft distillation head, student width to teacher width."""

    def __init__(self, student: int, teacher: int, scale: bool = False) -> None:
        super().__init__()
        self.proj_q = nn.Sequential(nn.LayerNorm(student), nn.Linear(student, teacher))
        self.proj_v = nn.Sequential(nn.LayerNorm(student), nn.Linear(student, teacher))
        self.factor = teacher**-0.5 if scale else 1.0

    def forward(self, student: Tensor, teacher: Tensor) -> Tensor:
        """Map student tokens [B, N, C_s] with teacher tokens [B, M, C_t] as keys to [B, N, C_t]."""
        scores = self.proj_q(student) @ teacher.transpose(1, 2)  # [B, N, M]
        mixing = (scores * self.factor).softmax(dim=-1)
        # The values are the student's: the teacher supplies only the mixing pattern and the target.
        mixed: Tensor = mixing @ self.proj_v(student)
        return mixed


class Projection(nn.Module):
    """[LayerNorm, Linear]: what QSD is compared with."""

    def __init__(self, student: int, teacher: int) -> None:
        super().__init__()
        self.proj = nn.Sequential(nn.LayerNorm(student), nn.Linear(student, teacher))

    def forward(self, student: Tensor, teacher: Tensor) -> Tensor:
        """Map student tokens [B, N, C_s] to [B, N, C_t]; the teacher is not looked at."""
        projected: Tensor = self.proj(student)
        return projected


class Distillation(Stage):
    """One encoder distillation stage without labels."""

    task = False
    trains = frozenset({"encoder"})
    teacher = "encoder"

    def __init__(
        self, name: str, student: Side, teacher: Side, *, target: Target, masked: bool, cls: bool, cls_in_fea: bool,
        scale: bool, mask_ratio: float, weight: float
    ) -> None:
        super().__init__()
        self.name = name
        self.data = name
        self.mask_ratio, self.weight = mask_ratio, weight
        has_cls = student.has_cls and teacher.has_cls
        self.cls = cls and has_cls
        self.cls_in_fea = cls_in_fea and has_cls and cls
        self.masked = masked and student.can_mask
        notes = []
        if cls and not has_cls:
            side = "teacher" if student.has_cls else "student"
            notes.append(f"{side} has no cls token: cls terms dropped")
        if masked and not student.can_mask:
            notes.append("student has no patches to mask: masked term dropped")
        self.notes = tuple(notes)

        def head() -> nn.Module:
            if target == "mse":
                return Projection(student.width, teacher.width)
            return QSD(student.width, teacher.width, scale)

        self.fea_head = head()
        self.patch_head = head() if self.masked else None
        self.token_head = head() if self.cls else None

    def loss(self, step: Step) -> dict[str, Tensor]:
        """Return the weighted terms token, fea and patch, as far as the pair has them."""
        student, teacher = step.student(), step.teacher()
        terms = {}
        mapped = self.fea_head(student.tokens, teacher.tokens)  # [B, N, C_t]
        target = teacher.tokens
        if self.token_head is not None and student.cls is not None and teacher.cls is not None:
            cls_target = teacher.cls[:, None]  # [B, 1, C_t]
            cls_mapped = self.token_head(student.cls[:, None], cls_target)
            terms["token"] = self.weight * F.mse_loss(cls_mapped, cls_target)
            if self.cls_in_fea:
                mapped = torch.cat([cls_mapped, mapped], dim=1)
                target = torch.cat([cls_target, target], dim=1)
        terms["fea"] = self.weight * F.mse_loss(mapped, target)
        if self.patch_head is not None:
            masked = step.student(mask=self.draw_mask(step, student.tokens.shape[1])).tokens
            terms["patch"] = self.weight * F.mse_loss(
                self.patch_head(masked, teacher.tokens), teacher.tokens
            )
        return terms

    def draw_mask(self, step: Step, tokens: int) -> Tensor:
        """Return [B, N] bool: floor(ratio * N) random patches of each image in the first half of the batch."""
        chosen = step.random(tokens).argsort(dim=1) < int(self.mask_ratio * tokens)
        first_half = step.position < step.batch // 2
        return chosen & first_half.to(chosen.device)[:, None]


class Task(Stage):
    """The head on the distilled encoder, which stays as it is."""

    name = "task"
    teacher = None
    trains = frozenset({"head"})


def gkd(
    pair: Pair, *, target: Literal["qsd", "mse"] = "qsd", proxy: bool = True, masked: bool = True, cls: bool = True,
    cls_in_fea: bool = True, scale: bool = False, mask_ratio: float = 0.5, weight: float = 1.0
) -> list[Stage]:
    """Distil features on proxy images, then on source images, then train the head on the frozen encoder."""
    stages: list[Stage] = [
        Distillation(
            name, pair.student, pair.teacher, target=target, masked=masked, cls=cls, cls_in_fea=cls_in_fea,
            scale=scale, mask_ratio=mask_ratio, weight=weight
        )
        for name in (("proxy", "source") if proxy else ("source",))
    ]
    return [*stages, Task()]
