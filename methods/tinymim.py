"""TinyMIM: an empirical study of distilling MIM pre-trained models (Ren et al. 2023, arXiv 2301.01296).

Distils relations between tokens inside one block, on unlabelled proxy images, then fine-tunes as usual. Per head

    R_qk = softmax(Q K^T / sqrt(d)),   R_vv = softmax(V V^T / sqrt(d)),   d: width of the head

    L = weight * sum over qk, vv of the mean over images, heads and queries of KL( R_t || R_s ), a sum over keys

between the student's last block and the teacher's block at three quarters of its depth (18 of 24 in the release) or,
where it is no deeper than the student, its last. All tokens take part, the cls token too. The student sees colour
jitter of 0.4, the teacher the clean image (OliverRensu/TinyMIM; the order of the three factors is fixed here, random
there). There the teacher is an MAE and the student starts from random weights; here both are the pair's.

The release gives the student's last block as many heads as the teacher's. Since nothing reads that block's output in
this stage, cutting the student's q, k and v into that many heads is the same function; the student's width must divide.
`heads` sets another number for both sides, as MiniLMv2 (arXiv 2012.15828) does with its relation heads.

The block's projection and MLP and the final norm get no gradient while distilling, so freezing the encoder afterwards
would cut through an untrained block; the second stage trains everything. Needs q, k, v of both models on equal token
grids. Cost: one pass of each model per image; N x N maps for every head, two on each side.
"""

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor

from gkdbench.api import Pair, Stage, Step, Taps, Unsupported
from gkdbench_methods.finetune import Finetune


def relation(a: Tensor, b: Tensor, heads: int) -> Tensor:
    """Return the log-softmax of a b^T / sqrt(d) of every head for a, b [B, T, C], as [B, heads, T, T]."""
    a, b = (x.float().reshape(*x.shape[:2], heads, -1).transpose(1, 2) for x in (a, b))  # [B, heads, T, d]
    return F.log_softmax(a @ b.transpose(-1, -2) * a.shape[-1] ** -0.5, dim=-1)


def relation_kl(student: Tensor, teacher: Tensor) -> Tensor:
    """Return KL(teacher || student) of log-relations [B, heads, T, T]: a sum over keys, a mean over the rest."""
    divergence = F.kl_div(student, teacher, reduction="sum", log_target=True)
    return divergence / student[..., 0].numel()


class RelationDistillation(Stage):
    """Distils the relations of one block on proxy images."""

    name = "proxy"
    data = "proxy"
    task = False
    trains = frozenset({"encoder"})
    teacher = "encoder"
    taps_student = Taps(qkv=(-1,))

    def __init__(self, pair: Pair, heads: int, teacher_block: float, jitter: float, weight: float) -> None:
        super().__init__()
        self.heads, self.jitter, self.weight = heads, jitter, weight
        self.taps_teacher = Taps(qkv=(float(teacher_block),))
        self.prefix = int(pair.student.has_cls and pair.teacher.has_cls)
        if pair.student.has_cls != pair.teacher.has_cls:
            self.notes = ("one model has no cls token: relations between patches only",)

    def loss(self, step: Step) -> dict[str, Tensor]:
        """Return the weighted terms `qk` and `vv`."""
        view = step.student(self.jittered(step)) if self.jitter else step.student(step.clean)
        patches = view.grid[0] * view.grid[1]
        q_s, k_s, v_s = self._common(view.qkv[0], patches)
        q_t, k_t, v_t = self._common(step.teacher(step.clean).qkv[0], patches)
        qk = relation_kl(relation(q_s, k_s, self.heads), relation(q_t, k_t, self.heads))
        vv = relation_kl(relation(v_s, v_s, self.heads), relation(v_t, v_t, self.heads))
        return {"qk": self.weight * qk, "vv": self.weight * vv}

    def _common(self, parts: Sequence[Tensor], patches: int) -> list[Tensor]:
        """Return q, k, v of the tokens that both models have: the cls token if both do, no registers, all patches."""
        return [torch.cat([part[:, : self.prefix], part[:, part.shape[1] - patches :]], dim=1) for part in parts]

    def jittered(self, step: Step) -> Tensor:
        """Return the clean images [B, 3, H, W] with brightness, contrast and saturation drawn per image."""
        images = step.clean
        factors = 1 + self.jitter * (2 * step.random(3) - 1)  # [B, 3]
        brightness, contrast, saturation = (factor[:, None, None, None] for factor in factors.unbind(1))
        grey = images.new_tensor([0.299, 0.587, 0.114])[:, None, None]
        images = (images * brightness).clamp(0, 1)
        mean = (images * grey).sum(1, keepdim=True).mean((2, 3), keepdim=True)
        images = (images * contrast + mean * (1 - contrast)).clamp(0, 1)
        luma = (images * grey).sum(1, keepdim=True)
        return (images * saturation + luma * (1 - saturation)).clamp(0, 1)


def tinymim(
    pair: Pair,
    *,
    heads: int | None = None,
    teacher_block: float | None = None,
    jitter: float = 0.4,
    weight: float = 1.0,
) -> list[Stage]:
    """Distil token relations of one block on proxy images, then fine-tune (heads: those of the teacher)."""
    student, teacher = pair.student, pair.teacher
    for role, side in (("student", student), ("teacher", teacher)):
        if not side.has_qkv or side.heads is None:
            raise Unsupported(f"distils relations of queries, keys and values, and the {role} has none to tap")
    if student.grids["proxy"] != teacher.grids["proxy"]:
        raise Unsupported(f"needs equal token grids, not {student.grids['proxy']} and {teacher.grids['proxy']}")
    count = heads if heads is not None else int(teacher.heads or 0)
    for role, side in (("student", student), ("teacher", teacher)):
        if count < 1 or side.width % count:
            raise Unsupported(
                f"{role}'s width {side.width} is no multiple of {count} heads; -o heads=N sets a common number"
            )
    block = teacher_block if teacher_block is not None else (0.75 if teacher.depth > student.depth else 1.0)
    return [RelationDistillation(pair, count, block, jitter, weight), Finetune()]
