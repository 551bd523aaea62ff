"""The evaluation protocol of a split: the size at which an image is seen, windows, test-time augmentation."""

from typing import Annotated, Literal

from pydantic import model_validator

from gkdbench.spec.documents import Added, Strict
from gkdbench.spec.recipe import Positive, Rate


class Inference(Strict):
    """How an image becomes a label map at evaluation; part of the protocol, printed in every record."""

    size: tuple[Positive, Positive]
    """Height and width of the box that images are brought to (bilinear) before the model sees them."""
    fit: Annotated[Literal["stretch", "inside", "edges", "native"], Added()] = "stretch"
    """stretch: to exactly `size`. The others keep the aspect, and need a window since images then differ in size.
    inside: as large as the box holds. edges: the longer edge against the box's longer side and the shorter against its
    shorter, whichever way the image stands (mmcv's rescaling; a portrait becomes larger than inside a landscape box).
    native: images are not resized, and `size` is not used."""
    window: tuple[Positive, Positive] | None = None
    """Sliding window; None: the whole image at once. Images smaller than it are padded with their mean colour."""
    stride: tuple[Positive, Positive] | None = None
    batch: Positive = 1
    """Images read at once; those seen at the same size go through the model together."""
    scales: Annotated[tuple[Rate, ...], Added()] = (1.0,)
    """Sizes relative to the size that `fit` gives at which the image is seen; scores are averaged, as those of windows
    are. Where there is no window, an image at another scale is seen in windows of `size`. More than one: another
    protocol than the study's."""
    flip: Annotated[bool, Added()] = False
    """Whether the mirrored image is seen too; another protocol than the study's."""

    @property
    def tta(self) -> list[str]:
        """What is seen besides the image itself; empty where nothing is."""
        scales = [] if self.scales == (1.0,) else [f"scale {scale:g}" for scale in self.scales]
        return [*scales, *(["flip"] if self.flip else [])]

    @property
    def seen(self) -> tuple[int, int]:
        """Height and width of what the model sees at once: the window, or the whole image."""
        return self.window or self.size

    def fitted(self, height: int, width: int, scale: float = 1.0) -> tuple[int, int]:
        """Return the height and width at which an image is seen at one of `scales`.

        Sides of an image that keeps its aspect are rounded half up, as mmcv does.
        """
        box = (self.size[0] * scale, self.size[1] * scale)
        if self.fit == "stretch":
            return max(round(box[0]), 1), max(round(box[1]), 1)
        if self.fit == "inside":
            factor = min(box[0] / height, box[1] / width)
        elif self.fit == "edges":
            factor = min(max(box) / max(height, width), min(box) / min(height, width))
        else:
            factor = scale
        return max(int(height * factor + 0.5), 1), max(int(width * factor + 0.5), 1)

    @model_validator(mode="after")
    def _window(self) -> "Inference":
        if not self.scales or len(set(self.scales)) < len(self.scales):
            raise ValueError("scales needs at least one scale, each once")
        if (self.window is None) != (self.stride is None):
            raise ValueError("window and stride come together")
        if self.window and self.stride and any(
            s > w for s, w in zip(self.stride, self.window, strict=True)
        ):
            raise ValueError("stride must not exceed the window: pixels would go unseen")
        if self.fit != "stretch" and self.window is None:
            raise ValueError(
                f"fit {self.fit!r} needs a window and a stride: images keep their aspect, and the model sees one size"
            )
        return self
