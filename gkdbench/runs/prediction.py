"""What a finished run's model predicts for every image of a split; its task says in which form."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import torch

from gkdbench.data.dataset import DataPlace
from gkdbench.errors import UsageError
from gkdbench.models.network import Network
from gkdbench.runs.files import remove_temporaries
from gkdbench.runs.stages import fit_for_judging
from gkdbench.runs.task import Asked, Predicted
from gkdbench.runs.tasks import room_of
from gkdbench.runs.trained import TrainedModel
from gkdbench.spec.benchmark import IN_DOMAIN
from gkdbench.spec.catalogue import BenchmarkSource
from gkdbench.spec.documents import check_name
from gkdbench.spec.inference import Inference
from gkdbench.spec.split import Split


def find_split(source: BenchmarkSource, target: str) -> Split:
    """Return a target of a benchmark, or its in-domain val split as `val`."""
    benchmark = source.benchmark
    splits = {IN_DOMAIN: benchmark.source.val, **benchmark.targets, **benchmark.hidden_targets}
    check_name(f"--target: benchmark {benchmark.name!r} has no target", target, splits)
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
) -> Predicted:
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
    asked = Asked(
        benchmark, split, source.folder, place, out, inference, device, precision, overlays=overlays, meter=meter
    )
    return room_of(benchmark).predict(network, asked)


def _fitted(model: TrainedModel, source: BenchmarkSource, inference: Inference) -> Network:
    """Return the network at the size that it sees images at; another benchmark may have another."""
    encoder = model.network.encoder
    if encoder.size != encoder.whole(inference.seen, encoder.patch):
        spec = replace(model.spec, source=source)
        fit_for_judging(model.network, spec, model.record.stages[-1].model, encoder.patch)
    return model.network
