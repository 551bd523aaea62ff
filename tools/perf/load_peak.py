"""Peak memory of loading a model's weights, relative to the size of their file.

`python tools/perf/load_peak.py [--model dinov2-l] [--format safetensors|pth]`. Writes random weights of the model to a
temporary file, then builds the model and loads them in a fresh process. Prints both peaks less what the process had
before; a model that is built holds its own memory once, so 1.0 is the least there can be.
"""

import argparse
import dataclasses
import resource
import subprocess
import sys
import tempfile
from pathlib import Path

import torch
from safetensors.torch import save_file

from gkdbench.models.encoder import Encoder
from gkdbench.models.weights import load_encoder
from gkdbench.spec.catalogue import find_model


def _peak() -> int:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


def write(model: str, path: Path) -> None:
    """Write random weights."""
    tensors = {name: t.contiguous() for name, t in Encoder(find_model(model).entry).model.state_dict().items()}
    if path.suffix == ".safetensors":
        save_file(tensors, path)
    else:
        torch.save(tensors, path)


def measure(model: str, path: Path) -> None:
    """Build and load; print the peaks."""
    source, size, before = find_model(model), path.stat().st_size, _peak()
    encoder = Encoder(source.entry)
    built = _peak()
    load_encoder(encoder, dataclasses.replace(source, explicit=path))
    print(
        f"{model}, {path.suffix[1:]}: file {size / 2**20:.0f} MiB; peak built {(built - before) / size:.2f}, "
        f"loaded {(_peak() - before) / size:.2f} of it"
    )


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--model", default="dinov2-l")
    parser.add_argument("--format", choices=["safetensors", "pth"], default="safetensors")
    parser.add_argument("--one", nargs=2, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.one:
        {"write": write, "measure": measure}[options.one[0]](options.model, Path(options.one[1]))
        sys.exit()
    with tempfile.TemporaryDirectory() as folder:
        file = str(Path(folder) / f"weights.{options.format}")
        # each in a process of its own: a child's peak starts at what its parent holds
        for step in ("write", "measure"):
            subprocess.run([sys.executable, __file__, "--model", options.model, "--one", step, file], check=True)
