"""Benchmarks as data: source, targets, label space, settings, recipes and the evaluation protocol."""

from pathlib import Path
from typing import Annotated, Literal

from pydantic import Field, model_validator

from gkdbench.spec.decoder import AnyDecoder
from gkdbench.spec.documents import Added, Strict
from gkdbench.spec.recipe import Positive, Preset, Rate

Name = Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9_.+-]*$")]
Colour = tuple[int, int, int]


class StreetsSplit(Strict):
    """Images drawn by the built-in renderer; image i of (kind, seed) is always the same."""

    reader: Literal["streets"]
    kind: str
    seed: int
    count: Positive


class FolderSplit(Strict):
    """Images, and where given labels, in folders below the data root."""

    reader: Literal["folders"]
    root: str
    """Folder below --data-root."""
    images: str = "."
    """Folder of the images below `root`; all PNG and JPEG files below it, in order of their paths."""
    labels: str | None = None
    """Folder of the label PNGs below `root`, same relative names as the images; None: unlabelled."""
    list: str | None = None
    """Text file of relative names without suffix, one per line: below `root`, or beside the YAML."""

    @model_validator(mode="after")
    def _inside(self) -> "FolderSplit":
        for key in ("root", "images", "labels", "list"):
            value = getattr(self, key)
            if value is not None and (Path(value).is_absolute() or ".." in Path(value).parts):
                raise ValueError(f"{key} must be a path below the data root, without '..'")
        return self


Split = Annotated[StreetsSplit | FolderSplit, Field(discriminator="reader")]


class Source(Strict):
    """The labelled training domain and its held-out part."""

    train: Split
    val: Split


class Inference(Strict):
    """How an image becomes a label map at evaluation; part of the protocol, printed in every record."""

    size: tuple[Positive, Positive]
    """Height and width every image is resized to (bilinear) before the model sees it."""
    window: tuple[Positive, Positive] | None = None
    """Sliding window; None: the whole image at once."""
    stride: tuple[Positive, Positive] | None = None
    batch: Positive = 1
    scales: Annotated[tuple[Rate, ...], Added()] = (1.0,)
    """Sizes relative to `size` at which the image is seen; scores are averaged, as those of windows are. Where there is
    no window, an image at another scale is seen in windows of `size`. More than one: another protocol than the
    study's."""
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
        return self


class SettingSpec(Strict):
    """Which models teach which in a setting of this benchmark."""

    description: str
    pairs: list[str] = Field(min_length=1)
    """`teacher:student`, names from models.yaml; the first is the default."""
    teacher_method: str
    """The method that trains the shared teacher's head."""
    notes: list[str] = []


class Benchmark(Strict):
    """Everything a comparison shares, whatever the method."""

    name: Name
    version: Positive
    title: str
    description: str
    task: Literal["segmentation"]
    classes: list[str] = Field(min_length=2)
    palette: list[Colour]
    label_map: dict[int, int] | None = None
    """Label id on disk -> class index or the ignore value; None: ids are class indices already."""
    ignore: Annotated[int, Field(ge=0, le=255)] = 255
    mean_rule: Literal["skip_absent", "present_in_truth"] = "skip_absent"
    """skip_absent: a class absent from truth and prediction is skipped, one only predicted scores 0."""
    separates_most: str | None = None
    """Target left out of the second OOD mean, because it carries most of the differences."""
    source: Source
    proxy: Split
    targets: dict[Name, Split] = Field(min_length=1)
    hidden_targets: dict[Name, Split] = {}
    """Targets scored only when asked for by name; nobody tunes on them."""
    settings: dict[Name, SettingSpec] = Field(min_length=1)
    default_setting: str
    decoder: AnyDecoder
    inference: Inference
    presets: dict[Literal["smoke", "quick", "standard", "paper"], Preset] = Field(min_length=1)
    default_preset: Literal["smoke", "quick", "standard", "paper"]
    how_to_get: str = ""
    """Where a user finds the data and how to lay it out; shown when it is missing."""

    @model_validator(mode="after")
    def _consistent(self) -> "Benchmark":
        if len(self.palette) != len(self.classes):
            raise ValueError(f"{len(self.palette)} palette colours for {len(self.classes)} classes")
        if self.ignore < len(self.classes):
            raise ValueError(f"ignore {self.ignore} is a class index")
        if self.default_preset not in self.presets:
            raise ValueError(f"default_preset {self.default_preset!r} is not among the presets")
        if self.default_setting not in self.settings:
            raise ValueError(f"default_setting {self.default_setting!r} is not among the settings")
        if self.separates_most is not None and self.separates_most not in self.targets:
            raise ValueError(f"separates_most {self.separates_most!r} is not a target")
        for label, index in (self.label_map or {}).items():
            if not 0 <= label <= 65535:
                raise ValueError(f"label_map: id {label} is outside 0..65535")
            if index != self.ignore and not 0 <= index < len(self.classes):
                raise ValueError(f"label_map: id {label} maps to {index}, which is no class")
        return self
