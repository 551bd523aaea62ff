"""The reader of the street scenes, which come in by the same door as a stranger's: entry point `gkdbench.readers`."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, ClassVar, Literal

from pydantic import Field

from gkdbench.spec.documents import Added
from gkdbench.spec.split import Split

if TYPE_CHECKING:
    from gkdbench.readers import Dataset, Opening


class StreetsSplit(Split):
    """Images drawn by the renderer; image i of (kind, seed) is always the same."""

    rendered: ClassVar[bool] = True

    kind: str
    seed: int
    count: Annotated[int, Field(gt=0)]
    labels: Annotated[Literal["classes", "boxes"], Added()] = "classes"
    """What images are labelled with: a class per pixel, or boxes around the things that stand in the scene."""

    def expected(self, beside: Path) -> list[int]:
        """Return how many there are."""
        return [self.count]

    def open(self, opening: "Opening") -> "Dataset":
        """Return the scenes, which are drawn when they are first asked for."""
        from .dataset import open_streets

        return open_streets(self, opening)
