"""What files of boxes mean: class names, and what is done about what cannot count."""

from typing import Literal

from pydantic import Field, model_validator

from gkdbench.spec.documents import Names, Strict


class BoxRules(Strict):
    """What becomes of boxes that are of no class, or that no image can hold."""

    ignored: Names = []
    """Class names in the files whose boxes are left out."""
    others: Literal["error", "ignored"] = "error"
    """What boxes of a class are that stands nowhere here."""
    clip: bool = False
    """True: cut boxes to the image, and drop those without area or outside of it; the check counts both. False: such a
    box is an error that names its file and line. What reaches up to a pixel beyond is left as it is."""


class BoxLabels(BoxRules):
    """What a dataset's files of boxes hold."""

    kind: Literal["voc"] = "voc"
    """voc: one XML per image."""
    classes: Names = Field(min_length=1)
    """Class names as the files have them; a benchmark finds its own classes by their names."""

    @model_validator(mode="after")
    def _names(self) -> "BoxLabels":
        names = [*self.classes, *self.ignored]
        twice = next((name for name in names if names.count(name) > 1), None)
        if twice is not None:
            raise ValueError(f"classes: {twice!r} stands there or among ignored twice")
        return self
