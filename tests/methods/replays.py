"""How each method's recorded cases go through the method's own code, its stage's loss wherever there is one."""

from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from pairs import pair, side
from recorded import RecordedStep, leaf, view
from torch import Tensor, nn

from gkdbench_methods import af_dcd as af_dcd_file
from gkdbench_methods import cirkd as cirkd_file
from gkdbench_methods import cwd as cwd_file
from gkdbench_methods import dist as dist_file
from gkdbench_methods import fitnet_mse as fitnet_file
from gkdbench_methods import g2sd as g2sd_file
from gkdbench_methods import gkd as gkd_file
from gkdbench_methods import proteus as proteus_file
from gkdbench_methods import tinymim as tinymim_file
from gkdbench_methods import vanilla_kd as vanilla_file
from gkdbench_methods import vitkd as vitkd_file

Found = dict[str, Tensor]


@dataclass
class Case:
    """One recorded case: what the original was given and what it returned."""

    options: dict[str, Any]
    tensors: dict[str, Tensor]

    def __getitem__(self, name: str) -> Tensor:
        return self.tensors[name]

    def leaves(self, *names: str) -> list[Tensor]:
        return [leaf(self.tensors[name]) for name in names]

    def weights(self, prefix: str = "w.") -> dict[str, Tensor]:
        return {key.removeprefix(prefix): value for key, value in self.tensors.items() if key.startswith(prefix)}

    def load(self, module: nn.Module, rename: dict[str, str] | None = None) -> None:
        """Give a module the recorded weights; every one must fit, shapes may differ by axes of one."""
        own = module.state_dict()
        for name, value in self.weights().items():
            for old, new in (rename or {}).items():
                name = name.replace(old, new)
            own[name] = value.reshape(own[name].shape)
        module.load_state_dict(own)

    def weight_gradients(self, module: nn.Module, suffix: str = "", rename: dict[str, str] | None = None) -> Found:
        found = {}
        parameters = dict(module.named_parameters())
        for key, value in self.tensors.items():
            if not (key.startswith("grad.w.") and key.endswith(suffix)):
                continue
            name = key.removeprefix("grad.w.").removesuffix(suffix)
            for old, new in (rename or {}).items():
                name = name.replace(old, new)
            if name in parameters:
                gradient = parameters[name].grad
                found[key] = torch.zeros_like(value) if gradient is None else gradient.reshape(value.shape)
        return found


def as_tokens(feature_map: Tensor) -> Tensor:
    return feature_map.flatten(2).transpose(1, 2)


def vanilla_kd(case: Case) -> Found:
    found = {}
    forms = {"torchdistiller": ("element", False), "afdcd_cirkd": ("pixel", True), "g2sd_mmseg": ("element", True)}
    for temperature in case.options["temperatures"]:
        for name, (reduction, squared) in forms.items():
            (student,) = case.leaves("student_logits")
            stage = vanilla_file.VanillaKD(1.0, float(temperature), reduction)
            step = RecordedStep(view(logits=student), view(logits=case["teacher_logits"]), batch=len(student))
            value = stage.loss(step)["kl"] / (1 if squared else temperature**2)
            value.backward()
            found[f"out.{name}_T{temperature}"] = value
            found[f"grad.student_logits_{name}_T{temperature}"] = student.grad
    return found


def fitnet_mse(case: Case) -> Found:
    (student,) = case.leaves("student_feat")
    stage = fitnet_file.FeatureMimicry(student.shape[1], case["teacher_feat"].shape[1], 1.0)
    case.load(stage, {"conv.": "proj."})
    step = RecordedStep(view(tokens=as_tokens(student)), view(tokens=as_tokens(case["teacher_feat"])))
    value = stage.loss(step)["mse"]
    value.backward()
    gradients = case.weight_gradients(stage, rename={"conv.": "proj."})
    return {"out.loss": value, "grad.student_feat": student.grad, **gradients}


def cwd(case: Case) -> Found:
    found: Found = {}
    if case.options["on"] == "logits":
        for temperature in case.options["temperatures"]:
            (student,) = case.leaves("student_logits")
            teacher = case["teacher_logits"]
            stage = cwd_file.LogitCWD(1.0, float(temperature))
            value = stage.loss(RecordedStep(view(logits=student), view(logits=teacher)))["cwd"]
            value.backward()
            found[f"out.loss_T{temperature}"] = value
            # the cross-entropy form is the same up to the teacher's entropy, with the same gradient
            p = F.softmax(teacher.flatten(2) / temperature, dim=-1)
            entropy = -(p * p.log()).sum() * temperature**2 / (p.shape[0] * p.shape[1])
            found[f"out.g2sd_ce_form_T{temperature}"] = value + entropy
            for name in ("", "_g2sd"):
                found[f"grad.student_logits{name}_T{temperature}"] = student.grad
        return found
    for name, divisor in (("official", "teacher"), ("cirkd", "student")):
        (student,) = case.leaves("student_feat")
        teacher = case["teacher_feat"]
        stage = cwd_file.FeatureCWD(
            student.shape[1], teacher.shape[1], 1.0, float(case.options["temperature"]), "conv", divisor
        )
        case.load(stage)
        step = RecordedStep(view(tokens=as_tokens(student)), view(tokens=as_tokens(teacher)))
        value = stage.loss(step)["cwd"]
        value.backward()
        found |= {f"out.{name}": value, f"grad.student_feat_{name}": student.grad}
        found |= case.weight_gradients(stage, f"_{name}")
    return found


def dist(case: Case) -> Found:
    found = {}
    for beta, gamma in ((1, 1), (1, 0), (0, 1)):
        (student,) = case.leaves("student_logits")
        stage = dist_file.DIST(beta, gamma, float(case.options["temperature"]))
        value = sum(stage.loss(RecordedStep(view(logits=student), view(logits=case["teacher_logits"]))).values())
        value.backward()
        found[f"out.beta{beta}_gamma{gamma}"] = value
        found[f"grad.student_logits_beta{beta}_gamma{gamma}"] = student.grad
    return found


def qsd(case: Case) -> Found:
    (student,) = case.leaves("student_patch")
    teacher = case["teacher_patch"]
    head = gkd_file.QSD(student.shape[-1], teacher.shape[-1])
    case.load(head)
    out = head(student, teacher)
    loss = F.mse_loss(out, teacher)
    loss.backward()
    gradients = case.weight_gradients(head)
    return {"out.x": out, "out.mse": loss, "grad.student_patch": student.grad, **gradients}


def _masked_distillation(case: Case, stage: nn.Module, noise: Tensor) -> Found:
    cls, patch, masked = case.leaves("student_cls", "student_patch", "student_patch_masked")
    step = RecordedStep(
        view(tokens=patch, cls=cls),
        view(tokens=case["teacher_patch"], cls=case["teacher_cls"]),
        view(tokens=masked),
        batch=len(cls),
        noise=noise,
    )
    terms = stage.loss(step)
    total = sum(terms.values())
    total.backward()
    assert torch.equal(step.masks[0], case["rnd.masks"].bool())
    found = {f"out.{name}_loss": value for name, value in terms.items()}
    found |= {"out.loss": total, "grad.student_cls": cls.grad, "grad.student_patch": patch.grad}
    return found | {"grad.student_patch_masked": masked.grad} | case.weight_gradients(stage)


def gkd(case: Case) -> Found:
    widths = case["student_cls"].shape[1], case["teacher_cls"].shape[1]
    stage = gkd_file.Distillation(
        "proxy", side(widths[0]), side(widths[1]), target="qsd", masked=True, cls=True, cls_in_fea=True,
        scale=False, mask_ratio=case.options["mask_ratio"], weight=1.0,
    )  # fmt: skip
    case.load(stage)
    # gkd masks the positions at which argsort(noise) is low: the inverse of the ranks below
    ranks = (~case["rnd.masks"].bool()).float().argsort(dim=1, stable=True).argsort(dim=1)
    return _masked_distillation(case, stage, ranks.argsort(dim=1).float())


def proteus(case: Case) -> Found:
    models = pair(case["student_cls"].shape[1], case["teacher_cls"].shape[1])
    stage = proteus_file.TokenDistillation(models, case.options["mask_ratio"], 1.0)
    case.load(stage)
    return _masked_distillation(case, stage, (~case["rnd.masks"].bool()).float())  # the lowest noise is masked


def vitkd(case: Case) -> Found:
    def replay(alpha: float, beta: float) -> tuple[Tensor, Tensor, Tensor, nn.Module]:
        low, high = case.leaves("student_low", "student_high")
        tokens = high.shape[1]
        models = pair(high.shape[2], case["teacher_high"].shape[2])
        stage = vitkd_file.ViTKD(
            models.student.width, models.teacher.width, alpha, beta, case.options["lambda_mask"], None
        )
        case.load(stage)
        side_length = int(tokens**0.5)  # the original's grids are square
        step = RecordedStep(
            view(tokens=high, blocks=list(low.unbind(1)), grid=(side_length, tokens // side_length)),
            view(tokens=case["teacher_high"], blocks=list(case["teacher_low"].unbind(1))),
            batch=len(high),
            noise=case["rnd.noise"],
        )
        assert torch.equal(stage.draw_mask(step, tokens), case["rnd.mask_1_is_masked"].bool())
        total = sum(stage.loss(step).values())
        total.backward()
        return total, low.grad, high.grad, stage

    total, low, high, stage = replay(case.options["alpha"], case.options["beta"])
    return {
        "out.loss": total,
        "out.loss_lr_alpha1": replay(1.0, 0.0)[0],
        "out.loss_gen_beta1_incl_1_over_lambda": replay(0.0, 1.0)[0],
        "grad.student_low": low,
        "grad.student_high": high,
        **case.weight_gradients(stage),
    }


def tinymim(case: Case) -> Found:
    heads, eps = case.options["heads"], case.options["layernorm_eps"]
    inputs = {"student": leaf(case["student_block_in"]), "teacher": case["teacher_block_in"]}
    parts, weights = {}, {}
    for role, x in inputs.items():
        own = {name: leaf(value) for name, value in case.weights(f"w.{role}.").items()}
        normed = F.layer_norm(x, x.shape[-1:], own["norm1.weight"], own["norm1.bias"], eps)
        parts[role] = F.linear(normed, own["attn.qkv.weight"], own["attn.qkv.bias"]).chunk(3, dim=-1)
        weights[role] = own
    parts["teacher"] = tuple(part.detach() for part in parts["teacher"])
    tokens = inputs["student"].shape[1] - 1
    models = pair(inputs["student"].shape[2], inputs["teacher"].shape[2])
    stage = tinymim_file.RelationDistillation(models, heads, 1.0, 0.0, 1.0)
    step = RecordedStep(view(qkv=[parts["student"]], grid=(1, tokens)), view(qkv=[parts["teacher"]]))
    terms = stage.loss(step)
    sum(terms.values()).backward()
    found = {"out.qk_loss": terms["qk"], "out.vv_loss": terms["vv"], "grad.student_block_in": inputs["student"].grad}
    for role, (q, k, v) in parts.items():
        found[f"out.{role}_qk"] = tinymim_file.relation(q, k, heads).exp()
        found[f"out.{role}_vv"] = tinymim_file.relation(v, v, heads).exp()
    return found | {f"grad.w.student.{name}": value.grad for name, value in weights["student"].items()}


def g2sd(case: Case) -> Found:
    if case.options["part"] == "generic stage loss":
        (predicted,) = case.leaves("student_pred")
        loss = g2sd_file.restoration_loss(predicted, case["teacher_hidden"])
        loss.backward()
        return {"out.loss": loss, "grad.student_pred": predicted.grad}
    (latent,) = case.leaves("latent")
    options, target = case.options, case["teacher_hidden"]
    count = case["tokens"].shape[1]
    length = int(count**0.5)
    grid = (length, count // length)
    models = pair(latent.shape[2], target.shape[2], grid)
    stage = g2sd_file.Generic(models, options["mask_ratio"], options["decoder_depth"], 128, 1.0)
    stage.restoration = g2sd_file.Restoration(
        latent.shape[2], target.shape[2], options["decoder_dim"], options["decoder_depth"], options["decoder_heads"]
    )
    case.load(stage.restoration)
    step = RecordedStep(
        view(grid=grid),
        view(tokens=target[:, 1:], cls=target[:, 0]),
        kept=view(tokens=latent[:, 1:], cls=latent[:, 0], grid=grid),
        noise=case["rnd.noise"],
        batch=len(latent),
    )
    loss = stage.loss(step)["restore"]
    loss.backward()
    kept = step.keeps[0]
    restore = case["rnd.ids_restore"]
    hidden = stage.restoration.hidden(latent.detach(), restore, grid, True)
    table = g2sd_file.positions(grid, options["decoder_dim"])
    assert torch.allclose(table, case["const.decoder_pos_embed"], atol=1e-6)
    return {
        "out.kept_tokens": case["tokens"].gather(1, kept[..., None].expand(-1, -1, case["tokens"].shape[2])),
        "out.hidden": hidden,
        "out.pred": stage.restoration(latent.detach(), restore, grid, True),
        "out.loss": loss,
        "grad.latent": latent.grad,
        **case.weight_gradients(stage.restoration),
    }


def af_dcd(case: Case) -> Found:
    found: Found = {}
    teacher = case["teacher_feat"]
    grid = tuple(teacher.shape[2:])
    models = pair(case["student_feat"].shape[1], teacher.shape[1], grid)
    options = case.options
    for term in ("fd", "ctr"):
        (student,) = case.leaves("student_feat")
        stage = af_dcd_file.AfDCD(
            models, kd=0.0, fd=float(term == "fd"), ctr=float(term == "ctr"), mask_ratio=options["mask_ratio"],
            mask="random" if options["rand_mask"] else "centre", enhanced=options["enhance_projector"],
            distance="l1", temperature=options["tau"],
        )  # fmt: skip
        case.load(stage)
        logits = torch.zeros(len(student), 5, 4, 4)
        step = RecordedStep(
            view(tokens=as_tokens(student), grid=grid, logits=logits),
            view(tokens=as_tokens(teacher), logits=logits),
            noise=case["rnd.uniform"],
            batch=len(student),
        )
        assert torch.equal(stage.draw_kept(step, grid), case["rnd.mat_0_is_masked"].float())
        value = stage.loss(step)[term]
        value.backward()
        found |= {f"out.{term}": value, f"grad.student_feat_{term}": student.grad}
        found |= case.weight_gradients(stage, f"_{term}")
        found["out.projected"] = stage.project(student, stage.draw_kept(step, grid))
    return found


def cirkd(case: Case) -> Found:
    if case.options["part"].startswith("mini-batch"):
        (student,) = case.leaves("student_feat")
        loss = cirkd_file.batch_relations(
            as_tokens(student), as_tokens(case["teacher_feat"]), case.options["temperature"]
        )
        loss.backward()
        return {"out.loss": loss, "grad.student_feat": student.grad}
    found: Found = {}
    options, teacher = case.options, as_tokens(case["teacher_feat"])
    grid = tuple(case["teacher_feat"].shape[2:])
    models = pair(case["student_feat"].shape[1], teacher.shape[2], grid, classes=options["num_classes"])
    for number, term in enumerate(("pixel", "region")):
        (student,) = case.leaves("student_feat")
        stage = cirkd_file.CIRKD(
            models, kd=0.0, batch=0.0, pixel=1.0, region=1.0, temperature=options["contrast_temperature"],
            queue="as_released", feature="tokens", pixel_memory=options["pixel_memory_size"],
            region_memory=options["region_memory_size"],
        )  # fmt: skip
        case.load(stage)
        for memory in ("pixel", "region"):
            getattr(stage, f"{memory}_queue").copy_(case[f"state.{memory}_queue_before"])
            getattr(stage, f"{memory}_queue_ptr").copy_(case[f"state.{memory}_ptr_before"])
        stage.pixel_sample, stage.region_sample = options["pixel_contrast_size"], options["region_contrast_size"]
        drawn = [row[row >= 0] for row in case["rnd.enqueue_perms"]]
        drawn += [case["rnd.pixel_index"], case["rnd.region_index"]]
        stage.permute = lambda step, count, drawn=drawn: drawn.pop(0)
        logits = torch.zeros(len(student), 5, 4, 4)
        step = RecordedStep(
            view(tokens=as_tokens(student), grid=grid, logits=logits), view(tokens=teacher, logits=logits),
            labels=case["labels"], batch=len(student),
        )  # fmt: skip
        value = stage.loss(step)[term]
        value.backward()
        assert not drawn
        found |= {f"out.{term}_loss": value, f"grad.student_feat_{term}": student.grad}
        found |= case.weight_gradients(stage, f"_{term}")
        if number == 0:
            for memory in ("pixel", "region"):
                after = getattr(stage, f"{memory}_queue")
                assert (after - case[f"state.{memory}_queue_after"]).abs().max() < 1e-6
                assert torch.equal(getattr(stage, f"{memory}_queue_ptr"), case[f"state.{memory}_ptr_after"])
    return found
