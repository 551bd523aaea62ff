"""Time and peak memory of a training step with Mask2Former: ours beside transformers' own model with the same decoder.

`python tools/perf/mask2former_step.py [--size 512] [--batches 1,2] [--small]`. Both train ViT-S/16 with Mask2Former on
the same images and masks, one thread, fresh processes; transformers' model owns its backbone, a timm ViT whose blocks
it resamples itself. Prints the median step of three after one for warming up, peak memory, and ratios; then one
encoder forward beside timm's own. Figures of different machines or runs do not compare; the ratios do.
"""

import argparse
import json
import resource
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

CLASSES, STEPS = 19, 4


def _ours(size: int, small: bool) -> tuple[torch.nn.Module, Callable[[Tensor, Tensor], Tensor]]:
    from gkdbench.models.encoder import Encoder
    from gkdbench.models.segmentor import Segmentor
    from gkdbench.spec.decoder import GridDecoder, other_decoder
    from gkdbench.spec.model import ModelEntry

    entry = ModelEntry(description="-", role="local", timm=_arch(small), weights=None, licence="-")
    encoder = Encoder(entry)
    encoder.resize((size, size))
    segmentor = Segmentor(encoder, other_decoder("mask2former", GridDecoder(name="context")), CLASSES)
    segmentor.add_head(0)

    def loss(images: Tensor, labels: Tensor) -> Tensor:
        assert segmentor.head is not None
        return segmentor.head.task_loss(segmentor.decode(segmentor.features(images)), labels, 255)

    return segmentor, loss


def _theirs(size: int, small: bool) -> tuple[torch.nn.Module, Callable[[Tensor, Tensor], Tensor]]:
    import timm
    import torch.nn.functional as F
    from transformers import Mask2FormerForUniversalSegmentation
    from transformers.modeling_outputs import BackboneOutput

    from gkdbench.models.decoders.mask2former import GivenPyramid, mask2former_config
    from gkdbench.spec.decoder import Mask2FormerDecoder

    vit = timm.create_model(_arch(small), pretrained=False, num_classes=0, img_size=size)

    class Pyramid(GivenPyramid):
        """The ViT inside the model, as transformers has its backbones."""

        def forward(self, pixel_values: Tensor, **_: Any) -> BackboneOutput:
            last = len(vit.blocks) - 1
            blocks = [round(share * last) for share in (0.27, 0.45, 0.64, 1.0)]
            maps = vit.forward_intermediates(
                pixel_values, indices=blocks, norm=False, intermediates_only=True, output_fmt="NCHW"
            )
            sizes = [[int(side * f) for side in m.shape[2:]] for m, f in zip(maps, (4, 2, 1, 0.5), strict=True)]
            return BackboneOutput(
                feature_maps=tuple(
                    F.interpolate(m, size=s, mode="bilinear", align_corners=False)
                    for m, s in zip(maps, sizes, strict=True)
                )
            )

    spec = Mask2FormerDecoder(name="mask2former")
    model = Mask2FormerForUniversalSegmentation(mask2former_config([vit.num_features] * 4, CLASSES, spec))
    backbone = Pyramid(model.model.pixel_level_module.encoder.config)
    backbone.add_module("vit", vit)
    model.model.pixel_level_module.encoder = backbone

    def loss(images: Tensor, labels: Tensor) -> Tensor:
        present = [torch.unique(one) for one in labels]
        masks = [(one[None] == classes[:, None, None]).float() for one, classes in zip(labels, present, strict=True)]
        found: Tensor = model(pixel_values=images, mask_labels=masks, class_labels=present).loss
        return found

    return model, loss


def _arch(small: bool) -> str:
    return "vit_tiny_patch16_224" if small else "vit_small_patch16_224"


def measure(whose: str, size: int, batch: int, small: bool) -> dict[str, float]:
    """Train a few steps; return the median seconds of one and the peak memory in GiB."""
    torch.set_num_threads(1)
    torch.manual_seed(0)
    model, loss = (_ours if whose == "ours" else _theirs)(size, small)
    optimiser = torch.optim.AdamW(model.parameters(), lr=1e-4)
    images = torch.rand(batch, 3, size, size)
    labels = torch.arange(6).repeat_interleave(-(-size // 6))[:size].view(1, size, 1).expand(batch, size, size)
    spent = []
    for step in range(STEPS):
        torch.manual_seed(step)
        began = time.process_time()
        torch.autograd.backward(loss(images, labels.contiguous()))
        optimiser.step()
        optimiser.zero_grad(set_to_none=True)
        spent.append(time.process_time() - began)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20
    return {"cpu_s": statistics.median(spent[1:]), "peak_gib": peak}


def encoder_ratio(size: int, small: bool) -> float:
    """Return the time of our encoder's forward by that of timm's, the median of interleaved pairs."""
    torch.set_num_threads(1)
    segmentor, _ = _ours(size, small)
    encoder: Any = segmentor.encoder
    images, ratios = torch.rand(1, 3, size, size), []
    with torch.inference_mode():
        for _ in range(12):
            times = []
            for run, given in ((encoder, images), (encoder.model.forward_features, images)):
                began = time.process_time()
                run(given)
                times.append(time.process_time() - began)
            ratios.append(times[0] / times[1])
    return statistics.median(ratios[2:])


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--size", type=int, default=512)
    parser.add_argument("--batches", default="1,2")
    parser.add_argument("--small", action="store_true", help="ViT-Ti instead of ViT-S")
    parser.add_argument("--one", nargs=2, metavar=("WHOSE", "BATCH"), help="measure in this process")
    options = parser.parse_args()
    if options.one:
        print(json.dumps(measure(options.one[0], options.size, int(options.one[1]), options.small)))
        return
    for batch in options.batches.split(","):
        found = {}
        for whose in ("ours", "theirs"):
            command = [sys.executable, __file__, "--size", str(options.size), "--one", whose, batch]
            command += ["--small"] if options.small else []
            done = subprocess.run(command, capture_output=True, text=True, check=True)
            found[whose] = json.loads(done.stdout.splitlines()[-1])
        ours, theirs = found["ours"], found["theirs"]
        for key, unit in (("cpu_s", "CPU s a step"), ("peak_gib", "GiB at most")):
            ratio = ours[key] / theirs[key]
            print(f"batch {batch}: {unit}: ours {ours[key]:.2f}, transformers {theirs[key]:.2f}, ratio {ratio:.3f}")
    print(f"encoder forward by timm's own: {encoder_ratio(options.size, options.small):.3f}")


if __name__ == "__main__":
    main()
