"""Encoder and head of detection: boxes with a class and a score."""

from collections.abc import Sequence

from torch import Tensor

from gkdbench.detection.faster_rcnn import DecodedPyramid, FasterRCNN, FoundBoxes
from gkdbench.errors import UsageError
from gkdbench.models.encoder import Features
from gkdbench.models.grids import as_map, padded
from gkdbench.models.network import Network
from gkdbench.spec.decoder import FasterRCNNDecoder


class Detector(Network):
    """A network whose head finds boxes; it sees images whole, at the size its encoder is fitted to."""

    head: FasterRCNN | None

    def _depths_read(self) -> list[int | None]:
        encoder = self.encoder
        if not encoder.is_transformer:
            return []
        return [None if depth == 1.0 else encoder.block_index(float(depth)) for depth in self.decoder_spec.reads]

    @property
    def reads_levels(self) -> bool:
        """Whether the head reads the levels of a hierarchical encoder."""
        return not self.encoder.is_transformer

    def head_widths(self) -> list[int]:
        """Return the channels of the map, or of each level, that the head reads."""
        widths = super().head_widths()
        if self.reads_levels and len(widths) < self._levels:
            raise UsageError(
                f"decoder: scales asks for {self._levels} levels, and {self.encoder.entry.timm!r} has {len(widths)} of "
                "its own; shorten scales and anchors"
            )
        return widths[-self._levels :]

    @property
    def _spec(self) -> FasterRCNNDecoder:
        assert isinstance(self.decoder_spec, FasterRCNNDecoder)
        return self.decoder_spec

    @property
    def _levels(self) -> int:
        return len(self._spec.scales)

    def _new_head(self, widths: list[int]) -> FasterRCNN:
        return FasterRCNN(widths, self.num_classes, self._spec)

    def head_inputs(self, features: Features) -> list[Tensor]:
        """Return what the head reads of a pass: one map, or a hierarchical encoder's last levels."""
        if self.reads_levels:
            return features.levels[-self._levels :]
        (block,) = self.reads
        tokens = features.tokens if block is None else features.blocks[block]
        return [as_map(tokens, features.grid).contiguous()]

    def decode(self, features: Features) -> DecodedPyramid:
        """Make the feature pyramid of a pass."""
        decoded = super().decode(features)
        assert isinstance(decoded, DecodedPyramid) and self.encoder.size is not None
        decoded.size, decoded.strides = self.encoder.size, self.strides
        return decoded

    @property
    def strides(self) -> list[float]:
        """Pixels from one cell of a level to the next, fine to coarse."""
        encoder = self.encoder
        if self.reads_levels:
            info = encoder.model.feature_info
            own = [float(row["reduction"]) for row in getattr(info, "info", info)[-self._levels :]]
            return own if len(own) > 1 else [own[0] / self._spec.scales[0]]  # one map is resampled, whoever made it
        assert encoder.size is not None
        patch = encoder.size[0] / encoder.grid[0]
        return [patch / scale for scale in self._spec.scales]

    def detect(self, images: Tensor, sizes: Sequence[tuple[int, int]]) -> list[FoundBoxes]:
        """Return the boxes found in images [B, 3, H, W] in [0, 1]; see FasterRCNN.found for `sizes`.

        Images smaller than what the encoder is fitted to are padded.
        """
        assert self.head is not None and self.encoder.size is not None
        return self.head.found(self.decode(self.features(padded(images, self.encoder.size))), sizes)

    def forward(self, images: Tensor) -> list[FoundBoxes]:
        """Return the boxes found in whole images [B, 3, H, W] in [0, 1]."""
        return self.detect(images, [(images.shape[2], images.shape[3])] * len(images))
