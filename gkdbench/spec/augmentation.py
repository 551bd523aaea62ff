"""What happens to a training image before it becomes a batch row, in one of four kinds; the same for every method."""

from collections.abc import Mapping
from typing import Annotated, Any, ClassVar, Literal

from pydantic import AfterValidator, Discriminator, Field, Tag

from gkdbench.spec.documents import Strict
from gkdbench.spec.task import TaskName

Positive = Annotated[int, Field(gt=0)]
Share = Annotated[float, Field(ge=0, le=1)]
Spread = Annotated[float, Field(gt=0, le=1)]
Colour = tuple[Share, Share, Share]
IMAGENET_MEAN = (0.485, 0.456, 0.406)
IMAGENET_STD = (0.229, 0.224, 0.225)


def _rising(bounds: tuple[float, float]) -> tuple[float, float]:
    if not 0 < bounds[0] <= bounds[1]:
        raise ValueError("needs 0 < low <= high")
    return bounds


Range = Annotated[tuple[float, float], AfterValidator(_rising)]


class Augmentation(Strict):
    """The plain kind, which names no `kind`: resized to the stage's size or cropped, flipped, lit otherwise."""

    moves_labels_of: ClassVar[TaskName | None] = "segmentation"
    """The task whose labels move with the image; None: no labels do."""
    flip: Share = 0.5
    """Probability of a horizontal flip."""
    scale: Range | None = None
    """Range of random resizing, relative to the stage's size, before the random crop; None: no crop."""
    brightness: Share = 0.0
    """Half-width of the random brightness factor around 1; photometric, so `clean` does not have it."""
    contrast: Share = 0.0
    """Half-width of the random contrast factor around 1; photometric."""


class TaskCrops(Strict):
    """The study's task stage: a random short side, a crop without a dominating class, flipped and distorted.

    Where the study's OpenCV shrinks without a filter, images are resized with Pillow's filter. The values are mmseg's
    `RandomChoiceResize`, `RandomCrop`, `RandomFlip` and `PhotoMetricDistortion` as the study sets them.
    """

    moves_labels_of: ClassVar[TaskName | None] = "segmentation"
    kind: Literal["task_crops"]
    short_sides: Annotated[tuple[Positive, ...], Field(min_length=1)] = (
        256, 307, 358, 409, 460, 512, 563, 614, 665, 716, 768, 819, 870, 921, 972, 1024
    )  # fmt: skip
    """Short sides in pixels to which an image is resized, its aspect kept; each as likely as the others."""
    long_side: Positive = 2048
    """Largest long side in pixels; where it binds, the short side is shorter than drawn."""
    max_class_share: Share = 0.75
    """A crop is drawn again unless every class has less than this share of its labelled pixels, so it has two."""
    tries: Positive = 10
    """Crops that are looked at; where all are refused, one more is taken as it comes."""
    flip: Share = 0.5
    """Probability of a horizontal flip."""
    brightness: Annotated[float, Field(ge=0, le=255)] = 32.0
    """Largest value, of 255, that is added to all channels. This and the next three are photometric, each with a
    probability of a half, contrast before or after the others."""
    contrast: Range = (0.5, 1.5)
    """Range of the factor of all channels."""
    saturation: Range = (0.5, 1.5)
    """Range of the factor of the saturation."""
    hue: Annotated[int, Field(ge=0, le=90)] = 18
    """Turn of the hue, of 180 for the full circle: a whole number from -hue to hue - 1, as mmseg draws it."""


class DistillationViews(Strict):
    """The study's distillation stages (DeiT's training views, timm's `create_transform`); for unlabelled streams only.

    A part of the image of random size and aspect, flipped, through RandAugment, and with a box of noise.
    """

    moves_labels_of: ClassVar[TaskName | None] = None
    kind: Literal["distillation_views"]
    area: Annotated[tuple[Share, Share], AfterValidator(_rising)] = (0.08, 1.0)
    """Range of the part's share of the image."""
    ratio: Range = (3 / 4, 4 / 3)
    """Range of the part's width by its height, log-uniform."""
    flip: Share = 0.5
    """Probability of a horizontal flip."""
    interpolation: Literal["bicubic", "bilinear"] = "bicubic"
    """Of the resizing and of RandAugment's geometry."""
    rand_augment: Annotated[str, Field(pattern=r"^rand(-(m|n|mmax|inc)\d+|-(mstd|p)\d+(\.\d+)?)*$")] = (
        "rand-m9-mstd0.5-inc1"
    )
    """RandAugment in timm's notation."""
    erasing: Share = 0.25
    """Probability that a box of 2% to a third of the view is normal noise, every pixel and channel its own."""
    mean: Colour = IMAGENET_MEAN
    """Mean of the noise, and the colour that RandAugment's geometry uncovers."""
    std: tuple[Spread, Spread, Spread] = IMAGENET_STD
    """Standard deviation of the noise."""


class DetectionViews(Strict):
    """Images with boxes: as large as the stage's size holds, their aspect kept, padded below and on the right.

    With `scale` they are resized by a random factor besides, and a window of the stage's size is cut at random from
    what is larger. A box that leaves the window is cut at its border, and dropped where nothing of it is left.
    """

    moves_labels_of: ClassVar[TaskName | None] = "detection"
    kind: Literal["detection_views"]
    flip: Share = 0.5
    """Probability of a horizontal flip."""
    scale: Range | None = None
    """Range of the random factor, log-uniform; None: every image as large as the size holds."""
    kept_share: Share = 0.0
    """Share of a box's area that has to be inside the window, or the box is dropped."""
    brightness: Share = 0.0
    """Half-width of the random brightness factor around 1; photometric, so `clean` does not have it."""
    contrast: Share = 0.0
    """Half-width of the random contrast factor around 1; photometric."""


_KINDS = ("task_crops", "distillation_views", "detection_views")


def _kind(section: Any) -> str | None:
    """Return which kind a section or a mapping is; None where it names one that there is not."""
    if isinstance(section, Mapping):
        found = section.get("kind", "plain")
        return found if found in _KINDS or "kind" not in section else None
    return getattr(section, "kind", "plain") if isinstance(section, Strict) else None


AnyAugmentation = Annotated[
    # the plain kind last: where a wrong key is looked up, the last is taken when no kind is named
    Annotated[TaskCrops, Tag("task_crops")]
    | Annotated[DistillationViews, Tag("distillation_views")]
    | Annotated[DetectionViews, Tag("detection_views")]
    | Annotated[Augmentation, Tag("plain")],
    Discriminator(
        _kind,
        custom_error_type="augmentation_kind",
        custom_error_message=(
            "kind should be 'task_crops', 'distillation_views' or 'detection_views', or left out for the plain kind"
        ),
    ),
]

AugmentationKind = type[TaskCrops] | type[DistillationViews] | type[DetectionViews] | type[Augmentation]


def kind_of(augmentation: "AnyAugmentation | AugmentationKind") -> str:
    """Return what an augmentation's kind is called in messages."""
    kind = augmentation if isinstance(augmentation, type) else type(augmentation)
    names = {TaskCrops: "'task_crops'", DistillationViews: "'distillation_views'", DetectionViews: "'detection_views'"}
    return names.get(kind, "the plain kind")


def kinds_that_move(task: TaskName) -> list[str]:
    """Return what the kinds are called that move a task's labels with the image."""
    kinds: tuple[AugmentationKind, ...] = (TaskCrops, DistillationViews, DetectionViews, Augmentation)
    return [kind_of(kind) for kind in kinds if kind.moves_labels_of == task]
