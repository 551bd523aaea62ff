"""Label maps of a finished run for every image of a split: PNGs in the data's own ids, and overlays to look at."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image

from gkdbench.data.contact_sheet import overlaid
from gkdbench.data.dataset import DataPlace, open_split
from gkdbench.engine.inference import predict
from gkdbench.errors import UsageError
from gkdbench.run.files import make_folder, write_atomically
from gkdbench.run.trained import TrainedModel
from gkdbench.spec.benchmark import Benchmark, Split
from gkdbench.spec.catalogue import BenchmarkSource
from gkdbench.spec.documents import nearest

IN_DOMAIN = "val"


@dataclass(frozen=True)
class Predictions:
    """What was written."""

    labels: Path
    overlays: Path | None
    count: int
    ids: Mapping[str, int]
    """Id on disk of every class."""


def official_ids(benchmark: Benchmark) -> NDArray[np.uint16]:
    """Return the id that the benchmark's own labels use for each class; of several, the smallest."""
    ids = list(range(len(benchmark.classes)))
    for index in ids:
        known = [label for label, mapped in (benchmark.label_map or {}).items() if mapped == index]
        if benchmark.label_map and not known:
            raise UsageError(
                f"benchmark {benchmark.name!r}: no id of its label_map stands for class {benchmark.classes[index]!r}, "
                "so predictions cannot be written in the data's own ids"
            )
        ids[index] = min(known, default=index)
    return np.array(ids, np.uint16)


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
) -> Predictions:
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
    dataset = open_split(find_split(source, target), benchmark, source.folder, place, progress=meter)
    ids = official_ids(benchmark)
    small = int(ids.max()) <= 255
    palette = np.array(benchmark.palette, np.uint8)
    folder, drawn = out / "labels", out / "overlays"
    segmentor = model.segmentor.to(device)
    for number in range(len(dataset)):
        image = dataset.image(number)
        (found,) = predict(
            segmentor, [image], [(image.shape[0], image.shape[1])], benchmark.inference, device,
            model.spec.preset.task.precision
        )  # fmt: skip
        path = folder / f"{dataset.name(number)}.png"
        encoded = ids[found].astype(np.uint8 if small else np.uint16)
        _save(Image.fromarray(encoded), path)
        if number < overlays:
            picture = overlaid(Image.fromarray(image), found.astype(np.uint8), palette)
            _save(picture, drawn / f"{dataset.name(number)}.png")
        meter(number + 1, len(dataset))
    named = {name: int(value) for name, value in zip(benchmark.classes, ids, strict=True)}
    return Predictions(folder, drawn if overlays else None, len(dataset), named)


def _save(picture: Image.Image, path: Path) -> None:
    make_folder(path.parent)
    write_atomically(path, lambda stream: picture.save(stream, format="PNG"))
