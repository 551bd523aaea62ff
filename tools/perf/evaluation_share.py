"""What evaluation costs besides the model and decoding: ViT-S/16 + linear on Cityscapes-sized PNGs, three windows each.

`python tools/perf/evaluation_share.py [--images 4] [--height 1024]`. One thread; CPU time. Prints milliseconds an image
and the share of what is neither the model's passes nor decoding: resizing, averaging windows, bringing scores to the
label's size, the best class of every pixel, counting.
"""

import argparse
import io
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image

from gkdbench.data.dataset import DataPlace, Dataset, Wrapped, open_split
from gkdbench.engine.evaluation import judge
from gkdbench.engine.interruption import StopFlag
from gkdbench.models.encoder import Encoder
from gkdbench.models.segmentor import Segmentor
from gkdbench.spec.catalogue import find_benchmark
from gkdbench.spec.decoder import GridDecoder
from gkdbench.spec.model import ModelEntry


def _png(array: np.ndarray[Any, Any]) -> bytes:
    stream = io.BytesIO()
    Image.fromarray(array).save(stream, format="PNG")
    return stream.getvalue()


def write(root: Path, count: int, height: int) -> None:
    """Write images of smooth colours with noise, and labels in rectangles, as Cityscapes lays them out."""
    rng, width = np.random.default_rng(0), 2 * height
    for number in range(count):
        coarse = Image.fromarray(rng.integers(0, 256, (16, 32, 3), dtype=np.uint8)).resize((width, height))
        image = np.clip(np.asarray(coarse, np.int16) + rng.integers(-6, 7, (height, width, 1)), 0, 255).astype(np.uint8)
        label = np.kron(rng.integers(7, 29, (8, 16)), np.ones((height // 8, width // 16))).astype(np.uint8)
        for name, content in (
            (f"leftImg8bit/val/x/x_{number}_leftImg8bit.png", image),
            (f"gtFine/val/x/x_{number}_gtFine_labelIds.png", label),
        ):
            path = root / "cityscapes" / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(_png(content))


class Timed:
    """Adds up the seconds of a function's calls."""

    def __init__(self, call: Callable[..., Any]) -> None:
        self.call, self.seconds = call, 0.0

    def __call__(self, *arguments: Any) -> Any:
        """Call the function."""
        began = time.process_time()
        found = self.call(*arguments)
        self.seconds += time.process_time() - began
        return found


class TimedDataset(Wrapped):
    """A dataset whose decoding is timed."""

    def __init__(self, base: Dataset) -> None:
        super().__init__(base)
        image, labels = Timed(base.image), Timed(base.labels)
        vars(self).update(image=image, labels=labels, timers=[image, labels])


def measure(root: Path) -> None:
    """Judge the images and print where the time goes."""
    torch.set_num_threads(1)
    source = find_benchmark("gtav")
    dataset = TimedDataset(
        open_split(source.benchmark.targets["citys"], source.benchmark, source.folder, DataPlace(root))
    )
    entry = ModelEntry(description="-", role="local", timm="vit_small_patch16_224", weights=None, licence="-")
    encoder = Encoder(entry)
    encoder.resize((512, 512))
    segmentor = Segmentor(encoder, GridDecoder(name="linear"), 19)
    segmentor.add_head(0)
    segmentor.scores = Timed(segmentor.scores)  # type: ignore[assignment]
    began = time.process_time()
    judge(
        segmentor,
        dataset,
        source.benchmark.inference_for("citys"),
        ignore=255,
        device=torch.device("cpu"),
        precision="32-true",
        stop=StopFlag(),
        meter=lambda done, total: None,
    )
    whole = time.process_time() - began
    model: Any = segmentor.scores
    decoding = sum(timer.seconds for timer in vars(dataset)["timers"])
    rest = whole - model.seconds - decoding
    per_image = 1000 / len(dataset)
    print(
        f"{len(dataset)} images: {whole * per_image:.0f} ms each; model {model.seconds * per_image:.0f}, decoding "
        f"{decoding * per_image:.0f}, the rest {rest * per_image:.0f} ({100 * rest / whole:.1f} %)"
    )


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--images", type=int, default=4)
    parser.add_argument("--height", type=int, default=1024)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as place:
        write(Path(place), options.images, options.height)
        measure(Path(place))
