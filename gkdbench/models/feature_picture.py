"""A picture of what an encoder sees: its tokens' three main directions as colours, beside the image."""

from collections.abc import Iterable

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
    centred = tokens.astype(np.float64)
    centred -= centred.mean(axis=0)
    # of the covariance: tokens of many images would not fit a decomposition of their own
    _, directions = np.linalg.eigh(centred.T @ centred)
    chosen = directions.T[::-1][:count]
    chosen = chosen * np.sign(chosen[np.arange(len(chosen)), np.abs(chosen).argmax(axis=1)])[:, None]
    values = centred @ chosen.T
    low, high = np.percentile(values, [1, 99], axis=0)
    stretched: NDArray[np.float64] = ((values - low) / np.maximum(high - low, 1e-12)).clip(0, 1)
    return np.pad(stretched, ((0, 0), (0, count - stretched.shape[1])))


@torch.inference_mode()
def token_colours(encoder: Encoder, images: Iterable[NDArray[np.uint8]]) -> list[NDArray[np.uint8]]:
    """Return a map of colours [h, w, 3] per image [H, W, 3], on the encoder's grid.

    The encoder sees each image whole, one at a time, at the size it is fitted to. The directions are those of all
    images' tokens together, so that a colour means the same in each map. Raises ValueError where tokens are not finite.
    """
    encoder.eval()
    tokens, grids = [], []
    for image in images:
        features = encoder(_pixels(encoder, image))
        tokens.append(features.tokens[0].float().cpu().numpy())
        grids.append(features.grid)
    if not tokens:
        return []
    every = np.concatenate(tokens)
    if not np.isfinite(every).all():
        raise ValueError("the encoder's features are not finite")
    colours = (255 * main_directions(every)).round().astype(np.uint8)
    parts = np.split(colours, np.cumsum([len(one) for one in tokens])[:-1])
    return [part.reshape(*grid, 3) for part, grid in zip(parts, grids, strict=True)]


def fitted(encoder: Encoder, image: Image.Image) -> Image.Image:
    """Resize an image to what the encoder is fitted to."""
    assert encoder.size is not None
    height, width = encoder.size
    return image.convert("RGB").resize((width, height), Image.Resampling.BICUBIC)


def _pixels(encoder: Encoder, image: NDArray[np.uint8]) -> torch.Tensor:
    pixels = np.array(fitted(encoder, Image.fromarray(image)))
    return torch.from_numpy(pixels).to(encoder.mean.device).permute(2, 0, 1)[None].float() / 255


def feature_picture(encoder: Encoder, image: Image.Image) -> Image.Image:
    """Draw an image, resized to the encoder's, and beside it the main directions of its tokens."""
    resized = fitted(encoder, image)
    width, height = resized.size
    (colours,) = token_colours(encoder, [np.array(resized)])
    seen = Image.fromarray(colours).resize((width, height), Image.Resampling.NEAREST)
    sheet = Image.new("RGB", (2 * width + GAP_PX, height), (255, 255, 255))
    sheet.paste(resized, (0, 0))
    sheet.paste(seen, (width + GAP_PX, 0))
    return sheet
