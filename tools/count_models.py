"""Write benchmarks/model_sizes.csv: parameters, GFLOPs and tokens of every encoder with every decoder.

`python tools/count_models.py [--check]`. Listing models then needs no torch. Images of 512x512 and 19 classes, as in
the study; encoders whose patches do not divide 512, and the small ones of the embedded benchmark, at their own size.
Encoders are counted on torch's meta device, which allocates nothing; decoders on zeros, since Mask2Former's masks
depend on values. GFLOPs are those of torch's counter: multiply and add count as two. Detectors, whose cost depends on
what is proposed, are left out.
"""

import argparse
import csv
import io
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch
from torch.utils.flop_counter import FlopCounterMode

from gkdbench.models.encoder import Encoder
from gkdbench.models.segmentor import Segmentor
from gkdbench.spec.catalogue import ModelSource, models
from gkdbench.spec.decoder import GridDecoder, decoder_names, other_decoder

FILE = Path(__file__).resolve().parents[1] / "benchmarks" / "model_sizes.csv"
COLUMNS = (
    "model", "decoder", "height", "width", "tokens", "params", "encoder_params", "gflops", "encoder_gflops"
)  # fmt: skip
CLASSES = 19
STUDY = (512, 512)


def count(source: ModelSource, decoder: str) -> dict[str, Any]:
    """Count one encoder with one decoder."""
    spec = other_decoder(decoder, GridDecoder(name="context"))
    with torch.device("meta"):
        encoder = Encoder(source.entry).eval()
        size = _size(encoder)
        encoder.resize(size)
        segmentor = Segmentor(encoder, spec, CLASSES)
        with torch.no_grad(), FlopCounterMode(display=False) as counter:
            features = encoder(
                torch.zeros(1, 3, *size), blocks=sorted(set(segmentor.head_blocks)), levels=segmentor.reads_levels
            )
    encoder_flops = counter.get_total_flops()
    segmentor.add_head(0)
    assert segmentor.head is not None
    head = segmentor.head.eval()
    inputs = segmentor.head_inputs(features)
    with torch.no_grad(), FlopCounterMode(display=False) as counter:
        # logits count too: some heads compute them when they are first looked at
        assert head([torch.zeros(part.shape) for part in inputs], segmentor.grid).logits.shape[1] == CLASSES
    encoder_params = sum(p.numel() for p in encoder.parameters())
    return {
        "model": source.name,
        "decoder": decoder,
        "height": size[0],
        "width": size[1],
        "tokens": encoder.grid[0] * encoder.grid[1],
        "params": encoder_params + sum(p.numel() for p in head.parameters()),
        "encoder_params": encoder_params,
        "gflops": round((encoder_flops + counter.get_total_flops()) / 1e9, 3),
        "encoder_gflops": round(encoder_flops / 1e9, 3),
    }


def _size(encoder: Encoder) -> tuple[int, int]:
    if not encoder.is_transformer:
        return STUDY
    side = encoder.entry.patch or int(encoder.model.patch_embed.patch_size[0])
    native = tuple(encoder.model.patch_embed.img_size)
    small = native[0] < 128 or STUDY[0] % side
    return (int(native[0]), int(native[1])) if small else STUDY


def table() -> str:
    """Return the whole table as CSV."""
    stream = io.StringIO()
    writer = csv.DictWriter(stream, COLUMNS, lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows())
    return stream.getvalue()


def rows() -> Iterator[dict[str, Any]]:
    """Yield a row for every encoder of our own models.yaml and every decoder."""
    for source in models():
        if source.folder == FILE.parent:
            for decoder in decoder_names("segmentation"):
                yield count(source, decoder)


def main() -> int:
    """Write or check the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--check", action="store_true", help="only say whether it is up to date")
    made = table()
    if parser.parse_args().check:
        if FILE.read_text() != made:
            print("benchmarks/model_sizes.csv is not up to date; run tools/count_models.py", file=sys.stderr)
            return 1
        return 0
    FILE.write_text(made)
    return 0


if __name__ == "__main__":
    sys.exit(main())
