"""Weights as they are released: nested, prefixed, in other names, in half precision; wrong files are named."""

import argparse
from pathlib import Path
from typing import Any

import pytest
import timm
import torch
from safetensors.torch import save_file
from torch import Tensor

from gkdbench.errors import DataError
from gkdbench.models.encoder import Encoder
from gkdbench.models.weight_files import download_weights, find_weights
from gkdbench.models.weights import LoadReport, encoder_tensors, load_encoder, read_tensors
from gkdbench.spec.catalogue import ModelSource, find_model, models
from gkdbench.spec.model import ModelEntry

SMALL = {"embed_dim": 24, "depth": 2, "num_heads": 2, "img_size": 28, "patch_size": 14}


def load(path: Path, timm_name: str, **weights: Any) -> tuple[Encoder, LoadReport]:
    entry = ModelEntry.model_validate(
        {"description": "-", "role": "local", "timm": timm_name, "licence": "-", "arguments": SMALL,
         "weights": {"files": [path.name], **weights}}
    )  # fmt: skip
    encoder = Encoder(entry)
    report = load_encoder(encoder, ModelSource("mine", entry, path.parent, explicit=path))
    assert report is not None
    return encoder, report


def official(timm_name: str, seed: int = 1, **arguments: Any) -> dict[str, Tensor]:
    """Tensors of a fresh model of timm, none of them constant."""
    torch.manual_seed(seed)
    model = timm.create_model(timm_name, pretrained=False, num_classes=0, **{**SMALL, **arguments})
    return {name: torch.rand_like(t) if t.is_floating_point() else t for name, t in model.state_dict().items()}


def equal(encoder: Encoder, tensors: dict[str, Tensor], tolerance: float = 0.0) -> bool:
    own = encoder.model.state_dict()
    return own.keys() == tensors.keys() and all(
        (own[name] - tensors[name].float()).abs().max() <= tolerance for name in own
    )


def other(tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    return {name: torch.zeros_like(tensor) for name, tensor in tensors.items()}


DINOV2 = "vit_small_patch14_dinov2"
WRAPPED = {
    "bare": lambda t: t,
    "model": lambda t: {"model": t, "epoch": 3, "args": argparse.Namespace(lr=1e-3)},
    "module": lambda t: {"module": t, "global_step": torch.tensor(3), "loss_scale": torch.tensor(1.0)},
    "module twice": lambda t: {"module": {f"module.{k}": v for k, v in t.items()}},
    "module in model in state_dict": lambda t: {"state_dict": {"model": {"module": t}, "epoch": 3}},
    "state_dict beside model beside module": lambda t: {"module": other(t), "model": other(t), "state_dict": t},
    "model beside module": lambda t: {"module": other(t), "model": t},
    "module beside teacher": lambda t: {"teacher": other(t), "module": t},
    "an empty model beside module": lambda t: {"model": {"name": "eva"}, "module": t},
    "state_dict, module.": lambda t: {"state_dict": {f"module.{k}": v for k, v in t.items()}},
    # DINO keeps both and evaluates its teacher
    "DINO": lambda t: {
        "student": {f"module.backbone.{k}": torch.zeros_like(v) for k, v in t.items()},
        "teacher": {**{f"backbone.{k}": v for k, v in t.items()}, "head.mlp.0.weight": torch.zeros(2, 2)},
    },
    # GKD keeps student, teacher and heads in one model
    "GKD": lambda t: {
        "model": {
            **{f"student.backbone.{k}": v for k, v in t.items()},
            **{f"teacher.backbone.{k}": torch.zeros_like(v) for k, v in t.items()},
            "fea_head.proj_q.1.weight": torch.zeros(2, 2),
        },
        "epoch": 299,
    },
    "mmseg": lambda t: {
        "meta": {"iter": 40000},
        "state_dict": {**{f"backbone.{k}": v for k, v in t.items()}, "decode_head.conv_seg.weight": torch.zeros(2, 2)},
    },
}


@pytest.mark.parametrize("wrapping", WRAPPED)
def test_the_encoder_is_found_in_what_is_around_it(tmp_path: Path, wrapping: str) -> None:
    tensors = official(DINOV2)
    torch.save(WRAPPED[wrapping](tensors), tmp_path / "w.pth")
    encoder, report = load(tmp_path / "w.pth", DINOV2)
    assert equal(encoder, tensors) and report.percent == 100 and not report.missing
    teacher = {"teacher": len(tensors)}
    aside = {"GKD": {"fea_head": 1, **teacher}, "mmseg": {"decode_head": 1}, "DINO": {"head": 1}}
    assert report.aside == aside.get(wrapping, {})


def test_names_of_mmseg_are_timms(tmp_path: Path) -> None:
    """The names of its VisionTransformer, as its documentation and configurations use them."""
    name = "vit_tiny_patch16_224"
    wanted = official(name)
    rules = (
        ("patch_embed.proj.", "patch_embed.projection."), ("blocks.", "layers."), (".norm1.", ".ln1."),
        (".norm2.", ".ln2."), ("attn.qkv.", "attn.attn.in_proj_"), ("attn.proj.", "attn.attn.out_proj."),
        ("mlp.fc1.", "ffn.layers.0.0."), ("mlp.fc2.", "ffn.layers.1."),
    )  # fmt: skip
    written = {}
    for key, tensor in wanted.items():
        for ours, theirs in rules:
            key = key.replace(ours, theirs)
        written["backbone." + (f"ln1.{key[5:]}" if key.startswith("norm.") else key)] = tensor
    assert "backbone.layers.0.attn.attn.in_proj_weight" in written and "backbone.ln1.bias" in written
    torch.save({"state_dict": {**written, "decode_head.conv_seg.bias": torch.zeros(2)}}, tmp_path / "w.pth")
    encoder, report = load(tmp_path / "w.pth", name)
    assert equal(encoder, wanted) and report.percent == 100 and report.names.startswith("mmseg")


def test_half_precision_becomes_float32(tmp_path: Path) -> None:
    tensors = official(DINOV2)
    for dtype, tolerance in ((torch.float16, 1e-3), (torch.bfloat16, 8e-3)):
        save_file({name: t.to(dtype) for name, t in tensors.items()}, tmp_path / "w.safetensors")
        encoder, _ = load(tmp_path / "w.safetensors", DINOV2)
        assert equal(encoder, tensors, tolerance)
        assert all(p.dtype == torch.float32 for p in encoder.parameters())


def test_official_dinov2_with_registers_and_its_mask_token(tmp_path: Path) -> None:
    name = "vit_small_patch14_reg4_dinov2"
    wanted = official(name)
    released = {key: t for key, t in wanted.items() if key not in ("reg_token", "cls_token", "pos_embed")}
    cls_place = torch.rand(1, 1, 24)
    released |= {
        "register_tokens": wanted["reg_token"],
        "cls_token": wanted["cls_token"] - cls_place,
        "pos_embed": torch.cat([cls_place, wanted["pos_embed"]], dim=1),
        "mask_token": torch.full((1, 24), 0.25),
    }
    torch.save(released, tmp_path / "dinov2_vits14_reg4_pretrain.pth")
    encoder, report = load(tmp_path / "dinov2_vits14_reg4_pretrain.pth", name)
    assert equal(encoder, wanted, 1e-6) and report.names == "timm, official release"
    assert encoder.mask_token is not None and (encoder.mask_token == 0.25).all()


def test_distilled_deit_without_its_token(tmp_path: Path) -> None:
    arguments = {"img_size": 28}
    distilled = official("deit_small_distilled_patch16_224", **arguments)
    released = {**distilled, "head.weight": torch.rand(5, 24), "head.bias": torch.rand(5),
                "head_dist.weight": torch.rand(5, 24), "head_dist.bias": torch.rand(5)}  # fmt: skip
    torch.save({"model": released}, tmp_path / "deit.pth")
    encoder, _ = load(tmp_path / "deit.pth", "deit_small_patch16_224", drops_distillation_token=True)
    table = distilled["pos_embed"]
    assert torch.equal(encoder.model.pos_embed, torch.cat([table[:, :1], table[:, 2:]], dim=1))
    assert torch.equal(encoder.model.blocks[1].mlp.fc2.weight, distilled["blocks.1.mlp.fc2.weight"])
    # and the architecture with the token takes the file as it is
    whole, _ = load(tmp_path / "deit.pth", "deit_small_distilled_patch16_224")
    assert equal(whole, distilled) and whole.prefix == 2


def test_dino_without_layer_scale_keeps_that_of_the_study(tmp_path: Path) -> None:
    plain = official("vit_small_patch16_224")
    torch.save({f"backbone.{k}": v for k, v in plain.items()}, tmp_path / "dino.pth")
    entry = ModelEntry.model_validate(
        {"description": "-", "role": "local", "timm": "vit_small_patch16_224", "licence": "-",
         "arguments": {**SMALL, "init_values": 1.0},
         "weights": {"files": ["dino.pth"], "may_be_missing": ["blocks.*.ls?.gamma"]}}
    )  # fmt: skip
    encoder = Encoder(entry)
    report = load_encoder(encoder, ModelSource("dino", entry, tmp_path, explicit=tmp_path / "dino.pth"))
    assert report is not None and len(report.missing) == 4 and report.percent < 100
    assert all((block.ls1.gamma == 1).all() for block in encoder.model.blocks)


@pytest.mark.parametrize("nest", ["state_dict", "model", "module", ""])
def test_eva02_as_released(tmp_path: Path, nest: str) -> None:
    arguments = {**SMALL, "global_pool": "token"}
    torch.manual_seed(0)
    for name in ("eva02_tiny_patch14_224", "eva02_base_patch14_224"):
        model = timm.create_model(name, pretrained=False, num_classes=0, **arguments)
        wanted = {key: torch.rand_like(t) for key, t in model.state_dict().items()}
        released = {**wanted, "mask_token": torch.zeros(1, 1, 24), "rope.freqs_cos": torch.rand(4, 8),
                    "lm_head.weight": torch.rand(3, 24), "lm_head.bias": torch.rand(3)}  # fmt: skip
        released = {key.replace("fc1_g", "w1").replace("fc1_x", "w2"): t for key, t in released.items()}
        released = {key.replace("mlp.fc2", "mlp.w3"): t for key, t in released.items()}
        torch.save({nest: released} if nest else released, tmp_path / "eva.pt")
        entry = ModelEntry.model_validate(
            {"description": "-", "role": "foundation", "timm": name, "licence": "-", "arguments": arguments,
             "weights": {"files": ["eva.pt"]}}
        )  # fmt: skip
        encoder = Encoder(entry)
        report = load_encoder(encoder, ModelSource("eva", entry, tmp_path, explicit=tmp_path / "eva.pt"))
        assert report is not None and report.percent == 100
        assert torch.equal(encoder.model.norm.weight, wanted["norm.weight"])


@pytest.mark.parametrize("kind", ["Dinov2", "Dinov2WithRegisters", "ViT"])
def test_models_of_transformers_give_the_same_features(tmp_path: Path, kind: str) -> None:
    import transformers

    torch.manual_seed(0)
    common = {"hidden_size": 24, "num_hidden_layers": 2, "num_attention_heads": 2, "image_size": 28, "patch_size": 14}
    extra = {"intermediate_size": 96, "layer_norm_eps": 1e-6} if kind == "ViT" else {}
    config = getattr(transformers, f"{kind}Config")(**common, **extra)
    model = getattr(transformers, f"{kind}Model")(config).eval()
    for parameter in model.parameters():
        torch.nn.init.normal_(parameter, std=0.3)
    model.save_pretrained(tmp_path)
    name = {"Dinov2": DINOV2, "Dinov2WithRegisters": "vit_small_patch14_reg4_dinov2", "ViT": "vit_small_patch16_224"}
    encoder, report = load(tmp_path / "model.safetensors", name[kind])
    assert report.names.startswith("transformers") and report.percent == 100
    encoder.resize((28, 28))
    images = torch.rand(2, 3, 28, 28)
    with torch.no_grad():
        hidden = model((images - encoder.mean) / encoder.std).last_hidden_state
        found = encoder.eval()(images)
    assert torch.allclose(found.tokens, hidden[:, encoder.prefix :], atol=1e-4)
    assert found.cls is not None and torch.allclose(found.cls, hidden[:, 0], atol=1e-4)
    if kind != "ViT":
        assert torch.equal(encoder.mask_token, model.embeddings.mask_token.reshape(-1))
    classifier = getattr(transformers, f"{kind}ForImageClassification")(config)
    classifier.save_pretrained(tmp_path / "classifier")
    _, report = load(tmp_path / "classifier" / "model.safetensors", name[kind])
    assert report.percent == 100


def test_weights_of_another_size_are_refused_with_both_shapes(tmp_path: Path) -> None:
    torch.save(official(DINOV2, img_size=70), tmp_path / "w.pth")
    with pytest.raises(DataError, match=r"'pos_embed' has shape \(1, 26, 24\), the model needs \(1, 5, 24\): w"):
        load(tmp_path / "w.pth", DINOV2)
    torch.save(official(DINOV2, img_size=32, patch_size=16), tmp_path / "w.pth")
    with pytest.raises(DataError, match=r"'patch_embed.proj.weight' has shape \(24, 3, 16, 16\), the model needs"):
        load(tmp_path / "w.pth", DINOV2)
    torch.save(official(DINOV2, embed_dim=48), tmp_path / "w.pth")
    with pytest.raises(DataError, match=r"has shape .*48.*, the model needs"):
        load(tmp_path / "w.pth", DINOV2)


def test_the_weights_of_another_model_are_refused(tmp_path: Path) -> None:
    torch.save(timm.create_model("test_resnet", pretrained=False).state_dict(), tmp_path / "w.pth")
    with pytest.raises(DataError, match=r"does not fit the model: 0 tensors matched, 3\d missing, \d+ unexp"):
        load(tmp_path / "w.pth", DINOV2)


class _Canary:
    """Unpickling it would write a file."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> Any:
        return (Path.touch, (self.path,))


def test_code_in_a_pickle_never_runs(tmp_path: Path) -> None:
    canary = tmp_path / "sang"
    torch.save({"model": official(DINOV2), "extra": _Canary(canary)}, tmp_path / "w.pth")
    with pytest.raises(DataError, match=r"w\.pth: holds more than plain tensors and is not loaded"):
        read_tensors(tmp_path / "w.pth")
    assert not canary.exists()


@pytest.mark.parametrize("suffix", [".pth", ".pt", ".bin", ".safetensors"])
def test_what_is_no_weight_file_is_named(tmp_path: Path, suffix: str) -> None:
    path = tmp_path / f"w{suffix}"
    for content, says in (
        (b"<!DOCTYPE html>\n<html><body>Not found</body></html>", "a web page"),
        (b"version https://git-lfs.github.com/spec/v1\noid sha256:1", "a Git LFS pointer"),
    ):
        path.write_bytes(content)
        with pytest.raises(DataError, match=f"cannot be read as weights .*{says}"):
            read_tensors(path)
    whole = tmp_path / f"whole{suffix}"
    tensors = official(DINOV2)
    save_file(tensors, whole) if suffix == ".safetensors" else torch.save(tensors, whole)
    path.write_bytes(whole.read_bytes()[: whole.stat().st_size // 2])
    with pytest.raises(DataError, match=r"cannot be read as weights .*is the file complete\?"):
        read_tensors(path)


def test_a_file_without_tensors_is_named(tmp_path: Path) -> None:
    torch.save({"epoch": 3, "lr": 0.1}, tmp_path / "w.pth")
    with pytest.raises(DataError, match=r"holds no tensors \(keys: epoch, lr\)"):
        read_tensors(tmp_path / "w.pth")
    torch.save([1, 2], tmp_path / "w.pth")
    with pytest.raises(DataError, match="holds a list, not a mapping of tensors"):
        read_tensors(tmp_path / "w.pth")


def test_an_encoder_called_encoder_is_unwrapped_and_a_part_is_not(tmp_path: Path) -> None:
    wrapped = {"encoder.patch_embed.proj.weight": torch.zeros(2), "decoder.x": torch.zeros(1)}
    save_file(wrapped, tmp_path / "a.safetensors")
    tensors, aside = encoder_tensors(tmp_path / "a.safetensors")
    assert list(tensors) == ["patch_embed.proj.weight"] and aside == {"decoder": 1}
    save_file({"embeddings.cls_token": torch.zeros(2), "encoder.layer.0.x": torch.zeros(1)}, tmp_path / "b.safetensors")
    tensors, aside = encoder_tensors(tmp_path / "b.safetensors")
    assert len(tensors) == 2 and not aside


def test_places_are_searched_in_order_and_nothing_is_downloaded_unasked(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TORCH_HOME", str(tmp_path / "torch"))
    monkeypatch.setenv("HF_HUB_CACHE", str(tmp_path / "hf"))
    monkeypatch.delenv("GKDBENCH_WEIGHTS", raising=False)
    source = find_model("timm/vit_small_patch14_dinov2.lvd142m")
    with pytest.raises(DataError, match=r"not found; looked for: .*the hub's cache of timm/vit_small.*--download gets"):
        find_weights(source)
    name = "vit_small_patch14_dinov2.lvd142m.safetensors"
    cache = tmp_path / "torch" / "hub" / "checkpoints" / name
    mine = tmp_path / "weights" / name
    for path in (cache, mine):
        path.parent.mkdir(parents=True)
        path.write_bytes(b"x")
    assert find_weights(source) == cache
    monkeypatch.setenv("GKDBENCH_WEIGHTS", str(mine.parent))
    assert find_weights(source) == mine

    asked: list[tuple[str, str]] = []

    def fake(repository: str, file: str) -> str:
        asked.append((repository, file))
        return str(cache)

    monkeypatch.setattr("huggingface_hub.hf_hub_download", fake)
    assert download_weights(source) == mine and not asked  # it is here already
    mine.unlink()
    cache.unlink()
    assert download_weights(source) == cache
    assert asked == [("timm/vit_small_patch14_dinov2.lvd142m", "model.safetensors")]

    def offline(repository: str, file: str) -> str:
        raise OSError("no route to host\nmore")

    monkeypatch.setattr("huggingface_hub.hf_hub_download", offline)
    with pytest.raises(DataError, match=r"downloading timm/vit_small_patch14_dinov2.lvd142m: no route to host$"):
        download_weights(source)


def test_the_first_digits_of_a_digest_are_checked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GKDBENCH_WEIGHTS", str(tmp_path))
    (tmp_path / "deit_small_distilled_patch16_224-649709d9.pth").write_bytes(b"half a download")
    with pytest.raises(DataError, match=r"not the weights of model 'deit-s' or damaged \(15 bytes, sha256"):
        find_weights(find_model("deit-s"))


@pytest.mark.parametrize("source", [s for s in models() if s.entry.resampling or s.entry.role == "local"],
                         ids=lambda s: s.name)  # fmt: skip
def test_every_entry_builds_at_the_sizes_of_the_study(source: ModelSource) -> None:
    with torch.device("meta"):
        encoder = Encoder(source.entry)
        encoder.resize((512, 512))
    assert encoder.grid == ((512 // source.entry.patch, 512 // source.entry.patch) if source.entry.patch else (16, 16))
    assert encoder.has_cls and encoder.has_qkv and encoder.can_drop
