"""`gkdbench check weights`: find a model's weights, verify and load them, and look at its features."""

import re
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from gkdbench.cli.console import command, print_json, print_table, say
from gkdbench.errors import DataError, UsageError

if TYPE_CHECKING:
    from gkdbench.models.encoder import Encoder


@command
def check_weights(
    name: Annotated[str, typer.Argument(help="Model by name (gkdbench list models), or timm/NAME.TAG.")],
    weights: Annotated[Path | None, typer.Option(help="This file instead of the entry's.")] = None,
    models: Annotated[Path | None, typer.Option(help="Folder with a models.yaml of your own.")] = None,
    download: Annotated[bool, typer.Option("--download", help="Get weights that are not on this machine.")] = False,
    image: Annotated[Path | None, typer.Option(help="Draw the features of this image.")] = None,
    size: Annotated[str, typer.Option(help="HEIGHTxWIDTH of the encoder's input; default: its own.")] = "",
    out: Annotated[Path, typer.Option(help="Where the picture goes.")] = Path("features.png"),
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
    debug: Annotated[bool, typer.Option("--debug", help="Show tracebacks.")] = False,
) -> None:
    """Load a model's weights as a run would, say what matched, and draw what it sees."""
    from dataclasses import replace

    from gkdbench.identity.digest import file_sha256
    from gkdbench.models.weight_files import download_weights
    from gkdbench.runs.files import check_output
    from gkdbench.spec.catalogue import find_model

    if image is not None:
        check_output(out)
    source = replace(find_model(name, models), explicit=weights)
    wanted = _size(size)
    if download and source.entry.weights is not None:
        download_weights(source)

    from gkdbench.models.encoder import Encoder
    from gkdbench.models.weights import load_encoder

    encoder = Encoder(source.entry)
    report = load_encoder(encoder, source)
    encoder.resize(wanted or _native(encoder))
    facts: dict[str, object] = {"model": name, "timm": source.entry.timm, "licence": source.entry.licence}
    if report is None:
        facts["weights"] = "random"
    else:
        facts |= {
            "weights": report.file,
            "sha256": file_sha256(Path(report.file)),
            "names": report.names,
            "matched": report.matched,
            "missing": list(report.missing),
            "percent": report.percent,
            "left_aside": dict(report.aside),
        }
    facts |= {
        "params": sum(p.numel() for p in encoder.model.parameters()),
        "size": list(encoder.size or ()),
        "grid": list(encoder.grid),
        "patches": int(encoder.model.patch_embed.patch_size[0]) if encoder.is_transformer else "none",
        "resampling": source.entry.resampling or "timm",
    }
    if image is not None:
        _draw(encoder, image, out)
        facts["picture"] = str(out)
    if as_json:
        print_json(facts)
        return
    print_table([["what", "value"], *([key, _shown(value)] for key, value in facts.items())])
    if image is None:
        say("--image FILE draws the features of an image")


def _shown(value: object) -> str:
    if isinstance(value, list | tuple):
        return ", ".join(map(str, value[:6])) + (f" and {len(value) - 6} more" if len(value) > 6 else "") or "none"
    if isinstance(value, dict):
        return ", ".join(f"{count} of {part}" for part, count in value.items()) or "nothing"
    return f"{value:.1f}" if isinstance(value, float) else str(value)


def _size(text: str) -> tuple[int, int] | None:
    if not text:
        return None
    found = re.fullmatch(r"([1-9][0-9]{0,4})x([1-9][0-9]{0,4})", text)
    if found is None:
        raise UsageError(f"--size {text}: not of the form HEIGHTxWIDTH, such as 224x224")
    return int(found[1]), int(found[2])


def _native(encoder: "Encoder") -> tuple[int, int]:
    """Return the image size of the architecture; for another patch size, as many patches."""
    if not encoder.is_transformer:
        _, height, width = encoder.model.pretrained_cfg["input_size"]
        return int(height), int(width)
    rows, columns = encoder.model.patch_embed.grid_size
    side = encoder.entry.patch or int(encoder.model.patch_embed.patch_size[0])
    return int(rows) * side, int(columns) * side


def _draw(encoder: "Encoder", image: Path, out: Path) -> None:
    from PIL import Image, UnidentifiedImageError

    from gkdbench.models.feature_picture import feature_picture
    from gkdbench.runs.files import write_png

    try:
        with Image.open(image) as opened:
            picture = opened.convert("RGB")
    except (OSError, UnidentifiedImageError) as error:
        raise DataError(f"{image}: cannot be read as an image ({error})") from error
    sheet = feature_picture(encoder, picture)
    write_png(out, sheet)
