"""G2SD: generic-to-specific distillation of masked autoencoders (Huang et al. 2023, arXiv 2302.14771).

Generic stage, on unlabelled proxy images: the student encodes a quarter of the tokens, a decoder of its own (4 blocks)
restores all of them, and a two-layer predictor maps them to the teacher's features,

    L = weight * smooth_L1( predictor(decoder(student(visible))), LN(teacher) ; beta = 2 ), a mean over all tokens,

cls, visible and masked, with LN without affine parameters. Specific stage: the task and CWD on the logits with T = 1
and weight 3 (the run script; the configuration says 10), encoder and head training together; without a teacher head
the task alone.

The original's teacher is a masked autoencoder with its decoder, and the target is the hidden state after that
decoder's fourth block, from the same quarter of the tokens. Foundation models such as DINOv2 have no such decoder, so
the target here is **an adaptation**: the teacher's final tokens of the whole image, with loss, mask ratio and student
decoder as released (pengzhiliang/G2SD, re-implemented from its formulas). What the GKD authors did is not known. The
release's feature loss of weight 0 and its unused decoder norm and pixel head are left out. Decoder width: 256 with 8
heads for students from 384 wide, else 128 with 4.

Needs a student that can drop tokens. Cost per distilled image: one teacher pass, a quarter of a student pass (counted
as a whole one) and the decoder over all tokens. """

from functools import partial

import torch
import torch.nn.functional as F
from timm.layers import Mlp
from timm.models.vision_transformer import Block
from torch import Tensor, nn

from gkdbench.api import Pair, Stage, Step, Unsupported
from gkdbench_methods.cwd import LogitCWD
from gkdbench_methods.finetune import Finetune

norm = partial(nn.LayerNorm, eps=1e-6)


def positions(grid: tuple[int, int], width: int) -> Tensor:
    """Return fixed sine-cosine positions [1, 1+N, width]; the row of the cls token is zero.

    The first half of the channels encodes the column, the second the row, each half sines, then cosines.
    """
    frequencies = 1 / 10000 ** (torch.arange(width // 4, dtype=torch.float64) / (width / 4))
    rows, columns = torch.meshgrid(*(torch.arange(n, dtype=torch.float64) for n in grid), indexing="ij")
    angles = [axis.reshape(-1, 1) * frequencies for axis in (columns, rows)]  # [N, width/4] each
    table = torch.cat([part for angle in angles for part in (angle.sin(), angle.cos())], dim=1)
    return torch.cat([torch.zeros(1, width, dtype=torch.float64), table]).float()[None]


class Restoration(nn.Module):
    """The student's decoder: from visible tokens to predictions for all tokens."""

    def __init__(self, student: int, target: int, width: int, depth: int, heads: int) -> None:
        super().__init__()
        self.decoder_embed = nn.Linear(student, width)
        self.mask_token = nn.Parameter(torch.zeros(1, 1, width))
        nn.init.normal_(self.mask_token, std=0.02)
        self.decoder_blocks = nn.Sequential(
            *(Block(width, heads, mlp_ratio=4, qkv_bias=True, norm_layer=norm) for _ in range(depth))
        )
        self.decoderfeature_pred = Mlp(width, target, target)
        for layer in self.modules():
            if isinstance(layer, nn.Linear):  # as released
                nn.init.xavier_uniform_(layer.weight)
                nn.init.zeros_(layer.bias)
        self._positions: dict[tuple[int, int], Tensor] = {}

    def hidden(self, visible: Tensor, restore: Tensor, grid: tuple[int, int], cls: bool) -> Tensor:
        """Return the decoder's last hidden state [B, 1+N, width] ([B, N, width] without cls).

        Args:
            visible: [B, 1+M, C_s], the cls token first if there is one, then the visible patches in any order.
            restore: [B, N] int64, for each patch its place in that order, hidden ones behind the visible.
            grid: the patches' grid, N = h * w.
            cls: whether there is a cls token.
        """
        x = self.decoder_embed(visible)
        own, patches = x[:, : int(cls)], x[:, int(cls) :]
        missing = self.mask_token.expand(len(x), restore.shape[1] - patches.shape[1], -1)
        patches = torch.cat([patches, missing], dim=1)
        patches = patches.gather(1, restore[..., None].expand(-1, -1, x.shape[-1]))
        if grid not in self._positions:
            self._positions[grid] = positions(grid, x.shape[-1])
        table = self._positions[grid].to(x.device)
        hidden: Tensor = self.decoder_blocks(torch.cat([own, patches], dim=1) + table[:, 1 - int(cls) :])
        return hidden

    def forward(self, visible: Tensor, restore: Tensor, grid: tuple[int, int], cls: bool) -> Tensor:
        """Return predictions of the teacher's features for all tokens, [B, 1+N, C_t]; see `hidden`."""
        predicted: Tensor = self.decoderfeature_pred(self.hidden(visible, restore, grid, cls))
        return predicted


def restoration_loss(predicted: Tensor, target: Tensor) -> Tensor:
    """Return smooth L1 (beta 2) against the target's affine-free LayerNorm; both [B, T, C]."""
    target = F.layer_norm(target.float(), target.shape[-1:], eps=1e-6)
    return F.smooth_l1_loss(predicted.float(), target, beta=2.0)


class Generic(Stage):
    """Restores the teacher's tokens from a few visible ones, on proxy images."""

    name = "proxy"
    data = "proxy"
    task = False
    trains = frozenset({"encoder"})
    teacher = "encoder"

    def __init__(self, pair: Pair, mask_ratio: float, depth: int, width: int, weight: float) -> None:
        super().__init__()
        self.mask_ratio, self.weight = mask_ratio, weight
        self.cls = pair.student.has_cls and pair.teacher.has_cls
        note = "target: the teacher's final tokens, since it has no masked-autoencoder decoder (an adaptation)"
        self.notes = (note,) if self.cls else (note, "a model has no cls token: not restored")
        self.restoration = Restoration(pair.student.width, pair.teacher.width, width, depth, width // 32)

    def loss(self, step: Step) -> dict[str, Tensor]:
        """Return the weighted term `restore`."""
        grid = step.student().grid
        patches = grid[0] * grid[1]
        order = step.random(patches).argsort(dim=1)  # [B, N]
        view = step.student(keep=order[:, : int(patches * (1 - self.mask_ratio))])
        teacher = step.teacher()
        visible, target = view.tokens, teacher.tokens
        if self.cls and view.cls is not None and teacher.cls is not None:
            visible = torch.cat([view.cls[:, None], visible], dim=1)
            target = torch.cat([teacher.cls[:, None], target], dim=1)
        predicted = self.restoration(visible, order.argsort(dim=1), grid, self.cls)
        return {"restore": self.weight * restoration_loss(predicted, target)}


def g2sd(
    pair: Pair, *, mask_ratio: float = 0.75, depth: int = 4, width: int | None = None, generic_weight: float = 1.0,
    specific_weight: float = 3.0, temperature: float = 1.0
) -> list[Stage]:
    """Restore the teacher's tokens from a quarter of the image on proxy images, then the task with CWD on logits."""
    if not pair.student.can_drop:
        raise Unsupported("encodes a part of the tokens, and the student cannot drop any")
    if not 0 < mask_ratio < 1 or int(min(h * w for h, w in pair.student.grids.values()) * (1 - mask_ratio)) < 1:
        raise Unsupported(f"mask_ratio {mask_ratio} leaves no token to encode, or none to restore")
    own = width if width is not None else (256 if pair.student.width >= 384 else 128)
    if own < 32 or own % 32:
        raise Unsupported(f"decoder width {own} is no multiple of 32, the width of a head")
    generic = Generic(pair, mask_ratio, depth, own, generic_weight)
    if not pair.teacher.has_head:
        generic.notes = (*generic.notes, "teacher has no head: the specific stage is the task alone")
        return [generic, Finetune()]
    return [generic, LogitCWD(specific_weight, temperature)]
