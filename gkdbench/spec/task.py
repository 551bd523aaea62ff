"""What a benchmark asks of its models, and what follows from that: metric, rule of the mean, how images are seen."""

from dataclasses import dataclass
from typing import Literal

TaskName = Literal["segmentation", "detection"]


@dataclass(frozen=True)
class Task:
    """Facts about a task that a benchmark's sections have to agree with."""

    metric: str
    """The headline metric of a record, in percent."""
    mean_rules: tuple[str, ...]
    """Names of the rules by which classes enter a mean."""
    whole_images: bool
    """Whether a model sees every image whole, at one scale, and never mirrored."""


TASKS: dict[TaskName, Task] = {
    "segmentation": Task("mIoU", ("skip_absent", "present_in_truth", "void_is_error"), whole_images=False),
    "detection": Task("AP50", ("with_objects",), whole_images=True),
}
