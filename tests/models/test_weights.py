"""Weights: verified, loaded whole or refused with one line; nothing foreign is unpickled."""

import pickle

import pytest
import torch
from safetensors.torch import save_file
from torch import nn

from gkdbench.errors import DataError
from gkdbench.identity.digest import file_sha256
from gkdbench.models.decoders.on_grid import LinearDecoder
from gkdbench.models.encoder import Encoder
from gkdbench.models.weight_files import find_weights, weights_digest
from gkdbench.models.weights import load_encoder, load_tensors, parts, read_into, read_tensors
from gkdbench.spec.catalogue import ModelSource, find_model, models
from gkdbench.spec.model import ModelEntry


@pytest.mark.parametrize("name", ["streets-teacher", "streets-foundation", "streets-local"])
def test_shipped_encoders_are_complete_and_as_declared(name):
    source = find_model(name)
    path = find_weights(source)
    assert source.entry.weights.sha256 == {path.name: file_sha256(path)}
    encoder = Encoder(source.entry)
    assert load_encoder(encoder, source).percent == 100
    encoder.resize((64, 128))
    assert encoder.grid == (8, 16) and encoder.has_cls and encoder.can_mask
    assert torch.isfinite(encoder(torch.rand(1, 3, 64, 128)).tokens).all()


def test_every_packaged_model_of_the_catalogue_is_found():
    packaged = [source for source in models() if source.entry.weights and source.entry.weights.packaged]
    assert len(packaged) >= 3
    for source in packaged:
        assert len(weights_digest(source)) == 64


def source_of(tmp_path, **weights) -> ModelSource:
    entry = ModelEntry(
        description="-", role="local", timm="test_vit", licence="-", weights={"packaged": "w.safetensors", **weights}
    )
    return ModelSource("mine", entry, tmp_path)


def test_absent_weights_say_where_they_were_looked_for(tmp_path):
    with pytest.raises(DataError, match=r"weights of model 'mine' not found; looked for: .*w\.safetensors"):
        find_weights(source_of(tmp_path))


def test_a_changed_file_is_refused(tmp_path):
    save_file({"a": torch.zeros(3)}, tmp_path / "w.safetensors")
    with pytest.raises(DataError, match="not the weights of model 'mine' or damaged"):
        find_weights(source_of(tmp_path, sha256={"w.safetensors": "0" * 64}))


@pytest.mark.parametrize("content", [b"", b"<!doctype html><html>", b"\x08\x00\x00\x00\x00\x00\x00\x00garbage!"])
def test_a_file_that_is_no_safetensors_is_one_line(tmp_path, content):
    path = tmp_path / "w.safetensors"
    path.write_bytes(content)
    with pytest.raises(DataError, match=r"w\.safetensors: cannot be read as weights"):
        read_tensors(path)


def test_pickles_of_foreign_objects_are_not_loaded(tmp_path):
    class Evil:
        def __reduce__(self):
            return (print, ("ran foreign code",))

    path = tmp_path / "w.pth"
    torch.save({"x": Evil()}, path)
    with pytest.raises(DataError, match=r"w\.pth: (holds more than plain tensors|cannot be read)"):
        read_tensors(path)
    path.write_bytes(pickle.dumps([1, 2]))
    with pytest.raises(DataError):
        read_tensors(path)


def test_coverage_must_be_full():
    linear = nn.Linear(2, 3)
    good = {name: torch.ones_like(value) for name, value in linear.state_dict().items()}
    assert load_tensors(linear, good, origin="f").percent == 100
    assert (linear.weight == 1).all()
    with pytest.raises(DataError, match=r"f: .*1 tensors matched, 1 missing, 0 unexpected \(50 %; missing 'bias'\)"):
        load_tensors(linear, {"weight": good["weight"]}, origin="f")
    with pytest.raises(DataError, match="unexpected 'head'"):
        load_tensors(linear, {**good, "head": torch.zeros(1)}, origin="f")
    load_tensors(linear, {**good, "head": torch.zeros(1)}, origin="f", may_be_unused=["head"])
    with pytest.raises(DataError, match=r"tensor 'bias' has shape \(4,\), the model needs \(3,\)"):
        load_tensors(linear, {**good, "bias": torch.zeros(4)}, origin="f")


@pytest.mark.parametrize(
    ("value", "message"),
    [
        (torch.tensor([1.0, float("nan")]), "tensor 'weight' has NaN: the file is damaged"),
        (torch.tensor([1.0, float("-inf")], dtype=torch.float16), "tensor 'weight' has Inf: the file is damaged"),
        (torch.tensor([1.0, 1e300], dtype=torch.float64), "tensor 'weight' has Inf: the file is damaged"),
        (torch.tensor([1, 2], dtype=torch.int8), "tensor 'weight' holds int8 where the model has floats; quantised"),
        (torch.tensor([True, False]), "tensor 'weight' holds bool where the model has floats; quantised"),
    ],
)
def test_weights_that_are_no_finite_floats_are_refused(tmp_path, value, message):
    path = tmp_path / "w.safetensors"
    save_file({"weight": value, "bias": torch.zeros(2)}, path)
    with pytest.raises(DataError) as raised:
        read_into(nn.LayerNorm(2), path)
    assert str(raised.value).startswith(f"{path}: {message}")


def test_counters_may_be_integers_and_what_the_model_lacks_is_not_looked_at():
    norm = nn.BatchNorm1d(2)
    tensors = {**nn.BatchNorm1d(2).state_dict(), "head.weight": torch.tensor([float("nan")])}
    tensors["num_batches_tracked"] += 7
    report = load_tensors(norm, tensors, origin="w", may_be_unused=["head."])
    assert report.percent == 100 and int(norm.num_batches_tracked) == 7


def test_a_large_file_is_copied_part_by_part(tmp_path, monkeypatch):
    entry = ModelEntry(description="-", role="local", timm="test_vit", licence="-", weights=None)
    torch.manual_seed(1)
    written = Encoder(entry).model.state_dict()
    for name in ("w.safetensors", "w.pth"):
        path = tmp_path / name
        (save_file if name.endswith("safetensors") else torch.save)(written, path)
        monkeypatch.setattr("gkdbench.models.weights.PART_BYTES", path.stat().st_size // 5)
        assert parts(path) == 5
        torch.manual_seed(2)
        encoder = Encoder(entry)
        report = load_encoder(encoder, ModelSource("mine", entry, tmp_path, explicit=path))
        assert report.matched == len(written) and report.percent == 100
        assert all(torch.equal(tensor, written[key]) for key, tensor in encoder.model.state_dict().items())


def test_an_architecture_of_another_number_of_tensors_is_named(tmp_path):
    source = source_of(tmp_path, tensors=7)
    encoder = Encoder(source.entry)
    save_file(encoder.model.state_dict(), tmp_path / "w.safetensors")
    with pytest.raises(DataError, match=r"'test_vit' should have 7 tensors \(weights.tensors\), and timm .* builds 78"):
        load_encoder(encoder, source)


def test_a_head_of_other_classes_is_refused_with_both_shapes(tmp_path):
    save_file(LinearDecoder([8], 19).state_dict(), tmp_path / "head.safetensors")
    with pytest.raises(DataError, match=r"has shape \(19,.*\), the model needs \(5,.*\)"):
        read_into(LinearDecoder([8], 5), tmp_path / "head.safetensors")
