"""What a finished run's model predicts for every image of a split: PNGs in the data's own ids, and overlays to look at.

Of a detector it is boxes; see gkdbench.detection.prediction.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image

from gkdbench.data.checking.contact_sheet import overlaid
from gkdbench.data.dataset import DataPlace, open_split
from gkdbench.detection.detector import Detector
from gkdbench.detection.prediction import Conditions, FoundFiles, open_for_finding, write_found
from gkdbench.engine.inference import predict
from gkdbench.errors import UsageError
from gkdbench.models.network import Network
from gkdbench.models.segmentor import Segmentor
from gkdbench.run.files import make_folder, remove_temporaries, write_atomically
from gkdbench.run.stages import fit_for_judging
from gkdbench.run.trained import TrainedModel
from gkdbench.spec.benchmark import IN_DOMAIN, Benchmark
from gkdbench.spec.catalogue import BenchmarkSource
from gkdbench.spec.dataset import Labels
from gkdbench.spec.documents import nearest
from gkdbench.spec.inference import Inference
from gkdbench.spec.split import Split


@dataclass(frozen=True)
class Predictions:
    """What was written."""

    labels: Path
    overlays: Path | None
    count: int
    ids: Mapping[str, int | tuple[int, int, int]]
    """Id, or colour, of every class in the files."""


def official_ids(benchmark: Benchmark, labels: Labels | None = None) -> NDArray[np.uint16]:
    """Return the id that a dataset's labels use for each class, or else the benchmark's; of several, the smallest."""
    indices = range(len(benchmark.classes))
    pairs = benchmark.label_map or {}
    if labels is not None:
        pairs = {
            value: benchmark.classes.index(name)
            for name, value in labels.values()
            if isinstance(value, int) and name in benchmark.classes
        }
    ids = list(indices)
    for index in ids:
        known = [label for label, mapped in pairs.items() if mapped == index]
        if pairs and not known:
            raise UsageError(
                f"benchmark {benchmark.name!r}: no id of its label_map stands for class {benchmark.classes[index]!r}, "
                "so predictions cannot be written in the data's own ids"
            )
        ids[index] = min(known, default=index)
    return np.array(ids, np.uint16)


def official_encoding(benchmark: Benchmark, labels: Labels | None) -> NDArray[np.uint8] | NDArray[np.uint16]:
    """Return what stands for each class in label files: ids [K], or the first colour of each [K, 3]."""
    if labels is None or labels.kind != "colours":
        ids = official_ids(benchmark, labels)
        return ids.astype(np.uint8) if int(ids.max()) <= 255 else ids
    missing = next((name for name in benchmark.classes if name not in labels.classes), None)
    if missing is not None:
        raise UsageError(f"benchmark {benchmark.name!r}: the target's labels have no colour for class {missing!r}")
    return np.array([labels.classes[name][0] for name in benchmark.classes], np.uint8)


def find_split(source: BenchmarkSource, target: str) -> Split:
    """Return a target of a benchmark, or its in-domain val split as `val`."""
    benchmark = source.benchmark
    splits = {IN_DOMAIN: benchmark.source.val, **benchmark.targets, **benchmark.hidden_targets}
    if target not in splits:
        raise UsageError(
            f"--target: benchmark {benchmark.name!r} has no target {target!r}{nearest(target, splits)} (known: "
            f"{', '.join(splits)})"
        )
    return splits[target]


def write_predictions(
    model: TrainedModel,
    source: BenchmarkSource,
    target: str,
    out: Path,
    *,
    place: DataPlace,
    device: torch.device,
    overlays: int,
    meter: Callable[[int, int], None],
) -> Predictions | FoundFiles:
    """Predict every image of a split at its own size; `overlays` is how many are also drawn over their images.

    Raises UsageError where the benchmark's classes are not those the model was trained on.
    """
    benchmark = source.benchmark
    trained = model.spec.benchmark
    if benchmark.classes != trained.classes:
        raise UsageError(
            f"--benchmark {benchmark.name}: its {len(benchmark.classes)} classes are not the {len(trained.classes)} "
            f"that {model.record.run_id} learnt ({', '.join(trained.classes[:4])}, ...)"
        )
    split = find_split(source, target)
    for written in (out / "labels", out / "overlays"):
        remove_temporaries(written)
    inference = benchmark.inference_for(target)
    network = _fitted(model, source, inference).to(device)
    if device.type == "cpu":
        network.use_plain_attention()  # as runs are judged: another kernel rounds otherwise
    precision = model.spec.preset.task.precision
    if isinstance(network, Detector):
        boxed, why_not = open_for_finding(split, benchmark, source.folder, place, meter)
        conditions = Conditions(inference, device, precision)
        return write_found(
            network, boxed, benchmark, out, conditions, overlays=overlays, without_truth=why_not, meter=meter
        )
    assert isinstance(network, Segmentor)
    dataset = open_split(split, benchmark, source.folder, place, labelled=False, progress=meter)
    encoding = official_encoding(benchmark, split.held(source.folder))
    palette = np.array(benchmark.palette, np.uint8)
    folder, drawn = out / "labels", out / "overlays"
    for number in range(len(dataset)):
        image = dataset.image(number)
        (found,) = predict(
            network, [image], [(image.shape[0], image.shape[1])], inference, device, precision
        )  # fmt: skip
        path = folder / f"{dataset.name(number)}.png"
        _save(Image.fromarray(encoding[found]), path)
        if number < overlays:
            picture = overlaid(Image.fromarray(image), found, palette)
            _save(picture, drawn / f"{dataset.name(number)}.png")
        meter(number + 1, len(dataset))
    values = [tuple(value) if isinstance(value, list) else value for value in encoding.tolist()]
    named = dict(zip(benchmark.classes, values, strict=True))
    return Predictions(folder, drawn if overlays else None, len(dataset), named)


def _fitted(model: TrainedModel, source: BenchmarkSource, inference: Inference) -> Network:
    """Return the network at the size that it sees images at; another benchmark may have another."""
    encoder = model.network.encoder
    if encoder.size != encoder.whole(inference.seen, encoder.patch):
        spec = replace(model.spec, source=source)
        fit_for_judging(model.network, spec, model.record.stages[-1].model, encoder.patch)
    return model.network


def _save(picture: Image.Image, path: Path) -> None:
    make_folder(path.parent)
    write_atomically(path, lambda stream: picture.save(stream, format="PNG"))
