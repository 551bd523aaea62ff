"""Benchmarks as data: source, targets, label space, settings, recipes and the evaluation protocol."""

from typing import Annotated, Any, Literal

from pydantic import Field, ValidationInfo, model_validator

from gkdbench.spec.corruption import with_corruptions
from gkdbench.spec.dataset import Colour
from gkdbench.spec.decoder import AnyDecoder
from gkdbench.spec.documents import Added, Names, Strict
from gkdbench.spec.inference import Inference
from gkdbench.spec.recipe import Positive, Preset
from gkdbench.spec.split import AnySplit
from gkdbench.spec.task import TASKS, TaskName

Name = Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9_.+-]*$")]
_MENTIONED = 6
"""Targets that a message names at most."""
IN_DOMAIN = "val"
"""What the source's held-out part is called where targets are named."""


class Source(Strict):
    """The labelled training domain and its held-out part."""

    train: AnySplit
    val: AnySplit


class SettingSpec(Strict):
    """Which models teach which in a setting of this benchmark."""

    description: str
    pairs: Names = Field(min_length=1)
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
    task: TaskName
    classes: Names = Field(min_length=2)
    palette: list[Colour]
    label_map: dict[int, int] | None = None
    """Label id on disk -> class index or the ignore value; None: ids are class indices already."""
    ignore: Annotated[int, Field(ge=0, le=255)] = 255
    mean_rule: Literal["skip_absent", "present_in_truth", "void_is_error", "with_objects"] = "skip_absent"
    """skip_absent: a class absent from truth and prediction is skipped, one only predicted scores 0. present_in_truth:
    both are skipped. void_is_error: as skip_absent, and predictions where the truth is ignored count as wrong.
    with_objects, of detection: a class without an object that counts is skipped."""
    excluded_from_mean: Annotated[Names, Added()] = []
    """Classes whose IoU is printed and enters no mean."""
    ood_targets: Annotated[list[Name] | None, Added()] = None
    """Targets that the OOD mean is over; None: all."""
    groups: Annotated[dict[Name, list[Name]], Added()] = {}
    """Targets that are reported together too, by the group's name: their mean, and the mIoU of their pixels pooled."""
    separates_most: str | None = None
    """Target left out of the second OOD mean, because it carries most of the differences."""
    source: Source
    in_domain: Annotated[Literal["val", "train"], Added()] = "val"
    """train: the in-domain split, `source.val`, holds images that are trained on, which is a fault otherwise."""
    proxy: AnySplit
    targets: dict[Name, AnySplit] = Field(min_length=1)
    hidden_targets: dict[Name, AnySplit] = {}
    """Targets scored only when asked for by name; nobody tunes on them."""
    settings: dict[Name, SettingSpec] = Field(min_length=1)
    default_setting: str
    decoder: AnyDecoder
    inference: Inference
    inference_of: Annotated[dict[Name, Inference], Added()] = {}
    """Targets, and `val` for the in-domain split, that are judged otherwise than `inference` says."""
    presets: dict[Literal["smoke", "quick", "standard", "paper"], Preset] = Field(min_length=1)
    default_preset: Literal["smoke", "quick", "standard", "paper"]
    how_to_get: str = ""
    """Where a user finds the data and how to lay it out; shown when it is missing."""

    @model_validator(mode="before")
    @classmethod
    def _every_corruption(cls, content: Any, info: ValidationInfo) -> Any:
        return with_corruptions(content, info.context)

    def _known(self) -> str:
        few = list(self.targets)[:_MENTIONED]
        more = f" and {len(self.targets) - len(few)} more" if len(self.targets) > len(few) else ""
        return f"leave it out, or name what there is ({', '.join(few)}{more})"

    @model_validator(mode="after")
    def _consistent(self) -> "Benchmark":
        if len(self.palette) != len(self.classes):
            raise ValueError(f"{len(self.palette)} palette colours for {len(self.classes)} classes")
        if self.ignore < len(self.classes):
            most = "" if len(self.classes) < 256 else "; at most 255 classes leave a value to ignore"
            raise ValueError(f"ignore {self.ignore} is a class index: there are {len(self.classes)} classes{most}")
        both = next((name for name in self.targets if name in self.hidden_targets), None)
        if both is not None:
            raise ValueError(f"hidden_targets: {both!r} is a target's name already")
        if self.default_preset not in self.presets:
            raise ValueError(f"default_preset {self.default_preset!r} is not among the presets")
        if self.default_setting not in self.settings:
            raise ValueError(f"default_setting {self.default_setting!r} is not among the settings")
        if self.separates_most is not None and self.separates_most not in self.targets:
            raise ValueError(f"separates_most {self.separates_most!r} is not a target; {self._known()}")
        for label, index in (self.label_map or {}).items():
            if not 0 <= label <= 65535:
                raise ValueError(f"label_map: id {label} is outside 0..65535")
            if index != self.ignore and not 0 <= index < len(self.classes):
                raise ValueError(f"label_map: id {label} maps to {index}, which is no class")
        return self

    @model_validator(mode="after")
    def _of_the_task(self) -> "Benchmark":
        task = TASKS[self.task]
        if self.mean_rule not in task.mean_rules:
            known = ", ".join(task.mean_rules)
            raise ValueError(f"mean_rule {self.mean_rule!r} is none of {self.task} (known: {known})")
        if self.decoder.task != self.task:
            raise ValueError(f"decoder {self.decoder.name!r} is for {self.decoder.task}, and the task is {self.task}")
        for key, inference in {"inference": self.inference, **self.inference_of}.items():
            whole = inference.window in (None, inference.size) and inference.fit in ("stretch", "inside")
            if task.whole_images and (not whole or inference.tta):
                raise ValueError(
                    f"{key}: {self.task} sees images whole and once: fit 'stretch', or 'inside' with a window of "
                    "`size`, without scales and flip"
                )
        return self

    @model_validator(mode="after")
    def _means(self) -> "Benchmark":
        named = {"ood_targets": self.averaged, **{f"groups {name!r}": group for name, group in self.groups.items()}}
        for key, targets in named.items():
            unknown = next((name for name in targets if name not in self.targets), None)
            if unknown is not None:
                raise ValueError(f"{key}: {unknown!r} is not a target; {self._known()}")
            if not targets or len(set(targets)) < len(targets):
                raise ValueError(f"{key} needs at least one target, each once")
        taken = next((name for name in self.groups if name in self.targets or name in self.hidden_targets), None)
        if taken is not None:
            raise ValueError(f"groups: {taken!r} is a target's name")
        if self.separates_most is not None and self.separates_most not in self.averaged:
            raise ValueError(f"separates_most {self.separates_most!r} is not among ood_targets")
        stray = next((name for name in self.excluded_from_mean if name not in self.classes), None)
        if stray is not None:
            raise ValueError(f"excluded_from_mean: {stray!r} is not a class")
        if set(self.excluded_from_mean) >= set(self.classes):
            raise ValueError("excluded_from_mean leaves no class in the mean")
        return self

    @model_validator(mode="after")
    def _one_model_for_all(self) -> "Benchmark":
        splits = [IN_DOMAIN, *self.targets, *self.hidden_targets]
        for name, inference in self.inference_of.items():
            if name not in splits:
                raise ValueError(f"inference_of: {name!r} is neither a target nor {IN_DOMAIN!r}")
            if splits.count(name) > 1:
                raise ValueError(f"inference_of: {name!r} is the in-domain split and a target's name")
            if inference.seen != self.inference.seen:
                here, there = ("x".join(map(str, how.seen)) for how in (inference, self.inference))
                raise ValueError(
                    f"inference_of {name!r}: the model would see {here} there and {there} elsewhere; give both one "
                    "window"
                )
            if inference.tta != self.inference.tta:
                raise ValueError(f"inference_of {name!r}: scales and flip must be those of inference")
        return self

    @property
    def counts_void(self) -> bool:
        """Whether the mean's rule looks at predictions where the truth is ignored."""
        return self.mean_rule == "void_is_error"

    @property
    def averaged(self) -> list[str]:
        """Targets that the OOD mean is over."""
        return list(self.targets) if self.ood_targets is None else self.ood_targets

    def inference_for(self, name: str) -> Inference:
        """Return how a target, or the in-domain split as `val`, is judged."""
        return self.inference_of.get(name, self.inference)
