"""What the recorded cases do not show: zero-loss identities, odd shapes, empty labels, low precision, refusals."""

import importlib

import pytest
import torch
from pairs import pair
from recorded import RecordedStep, assert_close, leaf, view
from torch import Tensor

from gkdbench.api import Pair, Stage, Unsupported
from gkdbench_methods.af_dcd import contrast, pooling, samples
from gkdbench_methods.cirkd import CIRKD, batch_relations, push
from gkdbench_methods.cwd import channel_kl
from gkdbench_methods.dist import relations
from gkdbench_methods.g2sd import positions, restoration_loss
from gkdbench_methods.tinymim import relation, relation_kl
from gkdbench_methods.vanilla_kd import pixel_kl

METHODS = (
    "af_dcd", "cirkd", "cwd", "dist", "fitnet_mse", "g2sd", "gkd", "proteus", "tinymim", "vanilla_kd", "vitkd",
)  # fmt: skip


def stages(name: str, models: Pair, **options) -> list[Stage]:
    if name == "cirkd":
        options = {"pixel_memory": 40, "region_memory": 8, **options}
    torch.manual_seed(0)
    return getattr(importlib.import_module(f"gkdbench_methods.{name}"), name)(models, **options)


def distilling(name: str, models: Pair, **options) -> Stage:
    return next(stage for stage in stages(name, models, **options) if stage.teacher is not None)


def tokens_of(side, batch: int, grid: tuple[int, int], grad: bool = False, scale: float = 1.0):
    """Return a view with everything a stage may pull, and its leaves."""
    count = grid[0] * grid[1]

    def draw(*shape: int) -> Tensor:
        tensor = torch.randn(*shape) * scale
        return leaf(tensor) if grad else tensor

    prefix = int(side.has_cls)
    made = dict(
        tokens=draw(batch, count, side.width),
        cls=draw(batch, side.width) if side.has_cls else None,
        blocks=[draw(batch, count, side.width) for _ in range(2)],
        qkv=[tuple(draw(batch, prefix + count, side.width) for _ in range(3))],
        logits=draw(batch, 5, 2 * grid[0], 2 * grid[1]),
        pixels=draw(batch, side.pixel_dim, 2 * grid[0], 2 * grid[1]),
        grid=grid,
    )
    return view(**made)


def step_for(models: Pair, batch: int, grid: tuple[int, int], labels: Tensor | None = None, **teacher):
    torch.manual_seed(1)
    student = tokens_of(models.student, batch, grid, grad=True)
    wanted = tokens_of(models.teacher, batch, grid, **teacher)
    kept = grid[0] * grid[1] // 4
    dropped = view(tokens=student.tokens[:, :kept], cls=student.cls, grid=grid)
    if labels is None:
        labels = torch.randint(0, 3, (batch, 4 * grid[0], 4 * grid[1]))  # classes 3 and 4 are absent
        labels[:, :2] = 255
    return RecordedStep(student, wanted, student, batch, kept=dropped, labels=labels)


@pytest.mark.parametrize("name", METHODS)
@pytest.mark.parametrize(
    ("widths", "grid", "batch"),
    [((16, 32), (5, 7), 3), ((32, 32), (4, 6), 2), ((32, 16), (8, 4), 1), ((16, 48), (16, 16), 2)],
    ids=["odd grid", "equal widths", "one image, narrower teacher", "square"],
)
def test_every_loss_is_finite_and_reaches_the_student(name, widths, grid, batch):
    models = pair(*widths, grid)
    stage = distilling(name, models)
    step = step_for(models, batch, grid)
    terms = stage.loss(step)
    assert terms and all(term.ndim == 0 and bool(term.isfinite()) for term in terms.values())
    sum(terms.values()).backward()
    assert all(p.grad is None or p.grad.isfinite().all() for p in stage.parameters())
    for term, value in distilling(name, models).loss(again := step_for(models, batch, grid)).items():
        student = again.student()
        leaves = [student.tokens, student.cls, student.logits, *student.blocks, *student.qkv[0]]
        reached = torch.autograd.grad(value, leaves, allow_unused=True, retain_graph=True)
        if batch == 1 and (name, term) == ("proteus", "patch"):
            assert value == 0  # half of one image: nothing is masked
        else:
            assert any(g is not None and g.abs().max() > 0 for g in reached), term


@pytest.mark.parametrize("name", METHODS)
def test_labels_that_are_all_ignored_leave_every_term_finite(name):
    models = pair(16, 32, (4, 6))
    step = step_for(models, 2, (4, 6), labels=torch.full((2, 16, 24), 255))
    terms = distilling(name, models).loss(step)
    total = sum(terms.values())
    total.backward()
    assert bool(total.isfinite())
    if name == "cirkd":
        assert terms["pixel"] == 0 and terms["region"] == 0


@pytest.mark.parametrize("name", METHODS)
@pytest.mark.parametrize("scale", [0.0, 60.0], ids=["silent teacher", "loud teacher"])
def test_extreme_teachers_leave_gradients_finite(name, scale):
    models = pair(16, 32, (4, 6))
    step = step_for(models, 2, (4, 6), scale=scale)
    sum(distilling(name, models).loss(step).values()).backward()
    student = step.student()
    for x in (student.tokens, student.logits, *student.qkv[0]):
        assert x.grad is None or x.grad.isfinite().all()


LOGIT_LOSSES = {
    "vanilla_kd": lambda s, t: pixel_kl(s, t, 1.0, "pixel"),
    "cwd": lambda s, t: channel_kl(s, t, 4.0),
    "dist": lambda s, t: sum(relations(s, t)),
}
TOKEN_LOSSES = {
    "cirkd": lambda s, t: batch_relations(s, t, 0.1),
    "g2sd": restoration_loss,
    "tinymim": lambda s, t: relation_kl(relation(s, s, 4), relation(t, t, 4)),
}


@pytest.mark.parametrize("name", ["vanilla_kd", "cwd", "dist"])
def test_a_student_that_equals_its_teacher_loses_nothing_on_logits(name):
    logits = torch.randn(2, 5, 6, 4) * 3
    assert abs(LOGIT_LOSSES[name](logits, logits.clone())) < 1e-5


@pytest.mark.parametrize("name", ["cirkd", "tinymim"])
def test_a_student_that_equals_its_teacher_loses_nothing_on_relations(name):
    tokens = torch.randn(3, 12, 16)
    assert abs(TOKEN_LOSSES[name](tokens, tokens.clone())) < 1e-5
    # relations do not depend on a rotation of the features either
    rotation = torch.linalg.qr(torch.randn(16, 16)).Q
    if name == "cirkd":
        assert abs(TOKEN_LOSSES[name](tokens, tokens @ rotation)) < 1e-4


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
@pytest.mark.parametrize("losses", [LOGIT_LOSSES, TOKEN_LOSSES], ids=["logits", "tokens"])
def test_half_precision_inputs_are_finite_and_close(losses, dtype):
    shape = (2, 5, 6, 4) if losses is LOGIT_LOSSES else (2, 24, 16)
    for name, loss in losses.items():
        student, teacher = torch.randn(2, *shape).unbind(0)
        low = loss(student.to(dtype), teacher.to(dtype))
        assert low.dtype == torch.float32, name
        assert low == pytest.approx(float(loss(student, teacher)), rel=0.05), name
        huge = torch.randn(shape) * 300
        assert torch.isfinite(loss(huge.to(dtype), (-huge).to(dtype))), name


def test_published_weights_and_forms_are_the_defaults():
    models = pair(16, 32)
    (cwd,) = stages("cwd", models)
    assert (cwd.weight, cwd.temperature) == (3.0, 4.0)
    (features,) = stages("cwd", models, on="features", divisor="student")
    assert features.weight == 50.0 * 32 / 16 and features.mixes_batch
    (af_dcd,) = stages("af_dcd", models)
    assert (af_dcd.kd, af_dcd.fd, af_dcd.ctr, af_dcd.clip_adaptor) == (1.0, 2e-6, 5e-3, 15.0)
    (vitkd,) = stages("vitkd", models)
    assert (vitkd.alpha, vitkd.beta, vitkd.mask_ratio) == (3e-5, 3e-6, 0.5)
    generic, specific = stages("g2sd", models)
    assert (generic.mask_ratio, specific.weight, specific.temperature) == (0.75, 3.0, 1.0)
    (cirkd,) = stages("cirkd", models, pixel_memory=20000, region_memory=2000)
    assert (cirkd.kd, cirkd.batch, cirkd.pixel, cirkd.region, cirkd.temperature) == (1.0, 1.0, 0.1, 0.1, 0.1)
    assert cirkd.queue == "as_released" and cirkd.pixel_queue.shape == (5, 20000, 32)
    (dist,) = stages("dist", models)
    assert (dist.beta, dist.gamma, dist.temperature) == (1.0, 1.0, 1.0)
    (kl,) = stages("vanilla_kd", models)
    assert (kl.weight, kl.temperature, kl.reduction) == (1.0, 1.0, "pixel")
    assert stages("fitnet_mse", models)[0].weight == 1.0
    assert (stages("proteus", models)[0].mask_ratio, stages("proteus", models)[0].weight) == (0.5, 1.0)
    assert (stages("tinymim", models)[0].jitter, stages("tinymim", models)[0].heads) == (0.4, 2)
    gkd = stages("gkd", models)
    assert [stage.name for stage in gkd] == ["proxy", "source", "task"]
    assert (gkd[0].mask_ratio, gkd[0].weight, gkd[0].cls_in_fea, gkd[0].fea_head.factor) == (0.5, 1.0, True, 1.0)
    assert (cirkd.pixel_sample, cirkd.region_sample) == (4096 // 5 + 1, 1024 // 5 + 1)


def test_cirkd_products_are_shared_and_the_value_is_that_of_all_ordered_pairs():
    student, teacher = torch.randn(4, 9, 8), torch.randn(4, 9, 12)

    def rows(x: Tensor, i: int, j: int) -> Tensor:
        x = torch.nn.functional.normalize(x, dim=2)
        return (x[i] @ x[j].T / 0.1).log_softmax(dim=1)

    terms = [
        (rows(teacher, i, j).exp() * (rows(teacher, i, j) - rows(student, i, j))).sum() / 9
        for i in range(4)
        for j in range(4)
    ]
    assert_close(batch_relations(student, teacher, 0.1), torch.stack(terms).mean())


def test_the_class_aware_queue_holds_pixels_of_its_class_and_the_released_one_does_not():
    grid, labels = (4, 4), torch.tensor([[0] * 8 + [1] * 8])
    features = torch.zeros(1, 16, 32)
    features[0, :8, 0] = features[0, 8:, 1] = 1  # class 0 points along the first axis, class 1 along the second
    for queue, own in (("class_aware", True), ("as_released", False)):
        stage = distilling("cirkd", pair(16, 32, grid), queue=queue)
        stage.enqueue(RecordedStep(None, None), features, labels)
        pushed = stage.pixel_queue[1, :8]
        assert (stage.pixel_queue_ptr[:2] == 8).all()
        # the released code takes positions below the class's count, which all are class 0 here
        assert bool((pushed[:, 1] == 1).all()) is own and bool((pushed[:, 0] == 1).all()) is not own


def test_a_full_queue_overwrites_its_last_slots():
    queue, pointer = torch.zeros(5, 1), torch.tensor(3)
    push(queue, pointer, torch.tensor([[1.0], [2.0], [3.0]]))
    assert queue[:, 0].tolist() == [0, 0, 1, 2, 3] and pointer == 0
    push(queue, pointer, torch.tensor([[4.0]]))
    assert queue[:, 0].tolist() == [4, 0, 1, 2, 3] and pointer == 1


def test_contrast_equals_the_form_with_positives_and_negatives_taken_out():
    torch.manual_seed(0)
    student, teacher = (samples(torch.randn(2, 32, 8, 8), 1, 4, 16) for _ in range(2))
    groups, total = 16, 0.0
    for own, other in zip(student, teacher, strict=True):
        d = -torch.cdist(own, other, p=1) / 0.07
        for i in range(len(own)):
            negatives = d[i][torch.arange(len(own)) % groups != i % groups]
            assert len(negatives) == 240
            total += torch.cat([d[i, i : i + 1], negatives]).logsumexp(0) - d[i, i]
    assert_close(contrast(student, teacher, groups, 0.07, 1.0), total)


@pytest.mark.parametrize(("grid", "window"), [((16, 32), 4), ((8, 16), 2), ((4, 6), 1), ((37, 37), 4), ((3, 9), 0)])
def test_the_contrast_pools_what_fits(grid, window):
    assert pooling(grid, 4, 4) == window


def test_positions_of_a_grid_that_is_not_square_tell_rows_from_columns():
    table = positions((2, 3), 8)[0]
    assert table.shape == (7, 8) and table[0].abs().max() == 0
    row, column = table[1:].reshape(2, 3, 8)[:, 0], table[1:].reshape(2, 3, 8)[0]
    assert (row[0, :4] == row[1, :4]).all() and not (row[0, 4:] == row[1, 4:]).all()
    assert (column[0, 4:] == column[1, 4:]).all() and not (column[0, :4] == column[1, :4]).all()


@pytest.mark.parametrize("name", ["proteus", "gkd", "g2sd", "tinymim"])
def test_a_side_without_a_cls_token_is_served_and_noted(name):
    models = pair(16, 32, teacher_has_cls=False)
    stage = distilling(name, models)
    assert "cls token" in " ".join(stage.notes)
    terms = stage.loss(step_for(models, 2, (4, 4)))
    assert "token" not in terms and all(bool(term.isfinite()) for term in terms.values())


REFUSALS = [
    ("vanilla_kd", dict(teacher_has_head=False), "head"),
    ("cwd", dict(teacher_has_head=False), "head"),
    ("dist", dict(teacher_has_head=False), "head"),
    ("cirkd", dict(teacher_has_head=False), "head"),
    ("af_dcd", dict(teacher_has_head=False), "head"),
    ("af_dcd", dict(teacher=24), "16 groups"),
    ("af_dcd", dict(grid=(3, 9)), "4x4 tokens"),
    ("vitkd", dict(student_depth=1), "two shallow blocks"),
    ("vitkd", dict(teacher_can_mask=False), "transformer blocks"),
    ("g2sd", dict(student_can_drop=False), "cannot drop"),
    ("cirkd", dict(classes=1100, teacher=768), "class memory would take"),
    ("g2sd", dict(grid=(1, 3)), "no token to encode"),
    ("tinymim", dict(teacher_heads=3), "no multiple of 3 heads"),
    ("tinymim", dict(student_has_qkv=False), "queries, keys and values"),
    ("tinymim", dict(teacher_grids={"proxy": (2, 2), "source": (2, 2)}), "equal token grids"),
]


@pytest.mark.parametrize(("name", "facts", "reason"), REFUSALS, ids=lambda x: x if isinstance(x, str) else "")
def test_a_pair_that_cannot_be_served_is_refused_with_the_reason(name, facts, reason):
    with pytest.raises(Unsupported, match=reason):
        stages(name, pair(**facts), **({"pixel_memory": 20000, "region_memory": 2000} if "classes" in facts else {}))


@pytest.mark.parametrize(
    ("name", "options", "reason"),
    [
        ("vitkd", dict(mask_ratio=0.0), "must be generated"),
        ("g2sd", dict(mask_ratio=1.0), "no token to encode"),
        ("g2sd", dict(width=40), "no multiple of 32"),
        ("cirkd", dict(pixel_memory=8), "at least 16 pixels"),
        ("tinymim", dict(heads=5), "no multiple of 5 heads"),
    ],
)
def test_options_out_of_range_are_refused(name, options, reason):
    with pytest.raises(Unsupported, match=reason):
        stages(name, pair(), **options)


def test_the_official_adaptor_normalises_over_the_batch_and_cuts_at_zero():
    (stage,) = stages("cwd", pair(16, 32), on="features")
    step = step_for(pair(16, 32), 3, (4, 4))
    mapped = stage.conv(step.student().tokens.transpose(1, 2))
    mean, deviation = mapped.mean((0, 2), keepdim=True), mapped.var((0, 2), unbiased=False, keepdim=True)
    mapped = ((mapped - mean) / (deviation + 1e-5).sqrt()).clamp(min=0)
    wanted = 50 * channel_kl(mapped, step.teacher().tokens.transpose(1, 2), 4.0)
    assert_close(stage.loss(step)["cwd"], wanted)


def test_g2sds_decoder_starts_as_released():
    generic, _ = stages("g2sd", pair(16, 32))
    for layer in generic.modules():
        if isinstance(layer, torch.nn.Linear):
            assert layer.bias.abs().max() == 0
            bound = (6 / sum(layer.weight.shape)) ** 0.5
            assert 0.8 * bound < layer.weight.abs().max() <= bound


def test_tinymim_takes_a_common_number_of_heads():
    stage = distilling("tinymim", pair(16, 48, teacher_heads=3), heads=2)
    assert stage.heads == 2 and stage.taps_teacher.qkv == (1.0,)
    assert distilling("tinymim", pair(16, 32, teacher_depth=24)).taps_teacher.qkv == (0.75,)


def test_the_jitter_leaves_the_teachers_images_clean():
    stage = distilling("tinymim", pair(16, 32))
    step = step_for(pair(16, 32), 2, (4, 4))
    step.clean = torch.rand(2, 3, 8, 8)
    before = step.clean.clone()
    jittered = stage.jittered(step)
    assert torch.equal(step.clean, before) and not torch.allclose(jittered, before, atol=1e-3)
    assert jittered.min() >= 0 and jittered.max() <= 1
    step.noise = torch.full((2, 3), 0.5)  # factors of 1
    assert torch.allclose(stage.jittered(step), before, atol=1e-6)


def test_cirkd_reads_the_decoders_features_where_asked():
    models = pair(16, 32)
    stage = distilling("cirkd", models, feature="pixels")
    assert isinstance(stage, CIRKD) and stage.project_head[0].in_channels == models.student.pixel_dim
    assert all(bool(term.isfinite()) for term in stage.loss(step_for(models, 2, (4, 4))).values())


def test_proteus_masks_are_a_mean_over_the_whole_batch():
    models = pair(16, 32)
    stage = distilling("proteus", models)
    step = step_for(models, 4, (4, 4))
    noise = torch.rand(4, 16)
    step.noise = noise
    whole = stage.loss(step)["patch"]
    parts = []
    for rows in (slice(0, 2), slice(2, 4)):
        views = (
            view(tokens=side.tokens[rows], cls=side.cls[rows], grid=(4, 4)) for side in (step.student(), step.teacher())
        )
        student, teacher = views
        part = RecordedStep(student, teacher, student, 4, noise=noise[rows])
        part.position = torch.arange(4)[rows]
        parts.append(stage.loss(part)["patch"])
    assert parts[1] == 0
    assert_close(sum(parts) / 2, whole)
