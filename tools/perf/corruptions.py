"""What corrupting an image costs, beside decoding it and a ViT-S/16's forward pass: one line per kind, one core.

    python tools/perf/corruptions.py [PHOTO] [--size 500x375] [--input 512] [--all]

Without a photograph, a generated picture is stored as JPEG. Times are medians over repeats; a kind's is the mean over
its five severities. The first call of every kind, which may compile, is shown by itself.
"""

import argparse
import io
import os
import time
from collections.abc import Callable
from pathlib import Path
from statistics import mean, median

os.environ.setdefault("OMP_NUM_THREADS", "1")

import cv2
import numpy as np
import timm
import torch
from numpy.typing import NDArray
from PIL import Image

from gkdbench.data.corruptions.corrupt import corrupt
from gkdbench.spec.corruption import EVERY_KIND, KINDS, SEVERITIES


def milliseconds(work: Callable[[], object], repeats: int) -> float:
    """Return the median time of a call."""
    times = []
    for _ in range(repeats):
        start = time.perf_counter()
        work()
        times.append(1000 * (time.perf_counter() - start))
    return median(times)


def generated(width: int, height: int) -> Image.Image:
    """Return a picture with detail of all sizes."""
    rng = np.random.default_rng(0)
    layers = [
        cv2.resize(rng.random((2**k, 2**k, 3)).astype(np.float32), (width, height), interpolation=cv2.INTER_CUBIC) / k
        for k in range(2, 9)
    ]
    total = np.sum(layers, axis=0)
    return Image.fromarray((255 * (total - total.min()) / np.ptp(total)).astype(np.uint8))


def decoded(content: bytes) -> NDArray[np.uint8]:
    """Decode a JPEG as the readers of datasets do."""
    return np.array(Image.open(io.BytesIO(content)).convert("RGB"))


def main() -> None:
    """Print the table."""
    arguments = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    arguments.add_argument("photo", nargs="?", type=Path)
    arguments.add_argument("--size", default="500x375", help="width x height of the image")
    arguments.add_argument("--input", type=int, default=512, help="side of what the network sees, a multiple of 16")
    arguments.add_argument("--repeats", type=int, default=5)
    arguments.add_argument("--all", action="store_true", help="the four further kinds too; the mean is over the 15")
    given = arguments.parse_args()
    torch.set_num_threads(1)
    cv2.setNumThreads(1)
    width, height = map(int, given.size.split("x"))
    picture = generated(width, height)
    if given.photo is not None:
        picture = Image.open(given.photo).convert("RGB").resize((width, height), Image.Resampling.BICUBIC)
    stream = io.BytesIO()
    picture.save(stream, format="JPEG", quality=90)
    image = decoded(stream.getvalue())
    network = timm.create_model("vit_small_patch16_224", img_size=given.input, num_classes=0, pretrained=False).eval()
    pixels = torch.rand(1, 3, given.input, given.input)
    with torch.inference_mode():
        network(pixels)
        forward = milliseconds(lambda: network(pixels), given.repeats)
    decoding = milliseconds(lambda: decoded(stream.getvalue()), 4 * given.repeats)

    print(f"milliseconds per image of {width}x{height}, one core\n")
    print(f"{'':20}" + "".join(f"{severity:>8}" for severity in SEVERITIES) + f"{'mean':>9}{'first':>9}")
    means = {}
    for kind in EVERY_KIND if given.all else KINDS:
        first = milliseconds(lambda kind=kind: corrupt(image, kind, 1, 0), 1)  # type: ignore[misc]
        times = []
        for severity in SEVERITIES:
            corrupt(image, kind, severity, 0)
            times.append(
                milliseconds(lambda k=kind, s=severity: corrupt(image, k, s, 0), given.repeats)  # type: ignore[misc]
            )
        means[kind] = mean(times)
        print(f"{kind:20}" + "".join(f"{one:8.1f}" for one in times) + f"{means[kind]:9.1f}{first:9.1f}")
    average, limit = mean(means[kind] for kind in KINDS), decoding + forward
    print(f"\nmean over the {len(KINDS)}: {average:.1f}")
    print(f"JPEG decoding {decoding:.1f} + ViT-S/16 forward at {given.input}x{given.input} {forward:.1f} = {limit:.1f}")
    print(f"corrupting costs {average / limit:.2f} of it: {'within' if average < limit else 'ABOVE'} the aim of 1")


if __name__ == "__main__":
    main()
