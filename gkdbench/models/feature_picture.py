"""A picture of what an encoder sees: its tokens' three main directions as colours, beside the image."""

from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image

from gkdbench.models.encoder import Encoder

GAP_PX = 8


def main_directions(tokens: NDArray[np.floating], count: int = 3) -> NDArray[np.float64]:
    """Return the projections [N, count] of tokens [N, C] on their principal directions, each in [0, 1].

    Signs are fixed (the largest loading is positive), the middle 98 % of values are stretched.
    """
    centred = tokens.astype(np.float64) - tokens.mean(axis=0)
    _, _, directions = np.linalg.svd(centred, full_matrices=False)
    chosen = directions[:count]
    chosen = chosen * np.sign(chosen[np.arange(len(chosen)), np.abs(chosen).argmax(axis=1)])[:, None]
    values = centred @ chosen.T
    low, high = np.percentile(values, [1, 99], axis=0)
    stretched: NDArray[np.float64] = ((values - low) / np.maximum(high - low, 1e-12)).clip(0, 1)
    return np.pad(stretched, ((0, 0), (0, count - stretched.shape[1])))


@torch.inference_mode()
def feature_picture(encoder: Encoder, image: Image.Image, path: Path) -> None:
    """Write a PNG of an image, resized to the encoder's, and of the main directions of its tokens."""
    assert encoder.size is not None
    height, width = encoder.size
    resized = image.convert("RGB").resize((width, height), Image.Resampling.BICUBIC)
    pixels = torch.from_numpy(np.array(resized)).permute(2, 0, 1)[None].float() / 255
    features = encoder.eval()(pixels)
    rows, columns = features.grid
    colours = (255 * main_directions(features.tokens[0].float().numpy())).round().astype(np.uint8)
    seen = Image.fromarray(colours.reshape(rows, columns, 3)).resize((width, height), Image.Resampling.NEAREST)
    sheet = Image.new("RGB", (2 * width + GAP_PX, height), (255, 255, 255))
    sheet.paste(resized, (0, 0))
    sheet.paste(seen, (width + GAP_PX, 0))
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(path.name + ".partial")
    sheet.save(partial, format="PNG")
    partial.replace(path)
