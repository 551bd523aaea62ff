"""A run's student in the forms that people deploy: whole as safetensors, its encoder for timm, or as ONNX."""

import importlib.util
import json
import logging
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Literal

import torch
import torch.nn.functional as F
from safetensors.torch import save
from torch import Tensor, nn

from gkdbench.errors import UsageError
from gkdbench.models.segmentor import Segmentor
from gkdbench.runs.files import make_folder, remove_temporaries_of, write_atomically, write_json, written_beside
from gkdbench.runs.trained import TrainedModel

Format = Literal["safetensors", "timm", "onnx"]
OPSET = 18


class Deployed(nn.Module):
    """Images in, class scores at the images' size out: the whole of inference but the window."""

    def __init__(self, model: TrainedModel) -> None:
        super().__init__()
        segmentor = model.network
        if not isinstance(segmentor, Segmentor):
            task = model.spec.benchmark.task
            raise UsageError(
                f"--format onnx: {model.record.run_id} is a run of {task}; safetensors and timm have its weights"
            )
        self.segmentor, self.size = segmentor, model.size

    def forward(self, images: Tensor) -> Tensor:
        """Return scores [B, K, H, W] of images [B, 3, H, W] in [0, 1]; the largest is the prediction."""
        scores = self.segmentor.scores(images, None)
        if tuple(scores.shape[2:]) == tuple(self.size):
            return scores
        return F.interpolate(scores, size=self.size, mode="bilinear", align_corners=False)


def export_model(model: TrainedModel, form: Format, out: Path) -> list[Path]:
    """Write the model into a folder; return the files, the description last."""
    make_folder(out)
    made = {"safetensors": _safetensors, "timm": _timm, "onnx": _onnx}[form](model, out)
    description = out / "model.json"
    write_json(description, {**_description(model), "format": form, "files": [path.name for path in made]})
    for path in (*made, description):
        remove_temporaries_of(path)
    return [*made, description]


def _description(model: TrainedModel) -> dict[str, Any]:
    spec, encoder = model.spec, model.network.encoder
    return {
        "run_id": model.record.run_id,
        "method": spec.method.name,
        "benchmark": f"{spec.benchmark.name} v{spec.benchmark.version}",
        "classes": list(spec.benchmark.classes),
        "encoder": {"timm": encoder.entry.timm, "arguments": encoder.entry.arguments, "patch": encoder.patch},
        "decoder": spec.benchmark.decoder.model_dump(mode="json"),
        "input": {
            "size": list(model.size),
            "range": [0, 1],
            "normalised_inside": True,
            "mean": _plain(encoder.mean),
            "std": _plain(encoder.std),
        },
        "inference": spec.benchmark.inference.model_dump(mode="json"),
        "licence": encoder.entry.licence,
    }


def _plain(values: Tensor) -> list[float]:
    return [round(value, 6) for value in values.flatten().tolist()]  # float32 shows more digits than were meant


def _write(path: Path, content: bytes) -> Path:
    write_atomically(path, lambda stream: stream.write(content))
    return path


def _safetensors(model: TrainedModel, out: Path) -> list[Path]:
    tensors = {name: tensor.contiguous() for name, tensor in model.network.state_dict().items()}
    note = {"gkdbench": json.dumps(_description(model))}
    return [_write(out / "model.safetensors", save(tensors, metadata=note))]


def _timm(model: TrainedModel, out: Path) -> list[Path]:
    """Write the encoder alone under timm's names, at the size the run was judged at."""
    encoder = model.network.encoder
    tensors = {name: tensor.contiguous() for name, tensor in encoder.model.state_dict().items()}
    arguments = {**encoder.entry.arguments, "num_classes": 0}
    if encoder.is_transformer:
        arguments |= {"img_size": list(encoder.size or ()), "patch_size": encoder.patch}
    elif encoder.window is not None:
        arguments |= {"img_size": list(encoder.size or ()), "window_size": list(encoder.window)}
    note = {"timm": json.dumps({"model": encoder.entry.timm, "arguments": arguments})}
    weights = _write(out / "encoder.safetensors", save(tensors, metadata=note))
    usage = (
        "import timm\nfrom safetensors.torch import load_file\n\n"
        f"encoder = timm.create_model({encoder.entry.timm!r}, **{arguments!r})\n"
        "encoder.load_state_dict(load_file('encoder.safetensors'))\n"
        f"# images in [0, 1] are normalised with mean {_plain(encoder.mean)} and std {_plain(encoder.std)}\n"
    )
    return [weights, _write(out / "load.py", usage.encode())]


def _onnx(model: TrainedModel, out: Path) -> list[Path]:
    for package in ("onnx", "onnxscript"):
        if importlib.util.find_spec(package) is None:
            raise UsageError(f"--format onnx needs the package {package}: pip install 'gkdbench[onnx]'")
    path = out / "model.onnx"
    deployed = Deployed(model).eval()
    deployed.segmentor.use_plain_attention()
    image = torch.rand(2, 3, *model.size)  # a batch of one would be taken for a constant
    with _quiet("onnxscript"):  # which tells of every operation that it does not fold
        program = torch.onnx.export(
            deployed, (image,), dynamo=True, opset_version=OPSET, input_names=["images"],
            output_names=["scores"], dynamic_shapes={"images": {0: torch.export.Dim("batch")}}, verbose=False
        )  # fmt: skip
    assert program is not None
    with written_beside(path) as partial:
        program.save(str(partial), include_initializers=True, external_data=False)
    return [path]


@contextmanager
def _quiet(name: str) -> Iterator[None]:
    logger = logging.getLogger(name)
    before = logger.level
    logger.setLevel(logging.ERROR)
    try:
        yield
    finally:
        logger.setLevel(before)
