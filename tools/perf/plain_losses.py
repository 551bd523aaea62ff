"""The losses as their authors' releases compute them, written out from the formulas, beside ours: rows to compare.

Modules of a stage serve for their weights alone.
"""

from collections.abc import Callable

import torch
import torch.nn.functional as F
from fixed_step import IGNORED, Comparison, FixedStep, Sizes, Terms, compare, make_pair
from torch import Tensor, nn

from gkdbench.api import Stage
from gkdbench.data.stream import Batch
from gkdbench.engine.passes import LiveStep, Moment, StageModule
from gkdbench.models.encoder import Encoder
from gkdbench.models.segmentor import Segmentor
from gkdbench.spec.decoder import GridDecoder
from gkdbench.spec.model import ModelEntry
from gkdbench_methods.af_dcd import af_dcd, contrast, samples
from gkdbench_methods.cirkd import batch_relations, cirkd
from gkdbench_methods.cwd import cwd
from gkdbench_methods.dist import dist
from gkdbench_methods.fitnet_mse import fitnet_mse
from gkdbench_methods.g2sd import g2sd, positions
from gkdbench_methods.gkd import gkd
from gkdbench_methods.proteus import proteus
from gkdbench_methods.tinymim import tinymim
from gkdbench_methods.vanilla_kd import vanilla_kd
from gkdbench_methods.vitkd import vitkd


def as_map(tokens: Tensor, sizes: Sizes) -> Tensor:
    """Lay tokens [B, N, C] out as [B, C, h, w]."""
    return tokens.transpose(1, 2).reshape(len(tokens), -1, sizes.grid, sizes.grid)


def plain_pixel_kl(student: Tensor, teacher: Tensor) -> Tensor:
    """Sum over classes, mean over pixels, T = 1."""
    divergence = F.kl_div(student.log_softmax(1), teacher.softmax(1), reduction="none")
    return divergence.sum(1).mean()


def plain_vanilla_kd(stage: Stage, step: FixedStep) -> Terms:
    """Pixel KL at T = 1."""
    return {"kl": plain_pixel_kl(step.student().logits, step.teacher().logits)}


def plain_fitnet(stage: Stage, step: FixedStep) -> Terms:
    """A 1x1 convolution over the map."""
    weight = stage.get_parameter("proj.weight")[:, :, None, None]
    mapped = F.conv2d(as_map(step.student().tokens, step.sizes), weight)
    return {"mse": ((mapped - as_map(step.teacher().tokens, step.sizes)) ** 2).mean()}


def plain_channel_kl(student: Tensor, teacher: Tensor, temperature: float) -> Tensor:
    """KL of channels over positions, through softmax().log()."""
    images, channels = student.shape[:2]
    own, wanted = ((x.reshape(images, channels, -1) / temperature).softmax(-1) for x in (student, teacher))
    return F.kl_div(own.log(), wanted, reduction="sum") * temperature**2 / (images * channels)


def plain_cwd(stage: Stage, step: FixedStep) -> Terms:
    """On the logits, T = 4, weight 3."""
    return {"cwd": 3 * plain_channel_kl(step.student().logits, step.teacher().logits, 4.0)}


def plain_cwd_features(stage: Stage, step: FixedStep) -> Terms:
    """On features through convolution, BatchNorm and ReLU in place, T = 4, weight 50."""
    own, wanted = (as_map(view.tokens, step.sizes) for view in (step.student(), step.teacher()))
    mapped = F.conv2d(own, stage.get_parameter("conv.weight")[..., None])
    scale, shift = stage.get_parameter("after.0.weight"), stage.get_parameter("after.0.bias")
    mapped = F.relu_(F.batch_norm(mapped, None, None, scale, shift, training=True))
    return {"cwd": 50 * plain_channel_kl(mapped, wanted, 4.0)}


def plain_dist(stage: Stage, step: FixedStep) -> Terms:
    """Cosines of centred rows, once over classes and once over pixels."""

    def cosine(a: Tensor, b: Tensor) -> Tensor:
        found: Tensor = (a * b).sum(1) / (a.norm(dim=1) * b.norm(dim=1) + 1e-8)
        return found

    def relation(a: Tensor, b: Tensor) -> Tensor:
        return 1 - cosine(a - a.mean(1, keepdim=True), b - b.mean(1, keepdim=True)).mean()

    own, wanted = (view.logits.softmax(1) for view in (step.student(), step.teacher()))
    own, wanted = (p.permute(0, 2, 3, 1).reshape(-1, p.shape[1]) for p in (own, wanted))  # [B*h*w, K]
    return {"inter": relation(own, wanted), "intra": relation(own.T, wanted.T)}


def plain_qsd(head: nn.Module, student: Tensor, teacher: Tensor) -> Tensor:
    """Separate norms and projections, the whole score matrix, then the product."""
    query, value = head.get_submodule("proj_q")(student), head.get_submodule("proj_v")(student)
    mixing = torch.softmax(torch.matmul(query, teacher.transpose(-2, -1)), dim=-1)
    mixed: Tensor = torch.matmul(mixing, value)
    return mixed


def first_half_mask(step: FixedStep, hidden: Tensor) -> Tensor:
    """Return [B, N] bool: of the first half of the images the tokens that are hidden."""
    mask = torch.zeros_like(hidden)
    mask[: step.batch // 2] = hidden[: step.batch // 2]
    return mask


def plain_gkd(stage: Stage, step: FixedStep) -> Terms:
    """Three heads, three mean squared errors, all tokens of all images in the masked one."""
    student, teacher = step.student(), step.teacher()
    assert student.cls is not None and teacher.cls is not None
    hidden = step.random(step.sizes.tokens).argsort(1) < step.sizes.tokens // 2
    masked = step.student(mask=first_half_mask(step, hidden)).tokens
    wanted = teacher.cls.unsqueeze(1)
    token = plain_qsd(stage.get_submodule("token_head"), student.cls.unsqueeze(1), wanted)
    fea = plain_qsd(stage.get_submodule("fea_head"), student.tokens, teacher.tokens)
    patch = plain_qsd(stage.get_submodule("patch_head"), masked, teacher.tokens)
    return {
        "token": F.mse_loss(token, wanted),
        "fea": F.mse_loss(torch.cat([token, fea], 1), torch.cat([wanted, teacher.tokens], 1)),
        "patch": F.mse_loss(patch, teacher.tokens),
    }


def plain_proteus(stage: Stage, step: FixedStep) -> Terms:
    """Three [LayerNorm, Linear]; the masked one on selected rows."""
    student, teacher = step.student(), step.teacher()
    assert student.cls is not None and teacher.cls is not None
    hidden = step.random(step.sizes.tokens).argsort(1).argsort(1) < step.sizes.tokens // 2
    mask = first_half_mask(step, hidden)
    masked = step.student(mask=mask).tokens
    places = mask.flatten().nonzero().flatten()
    token = stage.get_submodule("token_head")(student.cls)
    fea = stage.get_submodule("fea_head")(student.tokens)
    patch = stage.get_submodule("patch_head")(masked.flatten(0, 1).index_select(0, places))
    return {
        "token": F.mse_loss(token, teacher.cls),
        "fea": F.mse_loss(
            torch.cat([token.unsqueeze(1), fea], 1), torch.cat([teacher.cls.unsqueeze(1), teacher.tokens], 1)
        ),
        "patch": F.mse_loss(patch, teacher.tokens.flatten(0, 1).index_select(0, places)),
    }


def plain_vitkd(stage: Stage, step: FixedStep) -> Terms:
    """Kept tokens gathered, mask tokens appended, all gathered back; the mask multiplied into both sides."""
    student, teacher, sizes = step.student(), step.teacher(), step.sizes
    aligns = stage.get_submodule("align2")
    mimic = torch.stack([aligns.get_submodule(str(n))(student.blocks[n]) for n in (0, 1)], 1)
    low = ((mimic - torch.stack(teacher.blocks, 1)) ** 2).sum()
    x = stage.get_submodule("align")(student.tokens)
    images, tokens, width = x.shape
    kept = tokens // 2
    shuffle = step.random(tokens).argsort(1)
    restore = shuffle.argsort(1)
    visible = x.gather(1, shuffle[:, :kept, None].repeat(1, 1, width))
    hidden = stage.get_parameter("mask_token").repeat(images, tokens - kept, 1)
    x = torch.cat([visible, hidden], 1).gather(1, restore[..., None].repeat(1, 1, width))
    mask = torch.ones(images, tokens)
    mask[:, :kept] = 0
    mask = mask.gather(1, restore).unsqueeze(-1)  # [B, N, 1]
    x = stage.get_submodule("generation")(as_map(x, sizes)).flatten(2).transpose(1, 2)
    high = F.mse_loss(torch.mul(x, mask), torch.mul(teacher.tokens, mask), reduction="sum")
    return {"mimic": 3e-5 * low / images, "gen": 3e-6 / 0.5 * high / images}


def plain_contrast(own: Tensor, wanted: Tensor, groups: int, temperature: float) -> Tensor:
    """Positives and negatives picked out of the distances by expanded masks, then a cross-entropy."""
    distance = -torch.cdist(own, wanted, p=1.0) / temperature  # [P, S, S]
    patches, count, _ = distance.shape
    group = torch.arange(count) % groups
    same = torch.eye(count, dtype=torch.bool).expand(patches, -1, -1)
    other = (group[:, None] != group[None, :]).expand(patches, -1, -1)
    positives = distance[same].reshape(patches * count, 1)
    negatives = distance[other].reshape(patches * count, -1)
    scores = torch.cat([positives, negatives], 1)
    return F.cross_entropy(scores, torch.zeros(len(scores), dtype=torch.long), reduction="sum")


def plain_af_dcd(stage: Stage, step: FixedStep) -> Terms:
    """Masked projection, squared error and contrast with everything materialised."""
    student, teacher, sizes = step.student(), step.teacher(), step.sizes
    own, wanted = as_map(student.tokens, sizes), as_map(teacher.tokens, sizes)
    aligned = stage.get_submodule("align")(own)
    noise = step.random(1, sizes.grid, sizes.grid)
    mask = torch.where(noise > 1 - 0.75, 0.0, 1.0)
    x = stage.get_submodule("projetor")(torch.mul(aligned, mask))
    fd = F.mse_loss(x, wanted, reduction="sum") / len(x)
    pool = min(4, sizes.grid // 4)
    cut = [split(F.max_pool2d(side, pool, pool)) for side in (x, wanted)]
    positions_in_all = cut[0].shape[0] * 16
    ctr = plain_contrast(cut[0], cut[1], 16, 0.07) / positions_in_all
    return {"kl": plain_pixel_kl(student.logits, teacher.logits), "fd": 2e-6 * fd, "ctr": 5e-3 * ctr}


def split(pooled: Tensor) -> Tensor:
    """Cut a map into 4x4 patches and channels into 16 groups: [patches, 16 positions * 16 groups, C / 16]."""
    windows = pooled.unfold(2, 4, 4).unfold(3, 4, 4)  # [B, C, rows, columns, 4, 4]
    windows = windows.permute(0, 2, 3, 4, 5, 1).flatten(0, 2).flatten(1, 2)  # [patches, 16, C]
    return windows.reshape(len(windows), 16 * 16, -1)


def plain_batch_relations(student: Tensor, teacher: Tensor, temperature: float) -> Tensor:
    """Loop over all ordered pairs of images, a product of its own for each; features [B, N, C]."""
    own, wanted = F.normalize(student, dim=2), F.normalize(teacher, dim=2)
    images, total = len(own), torch.zeros(())
    for i in range(images):
        for j in range(images):
            s, t = (torch.mm(side[i], side[j].T) / temperature for side in (own, wanted))
            total = total + F.kl_div(s.log_softmax(1), t.softmax(1), reduction="batchmean")
    return total / images**2


class PlainMemory:
    """A class memory of its own, so that neither form reads what the other wrote."""

    def __init__(self, stage: Stage) -> None:
        self.queues = {name: stage.get_buffer(f"{name}_queue").clone() for name in ("pixel", "region")}

    @torch.no_grad()
    def enqueue(self, features: Tensor, labels: Tensor, rng: torch.Generator) -> None:
        """Push per image and class one mean and up to 16 pixels, from the first slot on."""
        at = {name: [0] * len(queue) for name, queue in self.queues.items()}
        for image, truth in zip(F.normalize(features, dim=2), labels, strict=True):
            for label in [int(found) for found in truth.unique() if found != IGNORED]:
                places = (truth == label).nonzero().flatten()
                chosen = torch.randperm(len(places), generator=rng)[:16]
                pushed = {"region": F.normalize(image[places].mean(0, keepdim=True), dim=1), "pixel": image[chosen]}
                for name, vectors in pushed.items():
                    first = at[name][label]
                    self.queues[name][label, first : first + len(vectors)] = vectors
                    at[name][label] += len(vectors)

    def relations(self, own: Tensor, wanted: Tensor, rng: torch.Generator) -> dict[str, Tensor]:
        """Return both memory terms of normalised pixels [M, C_t]."""
        terms = {}
        for name, total in (("pixel", 4096), ("region", 1024)):
            queue = self.queues[name]
            count = min(total // len(queue) + 1, queue.shape[1])
            entries = queue[:, torch.randperm(queue.shape[1], generator=rng)[:count]].reshape(-1, queue.shape[2])
            s, t = (torch.mm(side, entries.T) / 0.1 for side in (own, wanted))
            terms[name] = 0.1 * F.kl_div(s.log_softmax(1), t.softmax(1), reduction="batchmean")
        return terms


def cirkd_row(sizes: Sizes) -> Comparison:
    """Compare CIRKD, with small memories: what is sampled from them is as published."""
    torch.manual_seed(0)
    step = FixedStep(sizes)
    stage = cirkd(make_pair(sizes), pixel_memory=1000, region_memory=1000)[0]
    memory = PlainMemory(stage)

    def ours() -> Terms:
        for name in ("pixel", "region"):
            stage.get_buffer(f"{name}_queue_ptr").zero_()
        terms: Terms = stage.loss(step.again())
        return terms

    def plain() -> Terms:
        student, teacher, rng = step.student(), step.teacher(), step.again().rng
        assert step.labels is not None
        grid = (sizes.grid, sizes.grid)
        labels = F.interpolate(step.labels.unsqueeze(1).float(), grid, mode="nearest").flatten(1).long()
        memory.enqueue(teacher.tokens, labels, rng)
        projected = stage.get_submodule("project_head")(as_map(student.tokens, sizes))
        valid = labels.flatten() != IGNORED
        own = F.normalize(projected, dim=1).permute(0, 2, 3, 1).flatten(0, 2)[valid]
        wanted = F.normalize(teacher.tokens, dim=2).flatten(0, 1)[valid]
        return {
            "kl": plain_pixel_kl(student.logits, teacher.logits),
            "batch": plain_batch_relations(student.tokens, teacher.tokens, 0.1),
            **memory.relations(own, wanted, rng),
        }

    return Comparison(ours, plain, {**step.inputs, **dict(stage.named_parameters())})


def cirkd_batch_row(sizes: Sizes) -> Comparison:
    """Compare CIRKD's relations between images alone."""
    torch.manual_seed(0)
    images = max(sizes.batch, 4)
    student = torch.randn(images, sizes.tokens, sizes.student, requires_grad=True)
    teacher = torch.randn(images, sizes.tokens, sizes.teacher)
    return Comparison(
        lambda: {"batch": batch_relations(student, teacher, 0.1)},
        lambda: {"batch": plain_batch_relations(student, teacher, 0.1)},
        {"student": student},
    )


def contrast_row(sizes: Sizes) -> Comparison:
    """Compare Af-DCD's contrast alone, of maps in the teacher's width."""
    torch.manual_seed(0)
    shape = (sizes.batch, sizes.teacher, sizes.grid, sizes.grid)
    student, teacher = torch.randn(shape, requires_grad=True), torch.randn(shape)
    pool = min(4, sizes.grid // 4)

    def ours() -> Terms:
        own, wanted = (samples(side, pool, 4, 16) for side in (student, teacher))
        return {"ctr": contrast(own, wanted, 16, 0.07, 1.0)}

    def plain() -> Terms:
        own, wanted = (split(F.max_pool2d(side, pool, pool)) for side in (student, teacher))
        return {"ctr": plain_contrast(own, wanted, 16, 0.07)}

    return Comparison(ours, plain, {"student": student})


def plain_attention(block: nn.Module, x: Tensor, heads: int) -> Tensor:
    """A transformer block before the norm, with the whole attention matrix."""
    images, tokens, width = x.shape
    qkv = block.get_submodule("attn.qkv")(block.get_submodule("norm1")(x))
    q, k, v = qkv.reshape(images, tokens, 3, heads, width // heads).permute(2, 0, 3, 1, 4).unbind(0)
    attention = (q @ k.transpose(-2, -1) * (width // heads) ** -0.5).softmax(-1)
    x = x + block.get_submodule("attn.proj")((attention @ v).transpose(1, 2).reshape(images, tokens, width))
    mixed: Tensor = x + block.get_submodule("mlp")(block.get_submodule("norm2")(x))
    return mixed


def plain_g2sd(stage: Stage, step: FixedStep) -> Terms:
    """The generic stage: mask tokens appended and gathered back, explicit attention, smooth L1 with beta 2."""
    decoder, teacher, sizes = stage.get_submodule("restoration"), step.teacher(), step.sizes
    shuffle = step.random(sizes.tokens).argsort(1)
    restore = shuffle.argsort(1)
    student = step.student(keep=shuffle[:, : int(sizes.tokens * (1 - 0.75))])
    assert student.cls is not None and teacher.cls is not None
    x = decoder.get_submodule("decoder_embed")(torch.cat([student.cls.unsqueeze(1), student.tokens], 1))
    images, visible, width = x.shape
    hidden = decoder.get_parameter("mask_token").repeat(images, sizes.tokens + 1 - visible, 1)
    patches = torch.cat([x[:, 1:], hidden], 1).gather(1, restore.unsqueeze(-1).repeat(1, 1, width))
    x = torch.cat([x[:, :1], patches], 1) + positions((sizes.grid, sizes.grid), width)
    for block in decoder.get_submodule("decoder_blocks").children():
        x = plain_attention(block, x, width // 32)
    x = decoder.get_submodule("decoderfeature_pred")(x)
    wanted = torch.cat([teacher.cls.unsqueeze(1), teacher.tokens], 1)
    wanted = F.layer_norm(wanted, wanted.shape[-1:], eps=1e-6)
    return {"restore": F.smooth_l1_loss(x, wanted, beta=2.0)}


def plain_tinymim(stage: Stage, step: FixedStep) -> Terms:
    """Relations as probabilities, their logarithm inside the divergence."""
    heads = max(step.sizes.teacher // 64, 1)

    def relation(a: Tensor, b: Tensor) -> Tensor:
        a, b = (x.reshape(*x.shape[:2], heads, -1).transpose(1, 2) for x in (a, b))
        return torch.softmax(a @ b.transpose(-2, -1) * a.shape[-1] ** -0.5, dim=-1)

    def divergence(own: Tensor, wanted: Tensor) -> Tensor:
        return F.kl_div(own.log(), wanted, reduction="none").sum(-1).mean()

    (q_s, k_s, v_s), (q_t, k_t, v_t) = step.student().qkv[0], step.teacher().qkv[0]
    return {
        "qk": divergence(relation(q_s, k_s), relation(q_t, k_t)),
        "vv": divergence(relation(v_s, v_s), relation(v_t, v_t)),
    }


class Passes(Stage):
    """A stage that trains an encoder; its loss is never asked."""

    name, data, task, teacher = "proxy", "proxy", False, None
    trains = frozenset({"encoder"})


def passes_row(sizes: Sizes) -> Comparison:
    """Compare the student's two passes of GKD, the masked one with and without the rows that have no mask."""
    torch.manual_seed(0)
    side = 8 * sizes.grid
    entry = ModelEntry(
        description="small", role="local", timm="vit_tiny_patch16_224", weights=None, licence="none",
        arguments={"embed_dim": 64, "depth": 2, "num_heads": 2, "patch_size": 8, "img_size": [side, side]},
    )  # fmt: skip
    encoder = Encoder(entry)
    encoder.resize((side, side))
    student = Segmentor(encoder, GridDecoder(name="linear"), sizes.classes)
    student.use_plain_attention()
    module = StageModule(Passes(), student, None, precision="32-true", ignore=IGNORED)
    images = torch.rand(sizes.batch, 3, side, side)
    batch = Batch(images, images, None, torch.arange(sizes.batch))
    mask = torch.zeros(sizes.batch, sizes.tokens, dtype=torch.bool)
    mask[: sizes.batch // 2] = torch.rand(sizes.batch // 2, sizes.tokens) < 0.5

    def terms(copied: bool) -> Terms:
        step = LiveStep(module, batch, Moment(0, "proxy", 0, 1, sizes.batch))
        plain = step.student()
        masked = step.student(mask=mask) if copied else step.student(step.images, mask=mask)
        found = {"plain": plain.tokens, "masked": masked.tokens}
        return {name: x.square().mean() + x[:, ::2].mean() for name, x in found.items()}

    leaves = {name: p for name, p in encoder.named_parameters() if p.requires_grad}
    return Comparison(lambda: terms(True), lambda: terms(False), leaves, lambda: module.passes.student)


ROWS: dict[str, Callable[[Sizes], Comparison]] = {
    "vanilla_kd": lambda sizes: compare(vanilla_kd, plain_vanilla_kd, sizes),
    "fitnet_mse": lambda sizes: compare(fitnet_mse, plain_fitnet, sizes),
    "cwd": lambda sizes: compare(cwd, plain_cwd, sizes),
    "cwd features": lambda sizes: compare(cwd, plain_cwd_features, sizes, on="features"),
    "dist": lambda sizes: compare(dist, plain_dist, sizes),
    "af_dcd": lambda sizes: compare(af_dcd, plain_af_dcd, sizes),
    "af_dcd contrast": contrast_row,
    "vitkd": lambda sizes: compare(vitkd, plain_vitkd, sizes),
    "g2sd": lambda sizes: compare(g2sd, plain_g2sd, sizes),
    "proteus": lambda sizes: compare(proteus, plain_proteus, sizes),
    "cirkd": cirkd_row,
    "cirkd batch": cirkd_batch_row,
    "tinymim": lambda sizes: compare(tinymim, plain_tinymim, sizes, jitter=0.0),
    "gkd": lambda sizes: compare(gkd, plain_gkd, sizes),
    "gkd passes": passes_row,
}


